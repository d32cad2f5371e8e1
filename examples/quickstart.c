/* Encrypts files under a key that rotates every second, and shows that all of it stays readable.
 *
 *   quickstart DIR FILE...          creates a keystore in DIR, encrypts each FILE again and again while the key rotates
 *   quickstart --read DIR FILE...   what it starts as a second process: decrypts everything and compares byte for byte
 */
#define _POSIX_C_SOURCE 200809L

#include <kms.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define ROUNDS 7
#define PATH_SIZE 4096

static void fail(const char *what) {
    fprintf(stderr, "FAILED: %s\n", what);
    exit(1);
}

static void fail_at(const char *path) {
    char text[PATH_SIZE + 100];
    snprintf(text, sizeof text, "%s: %s", path, strerror(errno));
    fail(text);
}

static void must(kms_status status, const char *what) {
    if (status != KMS_OK) {
        char why[256];
        kms_last_error(why, sizeof why);
        fprintf(stderr, "FAILED: %s: %s: %s\n", what, kms_status_name(status), why);
        exit(1);
    }
}

typedef struct bytes {
    uint8_t *data;
    size_t len;
} bytes;

static bytes read_file(const char *path) {
    bytes file = {NULL, 0};
    FILE *in = fopen(path, "rb");
    size_t cap = 1 << 16, got;
    if (in == NULL) {
        fail_at(path);
    }
    file.data = malloc(cap);
    while (file.data != NULL && (got = fread(file.data + file.len, 1, cap - file.len, in)) > 0) {
        file.len += got;
        if (file.len == cap) {
            uint8_t *larger = realloc(file.data, cap *= 2);
            if (larger == NULL) {
                fail("out of memory");
            }
            file.data = larger;
        }
    }
    if (file.data == NULL || ferror(in) || fclose(in) != 0) {
        fail_at(path);
    }
    return file;
}

static void write_file(const char *path, bytes content) {
    FILE *out = fopen(path, "wb");
    if (out == NULL || fwrite(content.data, 1, content.len, out) != content.len || fclose(out) != 0) {
        fail_at(path);
    }
}

static void blob_path(char path[PATH_SIZE], const char *dir, int file, int round) {
    snprintf(path, PATH_SIZE, "%s/file-%d.round-%d.kms", dir, file, round);
}

static kms_t *open_keystore(const char *dir) {
    char store[PATH_SIZE], root[PATH_SIZE];
    kms_options_t *options = kms_options_new();
    kms_t *kms = NULL;
    snprintf(store, sizeof store, "%s/keys.db", dir);
    snprintf(root, sizeof root, "%s/root.key", dir);
    must(kms_options_set_root_key_file(options, root), "root key file");
    must(kms_options_set_create(options, 1), "create");
    must(kms_open(store, options, &kms), "open");
    kms_options_free(options);
    return kms;
}

static bytes encrypt(const kms_t *kms, const char *key, bytes plaintext, const kms_context_entry *context) {
    bytes blob = {NULL, 0};
    size_t cap = plaintext.len + KMS_MAX_OVERHEAD;
    blob.data = malloc(cap);
    if (blob.data == NULL) {
        fail("out of memory");
    }
    must(kms_encrypt(kms, key, plaintext.data, plaintext.len, context, 1, blob.data, cap, &blob.len), "encrypt");
    return blob;
}

static bytes decrypt(const kms_t *kms, bytes blob, const kms_context_entry *context) {
    bytes plaintext = {NULL, 0};
    must(kms_decrypt(kms, blob.data, blob.len, context, 1, NULL, 0, &plaintext.len), "size of the plaintext");
    plaintext.data = malloc(plaintext.len + 1);
    if (plaintext.data == NULL) {
        fail("out of memory");
    }
    must(kms_decrypt(kms, blob.data, blob.len, context, 1, plaintext.data, plaintext.len, &plaintext.len), "decrypt");
    return plaintext;
}

static void compare(bytes found, bytes expected, const char *what) {
    if (found.len != expected.len || memcmp(found.data, expected.data, found.len) != 0) {
        fail(what);
    }
}

static int32_t show_version(void *user, const kms_key_version *version) {
    time_t seconds = (time_t)(version->creation_date_ms / 1000);
    char date[32];
    (void)user;
    strftime(date, sizeof date, "%H:%M:%S", gmtime(&seconds));
    printf("    version %2llu  %s  made %s.%03d UTC%s\n", (unsigned long long)version->number, version->version_id, date,
           (int)(version->creation_date_ms % 1000), version->is_primary ? "  <- primary" : "");
    return 0;
}

/* The version that a blob is under, as its number among the key's versions. */
static kms_blob_info inspect(const kms_t *kms, bytes blob) {
    kms_blob_info info = KMS_BLOB_INFO_INIT;
    must(kms_inspect(kms, blob.data, blob.len, &info), "inspect");
    return info;
}

static int read_everything(const char *dir, char **files, int count) {
    const kms_context_entry context = {"program", "quickstart"};
    kms_t *kms = open_keystore(dir);
    int file, round, old = 0;
    for (file = 0; file < count; file++) {
        bytes expected = read_file(files[file]);
        for (round = 0; round < ROUNDS; round++) {
            char path[PATH_SIZE];
            bytes blob, plaintext;
            blob_path(path, dir, file, round);
            blob = read_file(path);
            old += !inspect(kms, blob).is_primary;
            plaintext = decrypt(kms, blob, &context);
            compare(plaintext, expected, "a decrypted file differs from the original");
            free(blob.data);
            free(plaintext.data);
        }
        free(expected.data);
    }
    printf("    process %ld decrypted %d ciphertexts, %d of them under old versions: all equal byte for byte\n", (long)getpid(),
           count * ROUNDS, old);
    kms_close(kms);
    return 0;
}

static void in_second_process(const char *program, const char *dir, char **files, int count) {
    int status, i;
    pid_t child;
    fflush(stdout);
    child = fork();
    if (child == 0) {
        char **arguments = calloc((size_t)count + 4, sizeof *arguments);
        if (arguments != NULL) {
            arguments[0] = (char *)program;
            arguments[1] = "--read";
            arguments[2] = (char *)dir;
            for (i = 0; i < count; i++) {
                arguments[3 + i] = files[i];
            }
            execv(program, arguments);
        }
        _exit(127);
    }
    if (child < 0 || waitpid(child, &status, 0) != child || !WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        fail("the second process could not read everything");
    }
}

int main(int argc, char **argv) {
    const kms_context_entry context = {"program", "quickstart"};
    const struct timespec pause = {0, 600 * 1000 * 1000};
    kms_create_key_options new_key = KMS_CREATE_KEY_OPTIONS_INIT;
    kms_key_metadata key = KMS_KEY_METADATA_INIT;
    char key_id[KMS_ID_SIZE], path[PATH_SIZE];
    const char *dir;
    char **files;
    int count, file, round;
    bytes blob, moved, plaintext, original;
    kms_blob_info before, after;
    kms_t *kms;

    if (argc >= 4 && strcmp(argv[1], "--read") == 0) {
        return read_everything(argv[2], argv + 3, argc - 3);
    }
    if (argc < 3) {
        fprintf(stderr, "usage: %s DIR FILE...\n", argv[0]);
        return 2;
    }
    dir = argv[1];
    files = argv + 2;
    count = argc - 2;

    printf("libkms %s\n\n1. A keystore, and a key that rotates every second\n", kms_version());
    kms = open_keystore(dir);
    new_key.description = "quickstart";
    new_key.enable_automatic_rotation = 1;
    new_key.rotation_interval_s = 1;
    must(kms_create_key(kms, &new_key, key_id), "create a key");
    printf("    %s/keys.db, key %s\n\n2. Encrypt while the clock inside the library rotates the key\n", dir, key_id);

    for (round = 0; round < ROUNDS; round++) {
        for (file = 0; file < count; file++) {
            original = read_file(files[file]);
            blob = encrypt(kms, key_id, original, &context);
            before = inspect(kms, blob);
            printf("    %-40.40s %9zu bytes -> %9zu  under %.8s...\n", files[file], original.len, blob.len, before.version_id);
            blob_path(path, dir, file, round);
            write_file(path, blob);
            free(original.data);
            free(blob.data);
        }
        nanosleep(&pause, NULL);
    }
    must(kms_describe_key(kms, key_id, &key), "describe the key");
    if (key.version_count < 4) {
        fail("the key has not rotated");
    }
    printf("\n3. The key has %llu versions now\n", (unsigned long long)key.version_count);
    must(kms_list_key_versions(kms, key_id, 0, 100, show_version, NULL), "list the versions");

    printf("\n4. A second process opens the keystore and decrypts everything\n");
    in_second_process(argv[0], dir, files, count);

    printf("\n5. Move the oldest ciphertext to the newest version\n");
    /* No rotation between the move and its check. */
    must(kms_update_rotation_policy(kms, key_id, 0, 0), "turn rotation off");
    blob_path(path, dir, 0, 0);
    blob = read_file(path);
    original = read_file(files[0]);
    before = inspect(kms, blob);
    moved.data = malloc(blob.len + KMS_MAX_OVERHEAD);
    if (moved.data == NULL) {
        fail("out of memory");
    }
    must(kms_reencrypt(kms, blob.data, blob.len, &context, 1, key_id, &context, 1, moved.data, blob.len + KMS_MAX_OVERHEAD,
                       &moved.len),
         "re-encrypt");
    after = inspect(kms, moved);
    plaintext = decrypt(kms, moved, &context);
    compare(plaintext, original, "the moved file differs from the original");
    if (before.is_primary || !after.is_primary) {
        fail("the ciphertext did not move to the primary version");
    }
    printf("    from %s\n    to   %s, and it still decrypts\n", before.version_id, after.version_id);
    free(blob.data);
    free(moved.data);
    free(plaintext.data);
    free(original.data);
    kms_close(kms);
    printf("\nEverything that was encrypted could be decrypted.\n");
    return 0;
}

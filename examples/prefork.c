/* A prefork server: the parent opens the keystore once, its children encrypt, and the key rotates meanwhile.
 *
 *   prefork DIR    creates a keystore in DIR, serves with 4 children for 3 seconds, and reads all that they wrote
 *
 * What to take from it: open before fork, share the handle, close it in each process. A child makes its own connection,
 * randomness and rotation thread on first use; the root key is not asked for again.
 */
#define _POSIX_C_SOURCE 200809L

#include <kms.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { CHILDREN = 4, SECONDS = 3, TEXT_MAX = 64 };

static void must(kms_status status, const char *what) {
    if (status != KMS_OK) {
        char why[256];
        kms_last_error(why, sizeof why);
        fprintf(stderr, "FAILED in %ld: %s: %s: %s\n", (long)getpid(), what, kms_status_name(status), why);
        exit(1);
    }
}

/* One request's worth of work: a record, encrypted and sent to the parent in one write, which a pipe keeps whole. */
typedef struct record {
    int child, number;
    size_t len;
    uint8_t blob[TEXT_MAX + KMS_MAX_OVERHEAD];
} record;

static int serve(const kms_t *kms, const char *key, int child, int out) {
    const time_t end = time(NULL) + SECONDS;
    const struct timespec pause = {0, 20 * 1000 * 1000};
    record r;
    memset(&r, 0, sizeof r);
    r.child = child;
    while (time(NULL) < end) {
        char text[TEXT_MAX];
        int len = snprintf(text, sizeof text, "child %d, record %d", r.child, r.number);
        must(kms_encrypt(kms, key, (const uint8_t *)text, (size_t)len, NULL, 0, r.blob, sizeof r.blob, &r.len), "encrypt");
        if (write(out, &r, sizeof r) != (ssize_t)sizeof r) {
            return 1;
        }
        r.number++;
        nanosleep(&pause, NULL);
    }
    return 0;
}

int main(int argc, char **argv) {
    kms_options_t *options = kms_options_new();
    kms_create_key_options how = KMS_CREATE_KEY_OPTIONS_INIT;
    kms_key_metadata metadata = KMS_KEY_METADATA_INIT;
    kms_t *kms = NULL;
    char store[4096], root[4096], key[KMS_ID_SIZE];
    int ends[2], child, status, records = 0, old = 0, failed = 0;
    record r;
    if (argc < 2 || options == NULL || pipe(ends) != 0) {
        fprintf(stderr, "usage: prefork DIR\n");
        return 2;
    }
    snprintf(store, sizeof store, "%s/prefork.db", argv[1]);
    snprintf(root, sizeof root, "%s/prefork.key", argv[1]);
    must(kms_options_set_root_key_file(options, root), "root key file");
    must(kms_options_set_create(options, 1), "create");
    must(kms_open(store, options, &kms), "open");
    kms_options_free(options);
    how.enable_automatic_rotation = 1;
    how.rotation_interval_s = 1; /* a quarter of a year, in a server that isn't an example */
    must(kms_create_key(kms, &how, key), "create key");

    fflush(NULL);
    for (child = 0; child < CHILDREN; child++) {
        pid_t pid = fork();
        if (pid < 0) {
            perror("fork");
            return 1;
        }
        if (pid == 0) {
            close(ends[0]);
            status = serve(kms, key, child, ends[1]);
            kms_close(kms);
            _exit(status);
        }
    }
    close(ends[1]);
    while (read(ends[0], &r, sizeof r) == (ssize_t)sizeof r) {
        kms_blob_info info = KMS_BLOB_INFO_INIT;
        uint8_t text[TEXT_MAX];
        char wanted[TEXT_MAX];
        size_t len;
        must(kms_inspect(kms, r.blob, r.len, &info), "inspect");
        must(kms_decrypt(kms, r.blob, r.len, NULL, 0, text, sizeof text, &len), "decrypt");
        if (len != (size_t)snprintf(wanted, sizeof wanted, "child %d, record %d", r.child, r.number) ||
            memcmp(text, wanted, len) != 0) {
            fprintf(stderr, "FAILED: a record is not what child %d wrote\n", r.child);
            failed = 1;
        }
        records++;
        old += !info.is_primary;
    }
    for (child = 0; child < CHILDREN; child++) {
        failed |= wait(&status) < 0 || status != 0;
    }
    must(kms_describe_key(kms, key, &metadata), "describe");
    printf("%d children wrote %d records while the key rotated to version %llu; all were read\n", CHILDREN, records,
           (unsigned long long)metadata.version_count);
    kms_close(kms);
    return failed || records < CHILDREN || metadata.version_count < 2;
}

/* Encrypts a file of any size, reads from the middle of it, and encrypts what comes through a pipe.
 *
 *     files encrypt SOURCE TARGET      files decrypt SOURCE TARGET      files tail FILE BYTES
 *     files seal <SOURCE >TARGET       files open <SOURCE >TARGET
 *
 * The keystore is keys.db in this folder, with its root key next to it; the key's alias is alias/files. */
#include <kms.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void need(kms_status status, const char *what) {
    char text[512];
    if (status != KMS_OK) {
        kms_last_error(text, sizeof text);
        fprintf(stderr, "%s: %s: %s\n", what, kms_status_name(status), text);
        exit(1);
    }
}

static kms_t *open_keystore(void) {
    kms_options_t *options = kms_options_new();
    kms_t *kms = NULL;
    char key_id[KMS_ID_SIZE];
    kms_status status;
    need(kms_options_set_root_key_file(options, "root.key"), "options");
    need(kms_options_set_create(options, 1), "options");
    need(kms_open("keys.db", options, &kms), "keys.db");
    kms_options_free(options);
    status = kms_describe_key(kms, "alias/files", &(kms_key_metadata)KMS_KEY_METADATA_INIT);
    if (status == KMS_ALIAS_NOT_FOUND) {
        need(kms_create_key(kms, NULL, key_id), "create the key");
        status = kms_create_alias(kms, key_id, "alias/files");
    }
    need(status, "alias/files");
    return kms;
}

/* Prints the last bytes of an encrypted file, of which only their chunks are read. */
static void tail(const kms_t *kms, const char *path, uint64_t wanted) {
    kms_file_t *file;
    uint64_t size, at;
    static uint8_t piece[65536];
    size_t len;
    need(kms_open_file(kms, path, NULL, 0, &file), path);
    need(kms_file_size(file, &size), path);
    for (at = size > wanted ? size - wanted : 0; at < size; at += len) {
        need(kms_file_read(file, at, piece, sizeof piece, &len), path);
        fwrite(piece, 1, len, stdout);
    }
    kms_file_close(file);
}

/* Standard input to standard output. What `open` prints is complete only if the program ends with 0. */
static void pass(const kms_t *kms, int encrypt) {
    static uint8_t piece[65536], out[131072];
    kms_stream_t *stream;
    size_t len;
    if (encrypt) {
        need(kms_encrypt_stream(kms, "alias/files", NULL, 0, &stream), "standard input");
    } else {
        len = fread(piece, 1, KMS_FILE_START_SIZE, stdin);
        need(kms_decrypt_stream(kms, piece, len, NULL, 0, &stream), "standard input");
    }
    while ((len = fread(piece, 1, sizeof piece, stdin)) > 0) {
        need(kms_stream_update(stream, piece, len, out, sizeof out, &len), "standard input");
        fwrite(out, 1, len, stdout);
    }
    need(kms_stream_finish(stream, out, sizeof out, &len), "standard input");
    fwrite(out, 1, len, stdout);
    kms_stream_free(stream);
}

int main(int argc, char **argv) {
    kms_t *kms;
    if (argc < 2) {
        fprintf(stderr, "usage: files encrypt|decrypt|tail|seal|open ...\n");
        return 2;
    }
    kms = open_keystore();
    if (strcmp(argv[1], "encrypt") == 0 && argc == 4) {
        need(kms_encrypt_file(kms, "alias/files", argv[2], argv[3], NULL, 0, NULL, NULL), argv[2]);
    } else if (strcmp(argv[1], "decrypt") == 0 && argc == 4) {
        need(kms_decrypt_file(kms, argv[2], argv[3], NULL, 0, NULL, NULL), argv[2]);
    } else if (strcmp(argv[1], "tail") == 0 && argc == 4) {
        tail(kms, argv[2], strtoull(argv[3], NULL, 10));
    } else if (strcmp(argv[1], "seal") == 0 || strcmp(argv[1], "open") == 0) {
        pass(kms, argv[1][0] == 's');
    } else {
        fprintf(stderr, "usage: files encrypt|decrypt|tail|seal|open ...\n");
        return 2;
    }
    kms_close(kms);
    return fflush(stdout) == 0 && !ferror(stdout) && !ferror(stdin) ? 0 : 1;
}

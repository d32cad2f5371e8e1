/* Encrypts a file of any size by envelope encryption: a new data key encrypts it, and the customer master key that key.
 *
 *   envelope seal DIR FILE SEALED     creates a keystore in DIR if there is none, encrypts FILE
 *   envelope open DIR SEALED FILE     decrypts and checks it; FILE appears only when all of it is authentic
 *   envelope move DIR SEALED          moves it to the newest version of its key: only the data key is rewritten
 *
 * The file: "KMSENV1\n", the length of the encrypted data key (2 bytes, big-endian, room for 1024), it, and chunks of 64 KiB
 * and the last, each AES-256-GCM under the data key with its tag of 16. Their nonce (STREAM) is the chunk's number as 11 bytes
 * and a byte that is 1 for the last, so that none can be left out, swapped or cut off. A data key encrypts one file, so no
 * nonce repeats. The bytes come from the system's OpenSSL: libkms does keys.
 */
#define _POSIX_C_SOURCE 200809L

#include <kms.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNK = 65536, TAG = 16, KEY = 32, KEY_ROOM = 1024, HEAD = 8 + 2 + KEY_ROOM };
static const char magic[] = "KMSENV1\n";
static const kms_context_entry context = {"format", "KMSENV1"};
static char unfinished[4100]; /* removed if we fail */

static void fail(const char *what) {
    if (unfinished[0] != 0) {
        remove(unfinished);
    }
    fprintf(stderr, "FAILED: %s\n", what);
    exit(1);
}

static void fail_at(const char *path) {
    char text[4200];
    snprintf(text, sizeof text, "%s: %s", path, strerror(errno));
    fail(text);
}

static void must(kms_status status, const char *what) {
    char why[512], text[768];
    if (status != KMS_OK) {
        kms_last_error(why, sizeof why);
        snprintf(text, sizeof text, "%s: %s: %s", what, kms_status_name(status), why);
        fail(text);
    }
}

static kms_t *open_keystore(const char *dir) {
    char store[4096], root[4096];
    kms_options_t *options = kms_options_new();
    kms_t *kms = NULL;
    snprintf(store, sizeof store, "%s/envelope.db", dir);
    snprintf(root, sizeof root, "%s/envelope.key", dir);
    must(kms_options_set_root_key_file(options, root), "root key file");
    must(kms_options_set_create(options, 1), "create");
    must(kms_open(store, options, &kms), "open the keystore");
    kms_options_free(options);
    return kms;
}

static FILE *open_file(const char *path, const char *mode) {
    FILE *file = fopen(path, mode);
    if (file == NULL) {
        fail_at(path);
    }
    return file;
}

static void put(FILE *out, const void *data, size_t len) {
    if (fwrite(data, 1, len, out) != len) {
        fail("write");
    }
}

/* The head with the encrypted data key, read or written at the file's start. */
static size_t read_head(FILE *in, uint8_t blob[KEY_ROOM]) {
    uint8_t head[HEAD];
    size_t len;
    if (fread(head, 1, HEAD, in) != HEAD || memcmp(head, magic, 8) != 0) {
        fail("not a file of this program");
    }
    len = (size_t)head[8] << 8 | head[9];
    if (len > KEY_ROOM) {
        fail("not a file of this program");
    }
    memcpy(blob, head + 10, len);
    return len;
}

static void write_head(FILE *out, const uint8_t *blob, size_t len) {
    uint8_t head[HEAD] = {0};
    memcpy(head, magic, 8);
    head[8] = (uint8_t)(len >> 8);
    head[9] = (uint8_t)len;
    memcpy(head + 10, blob, len);
    put(out, head, HEAD);
}

/* All chunks of `in`, encrypted or decrypted to `out`; wipes the key. */
static void run_chunks(FILE *in, FILE *out, uint8_t key[KEY], int encrypt) {
    static uint8_t from[CHUNK + TAG + 1], to[CHUNK + TAG];
    const size_t step = encrypt ? CHUNK : CHUNK + TAG;
    EVP_CIPHER_CTX *cipher = EVP_CIPHER_CTX_new();
    uint64_t number;
    size_t have = fread(from, 1, step + 1, in); /* one byte more tells whether this is the last */
    int fine = cipher != NULL && EVP_CipherInit_ex(cipher, EVP_aes_256_gcm(), NULL, key, NULL, encrypt), len, last = 0, i;
    OPENSSL_cleanse(key, KEY);
    for (number = 0; fine && !last; number++) {
        uint8_t nonce[12] = {0};
        size_t now = have < step ? have : step, text;
        last = have <= step;
        if (ferror(in) || (!encrypt && now < TAG)) {
            fail("the file is cut off");
        }
        text = encrypt ? now : now - TAG;
        for (i = 0; i < 8; i++) {
            nonce[10 - i] = (uint8_t)(number >> (8 * i));
        }
        nonce[11] = (uint8_t)last;
        fine = EVP_CipherInit_ex(cipher, NULL, NULL, NULL, nonce, encrypt) &&
               (encrypt || EVP_CIPHER_CTX_ctrl(cipher, EVP_CTRL_GCM_SET_TAG, TAG, from + text)) &&
               EVP_CipherUpdate(cipher, to, &len, from, (int)text) && EVP_CipherFinal_ex(cipher, to + len, &len) &&
               (!encrypt || EVP_CIPHER_CTX_ctrl(cipher, EVP_CTRL_GCM_GET_TAG, TAG, to + text));
        if (!fine) {
            break;
        }
        put(out, to, encrypt ? text + TAG : text);
        if (!last) {
            from[0] = from[step];
            have = 1 + fread(from + 1, 1, step, in);
        }
    }
    EVP_CIPHER_CTX_free(cipher);
    OPENSSL_cleanse(from, sizeof from);
    OPENSSL_cleanse(to, sizeof to);
    if (!fine) {
        fail(encrypt ? "encryption failed" : "the file was changed or cut off");
    }
}

/* The keystore's key for files, by its alias; made on first use. */
static void make_key(const kms_t *kms) {
    kms_key_metadata known = KMS_KEY_METADATA_INIT;
    kms_create_key_options how = KMS_CREATE_KEY_OPTIONS_INIT;
    char id[KMS_ID_SIZE];
    kms_status status = kms_describe_key(kms, "alias/files", &known);
    if (status != KMS_ALIAS_NOT_FOUND) {
        must(status, "describe");
        return;
    }
    how.enable_automatic_rotation = 1;
    how.rotation_interval_s = INT64_C(90) * 24 * 60 * 60;
    must(kms_create_key(kms, &how, id), "create key");
    must(kms_create_alias(kms, id, "alias/files"), "create alias");
}

static void seal(const kms_t *kms, FILE *in, FILE *out) {
    uint8_t key[KEY], blob[KEY_ROOM];
    size_t len;
    make_key(kms);
    must(kms_generate_data_key(kms, "alias/files", KEY, &context, 1, key, blob, sizeof blob, &len), "data key");
    write_head(out, blob, len);
    run_chunks(in, out, key, 1);
}

static void unseal(const kms_t *kms, FILE *in, FILE *out) {
    uint8_t key[KEY], blob[KEY_ROOM];
    size_t len = read_head(in, blob);
    must(kms_decrypt(kms, blob, len, &context, 1, key, sizeof key, &len), "the data key");
    if (len != KEY) {
        fail("not a file of this program");
    }
    run_chunks(in, out, key, 0);
}

static void move(const kms_t *kms, FILE *file) {
    kms_blob_info info = KMS_BLOB_INFO_INIT;
    uint8_t blob[KEY_ROOM];
    size_t len = read_head(file, blob);
    must(kms_inspect(kms, blob, len, &info), "inspect");
    must(kms_reencrypt(kms, blob, len, &context, 1, info.key_id, &context, 1, blob, sizeof blob, &len), "re-encrypt");
    rewind(file);
    write_head(file, blob, len);
    must(kms_inspect(kms, blob, len, &info), "inspect");
    printf("the data key is under version %s, the newest: %s\n", info.version_id, info.is_primary ? "yes" : "no");
}

int main(int argc, char **argv) {
    const char *what = argc > 1 ? argv[1] : "";
    kms_t *kms;
    FILE *in, *out;
    if (argc == 4 && strcmp(what, "move") == 0) {
        kms = open_keystore(argv[2]);
        in = open_file(argv[3], "r+b");
        move(kms, in);
        if (fclose(in) != 0) {
            fail("write");
        }
    } else if (argc == 5 && (strcmp(what, "seal") == 0 || strcmp(what, "open") == 0)) {
        kms = open_keystore(argv[2]);
        in = open_file(argv[3], "rb");
        snprintf(unfinished, sizeof unfinished, "%s.tmp", argv[4]);
        out = open_file(unfinished, "wb");
        if (strcmp(what, "seal") == 0) {
            seal(kms, in, out);
        } else {
            unseal(kms, in, out);
        }
        if (fclose(out) != 0 || rename(unfinished, argv[4]) != 0) {
            fail("write");
        }
        fclose(in);
    } else {
        fprintf(stderr, "usage: envelope seal DIR FILE SEALED | open DIR SEALED FILE | move DIR SEALED\n");
        return 2;
    }
    kms_close(kms);
    return 0;
}

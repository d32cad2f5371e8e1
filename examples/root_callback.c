/* Wraps the root key outside of the library, and keeps a passphrase for the day when that is lost.
 *
 * A key in the file kek.bin represents a key in an HSM or a cloud KMS. What matters is the form of the two functions:
 * authenticated symmetric encryption, here AES-256-GCM, with `aad` as additional data. With public-key encryption
 * (RSA-OAEP), an attacker who can write the keystore's file could encrypt their own root key and substitute a keystore.
 * The library notices functions that ignore `aad`, and refuses them.
 */
#define _POSIX_C_SOURCE 200809L

#include <kms.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { NONCE = 12, TAG = 16, KEY = 32 };

static void must(kms_status status, const char *what) {
    char why[512];
    if (status != KMS_OK) {
        kms_last_error(why, sizeof why);
        fprintf(stderr, "FAILED: %s: %s: %s\n", what, kms_status_name(status), why);
        exit(1);
    }
}

/* nonce, ciphertext, tag */
static kms_status wrap(void *user, const uint8_t *input, size_t input_len, const uint8_t *aad, size_t aad_len, uint8_t *out,
                       size_t out_cap, size_t *out_len) {
    EVP_CIPHER_CTX *gcm = EVP_CIPHER_CTX_new();
    int len = 0, done;
    done = gcm != NULL && input_len <= KEY && NONCE + input_len + TAG <= out_cap && RAND_bytes(out, NONCE) == 1 &&
           EVP_EncryptInit_ex(gcm, EVP_aes_256_gcm(), NULL, user, out) == 1 &&
           EVP_EncryptUpdate(gcm, NULL, &len, aad, (int)aad_len) == 1 &&
           EVP_EncryptUpdate(gcm, out + NONCE, &len, input, (int)input_len) == 1 &&
           EVP_EncryptFinal_ex(gcm, out + NONCE + len, &len) == 1 &&
           EVP_CIPHER_CTX_ctrl(gcm, EVP_CTRL_GCM_GET_TAG, TAG, out + NONCE + input_len) == 1;
    EVP_CIPHER_CTX_free(gcm);
    *out_len = NONCE + input_len + TAG;
    return done ? KMS_OK : KMS_INTERNAL;
}

static kms_status unwrap(void *user, const uint8_t *input, size_t input_len, const uint8_t *aad, size_t aad_len, uint8_t *out,
                         size_t out_cap, size_t *out_len) {
    EVP_CIPHER_CTX *gcm = EVP_CIPHER_CTX_new();
    uint8_t tag[TAG];
    int len = 0, done = 0;
    if (gcm != NULL && input_len == NONCE + KEY + TAG && out_cap >= KEY) {
        memcpy(tag, input + NONCE + KEY, TAG);
        done = EVP_DecryptInit_ex(gcm, EVP_aes_256_gcm(), NULL, user, input) == 1 &&
               EVP_DecryptUpdate(gcm, NULL, &len, aad, (int)aad_len) == 1 &&
               EVP_DecryptUpdate(gcm, out, &len, input + NONCE, KEY) == 1 &&
               EVP_CIPHER_CTX_ctrl(gcm, EVP_CTRL_GCM_SET_TAG, TAG, tag) == 1 && EVP_DecryptFinal_ex(gcm, out + len, &len) == 1;
    }
    EVP_CIPHER_CTX_free(gcm);
    if (!done) {
        OPENSSL_cleanse(out, KEY < out_cap ? KEY : out_cap);
    }
    *out_len = done ? KEY : 0;
    return done ? KMS_OK : KMS_AUTHENTICATION_FAILED;
}

/* The stand-in for the HSM: 32 bytes in a file, made at the first run. */
static void load_kek(uint8_t kek[KEY]) {
    int file = open("kek.bin", O_RDONLY | O_CLOEXEC);
    if (file < 0) {
        file = open("kek.bin", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (file < 0 || RAND_bytes(kek, KEY) != 1 || write(file, kek, KEY) != KEY || lseek(file, 0, SEEK_SET) != 0) {
            perror("kek.bin");
            exit(1);
        }
    }
    if (read(file, kek, KEY) != KEY) {
        fprintf(stderr, "FAILED: kek.bin is too short\n");
        exit(1);
    }
    close(file);
}

static int32_t show(void *user, const kms_root_slot *slot) {
    static const char *const kinds[] = {"?", "key", "passphrase", "callback"};
    const char *kind = slot->kind >= KMS_ROOT_KEY && slot->kind <= KMS_ROOT_CALLBACK ? kinds[slot->kind] : kinds[0];
    printf("root slot %s: %s%s%s%s\n", slot->slot_id, kind, slot->label != NULL ? ", " : "",
           slot->label != NULL ? slot->label : "", slot->opened_this_handle ? ", opened this handle" : "");
    ++*(int *)user;
    return 0;
}

int main(void) {
    static const char recovery[] = "six random words of a recovery sheet"; /* of course not in the source */
    uint8_t kek[KEY], blob[256], text[64];
    char id[KMS_ID_SIZE];
    size_t blob_len, text_len;
    kms_options_t *by_hsm = kms_options_new(), *by_passphrase = kms_options_new();
    kms_t *kms = NULL;
    kms_status added;
    int slots = 0;

    load_kek(kek);
    must(kms_options_set_root_callback(by_hsm, wrap, unwrap, kek), "root callback");
    must(kms_options_set_create(by_hsm, 1), "create");
    must(kms_options_set_root_passphrase(by_passphrase, (const uint8_t *)recovery, sizeof recovery - 1), "passphrase");

    must(kms_open("hsm.db", by_hsm, &kms), "open by the HSM");
    must(kms_create_key(kms, NULL, id), "create a key");
    must(kms_encrypt(kms, id, (const uint8_t *)"kept", 4, NULL, 0, blob, sizeof blob, &blob_len), "encrypt");
    added = kms_add_root_slot(kms, by_passphrase, "recovery sheet", NULL);
    if (added != KMS_ROOT_SLOT_EXISTS) { /* from the second run on */
        must(added, "add a root slot");
    }
    kms_close(kms);

    /* The HSM has burnt down. */
    must(kms_open("hsm.db", by_passphrase, &kms), "open by the passphrase");
    must(kms_list_root_slots(kms, show, &slots), "list the root slots");
    must(kms_decrypt(kms, blob, blob_len, NULL, 0, text, sizeof text, &text_len), "decrypt");
    kms_close(kms);
    kms_options_free(by_hsm);
    kms_options_free(by_passphrase);
    OPENSSL_cleanse(kek, sizeof kek);
    if (slots != 2 || text_len != 4 || memcmp(text, "kept", 4) != 0) {
        fprintf(stderr, "FAILED: %d slots, %zu bytes\n", slots, text_len);
        return 1;
    }
    return 0;
}

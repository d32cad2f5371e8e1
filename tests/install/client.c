/* A program outside the source tree: encrypts and decrypts with an installed libkms of the version it was compiled for. */
#include <kms.h>
#include <stdio.h>
#include <string.h>

int main(void) {
    static const uint8_t root_key[32] = {1};
    kms_options_t *options = kms_options_new();
    kms_t *kms = NULL;
    char key[KMS_ID_SIZE];
    uint8_t blob[5 + KMS_MAX_OVERHEAD], text[5];
    size_t len = 0;
    if (kms_options_set_root_key(options, root_key, sizeof root_key) != KMS_OK ||
        kms_open("memory:", options, &kms) != KMS_OK || kms_create_key(kms, NULL, key) != KMS_OK ||
        kms_encrypt(kms, key, (const uint8_t *)"hello", 5, NULL, 0, blob, sizeof blob, &len) != KMS_OK ||
        kms_decrypt(kms, blob, len, NULL, 0, text, sizeof text, &len) != KMS_OK || len != 5 || memcmp(text, "hello", 5) != 0) {
        return 1;
    }
    kms_close(kms);
    kms_options_free(options);
    printf("libkms %s\n", kms_version());
    return 0;
}

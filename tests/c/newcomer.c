/* Uses a keystore like a developer who has read only kms.h. */
#include <kms.h>
#include <stdio.h>
#include <string.h>

static int failed(const char *what) {
    char why[256];
    kms_last_error(why, sizeof why);
    fprintf(stderr, "%s: %s\n", what, why);
    return 1;
}

int main(void) {
    const char secret[] = "4111 1111 1111 1111";
    const kms_context_entry context[] = {{"tenant", "42"}};
    uint8_t blob[sizeof secret + KMS_MAX_OVERHEAD], plain[sizeof secret];
    size_t blob_len, plain_len;
    char key[KMS_ID_SIZE];
    kms_options_t *options = kms_options_new();
    kms_t *kms = NULL;

    if (options == NULL)
        return 1;
    if (kms_options_set_root_key_file(options, "root.key") != KMS_OK)
        return failed("root key");
    if (kms_options_set_create(options, 1) != KMS_OK)
        return failed("create");
    if (kms_open("keys.db", options, &kms) != KMS_OK)
        return failed("open");
    kms_options_free(options);

    if (kms_create_key(kms, NULL, key) != KMS_OK)
        return failed("create key");
    if (kms_encrypt(kms, key, (const uint8_t *)secret, sizeof secret, context, 1, blob, sizeof blob, &blob_len) != KMS_OK)
        return failed("encrypt");
    if (kms_rotate(kms, key, NULL) != KMS_OK)
        return failed("rotate");
    if (kms_decrypt(kms, blob, blob_len, context, 1, plain, sizeof plain, &plain_len) != KMS_OK)
        return failed("decrypt");
    kms_close(kms);
    return plain_len == sizeof secret && memcmp(plain, secret, plain_len) == 0 ? 0 : 1;
}

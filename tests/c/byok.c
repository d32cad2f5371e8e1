/* Imported key material from C: it may be deleted or expire, and only identical material may be imported again. */
#include "check.h"

static const uint8_t material[32] = "material from somewhere else !!!", other[32] = "another material, which is wrong";

static void make_external(const kms_t *kms, char key[KMS_ID_SIZE]) {
    kms_create_key_options options = KMS_CREATE_KEY_OPTIONS_INIT;
    options.origin = KMS_ORIGIN_EXTERNAL;
    REQUIRE_OK(kms_create_key(kms, &options, key));
}

static int32_t state_of(const kms_t *kms, const char *key) {
    kms_key_metadata metadata = KMS_KEY_METADATA_INIT;
    CHECK_OK(kms_describe_key(kms, key, &metadata));
    return metadata.state;
}

static void only_the_same_material_comes_back(void) {
    kms_t *kms = open_memory(NULL);
    char key[KMS_ID_SIZE];
    uint8_t blob[3 + KMS_MAX_OVERHEAD], text[3];
    size_t blob_len, len;
    make_external(kms, key);
    CHECK_NUMBER(state_of(kms, key), KMS_STATE_PENDING_IMPORT);
    CHECK_STATUS(kms_encrypt(kms, key, NULL, 0, NULL, 0, blob, sizeof blob, &len), KMS_REJECTED_PENDING_IMPORT);
    CHECK_STATUS(kms_import_raw_key_material(kms, key, material, 31, 0), KMS_INVALID_KEY_MATERIAL);
    CHECK_OK(kms_import_raw_key_material(kms, key, material, 32, 0));
    CHECK_NUMBER(state_of(kms, key), KMS_STATE_ENABLED);
    REQUIRE_OK(kms_encrypt(kms, key, (const uint8_t *)"abc", 3, NULL, 0, blob, sizeof blob, &blob_len));
    CHECK_STATUS(kms_rotate(kms, key, NULL), KMS_UNSUPPORTED_OPERATION);
    CHECK_STATUS(kms_import_raw_key_material(kms, key, other, 32, 0), KMS_INVALID_KEY_MATERIAL);
    CHECK_OK(kms_delete_key_material(kms, key));
    CHECK_OK(kms_delete_key_material(kms, key));
    CHECK_STATUS(kms_decrypt(kms, blob, blob_len, NULL, 0, text, sizeof text, &len), KMS_REJECTED_PENDING_IMPORT);
    CHECK_STATUS(kms_import_raw_key_material(kms, key, other, 32, 0), KMS_INVALID_KEY_MATERIAL);
    CHECK_OK(kms_import_raw_key_material(kms, key, material, 32, 0));
    CHECK_OK(kms_decrypt(kms, blob, blob_len, NULL, 0, text, sizeof text, &len));
    CHECK(len == 3 && memcmp(text, "abc", 3) == 0);
    kms_close(kms);
}

static void material_that_has_expired_is_refused_at_once(void) {
    manual_clock clock = {NEW_YEAR_2025};
    kms_t *kms = open_memory(&clock);
    char key[KMS_ID_SIZE];
    uint8_t blob[KMS_MAX_OVERHEAD];
    size_t len;
    make_external(kms, key);
    CHECK_STATUS(kms_import_raw_key_material(kms, key, material, 32, NEW_YEAR_2025 / 1000), KMS_INVALID_ARGUMENT);
    CHECK_OK(kms_import_raw_key_material(kms, key, material, 32, (NEW_YEAR_2025 + DAY) / 1000));
    CHECK_OK(kms_encrypt(kms, key, NULL, 0, NULL, 0, blob, sizeof blob, &len));
    manual_clock_forward(&clock, DAY);
    CHECK_STATUS(kms_encrypt(kms, key, NULL, 0, NULL, 0, blob, sizeof blob, &len), KMS_REJECTED_PENDING_IMPORT);
    CHECK_NUMBER(state_of(kms, key), KMS_STATE_PENDING_IMPORT);
    CHECK_OK(kms_tick(kms, NULL));
    manual_clock_forward(&clock, 2 * HOUR);
    CHECK_OK(kms_tick(kms, NULL));
    CHECK_OK(kms_import_raw_key_material(kms, key, material, 32, 0));
    CHECK_NUMBER(state_of(kms, key), KMS_STATE_ENABLED);
    kms_close(kms);
}

static void a_token_is_for_its_key_and_for_keys_of_outside_only(void) {
    kms_t *kms = open_memory(NULL);
    char key[KMS_ID_SIZE], second[KMS_ID_SIZE], own[KMS_ID_SIZE];
    uint8_t public_key[512], token[2048], wrapped[256] = {1};
    size_t public_key_len, token_len;
    int64_t expires_ms = 0;
    make_external(kms, key);
    make_external(kms, second);
    REQUIRE_OK(kms_create_key(kms, NULL, own));
    CHECK_OK(kms_get_parameters_for_import(kms, key, KMS_WRAPPING_OAEP_SHA_256, NULL, 0, &public_key_len, NULL, 0, &token_len,
                                           NULL));
    CHECK(public_key_len > 256 && public_key_len <= sizeof public_key && token_len <= sizeof token);
    REQUIRE_OK(kms_get_parameters_for_import(kms, key, KMS_WRAPPING_OAEP_SHA_256, public_key, sizeof public_key,
                                             &public_key_len, token, sizeof token, &token_len, &expires_ms));
    CHECK(expires_ms > 0);
    CHECK_STATUS(kms_import_key_material(kms, key, wrapped, sizeof wrapped, token, token_len, 0), KMS_INVALID_KEY_MATERIAL);
    CHECK_STATUS(kms_import_key_material(kms, second, wrapped, sizeof wrapped, token, token_len, 0), KMS_INVALID_IMPORT_TOKEN);
    token[100] ^= 1;
    CHECK_STATUS(kms_import_key_material(kms, key, wrapped, sizeof wrapped, token, token_len, 0), KMS_INVALID_IMPORT_TOKEN);
    CHECK_STATUS(kms_import_raw_key_material(kms, own, material, 32, 0), KMS_UNSUPPORTED_ORIGIN);
    CHECK_STATUS(kms_get_parameters_for_import(kms, key, 9, NULL, 0, &public_key_len, NULL, 0, &token_len, NULL),
                 KMS_INVALID_ARGUMENT);
    kms_close(kms);
}

static void a_data_key_goes_out_wrapped_only(void) {
    kms_t *kms = open_memory(NULL);
    char key[KMS_ID_SIZE], external[KMS_ID_SIZE];
    uint8_t public_key[512], token[2048], blob[32 + KMS_MAX_OVERHEAD], exported[256], again[256];
    size_t public_key_len, token_len, blob_len, exported_len, again_len;
    REQUIRE_OK(kms_create_key(kms, NULL, key));
    make_external(kms, external);
    /* Any RSA-2048 public key will do; this one is available. */
    REQUIRE_OK(kms_get_parameters_for_import(kms, external, KMS_WRAPPING_OAEP_SHA_1, public_key, sizeof public_key,
                                             &public_key_len, token, sizeof token, &token_len, NULL));
    CHECK_OK(kms_generate_and_export_data_key(kms, key, 32, NULL, 0, public_key, public_key_len, KMS_WRAPPING_OAEP_SHA_256,
                                              blob, sizeof blob, &blob_len, exported, sizeof exported, &exported_len));
    CHECK(blob_len == 112 && exported_len == 256);
    CHECK_OK(kms_export_data_key(kms, blob, blob_len, NULL, 0, public_key, public_key_len, KMS_WRAPPING_OAEP_SHA_256, again,
                                 sizeof again, &again_len));
    CHECK(again_len == 256 && memcmp(again, exported, 256) != 0);
    CHECK_STATUS(kms_export_data_key(kms, blob, blob_len, NULL, 0, public_key, public_key_len - 1, KMS_WRAPPING_OAEP_SHA_256,
                                     again, sizeof again, &again_len),
                 KMS_INVALID_ARGUMENT);
    kms_close(kms);
}

int main(void) {
    RUN(only_the_same_material_comes_back);
    RUN(material_that_has_expired_is_refused_at_once);
    RUN(a_token_is_for_its_key_and_for_keys_of_outside_only);
    RUN(a_data_key_goes_out_wrapped_only);
    return check_result();
}

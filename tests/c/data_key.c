/* A data key comes as plaintext and as a ciphertext that decrypts to it. */
#include "check.h"

static const kms_context_entry context[] = {{"file", "a.txt"}};

static void both_forms_are_the_same_key(void) {
    static const size_t sizes[] = {1, 16, 32, 1023, 1024};
    kms_t *kms = open_memory(NULL);
    key_id id = new_key(kms);
    uint8_t plain[1024], again[1024], blob[1024 + KMS_MAX_OVERHEAD];
    size_t i, len, out_len;
    for (i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        memset(plain, 0, sizeof plain);
        CHECK_OK(kms_generate_data_key(kms, id.text, sizes[i], context, 1, plain, blob, sizeof blob, &len));
        CHECK_NUMBER(len, sizes[i] + 80);
        CHECK_OK(kms_decrypt(kms, blob, len, context, 1, again, sizeof again, &out_len));
        CHECK_NUMBER(out_len, sizes[i]);
        CHECK(memcmp(plain, again, sizes[i]) == 0);
        CHECK(all_are(plain + sizes[i], sizeof plain - sizes[i], 0));
        CHECK(sizes[i] < 16 || !all_are(plain, sizes[i], plain[0]));
        CHECK_STATUS(kms_decrypt(kms, blob, len, NULL, 0, again, sizeof again, &out_len), KMS_AUTHENTICATION_FAILED);
    }
    kms_close(kms);
}

static void two_keys_differ(void) {
    kms_t *kms = open_memory(NULL);
    key_id id = new_key(kms);
    uint8_t one[32], two[32], blob[112];
    size_t len;
    CHECK_OK(kms_generate_data_key(kms, id.text, 32, NULL, 0, one, blob, sizeof blob, &len));
    CHECK_OK(kms_generate_data_key(kms, id.text, 32, NULL, 0, two, blob, sizeof blob, &len));
    CHECK(memcmp(one, two, 32) != 0);
    kms_close(kms);
}

static void without_plaintext_only_the_ciphertext_is_given(void) {
    kms_t *kms = open_memory(NULL);
    key_id id = new_key(kms);
    uint8_t blob[112], plain[32];
    size_t len, out_len;
    CHECK_OK(kms_generate_data_key(kms, id.text, 32, NULL, 0, NULL, blob, sizeof blob, &len));
    CHECK_OK(kms_decrypt(kms, blob, len, NULL, 0, plain, sizeof plain, &out_len));
    CHECK_NUMBER(out_len, 32);
    kms_close(kms);
}

static void a_size_outside_of_1_to_1024_is_refused(void) {
    static const size_t bad[] = {0, 1025, SIZE_MAX, SIZE_MAX / 2 + 1};
    kms_t *kms = open_memory(NULL);
    key_id id = new_key(kms);
    uint8_t blob[112], plain[32];
    size_t i, len;
    memset(plain, '#', sizeof plain);
    for (i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        len = 9;
        CHECK_STATUS(kms_generate_data_key(kms, id.text, bad[i], NULL, 0, plain, blob, sizeof blob, &len),
                     KMS_INVALID_ARGUMENT);
        CHECK_NUMBER(len, 0);
        len = 9;
        CHECK_STATUS(kms_generate_data_key(kms, id.text, bad[i], NULL, 0, NULL, NULL, 0, &len), KMS_INVALID_ARGUMENT);
        CHECK_NUMBER(len, 0);
    }
    CHECK(all_are(plain, sizeof plain, '#'));
    kms_close(kms);
}

static void asking_for_the_size_makes_no_key(void) {
    kms_t *kms = open_memory(NULL);
    key_id id = new_key(kms);
    uint8_t plain[32];
    size_t len = 0;
    memset(plain, '#', sizeof plain);
    CHECK_OK(kms_generate_data_key(kms, id.text, 32, NULL, 0, plain, NULL, 0, &len));
    CHECK_NUMBER(len, 112);
    CHECK(all_are(plain, sizeof plain, '#'));
    CHECK_OK(kms_generate_data_key(kms, id.text, 32, NULL, 0, NULL, NULL, 0, &len));
    CHECK_NUMBER(len, 112);
    kms_close(kms);
}

static void a_failure_gives_neither_form(void) {
    kms_t *kms = open_memory(NULL);
    key_id id = new_key(kms);
    const kms_context_entry bad[] = {{"", "x"}};
    uint8_t plain[32], blob[112];
    size_t len = 9;
    memset(plain, '#', sizeof plain);
    memset(blob, '#', sizeof blob);
    CHECK_STATUS(kms_generate_data_key(kms, id.text, 32, NULL, 0, plain, blob, 111, &len), KMS_BUFFER_TOO_SMALL);
    CHECK_NUMBER(len, 112);
    CHECK_STATUS(kms_generate_data_key(kms, id.text, 32, bad, 1, plain, blob, sizeof blob, &len), KMS_INVALID_ARGUMENT);
    CHECK_NUMBER(len, 0);
    CHECK_OK(kms_disable_key(kms, id.text));
    len = 9;
    CHECK_STATUS(kms_generate_data_key(kms, id.text, 32, NULL, 0, plain, blob, sizeof blob, &len), KMS_REJECTED_DISABLED);
    CHECK_NUMBER(len, 0);
    CHECK(all_are(plain, sizeof plain, '#'));
    CHECK(all_are(blob, sizeof blob, '#'));
    kms_close(kms);
}

static void overlapping_forms_are_refused(void) {
    kms_t *kms = open_memory(NULL);
    key_id id = new_key(kms);
    uint8_t both[256];
    size_t offset, len;
    memset(both, '#', sizeof both);
    for (offset = 0; offset < 32; offset++) {
        len = 9;
        CHECK_STATUS(kms_generate_data_key(kms, id.text, 32, NULL, 0, both, both + offset, 112, &len), KMS_INVALID_ARGUMENT);
        CHECK_NUMBER(len, 0);
    }
    CHECK(all_are(both, sizeof both, '#'));
    CHECK_OK(kms_generate_data_key(kms, id.text, 32, NULL, 0, both, both + 32, 112, &len));
    CHECK_OK(kms_generate_data_key(kms, id.text, 32, NULL, 0, both + 112, both, 112, &len));
    kms_close(kms);
}

static void a_data_key_outlives_rotation(void) {
    kms_t *kms = open_memory(NULL);
    key_id id = new_key(kms);
    uint8_t plain[32], again[32], blob[112];
    size_t len, out_len;
    CHECK_OK(kms_generate_data_key(kms, id.text, 32, NULL, 0, plain, blob, sizeof blob, &len));
    CHECK_OK(kms_rotate(kms, id.text, NULL));
    CHECK_OK(kms_decrypt(kms, blob, len, NULL, 0, again, sizeof again, &out_len));
    CHECK(memcmp(plain, again, sizeof plain) == 0);
    kms_close(kms);
}

int main(void) {
    RUN(both_forms_are_the_same_key);
    RUN(two_keys_differ);
    RUN(without_plaintext_only_the_ciphertext_is_given);
    RUN(a_size_outside_of_1_to_1024_is_refused);
    RUN(asking_for_the_size_makes_no_key);
    RUN(a_failure_gives_neither_form);
    RUN(overlapping_forms_are_refused);
    RUN(a_data_key_outlives_rotation);
    return check_result();
}

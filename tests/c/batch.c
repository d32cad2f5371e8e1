/* Batches through the C ABI: a status for each record, the rules of Output for each, arrays of a later version. */
#include "check.h"

enum { RECORDS = 8, OVERHEAD = 80, CANARY = 0xC5 };

static uint8_t inputs[RECORDS][5000], outputs[RECORDS][6000];

static void fill(kms_batch_record *records, size_t input_len) {
    const kms_batch_record empty = KMS_BATCH_RECORD_INIT;
    size_t i;
    for (i = 0; i < RECORDS; i++) {
        memset(inputs[i], (int)i + 1, sizeof inputs[i]);
        memset(outputs[i], CANARY, sizeof outputs[i]);
        records[i] = empty;
        records[i].input = inputs[i];
        records[i].input_len = input_len;
        records[i].out = outputs[i];
        records[i].out_cap = sizeof outputs[i];
        records[i].out_len = 12345;
        records[i].status = 12345;
    }
}

/* Ciphertexts of `len` bytes each, as the inputs. */
static void fill_sealed(const kms_t *kms, const char *key, kms_batch_record *records, size_t len) {
    size_t i;
    fill(records, len);
    REQUIRE_OK(kms_encrypt_batch(kms, key, records, sizeof *records, RECORDS));
    for (i = 0; i < RECORDS; i++) {
        memcpy(inputs[i], outputs[i], records[i].out_len);
        records[i].input_len = records[i].out_len;
        memset(outputs[i], CANARY, sizeof outputs[i]);
    }
}

static void every_record_is_encrypted_and_decrypted(void) {
    kms_t *kms = open_memory(NULL);
    key_id id = new_key(kms);
    kms_batch_record records[RECORDS];
    size_t i;
    fill_sealed(kms, id.text, records, 100);
    CHECK_OK(kms_decrypt_batch(kms, records, sizeof *records, RECORDS));
    for (i = 0; i < RECORDS; i++) {
        CHECK_NUMBER(records[i].status, KMS_OK);
        CHECK_NUMBER(records[i].out_len, 100);
        CHECK(all_are(outputs[i], 100, (uint8_t)(i + 1)));
        CHECK(all_are(outputs[i] + 100, sizeof outputs[i] - 100, CANARY));
    }
    CHECK_OK(kms_encrypt_batch(kms, id.text, NULL, sizeof *records, 0));
    kms_close(kms);
}

static void each_record_has_its_own_status(void) {
    kms_t *kms = open_memory(NULL);
    key_id id = new_key(kms);
    kms_batch_record records[RECORDS];
    char text[300];
    fill_sealed(kms, id.text, records, 100);
    inputs[1][100] ^= 1;
    records[2].out = NULL;
    records[3].out_cap = 99;
    records[4].input_len = 20;
    records[5].input = NULL;
    records[6].destination_context_count = 1;
    CHECK_STATUS(kms_decrypt_batch(kms, records, sizeof *records, RECORDS), KMS_BATCH_PARTIAL);
    CHECK(kms_last_error(text, sizeof text) > 0);
    CHECK(strstr(text, "5 of 8") != NULL && strstr(text, "record 1: ") != NULL);
    CHECK_NUMBER(records[0].status, KMS_OK);
    CHECK_NUMBER(records[1].status, KMS_AUTHENTICATION_FAILED);
    CHECK_NUMBER(records[1].out_len, 0);
    CHECK(all_are(outputs[1], sizeof outputs[1], CANARY));
    CHECK_NUMBER(records[2].status, KMS_OK);
    CHECK_NUMBER(records[2].out_len, 100);
    CHECK_NUMBER(records[3].status, KMS_BUFFER_TOO_SMALL);
    CHECK_NUMBER(records[3].out_len, 100);
    CHECK(all_are(outputs[3], sizeof outputs[3], CANARY));
    CHECK_NUMBER(records[4].status, KMS_MALFORMED_CIPHERTEXT);
    CHECK_NUMBER(records[5].status, KMS_INVALID_ARGUMENT);
    CHECK_NUMBER(records[6].status, KMS_INVALID_ARGUMENT);
    CHECK_NUMBER(records[7].status, KMS_OK);
    CHECK(all_are(outputs[7], 100, 8));
    kms_close(kms);
}

static void nothing_of_a_failed_large_plaintext_remains(void) {
    kms_t *kms = open_memory(NULL);
    key_id id = new_key(kms);
    kms_batch_record records[RECORDS];
    fill_sealed(kms, id.text, records, 4900);
    inputs[1][4900] ^= 1;
    CHECK_STATUS(kms_decrypt_batch(kms, records, sizeof *records, RECORDS), KMS_BATCH_PARTIAL);
    CHECK_NUMBER(records[1].status, KMS_AUTHENTICATION_FAILED);
    CHECK(all_are(outputs[1], 4900, 0));
    CHECK(all_are(outputs[0], 4900, 1));
    kms_close(kms);
}

static void an_output_may_overlap_its_own_input(void) {
    kms_t *kms = open_memory(NULL);
    key_id id = new_key(kms);
    kms_batch_record records[RECORDS];
    size_t i, len;
    for (len = 100; len < 6000; len += 4800) {
        size_t text = len - 50;
        fill(records, text > 4900 ? 4900 : text);
        for (i = 0; i < RECORDS; i++) {
            memset(outputs[i], (int)i + 1, sizeof outputs[i]);
            records[i].input = outputs[i] + i;
            records[i].input_len = text > 4900 ? 4900 : text;
        }
        CHECK_OK(kms_encrypt_batch(kms, id.text, records, sizeof *records, RECORDS));
        for (i = 0; i < RECORDS; i++) {
            records[i].input = outputs[i];
            records[i].input_len = records[i].out_len;
        }
        CHECK_OK(kms_decrypt_batch(kms, records, sizeof *records, RECORDS));
        for (i = 0; i < RECORDS; i++) {
            CHECK(all_are(outputs[i], records[i].out_len, (uint8_t)(i + 1)));
        }
    }
    kms_close(kms);
}

static void what_fails_the_call_is_every_records_status(void) {
    kms_t *kms = open_memory(NULL);
    key_id id = new_key(kms);
    kms_batch_record records[RECORDS];
    size_t i;
    fill(records, 10);
    CHECK_STATUS(kms_encrypt_batch(kms, "alias/none", records, sizeof *records, RECORDS), KMS_ALIAS_NOT_FOUND);
    for (i = 0; i < RECORDS; i++) {
        CHECK_NUMBER(records[i].status, KMS_ALIAS_NOT_FOUND);
        CHECK_NUMBER(records[i].out_len, 0);
        CHECK(all_are(outputs[i], sizeof outputs[i], CANARY));
    }
    CHECK_STATUS(kms_encrypt_batch(kms, NULL, records, sizeof *records, RECORDS), KMS_INVALID_ARGUMENT);
    CHECK_STATUS(kms_encrypt_batch(NULL, id.text, records, sizeof *records, RECORDS), KMS_INVALID_ARGUMENT);
    CHECK_NUMBER(records[3].status, KMS_INVALID_ARGUMENT);
    CHECK_STATUS(kms_encrypt_batch(kms, "\xff", records, sizeof *records, RECORDS), KMS_INVALID_ARGUMENT);
    REQUIRE_OK(kms_disable_key(kms, id.text));
    CHECK_STATUS(kms_encrypt_batch(kms, id.text, records, sizeof *records, RECORDS), KMS_REJECTED_DISABLED);
    CHECK_STATUS(kms_reencrypt_batch(kms, id.text, records, sizeof *records, RECORDS), KMS_REJECTED_DISABLED);
    CHECK_STATUS(kms_reencrypt_batch(kms, "alias/a", records, sizeof *records, RECORDS), KMS_ALIAS_NOT_FOUND);
    kms_close(kms);
}

static void an_impossible_array_is_left_alone(void) {
    kms_t *kms = open_memory(NULL);
    key_id id = new_key(kms);
    kms_batch_record records[RECORDS];
    fill(records, 10);
    CHECK_STATUS(kms_encrypt_batch(kms, id.text, NULL, sizeof *records, 1), KMS_INVALID_ARGUMENT);
    CHECK_STATUS(kms_encrypt_batch(kms, id.text, records, sizeof *records - 8, RECORDS), KMS_INVALID_ARGUMENT);
    CHECK_STATUS(kms_encrypt_batch(kms, id.text, records, sizeof *records + 1, 1), KMS_INVALID_ARGUMENT);
    CHECK_STATUS(kms_encrypt_batch(kms, id.text, records, sizeof *records, SIZE_MAX / 8), KMS_INVALID_ARGUMENT);
    records[2].reserved = 1;
    CHECK_STATUS(kms_encrypt_batch(kms, id.text, records, sizeof *records, RECORDS), KMS_INVALID_ARGUMENT);
    CHECK_NUMBER(records[0].status, 12345);
    CHECK_NUMBER(records[0].out_len, 12345);
    kms_close(kms);
}

/* As a program would have it that was compiled against a later version. */
typedef struct later_record {
    kms_batch_record known;
    uint64_t unknown;
} later_record;

static void records_of_a_later_version_work_while_their_new_fields_are_zero(void) {
    kms_t *kms = open_memory(NULL);
    key_id id = new_key(kms);
    kms_batch_record records[RECORDS];
    later_record later[RECORDS];
    size_t i;
    fill(records, 10);
    memset(later, 0, sizeof later);
    for (i = 0; i < RECORDS; i++) {
        later[i].known = records[i];
    }
    CHECK_OK(kms_encrypt_batch(kms, id.text, &later[0].known, sizeof *later, RECORDS));
    for (i = 0; i < RECORDS; i++) {
        CHECK_NUMBER(later[i].known.out_len, 10 + OVERHEAD);
        CHECK_NUMBER(later[i].unknown, 0);
    }
    later[7].unknown = 1;
    CHECK_STATUS(kms_encrypt_batch(kms, id.text, &later[0].known, sizeof *later, RECORDS), KMS_INVALID_ARGUMENT);
    kms_close(kms);
}

static void a_batch_is_moved_to_another_key_with_another_context(void) {
    static const kms_context_entry old = {"tenant", "42"}, new = {"tenant", "43"};
    kms_t *kms = open_memory(NULL);
    key_id from = new_key(kms), to = new_key(kms);
    kms_batch_record records[RECORDS];
    size_t i;
    fill(records, 100);
    for (i = 0; i < RECORDS; i++) {
        records[i].context = &old;
        records[i].context_count = 1;
    }
    REQUIRE_OK(kms_encrypt_batch(kms, from.text, records, sizeof *records, RECORDS));
    for (i = 0; i < RECORDS; i++) {
        /* In its own place: the old ciphertext is read before the new one is written. */
        records[i].input = outputs[i];
        records[i].input_len = records[i].out_len;
        records[i].destination_context = &new;
        records[i].destination_context_count = 1;
    }
    outputs[2][90] ^= 1;
    CHECK_STATUS(kms_reencrypt_batch(kms, to.text, records, sizeof *records, RECORDS), KMS_BATCH_PARTIAL);
    CHECK_NUMBER(records[2].status, KMS_AUTHENTICATION_FAILED);
    for (i = 0; i < RECORDS; i++) {
        kms_blob_info info = KMS_BLOB_INFO_INIT;
        uint8_t text[200];
        size_t len;
        if (i == 2) {
            continue;
        }
        CHECK_NUMBER(records[i].status, KMS_OK);
        REQUIRE_OK(kms_inspect(kms, outputs[i], records[i].out_len, &info));
        CHECK_TEXT(info.key_id, to.text);
        CHECK_OK(kms_decrypt(kms, outputs[i], records[i].out_len, &new, 1, text, sizeof text, &len));
        CHECK(len == 100 && all_are(text, 100, (uint8_t)(i + 1)));
    }
    kms_close(kms);
}

static void a_batch_is_moved_by_alias_and_to_the_records_own_keys(void) {
    kms_t *kms = open_memory(NULL);
    key_id from = new_key(kms), to = new_key(kms);
    kms_batch_record records[RECORDS];
    kms_blob_info info = KMS_BLOB_INFO_INIT;
    char newest[KMS_ID_SIZE];
    size_t i;
    fill(records, 100);
    REQUIRE_OK(kms_create_alias(kms, to.text, "alias/to"));
    REQUIRE_OK(kms_encrypt_batch(kms, from.text, records, sizeof *records, RECORDS));
    for (i = 0; i < RECORDS; i++) {
        records[i].input = outputs[i];
        records[i].input_len = records[i].out_len;
    }
    REQUIRE_OK(kms_rotate(kms, from.text, newest));
    CHECK_OK(kms_reencrypt_batch(kms, NULL, records, sizeof *records, RECORDS));
    for (i = 0; i < RECORDS; i++) {
        REQUIRE_OK(kms_inspect(kms, outputs[i], records[i].out_len, &info));
        CHECK_TEXT(info.key_id, from.text);
        CHECK_TEXT(info.version_id, newest);
    }
    CHECK_OK(kms_reencrypt_batch(kms, "alias/to", records, sizeof *records, RECORDS));
    for (i = 0; i < RECORDS; i++) {
        REQUIRE_OK(kms_inspect(kms, outputs[i], records[i].out_len, &info));
        CHECK_TEXT(info.key_id, to.text);
    }
    kms_close(kms);
}

static void many_keys_are_made_at_once(void) {
    kms_t *kms = open_memory(NULL);
    char ids[1000][KMS_ID_SIZE];
    size_t i;
    CHECK_OK(kms_create_keys(kms, NULL, 1000, ids[0]));
    for (i = 0; i < 1000; i += 111) {
        small_blob blob = encrypt_text(kms, ids[i], "text");
        CHECK_NUMBER(blob.len, 4 + OVERHEAD);
    }
    CHECK_STATUS(kms_create_keys(kms, NULL, 0, ids[0]), KMS_INVALID_ARGUMENT);
    CHECK_STATUS(kms_create_keys(kms, NULL, 1001, ids[0]), KMS_INVALID_ARGUMENT);
    CHECK_STATUS(kms_create_keys(kms, NULL, 2, NULL), KMS_INVALID_ARGUMENT);
    kms_close(kms);
}

int main(void) {
    RUN(every_record_is_encrypted_and_decrypted);
    RUN(each_record_has_its_own_status);
    RUN(nothing_of_a_failed_large_plaintext_remains);
    RUN(an_output_may_overlap_its_own_input);
    RUN(what_fails_the_call_is_every_records_status);
    RUN(an_impossible_array_is_left_alone);
    RUN(records_of_a_later_version_work_while_their_new_fields_are_zero);
    RUN(a_batch_is_moved_to_another_key_with_another_context);
    RUN(a_batch_is_moved_by_alias_and_to_the_records_own_keys);
    RUN(many_keys_are_made_at_once);
    return check_result();
}

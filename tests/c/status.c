/* Statuses have a name, a code and a text, for every number and every thread. */
#include "check.h"
#include <limits.h>
#include <pthread.h>

static const struct {
    kms_status status;
    const char *name, *code; /* code NULL: a status without a code of the service */
} statuses[] = {
#define STATUS(name, code)                                                                                                     \
    { name, #name, code }
    STATUS(KMS_OK, NULL),
    STATUS(KMS_INVALID_ARGUMENT, "InvalidParameter"),
    STATUS(KMS_MISSING_PARAMETER, "MissingParameter"),
    STATUS(KMS_BUFFER_TOO_SMALL, NULL),
    STATUS(KMS_UNKNOWN_ACTION, NULL),
    STATUS(KMS_UNSUPPORTED_ALIAS, "Unsupported.Alias"),
    STATUS(KMS_LIMIT_EXCEEDED, "Rejected.LimitExceeded"),
    STATUS(KMS_BATCH_PARTIAL, "InvalidParameter.BatchPartial"),
    STATUS(KMS_KEY_NOT_FOUND, "Forbidden.KeyNotFound"),
    STATUS(KMS_KEY_VERSION_NOT_FOUND, "Forbidden.KeyVersionNotFound"),
    STATUS(KMS_ALIAS_NOT_FOUND, NULL),
    STATUS(KMS_ALIAS_ALREADY_EXISTS, NULL),
    STATUS(KMS_REJECTED_DISABLED, "Rejected.Disabled"),
    STATUS(KMS_REJECTED_PENDING_DELETION, NULL),
    STATUS(KMS_REJECTED_PENDING_IMPORT, NULL),
    STATUS(KMS_STATE_MODIFIED_FAILED, NULL),
    STATUS(KMS_UNSUPPORTED_OPERATION, "Rejected.UnsupportedOperation"),
    STATUS(KMS_UNSUPPORTED_ORIGIN, "Unsupported.Origin"),
    STATUS(KMS_DELETION_PROTECTED, NULL),
    STATUS(KMS_MALFORMED_CIPHERTEXT, "InvalidParameter"),
    STATUS(KMS_AUTHENTICATION_FAILED, "InvalidParameter"),
    STATUS(KMS_INVALID_KEY_MATERIAL, NULL),
    STATUS(KMS_INVALID_IMPORT_TOKEN, NULL),
    STATUS(KMS_EXPIRED_IMPORT_TOKEN, NULL),
    STATUS(KMS_WRONG_ROOT_KEY, NULL),
    STATUS(KMS_NOT_A_KEYSTORE, NULL),
    STATUS(KMS_KEYSTORE_TOO_NEW, NULL),
    STATUS(KMS_KEYSTORE_CORRUPT, NULL),
    STATUS(KMS_KEYSTORE_IO, NULL),
    STATUS(KMS_KEYSTORE_READ_ONLY, NULL),
    STATUS(KMS_KEYSTORE_BUSY, NULL),
    STATUS(KMS_KEYSTORE_NOT_FOUND, NULL),
    STATUS(KMS_KEYSTORE_REPLACED, NULL),
    STATUS(KMS_ROOT_KEY_UNAVAILABLE, NULL),
    STATUS(KMS_KEYSTORE_ROLLED_BACK, NULL),
    STATUS(KMS_ANCHOR_UNAVAILABLE, NULL),
    STATUS(KMS_KEYSTORE_SECOND_PATH, NULL),
    STATUS(KMS_ROOT_SLOT_NOT_FOUND, NULL),
    STATUS(KMS_ROOT_SLOT_EXISTS, NULL),
    STATUS(KMS_KEYSTORE_UNAVAILABLE, NULL),
    STATUS(KMS_FILE_IO, NULL),
    STATUS(KMS_FILE_EXISTS, NULL),
    STATUS(KMS_INTERNAL, NULL),
    STATUS(KMS_POISONED, NULL),
    STATUS(KMS_FORKED, NULL),
    STATUS(KMS_RANDOM_FAILED, NULL),
    STATUS(KMS_OUT_OF_MEMORY, NULL),
};
enum { STATUSES = sizeof statuses / sizeof statuses[0] };

static void every_constant_has_its_name_and_code(void) {
    size_t i;
    for (i = 0; i < STATUSES; i++) {
        const char *name = kms_status_name(statuses[i].status);
        const char *code = kms_status_code(statuses[i].status);
        REQUIRE(name != NULL && code != NULL);
        CHECK_TEXT(name, statuses[i].name);
        CHECK(code[0] != 0);
        if (statuses[i].code != NULL) {
            CHECK_TEXT(code, statuses[i].code);
        }
    }
}

static void unknown_numbers_have_a_name_that_is_no_constant(void) {
    static const kms_status unknown[] = {-1, 1, 99, 107, 199, 204, 307, 405, 513, 602, 899, 905, INT32_MAX, INT32_MIN};
    size_t i, k;
    for (i = 0; i < sizeof unknown / sizeof unknown[0]; i++) {
        REQUIRE(kms_status_name(unknown[i]) != NULL);
        REQUIRE(kms_status_code(unknown[i]) != NULL);
        for (k = 0; k < STATUSES; k++) {
            CHECK(strcmp(kms_status_name(unknown[i]), statuses[k].name) != 0);
        }
    }
}

static void names_stay_where_they_are(void) {
    CHECK(kms_status_name(KMS_FORKED) == kms_status_name(KMS_FORKED));
    CHECK(kms_status_code(KMS_FORKED) == kms_status_code(KMS_FORKED));
}

static void macros_and_functions_agree(void) {
    CHECK(kms_id_size() == KMS_ID_SIZE);
    CHECK(kms_max_overhead() == KMS_MAX_OVERHEAD);
    CHECK(sizeof((kms_key_metadata *)0)->key_id == KMS_ID_SIZE);
}

static void version_is_three_numbers(void) {
    int major = -1, minor = -1, patch = -1;
    REQUIRE(kms_version() != NULL);
    CHECK(sscanf(kms_version(), "%d.%d.%d", &major, &minor, &patch) == 3);
    CHECK(major >= 0 && minor >= 0 && patch >= 0);
}

static void fail(const kms_t *kms) {
    kms_key_metadata metadata = KMS_KEY_METADATA_INIT;
    CHECK_STATUS(kms_describe_key(kms, no_such_id, &metadata), KMS_KEY_NOT_FOUND);
}

static void last_error_is_cut_like_snprintf(void) {
    kms_t *kms = open_memory(NULL);
    char full[4096], cut[4096];
    size_t len, cap;
    fail(kms);
    len = kms_last_error(full, sizeof full);
    REQUIRE(len > 0 && len < sizeof full);
    CHECK(strlen(full) == len);
    CHECK(kms_last_error(NULL, 0) == len);
    for (cap = 0; cap <= len + 2; cap++) {
        size_t kept = cap == 0 ? 0 : cap - 1 < len ? cap - 1 : len;
        memset(cut, '#', sizeof cut);
        CHECK(kms_last_error(cut, cap) == len);
        CHECK(memcmp(cut, full, kept) == 0);
        CHECK(cap == 0 || cut[kept] == 0);
        CHECK(cut[cap] == '#');
    }
    CHECK(kms_last_error(full, sizeof full) == len);
    kms_close(kms);
}

static void last_error_with_a_null_buffer_is_harmless(void) {
    kms_t *kms = open_memory(NULL);
    fail(kms);
    CHECK(kms_last_error(NULL, 10) == kms_last_error(NULL, 0));
    kms_close(kms);
}

static void last_error_is_cleared_by_success(void) {
    kms_t *kms = open_memory(NULL);
    char text[8] = "#######";
    size_t len = 1;
    fail(kms);
    CHECK(kms_last_error(NULL, 0) > 0);
    CHECK_OK(kms_tick(kms, &len));
    CHECK(kms_last_error(text, sizeof text) == 0);
    CHECK_TEXT(text, "");
    kms_close(kms);
}

static void last_error_survives_looking_at_names(void) {
    kms_t *kms = open_memory(NULL);
    size_t len;
    fail(kms);
    len = kms_last_error(NULL, 0);
    CHECK(kms_status_name(KMS_KEY_NOT_FOUND) != NULL && kms_status_code(KMS_KEY_NOT_FOUND) != NULL);
    CHECK(kms_id_size() != 0 && kms_max_overhead() != 0 && kms_version() != NULL);
    CHECK(len > 0 && kms_last_error(NULL, 0) == len);
    kms_close(kms);
}

static void *another_thread(void *kms) {
    char detail[256];
    CHECK(kms_last_error(detail, sizeof detail) == 0);
    CHECK_TEXT(detail, "");
    CHECK_OK(kms_tick(kms, NULL));
    return NULL;
}

static void last_error_belongs_to_its_thread(void) {
    kms_t *kms = open_memory(NULL);
    pthread_t thread;
    fail(kms);
    REQUIRE(pthread_create(&thread, NULL, another_thread, kms) == 0);
    REQUIRE(pthread_join(thread, NULL) == 0);
    CHECK(kms_last_error(NULL, 0) > 0);
    kms_close(kms);
}

static void every_failure_has_a_text(void) {
    kms_t *kms = open_memory(NULL);
    uint8_t out[128];
    size_t len;
    key_id id = new_key(kms);
    CHECK_STATUS(kms_encrypt(kms, id.text, bytes("x"), 1, NULL, 0, out, 2, &len), KMS_BUFFER_TOO_SMALL);
    CHECK(kms_last_error(NULL, 0) > 0);
    CHECK_STATUS(kms_decrypt(kms, bytes("x"), 1, NULL, 0, out, sizeof out, &len), KMS_MALFORMED_CIPHERTEXT);
    CHECK(kms_last_error(NULL, 0) > 0);
    CHECK_STATUS(kms_enable_key(kms, "alias/a"), KMS_UNSUPPORTED_ALIAS);
    CHECK(kms_last_error(NULL, 0) > 0);
    kms_close(kms);
}

int main(void) {
    RUN(every_constant_has_its_name_and_code);
    RUN(unknown_numbers_have_a_name_that_is_no_constant);
    RUN(names_stay_where_they_are);
    RUN(macros_and_functions_agree);
    RUN(version_is_three_numbers);
    RUN(last_error_is_cut_like_snprintf);
    RUN(last_error_with_a_null_buffer_is_harmless);
    RUN(last_error_is_cleared_by_success);
    RUN(last_error_survives_looking_at_names);
    RUN(last_error_belongs_to_its_thread);
    RUN(every_failure_has_a_text);
    return check_result();
}

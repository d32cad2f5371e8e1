/* The versions of a key are listed newest first, with exactly one primary; the others have states and a deletion. */
#include "check.h"

enum { MAX = 16 };

typedef struct seen_versions {
    const kms_t *kms;
    const char *rotate; /* rotates this key while it is listed */
    size_t count, stop_at;
    kms_key_version versions[MAX];
} seen_versions;

static int32_t see_version(void *user, const kms_key_version *version) {
    seen_versions *seen = user;
    REQUIRE(seen->count < MAX);
    CHECK_NUMBER(version->struct_size, sizeof *version);
    seen->versions[seen->count++] = *version;
    if (seen->rotate != NULL) {
        CHECK_OK(kms_rotate(seen->kms, seen->rotate, NULL));
    }
    return seen->count == seen->stop_at ? 1 : 0;
}

static seen_versions list(const kms_t *kms, const char *key, uint64_t before, size_t limit) {
    seen_versions seen;
    memset(&seen, 0, sizeof seen);
    seen.kms = kms;
    REQUIRE_OK(kms_list_key_versions(kms, key, before, limit, see_version, &seen));
    return seen;
}

static void versions_are_numbered_dated_and_one_is_primary(void) {
    manual_clock clock = {NEW_YEAR_2025};
    kms_t *kms = open_memory(&clock);
    key_id id = new_key(kms);
    char made[5][KMS_ID_SIZE];
    seen_versions seen;
    size_t i;
    memcpy(made[0], describe(kms, id.text).primary_version_id, KMS_ID_SIZE);
    for (i = 1; i < 5; i++) {
        manual_clock_forward(&clock, DAY);
        REQUIRE_OK(kms_rotate(kms, id.text, made[i]));
    }
    seen = list(kms, id.text, 0, SIZE_MAX);
    REQUIRE(seen.count == 5);
    for (i = 0; i < 5; i++) {
        CHECK_NUMBER(seen.versions[i].number, 5 - i);
        CHECK_TEXT(seen.versions[i].version_id, made[4 - i]);
        CHECK_NUMBER(seen.versions[i].is_primary, i == 0);
        CHECK_NUMBER(seen.versions[i].creation_date_ms, NEW_YEAR_2025 + (int64_t)(4 - i) * DAY);
    }
    CHECK_TEXT(describe(kms, id.text).primary_version_id, made[4]);
    CHECK_NUMBER(describe(kms, id.text).version_count, 5);
    kms_close(kms);
}

static void a_list_of_versions_is_limited_and_continues(void) {
    kms_t *kms = open_memory(NULL);
    key_id id = new_key(kms);
    seen_versions seen;
    size_t i;
    for (i = 1; i < 5; i++) {
        REQUIRE_OK(kms_rotate(kms, id.text, NULL));
    }
    seen = list(kms, id.text, 0, 2);
    CHECK_NUMBER(seen.count, 2);
    CHECK_NUMBER(seen.versions[1].number, 4);
    seen = list(kms, id.text, 4, 2);
    CHECK_NUMBER(seen.count, 2);
    CHECK_NUMBER(seen.versions[0].number, 3);
    seen = list(kms, id.text, 2, 2);
    CHECK_NUMBER(seen.count, 1);
    CHECK_NUMBER(seen.versions[0].number, 1);
    CHECK_NUMBER(list(kms, id.text, 1, 2).count, 0);
    CHECK_NUMBER(list(kms, id.text, 0, 0).count, 0);
    CHECK_NUMBER(list(kms, id.text, UINT64_MAX, 100).count, 5);
    CHECK_NUMBER(list(kms, id.text, UINT64_C(1) << 63, 100).count, 5);
    kms_close(kms);
}

static void a_visitor_ends_the_list(void) {
    kms_t *kms = open_memory(NULL);
    key_id id = new_key(kms);
    seen_versions seen;
    REQUIRE_OK(kms_rotate(kms, id.text, NULL));
    memset(&seen, 0, sizeof seen);
    seen.stop_at = 1;
    CHECK_OK(kms_list_key_versions(kms, id.text, 0, 100, see_version, &seen));
    CHECK_NUMBER(seen.count, 1);
    kms_close(kms);
}

static void a_visitor_may_rotate_the_key(void) {
    kms_t *kms = open_memory(NULL);
    key_id id = new_key(kms);
    seen_versions seen;
    REQUIRE_OK(kms_rotate(kms, id.text, NULL));
    memset(&seen, 0, sizeof seen);
    seen.kms = kms;
    seen.rotate = id.text;
    CHECK_OK(kms_list_key_versions(kms, id.text, 0, 100, see_version, &seen));
    CHECK_NUMBER(seen.count, 2);
    CHECK_NUMBER(describe(kms, id.text).version_count, 4);
    kms_close(kms);
}

static void versions_are_listed_in_every_state(void) {
    kms_t *kms = open_memory(NULL);
    key_id id = new_key(kms), external = new_external_key(kms);
    CHECK_OK(kms_disable_key(kms, id.text));
    CHECK_NUMBER(list(kms, id.text, 0, 9).count, 1);
    CHECK_OK(kms_schedule_key_deletion(kms, id.text, 7));
    CHECK_NUMBER(list(kms, id.text, 0, 9).count, 1);
    CHECK_NUMBER(list(kms, external.text, 0, 9).count, 0);
    kms_close(kms);
}

static kms_key_version describe_version(const kms_t *kms, const char *key, const char *version_id) {
    kms_key_version version = KMS_KEY_VERSION_INIT;
    REQUIRE_OK(kms_describe_key_version(kms, key, version_id, &version));
    return version;
}

static void a_version_is_disabled_enabled_and_destroyed_after_its_period(void) {
    manual_clock clock = {NEW_YEAR_2025};
    kms_t *kms = open_memory(&clock);
    key_id id = new_key(kms), external = new_external_key(kms);
    char old[KMS_ID_SIZE], primary[KMS_ID_SIZE];
    small_blob blob = encrypt_text(kms, id.text, "text");
    uint8_t out[64];
    size_t out_len;
    memcpy(old, describe(kms, id.text).primary_version_id, KMS_ID_SIZE);
    REQUIRE_OK(kms_rotate(kms, id.text, primary));
    CHECK_STATUS(kms_disable_key_version(kms, id.text, primary), KMS_STATE_MODIFIED_FAILED);
    CHECK_STATUS(kms_disable_key_version(kms, id.text, id.text), KMS_KEY_VERSION_NOT_FOUND);
    CHECK_STATUS(kms_disable_key_version(kms, no_such_id, old), KMS_KEY_NOT_FOUND);
    CHECK_STATUS(kms_disable_key_version(kms, "alias/name", old), KMS_UNSUPPORTED_ALIAS);
    CHECK_STATUS(kms_disable_key_version(kms, external.text, old), KMS_KEY_VERSION_NOT_FOUND);
    CHECK_STATUS(kms_schedule_key_version_deletion(kms, id.text, old, 7), KMS_STATE_MODIFIED_FAILED);

    CHECK_OK(kms_disable_key_version(kms, id.text, old));
    CHECK_OK(kms_disable_key_version(kms, id.text, old));
    CHECK_NUMBER(describe_version(kms, id.text, old).state, KMS_VERSION_DISABLED);
    CHECK_STATUS(kms_decrypt(kms, blob.data, blob.len, NULL, 0, out, sizeof out, &out_len), KMS_KEY_VERSION_DISABLED);
    CHECK_OK(kms_enable_key_version(kms, id.text, old));
    CHECK_NUMBER(describe_version(kms, id.text, old).state, KMS_VERSION_ENABLED);
    CHECK(opens_as(kms, &blob, "text"));

    CHECK_OK(kms_disable_key_version(kms, id.text, old));
    CHECK_STATUS(kms_schedule_key_version_deletion(kms, id.text, old, 6), KMS_INVALID_ARGUMENT);
    CHECK_OK(kms_schedule_key_version_deletion(kms, id.text, old, 7));
    CHECK_NUMBER(describe_version(kms, id.text, old).state, KMS_VERSION_PENDING_DELETION);
    CHECK_NUMBER(describe_version(kms, id.text, old).delete_date_ms, NEW_YEAR_2025 + 7 * DAY);
    CHECK_STATUS(kms_enable_key_version(kms, id.text, old), KMS_STATE_MODIFIED_FAILED);
    CHECK_OK(kms_cancel_key_version_deletion(kms, id.text, old));
    CHECK_NUMBER(describe_version(kms, id.text, old).state, KMS_VERSION_DISABLED);
    CHECK_NUMBER(describe_version(kms, id.text, old).delete_date_ms, 0);

    CHECK_OK(kms_schedule_key_version_deletion(kms, id.text, old, 7));
    manual_clock_forward(&clock, 7 * DAY);
    CHECK_OK(kms_tick(kms, NULL));
    manual_clock_forward(&clock, HOUR);
    CHECK_OK(kms_tick(kms, NULL));
    CHECK_NUMBER(describe_version(kms, id.text, old).state, KMS_VERSION_DESTROYED);
    CHECK_NUMBER(describe_version(kms, id.text, old).number, 1);
    CHECK_NUMBER(health(kms).versions_destroyed, 1);
    CHECK_STATUS(kms_decrypt(kms, blob.data, blob.len, NULL, 0, out, sizeof out, &out_len), KMS_KEY_VERSION_DESTROYED);
    CHECK_STATUS(kms_enable_key_version(kms, id.text, old), KMS_KEY_VERSION_DESTROYED);
    kms_close(kms);
}

static void a_version_has_the_days_of_its_last_use(void) {
    manual_clock clock = {NEW_YEAR_2025};
    kms_t *kms = open_memory(&clock);
    key_id id = new_key(kms);
    kms_key_version version;
    char primary[KMS_ID_SIZE];
    small_blob blob;
    memcpy(primary, describe(kms, id.text).primary_version_id, KMS_ID_SIZE);
    version = describe_version(kms, id.text, primary);
    CHECK_NUMBER(version.last_encrypt_date_ms, 0);
    CHECK_NUMBER(version.last_decrypt_date_ms, 0);
    manual_clock_forward(&clock, HOUR);
    blob = encrypt_text(kms, id.text, "text");
    CHECK_OK(kms_tick(kms, NULL));
    CHECK_NUMBER(describe_version(kms, id.text, primary).last_encrypt_date_ms, NEW_YEAR_2025);
    manual_clock_forward(&clock, DAY);
    CHECK_OK(kms_tick(kms, NULL)); /* a pass begins the day */
    CHECK(opens_as(kms, &blob, "text"));
    CHECK_OK(kms_tick(kms, NULL));
    version = describe_version(kms, id.text, primary);
    CHECK_NUMBER(version.last_encrypt_date_ms, NEW_YEAR_2025);
    CHECK_NUMBER(version.last_decrypt_date_ms, NEW_YEAR_2025 + DAY);
    kms_close(kms);
}

int main(void) {
    RUN(versions_are_numbered_dated_and_one_is_primary);
    RUN(a_list_of_versions_is_limited_and_continues);
    RUN(a_visitor_ends_the_list);
    RUN(a_visitor_may_rotate_the_key);
    RUN(versions_are_listed_in_every_state);
    RUN(a_version_is_disabled_enabled_and_destroyed_after_its_period);
    RUN(a_version_has_the_days_of_its_last_use);
    return check_result();
}

/* The versions of a key are listed newest first, with exactly one primary. */
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

int main(void) {
    RUN(versions_are_numbered_dated_and_one_is_primary);
    RUN(a_list_of_versions_is_limited_and_continues);
    RUN(a_visitor_ends_the_list);
    RUN(a_visitor_may_rotate_the_key);
    RUN(versions_are_listed_in_every_state);
    return check_result();
}

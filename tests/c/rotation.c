/* Keys rotate on schedule, exactly once per due date, and everything ever encrypted stays readable. */
#define _POSIX_C_SOURCE 200809L
#include "check.h"
#include <time.h>

static void five_years_of_rotations_lose_nothing(void) {
    enum { QUARTERS = 20 };
    manual_clock clock = {NEW_YEAR_2025};
    kms_t *kms = open_memory(&clock);
    key_id id = new_rotating_key(kms, 90 * DAY_S);
    static small_blob blobs[QUARTERS + 1];
    char text[32], last[KMS_ID_SIZE] = "";
    size_t i, rotated;
    for (i = 0; i <= QUARTERS; i++) {
        kms_key_metadata key;
        if (i > 0) {
            manual_clock_forward(&clock, 90 * DAY - 1);
            CHECK_OK(kms_tick(kms, &rotated));
            CHECK_NUMBER(rotated, 0);
            manual_clock_forward(&clock, 1);
            CHECK_OK(kms_tick(kms, &rotated));
            CHECK_NUMBER(rotated, 1);
        }
        snprintf(text, sizeof text, "quarter %d", (int)i);
        blobs[i] = encrypt_text(kms, id.text, text);
        key = describe(kms, id.text);
        CHECK(strcmp(key.primary_version_id, last) != 0);
        memcpy(last, key.primary_version_id, sizeof last);
        CHECK_NUMBER(key.version_count, i + 1);
        CHECK_NUMBER(key.automatic_rotation, KMS_ROTATION_ENABLED);
        CHECK_NUMBER(key.rotation_interval_s, 90 * DAY_S);
        CHECK_NUMBER(key.creation_date_ms, NEW_YEAR_2025);
        CHECK_NUMBER(key.last_rotation_date_ms, clock.now_ms);
        CHECK_NUMBER(key.next_rotation_date_ms, clock.now_ms + 90 * DAY);
    }
    for (i = 0; i <= QUARTERS; i++) {
        kms_blob_info info = KMS_BLOB_INFO_INIT;
        snprintf(text, sizeof text, "quarter %d", (int)i);
        CHECK(opens_as(kms, &blobs[i], text));
        CHECK_OK(kms_inspect(kms, blobs[i].data, blobs[i].len, &info));
        CHECK_NUMBER(info.is_primary, i == QUARTERS);
        CHECK_TEXT(info.key_id, id.text);
    }
    CHECK_NUMBER(health(kms).rotations, QUARTERS);
    kms_close(kms);
}

static void missed_intervals_make_one_rotation(void) {
    manual_clock clock = {NEW_YEAR_2025};
    kms_t *kms = open_memory(&clock);
    key_id id = new_rotating_key(kms, DAY_S);
    size_t rotated = 99;
    manual_clock_forward(&clock, 1000 * DAY + 5);
    CHECK_OK(kms_tick(kms, &rotated));
    CHECK_NUMBER(rotated, 1);
    CHECK_OK(kms_tick(kms, &rotated));
    CHECK_NUMBER(rotated, 0);
    CHECK_NUMBER(describe(kms, id.text).version_count, 2);
    CHECK_NUMBER(describe(kms, id.text).last_rotation_date_ms, clock.now_ms);
    CHECK_NUMBER(describe(kms, id.text).next_rotation_date_ms, clock.now_ms + DAY);
    kms_close(kms);
}

static void a_tick_rotates_every_due_key_and_no_other(void) {
    manual_clock clock = {NEW_YEAR_2025};
    kms_t *kms = open_memory(&clock);
    key_id daily[10], yearly = new_rotating_key(kms, 365 * DAY_S), never = new_key(kms), off = new_rotating_key(kms, 60);
    size_t i, rotated;
    for (i = 0; i < 10; i++) {
        daily[i] = new_rotating_key(kms, DAY_S);
    }
    CHECK_OK(kms_disable_key(kms, off.text));
    manual_clock_forward(&clock, DAY);
    CHECK_OK(kms_tick(kms, &rotated));
    CHECK_NUMBER(rotated, 10);
    for (i = 0; i < 10; i++) {
        CHECK_NUMBER(describe(kms, daily[i].text).version_count, 2);
    }
    CHECK_NUMBER(describe(kms, yearly.text).version_count, 1);
    CHECK_NUMBER(describe(kms, never.text).version_count, 1);
    CHECK_NUMBER(describe(kms, off.text).version_count, 1);
    CHECK_OK(kms_tick(kms, NULL));
    kms_close(kms);
}

static void encrypting_under_an_overdue_key_rotates_it_first(void) {
    manual_clock clock = {NEW_YEAR_2025};
    kms_t *kms = open_memory(&clock);
    key_id id = new_rotating_key(kms, DAY_S);
    kms_blob_info info = KMS_BLOB_INFO_INIT;
    small_blob old = encrypt_text(kms, id.text, "old"), fresh;
    uint8_t out[256];
    size_t len;
    manual_clock_forward(&clock, DAY);
    CHECK(opens_as(kms, &old, "old"));
    CHECK_NUMBER(describe(kms, id.text).version_count, 1);
    fresh = encrypt_text(kms, id.text, "fresh");
    CHECK_NUMBER(describe(kms, id.text).version_count, 2);
    CHECK_OK(kms_inspect(kms, fresh.data, fresh.len, &info));
    CHECK_NUMBER(info.is_primary, 1);
    CHECK_OK(kms_inspect(kms, old.data, old.len, &info));
    CHECK_NUMBER(info.is_primary, 0);
    manual_clock_forward(&clock, DAY);
    CHECK_OK(kms_generate_data_key(kms, id.text, 32, NULL, 0, NULL, out, sizeof out, &len));
    CHECK_NUMBER(describe(kms, id.text).version_count, 3);
    CHECK_OK(kms_inspect(kms, out, len, &info));
    CHECK_NUMBER(info.is_primary, 1);
    manual_clock_forward(&clock, DAY);
    CHECK_OK(kms_reencrypt(kms, old.data, old.len, NULL, 0, id.text, NULL, 0, out, sizeof out, &len));
    CHECK_NUMBER(describe(kms, id.text).version_count, 4);
    CHECK_OK(kms_inspect(kms, out, len, &info));
    CHECK_NUMBER(info.is_primary, 1);
    kms_close(kms);
}

static void rotating_by_hand_moves_the_schedule(void) {
    manual_clock clock = {NEW_YEAR_2025};
    kms_t *kms = open_memory(&clock);
    key_id id = new_rotating_key(kms, DAY_S), plain = new_key(kms);
    char first[KMS_ID_SIZE], second[KMS_ID_SIZE];
    size_t rotated;
    manual_clock_forward(&clock, DAY / 2);
    CHECK_OK(kms_rotate(kms, id.text, first));
    CHECK_TEXT(describe(kms, id.text).primary_version_id, first);
    CHECK_NUMBER(describe(kms, id.text).next_rotation_date_ms, NEW_YEAR_2025 + DAY / 2 + DAY);
    manual_clock_forward(&clock, DAY / 2);
    CHECK_OK(kms_tick(kms, &rotated));
    CHECK_NUMBER(rotated, 0);
    manual_clock_forward(&clock, DAY / 2);
    CHECK_OK(kms_tick(kms, &rotated));
    CHECK_NUMBER(rotated, 1);
    CHECK_OK(kms_rotate(kms, plain.text, first));
    CHECK_OK(kms_rotate(kms, plain.text, second));
    CHECK(strlen(first) == 36 && strlen(second) == 36 && strcmp(first, second) != 0);
    CHECK_NUMBER(describe(kms, plain.text).version_count, 3);
    CHECK_NUMBER(describe(kms, plain.text).last_rotation_date_ms, clock.now_ms);
    CHECK_NUMBER(describe(kms, plain.text).next_rotation_date_ms, 0);
    kms_close(kms);
}

static void a_policy_is_turned_on_and_off(void) {
    manual_clock clock = {NEW_YEAR_2025};
    kms_t *kms = open_memory(&clock);
    key_id id = new_key(kms);
    kms_key_metadata key;
    size_t rotated;
    CHECK_OK(kms_update_rotation_policy(kms, id.text, 1, 315360000));
    CHECK_OK(kms_update_rotation_policy(kms, id.text, 1, 60));
    key = describe(kms, id.text);
    CHECK_NUMBER(key.automatic_rotation, KMS_ROTATION_ENABLED);
    CHECK_NUMBER(key.rotation_interval_s, 60);
    CHECK_NUMBER(key.next_rotation_date_ms, NEW_YEAR_2025 + 60 * SECOND);
    CHECK_NUMBER(key.version_count, 1);
    CHECK_OK(kms_update_rotation_policy(kms, id.text, 0, 0));
    key = describe(kms, id.text);
    CHECK_NUMBER(key.automatic_rotation, KMS_ROTATION_DISABLED);
    CHECK_NUMBER(key.rotation_interval_s, 0);
    CHECK_NUMBER(key.next_rotation_date_ms, 0);
    manual_clock_forward(&clock, DAY);
    CHECK_OK(kms_tick(kms, &rotated));
    CHECK_NUMBER(rotated, 0);
    kms_close(kms);
}

static void a_policy_that_makes_the_key_overdue_rotates_it_at_once(void) {
    manual_clock clock = {NEW_YEAR_2025};
    kms_t *kms = open_memory(&clock);
    key_id id = new_key(kms);
    manual_clock_forward(&clock, 10 * DAY);
    CHECK_OK(kms_update_rotation_policy(kms, id.text, 1, 11 * DAY_S));
    CHECK_NUMBER(describe(kms, id.text).version_count, 1);
    CHECK_NUMBER(describe(kms, id.text).next_rotation_date_ms, NEW_YEAR_2025 + 11 * DAY);
    CHECK_OK(kms_update_rotation_policy(kms, id.text, 1, 9 * DAY_S));
    CHECK_NUMBER(describe(kms, id.text).version_count, 2);
    CHECK_NUMBER(describe(kms, id.text).last_rotation_date_ms, clock.now_ms);
    CHECK_NUMBER(describe(kms, id.text).next_rotation_date_ms, clock.now_ms + 9 * DAY);
    kms_close(kms);
}

static void rotation_is_suspended_while_a_key_is_not_enabled(void) {
    manual_clock clock = {NEW_YEAR_2025};
    kms_t *kms = open_memory(&clock);
    key_id id = new_rotating_key(kms, DAY_S), dying = new_rotating_key(kms, DAY_S);
    size_t rotated;
    CHECK_OK(kms_disable_key(kms, id.text));
    CHECK_OK(kms_schedule_key_deletion(kms, dying.text, 30));
    CHECK_NUMBER(describe(kms, id.text).automatic_rotation, KMS_ROTATION_SUSPENDED);
    CHECK_NUMBER(describe(kms, dying.text).automatic_rotation, KMS_ROTATION_SUSPENDED);
    CHECK_NUMBER(describe(kms, id.text).rotation_interval_s, DAY_S);
    manual_clock_forward(&clock, 3 * DAY);
    CHECK_OK(kms_tick(kms, &rotated));
    CHECK_NUMBER(rotated, 0);
    CHECK_NUMBER(describe(kms, id.text).next_rotation_date_ms, NEW_YEAR_2025 + DAY);
    CHECK_OK(kms_enable_key(kms, id.text));
    CHECK_OK(kms_cancel_key_deletion(kms, dying.text));
    CHECK_NUMBER(describe(kms, id.text).version_count, 2);
    CHECK_NUMBER(describe(kms, dying.text).version_count, 2);
    CHECK_NUMBER(describe(kms, id.text).automatic_rotation, KMS_ROTATION_ENABLED);
    CHECK_NUMBER(describe(kms, id.text).next_rotation_date_ms, clock.now_ms + DAY);
    CHECK_OK(kms_tick(kms, &rotated));
    CHECK_NUMBER(rotated, 0);
    kms_close(kms);
}

static void a_key_that_is_not_overdue_does_not_rotate_when_enabled(void) {
    manual_clock clock = {NEW_YEAR_2025};
    kms_t *kms = open_memory(&clock);
    key_id id = new_rotating_key(kms, DAY_S);
    CHECK_OK(kms_disable_key(kms, id.text));
    manual_clock_forward(&clock, DAY - 1);
    CHECK_OK(kms_enable_key(kms, id.text));
    CHECK_NUMBER(describe(kms, id.text).version_count, 1);
    CHECK_NUMBER(describe(kms, id.text).next_rotation_date_ms, NEW_YEAR_2025 + DAY);
    kms_close(kms);
}

static void a_policy_changes_only_while_the_key_is_enabled(void) {
    kms_t *kms = open_memory(NULL);
    key_id id = new_rotating_key(kms, DAY_S);
    CHECK_OK(kms_disable_key(kms, id.text));
    CHECK_STATUS(kms_update_rotation_policy(kms, id.text, 1, 60), KMS_REJECTED_DISABLED);
    CHECK_STATUS(kms_update_rotation_policy(kms, id.text, 0, 0), KMS_REJECTED_DISABLED);
    CHECK_OK(kms_schedule_key_deletion(kms, id.text, 7));
    CHECK_STATUS(kms_update_rotation_policy(kms, id.text, 1, 60), KMS_REJECTED_PENDING_DELETION);
    CHECK_STATUS(kms_update_rotation_policy(kms, id.text, 0, 0), KMS_REJECTED_PENDING_DELETION);
    CHECK_NUMBER(describe(kms, id.text).rotation_interval_s, DAY_S);
    kms_close(kms);
}

static void an_interval_is_1_second_to_3650_days(void) {
    static const int64_t bad[] = {0, -1, 315360001, INT64_MAX, INT64_MIN};
    kms_t *kms = open_memory(NULL);
    kms_create_key_options options = KMS_CREATE_KEY_OPTIONS_INIT;
    key_id id = new_key(kms), none;
    size_t i;
    for (i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        options.enable_automatic_rotation = 1;
        options.rotation_interval_s = bad[i];
        CHECK_STATUS(kms_create_key(kms, &options, none.text), KMS_INVALID_ARGUMENT);
        CHECK_STATUS(kms_update_rotation_policy(kms, id.text, 1, bad[i]), KMS_INVALID_ARGUMENT);
        CHECK_STATUS(kms_update_rotation_policy(kms, no_such_id, 1, bad[i]), KMS_INVALID_ARGUMENT);
    }
    options.enable_automatic_rotation = 1;
    options.rotation_interval_s = 1;
    CHECK_OK(kms_create_key(kms, &options, none.text));
    options.rotation_interval_s = 315360000;
    CHECK_OK(kms_create_key(kms, &options, none.text));
    kms_close(kms);
}

/* Else a forgotten flag would make a key that never rotates. */
static void an_interval_without_the_flag_is_refused(void) {
    static const int64_t intervals[] = {1, DAY_S, 315360000, 315360001, -1, INT64_MAX, INT64_MIN};
    kms_t *kms = open_memory(NULL);
    kms_create_key_options options = KMS_CREATE_KEY_OPTIONS_INIT;
    key_id id = new_rotating_key(kms, DAY_S), none;
    size_t i;
    for (i = 0; i < sizeof intervals / sizeof intervals[0]; i++) {
        options.rotation_interval_s = intervals[i];
        CHECK_STATUS(kms_create_key(kms, &options, none.text), KMS_INVALID_ARGUMENT);
        CHECK_STATUS(kms_create_keys(kms, &options, 1, none.text), KMS_INVALID_ARGUMENT);
        CHECK_STATUS(kms_update_rotation_policy(kms, id.text, 0, intervals[i]), KMS_INVALID_ARGUMENT);
    }
    CHECK_NUMBER(describe(kms, id.text).rotation_interval_s, DAY_S);
    kms_close(kms);
}

static void a_clock_that_steps_back_rotates_nothing_early(void) {
    manual_clock clock = {NEW_YEAR_2025};
    kms_t *kms = open_memory(&clock);
    key_id id = new_rotating_key(kms, DAY_S);
    size_t rotated;
    manual_clock_forward(&clock, -400 * DAY);
    CHECK_OK(kms_tick(kms, &rotated));
    CHECK_NUMBER(rotated, 0);
    encrypt_text(kms, id.text, "x");
    CHECK_NUMBER(describe(kms, id.text).version_count, 1);
    kms_close(kms);
}

static void a_glitch_of_the_clock_stops_rotation_for_one_interval_only(void) {
    manual_clock clock = {NEW_YEAR_2025 + 3650 * DAY};
    kms_t *kms = open_memory(&clock);
    key_id id = new_rotating_key(kms, DAY_S);
    size_t rotated;
    clock.now_ms = NEW_YEAR_2025;
    CHECK_OK(kms_tick(kms, &rotated));
    CHECK_NUMBER(rotated, 0);
    manual_clock_forward(&clock, DAY - 1);
    CHECK_OK(kms_tick(kms, &rotated));
    CHECK_NUMBER(rotated, 0);
    manual_clock_forward(&clock, 1);
    CHECK_OK(kms_tick(kms, &rotated));
    CHECK_NUMBER(rotated, 1);
    CHECK_NUMBER(describe(kms, id.text).last_rotation_date_ms, clock.now_ms);
    kms_close(kms);
}

static int64_t absurd_time(void *user) { return *(int64_t *)user; }

static void an_absurd_clock_is_survived(void) {
    static const int64_t times[] = {0, 1, -1, INT64_MAX, INT64_MIN, INT64_MAX / 2, NEW_YEAR_2025};
    int64_t now = NEW_YEAR_2025;
    kms_options_t *options = new_options(NULL);
    kms_t *kms = NULL;
    kms_key_metadata metadata = KMS_KEY_METADATA_INIT;
    key_id id;
    small_blob blob;
    size_t i;
    REQUIRE_OK(kms_options_set_clock(options, absurd_time, &now));
    REQUIRE_OK(kms_open("memory:", options, &kms));
    kms_options_free(options);
    id = new_rotating_key(kms, 315360000);
    blob = encrypt_text(kms, id.text, "kept");
    for (i = 0; i < sizeof times / sizeof times[0]; i++) {
        kms_status status;
        now = times[i];
        status = kms_tick(kms, NULL);
        CHECK(status != KMS_INTERNAL && status != KMS_POISONED);
        status = kms_rotate(kms, id.text, NULL);
        CHECK(status != KMS_INTERNAL && status != KMS_POISONED);
        status = kms_describe_key(kms, id.text, &metadata);
        CHECK_STATUS(status, KMS_OK);
        CHECK(opens_as(kms, &blob, "kept"));
    }
    kms_close(kms);
}

static void rotation_goes_on_after_the_keystore_is_opened_again(void) {
    manual_clock clock = {NEW_YEAR_2025};
    kms_t *kms = open_file("rotation.db", &clock);
    key_id id = new_rotating_key(kms, DAY_S);
    small_blob old = encrypt_text(kms, id.text, "old");
    size_t rotated;
    kms_close(kms);
    manual_clock_forward(&clock, 5 * DAY);
    kms = open_file("rotation.db", &clock);
    CHECK(opens_as(kms, &old, "old"));
    CHECK_OK(kms_tick(kms, &rotated));
    CHECK(rotated <= 1);
    CHECK_NUMBER(describe(kms, id.text).version_count, 2);
    CHECK_NUMBER(describe(kms, id.text).last_rotation_date_ms, clock.now_ms);
    CHECK(opens_as(kms, &old, "old"));
    kms_close(kms);
}

static void the_rotation_thread_rotates_by_itself(void) {
    kms_options_t *options = kms_options_new();
    const struct timespec nap = {0, 100 * 1000 * 1000};
    kms_t *kms = NULL;
    kms_key_metadata key;
    key_id id;
    small_blob old;
    int naps;
    REQUIRE(options != NULL);
    REQUIRE_OK(kms_options_set_root_key(options, root_key, sizeof root_key));
    REQUIRE_OK(kms_options_set_create(options, 1));
    REQUIRE_OK(kms_open("thread.db", options, &kms));
    kms_options_free(options);
    CHECK((health(kms).flags & KMS_HEALTH_NO_ROTATION_THREAD) == 0);
    id = new_rotating_key(kms, 1);
    old = encrypt_text(kms, id.text, "old");
    for (naps = 0; naps < 25 || (describe(kms, id.text).version_count < 3 && naps < 200); naps++) {
        nanosleep(&nap, NULL);
    }
    key = describe(kms, id.text);
    CHECK(key.version_count >= 3);
    CHECK(key.last_rotation_date_ms - key.creation_date_ms >= 2 * SECOND);
    CHECK((int64_t)key.version_count - 1 <= (key.last_rotation_date_ms - key.creation_date_ms) / SECOND);
    CHECK_NUMBER(key.next_rotation_date_ms, key.last_rotation_date_ms + SECOND);
    CHECK(health(kms).rotations >= 2);
    CHECK(opens_as(kms, &old, "old"));
    kms_close(kms);
}

int main(void) {
    RUN(five_years_of_rotations_lose_nothing);
    RUN(missed_intervals_make_one_rotation);
    RUN(a_tick_rotates_every_due_key_and_no_other);
    RUN(encrypting_under_an_overdue_key_rotates_it_first);
    RUN(rotating_by_hand_moves_the_schedule);
    RUN(a_policy_is_turned_on_and_off);
    RUN(a_policy_that_makes_the_key_overdue_rotates_it_at_once);
    RUN(rotation_is_suspended_while_a_key_is_not_enabled);
    RUN(a_key_that_is_not_overdue_does_not_rotate_when_enabled);
    RUN(a_policy_changes_only_while_the_key_is_enabled);
    RUN(an_interval_is_1_second_to_3650_days);
    RUN(an_interval_without_the_flag_is_refused);
    RUN(a_clock_that_steps_back_rotates_nothing_early);
    RUN(a_glitch_of_the_clock_stops_rotation_for_one_interval_only);
    RUN(an_absurd_clock_is_survived);
    RUN(rotation_goes_on_after_the_keystore_is_opened_again);
    RUN(the_rotation_thread_rotates_by_itself);
    return check_result();
}

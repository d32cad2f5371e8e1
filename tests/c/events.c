/* The event callback reports every change that no caller requested, in order, with no lock held. */
#include "check.h"

enum { MAX = 64 };

typedef struct event_log {
    kms_t *kms; /* to enter again; NULL: don't */
    char reenter_key[KMS_ID_SIZE];
    int depth, deepest;
    size_t count;
    struct {
        int32_t kind;
        kms_status status;
        char key_id[KMS_ID_SIZE], version_id[KMS_ID_SIZE];
        int64_t time_ms, waited_ms;
    } events[MAX];
} event_log;

static void copy_id(char *out, const char *id) {
    out[0] = 0;
    if (id != NULL) {
        REQUIRE(strlen(id) == 36);
        memcpy(out, id, KMS_ID_SIZE);
    }
}

static void on_event(void *user, const kms_event *event) {
    event_log *log = user;
    REQUIRE(log->count < MAX);
    CHECK_NUMBER(event->struct_size, sizeof *event);
    log->events[log->count].kind = event->kind;
    log->events[log->count].status = event->status;
    log->events[log->count].time_ms = event->time_ms;
    log->events[log->count].waited_ms = event->waited_ms;
    copy_id(log->events[log->count].key_id, event->key_id);
    copy_id(log->events[log->count].version_id, event->version_id);
    log->count++;
    if (log->kms != NULL && log->depth == 0) {
        small_blob blob;
        key_id made;
        log->depth++;
        blob = encrypt_text(log->kms, log->reenter_key, "from inside");
        CHECK(opens_as(log->kms, &blob, "from inside"));
        CHECK_NUMBER(describe(log->kms, log->reenter_key).state, KMS_STATE_ENABLED);
        made = new_key(log->kms);
        CHECK_OK(kms_rotate(log->kms, made.text, NULL));
        CHECK_OK(kms_tick(log->kms, NULL));
        CHECK_OK(kms_disable_key(log->kms, made.text));
        health(log->kms);
        log->depth--;
    }
}

static kms_t *open_logged_at(const char *location, manual_clock *clock, event_log *log) {
    kms_options_t *options = new_options(clock);
    kms_t *kms = NULL;
    memset(log, 0, sizeof *log);
    REQUIRE_OK(kms_options_set_event_callback(options, on_event, log));
    REQUIRE_OK(kms_open(location, options, &kms));
    kms_options_free(options);
    return kms;
}

static kms_t *open_logged(manual_clock *clock, event_log *log) { return open_logged_at("memory:", clock, log); }

static void a_rotation_is_told_once_with_its_new_version(void) {
    manual_clock clock = {NEW_YEAR_2025};
    event_log log;
    kms_t *kms = open_logged(&clock, &log);
    key_id id = new_rotating_key(kms, DAY_S);
    CHECK_NUMBER(log.count, 0);
    manual_clock_forward(&clock, DAY);
    CHECK_OK(kms_tick(kms, NULL));
    CHECK_OK(kms_tick(kms, NULL));
    REQUIRE(log.count == 1);
    CHECK_NUMBER(log.events[0].kind, KMS_EVENT_ROTATED);
    CHECK_NUMBER(log.events[0].status, KMS_OK);
    CHECK_NUMBER(log.events[0].time_ms, clock.now_ms);
    CHECK_TEXT(log.events[0].key_id, id.text);
    CHECK_TEXT(log.events[0].version_id, describe(kms, id.text).primary_version_id);
    kms_close(kms);
}

static void rotations_by_whatever_call_are_told_in_order(void) {
    manual_clock clock = {NEW_YEAR_2025};
    event_log log;
    kms_t *kms = open_logged(&clock, &log);
    key_id id = new_rotating_key(kms, DAY_S);
    char versions[4][KMS_ID_SIZE];
    size_t i;
    manual_clock_forward(&clock, DAY);
    encrypt_text(kms, id.text, "x");
    memcpy(versions[0], describe(kms, id.text).primary_version_id, KMS_ID_SIZE);
    manual_clock_forward(&clock, DAY / 2);
    CHECK_OK(kms_update_rotation_policy(kms, id.text, 1, 60));
    memcpy(versions[1], describe(kms, id.text).primary_version_id, KMS_ID_SIZE);
    CHECK_OK(kms_disable_key(kms, id.text));
    manual_clock_forward(&clock, DAY);
    CHECK_OK(kms_enable_key(kms, id.text));
    memcpy(versions[2], describe(kms, id.text).primary_version_id, KMS_ID_SIZE);
    CHECK_OK(kms_schedule_key_deletion(kms, id.text, 7));
    manual_clock_forward(&clock, DAY);
    CHECK_OK(kms_cancel_key_deletion(kms, id.text));
    memcpy(versions[3], describe(kms, id.text).primary_version_id, KMS_ID_SIZE);
    CHECK_NUMBER(log.count, 4);
    for (i = 0; i < 4 && i < log.count; i++) {
        CHECK_NUMBER(log.events[i].kind, KMS_EVENT_ROTATED);
        CHECK_TEXT(log.events[i].key_id, id.text);
        CHECK_TEXT(log.events[i].version_id, versions[i]);
        CHECK(i == 0 || log.events[i].time_ms > log.events[i - 1].time_ms);
    }
    kms_close(kms);
}

static void the_callback_may_enter_the_library(void) {
    manual_clock clock = {NEW_YEAR_2025};
    event_log log;
    kms_t *kms = open_logged(&clock, &log);
    key_id id = new_rotating_key(kms, DAY_S);
    log.kms = kms;
    memcpy(log.reenter_key, id.text, KMS_ID_SIZE);
    manual_clock_forward(&clock, DAY);
    CHECK_OK(kms_tick(kms, NULL));
    CHECK(log.count >= 1);
    manual_clock_forward(&clock, DAY);
    encrypt_text(kms, id.text, "x");
    manual_clock_forward(&clock, DAY);
    CHECK_OK(kms_update_rotation_policy(kms, id.text, 1, 60));
    CHECK_OK(kms_disable_key(kms, id.text));
    manual_clock_forward(&clock, DAY);
    CHECK_OK(kms_enable_key(kms, id.text));
    CHECK_NUMBER(log.depth, 0);
    CHECK_NUMBER(describe(kms, id.text).version_count, 5);
    kms_close(kms);
}

static void deletion_raises_events_when_due_and_when_done(void) {
    manual_clock clock = {NEW_YEAR_2025};
    event_log log;
    kms_t *kms = open_logged(&clock, &log);
    key_id id = new_key(kms);
    CHECK_OK(kms_schedule_key_deletion(kms, id.text, 7));
    manual_clock_forward(&clock, 7 * DAY);
    CHECK_OK(kms_tick(kms, NULL));
    CHECK_OK(kms_tick(kms, NULL));
    CHECK_NUMBER(log.count, 1);
    manual_clock_forward(&clock, HOUR);
    CHECK_OK(kms_tick(kms, NULL));
    CHECK_OK(kms_tick(kms, NULL));
    REQUIRE(log.count == 2);
    CHECK_NUMBER(log.events[0].kind, KMS_EVENT_DELETION_DUE);
    CHECK_NUMBER(log.events[0].time_ms, NEW_YEAR_2025 + 7 * DAY);
    CHECK_TEXT(log.events[0].key_id, id.text);
    CHECK_TEXT(log.events[0].version_id, "");
    CHECK_NUMBER(log.events[0].waited_ms, 0);
    CHECK_NUMBER(log.events[1].waited_ms, 7 * DAY + HOUR);
    CHECK_NUMBER(log.events[1].kind, KMS_EVENT_KEY_DESTROYED);
    CHECK_NUMBER(log.events[1].time_ms, NEW_YEAR_2025 + 7 * DAY + HOUR);
    CHECK_TEXT(log.events[1].key_id, id.text);
    kms_close(kms);
}

static void the_deletion_of_a_version_raises_events_when_due_and_when_done(void) {
    manual_clock clock = {NEW_YEAR_2025};
    event_log log;
    kms_t *kms = open_logged(&clock, &log);
    key_id id = new_key(kms);
    char old[KMS_ID_SIZE];
    memcpy(old, describe(kms, id.text).primary_version_id, KMS_ID_SIZE);
    CHECK_OK(kms_rotate(kms, id.text, NULL));
    CHECK_OK(kms_disable_key_version(kms, id.text, old));
    CHECK_OK(kms_schedule_key_version_deletion(kms, id.text, old, 7));
    log.count = 0;
    manual_clock_forward(&clock, 7 * DAY);
    CHECK_OK(kms_tick(kms, NULL));
    manual_clock_forward(&clock, HOUR);
    CHECK_OK(kms_tick(kms, NULL));
    CHECK_OK(kms_tick(kms, NULL));
    REQUIRE(log.count == 2);
    CHECK_NUMBER(log.events[0].kind, KMS_EVENT_VERSION_DELETION_DUE);
    CHECK_NUMBER(log.events[1].kind, KMS_EVENT_VERSION_DESTROYED);
    CHECK_TEXT(log.events[0].key_id, id.text);
    CHECK_TEXT(log.events[1].key_id, id.text);
    CHECK_TEXT(log.events[0].version_id, old);
    CHECK_TEXT(log.events[1].version_id, old);
    CHECK_NUMBER(log.events[1].waited_ms, 7 * DAY + HOUR);
    kms_close(kms);
}

static void a_version_from_the_future_is_told(void) {
    manual_clock clock = {NEW_YEAR_2025 + 3650 * DAY};
    event_log log;
    kms_t *kms = open_logged(&clock, &log);
    key_id id = new_rotating_key(kms, DAY_S);
    clock.now_ms = NEW_YEAR_2025;
    CHECK_OK(kms_tick(kms, NULL));
    REQUIRE(log.count == 1);
    CHECK_NUMBER(log.events[0].kind, KMS_EVENT_CLOCK_SUSPECT);
    CHECK_TEXT(log.events[0].key_id, id.text);
    kms_close(kms);
}

static void nothing_is_told_about_what_failed_or_was_only_asked(void) {
    manual_clock clock = {NEW_YEAR_2025};
    event_log log;
    kms_t *kms = open_logged(&clock, &log);
    key_id id = new_rotating_key(kms, DAY_S);
    small_blob blob = encrypt_text(kms, id.text, "x");
    size_t len;
    manual_clock_forward(&clock, DAY);
    CHECK(opens_as(kms, &blob, "x"));
    CHECK_OK(kms_encrypt(kms, id.text, bytes("x"), 1, NULL, 0, NULL, 0, &len));
    CHECK_STATUS(kms_encrypt(kms, no_such_id, bytes("x"), 1, NULL, 0, NULL, 0, &len), KMS_KEY_NOT_FOUND);
    CHECK_NUMBER(log.count, 0);
    kms_close(kms);
    CHECK_NUMBER(log.count, 0);
}

static void a_rotation_that_cannot_be_stored_is_told_and_encryption_goes_on(void) {
    manual_clock clock = {NEW_YEAR_2025};
    event_log log;
    kms_t *kms = open_logged_at("events.db", &clock, &log);
    key_id id = new_rotating_key(kms, DAY_S);
    small_blob blob = encrypt_text(kms, id.text, "before");
    REQUIRE(rename("events.db", "moved.db") == 0);
    CHECK_STATUS(kms_rotate(kms, id.text, NULL), KMS_KEYSTORE_REPLACED);
    manual_clock_forward(&clock, DAY);
    CHECK(opens_as(kms, &blob, "before"));
    CHECK_NUMBER(log.count, 0);
    blob = encrypt_text(kms, id.text, "meanwhile");
    CHECK(opens_as(kms, &blob, "meanwhile"));
    REQUIRE(log.count >= 1);
    CHECK_NUMBER(log.events[0].kind, KMS_EVENT_ROTATION_FAILED);
    CHECK_NUMBER(log.events[0].status, KMS_KEYSTORE_REPLACED);
    CHECK_TEXT(log.events[0].key_id, id.text);
    CHECK_NUMBER(health(kms).rotations, 0);
    CHECK(health(kms).rotation_failures >= 1);
    REQUIRE(rename("moved.db", "events.db") == 0);
    CHECK_NUMBER(describe(kms, id.text).version_count, 1);
    kms_close(kms);
    kms = open_logged_at("events.db", &clock, &log);
    CHECK_OK(kms_tick(kms, NULL));
    REQUIRE(log.count == 1);
    CHECK_NUMBER(log.events[0].kind, KMS_EVENT_ROTATED);
    CHECK(opens_as(kms, &blob, "meanwhile"));
    kms_close(kms);
}

static void a_rotation_is_tried_again(void) {
    manual_clock clock = {NEW_YEAR_2025};
    event_log log;
    kms_t *kms = open_logged_at("again.db", &clock, &log);
    key_id id = new_rotating_key(kms, DAY_S);
    manual_clock_forward(&clock, DAY);
    REQUIRE(rename("again.db", "away.db") == 0);
    uint8_t blob[1 + KMS_MAX_OVERHEAD];
    size_t len;
    CHECK_STATUS(kms_encrypt(kms, id.text, bytes("x"), 1, NULL, 0, blob, sizeof blob, &len), KMS_KEYSTORE_REPLACED);
    REQUIRE(rename("away.db", "again.db") == 0);
    manual_clock_forward(&clock, DAY);
    CHECK_OK(kms_tick(kms, NULL));
    CHECK_NUMBER(describe(kms, id.text).version_count, 2);
    REQUIRE(log.count >= 1);
    CHECK_NUMBER(log.events[log.count - 1].kind, KMS_EVENT_ROTATED);
    kms_close(kms);
}

int main(void) {
    RUN(a_rotation_is_told_once_with_its_new_version);
    RUN(rotations_by_whatever_call_are_told_in_order);
    RUN(the_callback_may_enter_the_library);
    RUN(deletion_raises_events_when_due_and_when_done);
    RUN(the_deletion_of_a_version_raises_events_when_due_and_when_done);
    RUN(a_version_from_the_future_is_told);
    RUN(a_rotation_that_cannot_be_stored_is_told_and_encryption_goes_on);
    RUN(a_rotation_is_tried_again);
    RUN(nothing_is_told_about_what_failed_or_was_only_asked);
    return check_result();
}

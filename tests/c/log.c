/* The change log: who changed what, and when; listed, filtered, continued and cut. */
#include "check.h"

enum { MAX = 512 };

typedef struct seen_changes {
    size_t count, stop_at;
    kms_logged_change changes[MAX];
    char actions[MAX][64], actors[MAX][64], programs[MAX][64], key_ids[MAX][KMS_ID_SIZE], version_ids[MAX][KMS_ID_SIZE];
} seen_changes;

static seen_changes seen;

static void copy(char *out, size_t cap, const char *text) { snprintf(out, cap, "%s", text == NULL ? "(none)" : text); }

static int32_t see(void *user, const kms_logged_change *change) {
    size_t at = seen.count;
    CHECK(user == &seen);
    REQUIRE(at < MAX);
    CHECK_NUMBER(change->struct_size, sizeof *change);
    CHECK_NUMBER(strlen(change->change_id), 36);
    seen.changes[at] = *change;
    copy(seen.actions[at], sizeof seen.actions[at], change->action);
    copy(seen.actors[at], sizeof seen.actors[at], change->actor);
    copy(seen.programs[at], sizeof seen.programs[at], change->program);
    copy(seen.key_ids[at], sizeof seen.key_ids[at], change->key_id);
    copy(seen.version_ids[at], sizeof seen.version_ids[at], change->version_id);
    seen.count++;
    return seen.count == seen.stop_at ? 1 : 0;
}

static size_t list(const kms_t *kms, const char *key_id, int64_t from_ms, int64_t to_ms, uint64_t after, size_t limit) {
    seen.count = 0;
    REQUIRE_OK(kms_list_changes(kms, key_id, from_ms, to_ms, after, limit, see, &seen));
    return seen.count;
}

static size_t list_all(const kms_t *kms) { return list(kms, NULL, 0, 0, 0, SIZE_MAX); }

static kms_t *open_as(const char *actor, manual_clock *clock) {
    kms_options_t *options = new_options(clock);
    kms_t *kms = NULL;
    REQUIRE_OK(kms_options_set_actor(options, actor));
    REQUIRE_OK(kms_open("memory:", options, &kms));
    kms_options_free(options);
    return kms;
}

static void an_entry_says_who_did_what_when(void) {
    static const uint8_t zeros[32];
    manual_clock clock = {NEW_YEAR_2025};
    kms_t *kms = open_as("the tests", &clock);
    key_id id = new_key(kms);
    char version_id[KMS_ID_SIZE];
    manual_clock_forward(&clock, HOUR);
    REQUIRE_OK(kms_rotate(kms, id.text, version_id));
    REQUIRE_OK(kms_disable_key(kms, id.text));
    CHECK_STATUS(kms_rotate(kms, id.text, NULL), KMS_REJECTED_DISABLED);
    REQUIRE(list_all(kms) == 4);
    CHECK_TEXT(seen.actions[0], "CreateKey");
    CHECK_TEXT(seen.key_ids[0], id.text);
    CHECK_TEXT(seen.version_ids[0], "(none)");
    CHECK_NUMBER(seen.changes[0].time_ms, NEW_YEAR_2025);
    CHECK_NUMBER(seen.changes[0].status, KMS_OK);
    CHECK_NUMBER(seen.changes[0].count, 1);
    CHECK_NUMBER(seen.changes[0].waited_ms, 0);
    CHECK_NUMBER(seen.changes[0].refusals_omitted, 0);
    CHECK(memcmp(seen.changes[0].previous_mac, zeros, 32) == 0);
    CHECK_TEXT(seen.actions[1], "CreateKeyVersion");
    CHECK_TEXT(seen.version_ids[1], version_id);
    CHECK_NUMBER(seen.changes[1].time_ms, NEW_YEAR_2025 + HOUR);
    CHECK_NUMBER(seen.changes[1].generation, seen.changes[0].generation + 1);
    CHECK(memcmp(seen.changes[1].previous_mac, seen.changes[0].mac, 32) == 0);
    CHECK_TEXT(seen.actions[2], "DisableKey");
    CHECK_TEXT(seen.actions[3], "CreateKeyVersion");
    CHECK_NUMBER(seen.changes[3].status, KMS_REJECTED_DISABLED);
    CHECK_TEXT(seen.actors[3], "the tests");
    CHECK(seen.changes[3].process_id != 0 && seen.programs[3][0] != 0);
    kms_close(kms);
}

static void a_list_is_filtered_limited_and_continues(void) {
    manual_clock clock = {NEW_YEAR_2025};
    kms_t *kms = open_memory(&clock);
    key_id first = new_key(kms), second;
    size_t i;
    uint64_t middle;
    manual_clock_forward(&clock, HOUR);
    second = new_key(kms);
    for (i = 0; i < 150; i++) {
        REQUIRE_OK(kms_disable_key(kms, second.text));
        REQUIRE_OK(kms_enable_key(kms, second.text));
    }
    CHECK_NUMBER(list_all(kms), 302);
    CHECK_TEXT(seen.actors[0], "(none)");
    middle = seen.changes[200].generation;
    CHECK_NUMBER(list(kms, NULL, 0, 0, middle, SIZE_MAX), 101);
    CHECK_NUMBER(seen.changes[0].generation, middle + 1);
    CHECK_NUMBER(list(kms, NULL, 0, 0, middle, 7), 7);
    CHECK_NUMBER(list(kms, NULL, 0, 0, UINT64_MAX, 7), 0);
    CHECK_NUMBER(list(kms, NULL, 0, 0, 0, 0), 0);
    CHECK_NUMBER(list(kms, first.text, 0, 0, 0, SIZE_MAX), 1);
    CHECK_NUMBER(list(kms, second.text, 0, 0, 0, SIZE_MAX), 301);
    CHECK_NUMBER(list(kms, no_such_id, 0, 0, 0, SIZE_MAX), 0);
    CHECK_NUMBER(list(kms, NULL, NEW_YEAR_2025 + 1, 0, 0, SIZE_MAX), 301);
    CHECK_NUMBER(list(kms, NULL, 0, NEW_YEAR_2025 + 1, 0, SIZE_MAX), 1);
    CHECK_NUMBER(list(kms, NULL, NEW_YEAR_2025 + 1, NEW_YEAR_2025 + HOUR, 0, SIZE_MAX), 0);
    seen.stop_at = 3;
    CHECK_NUMBER(list(kms, NULL, 0, 0, 0, SIZE_MAX), 3);
    seen.stop_at = 0;
    CHECK_STATUS(kms_list_changes(kms, "alias/name", 0, 0, 0, 1, see, &seen), KMS_UNSUPPORTED_ALIAS);
    CHECK_STATUS(kms_list_changes(kms, NULL, 0, 0, 0, 1, NULL, &seen), KMS_INVALID_ARGUMENT);
    CHECK_STATUS(kms_list_changes(NULL, NULL, 0, 0, 0, 1, see, &seen), KMS_INVALID_ARGUMENT);
    kms_close(kms);
}

static void a_cut_log_continues_from_a_checkpoint(void) {
    manual_clock clock = {NEW_YEAR_2025};
    kms_t *kms = open_memory(&clock);
    uint64_t removed = 77;
    size_t i;
    for (i = 0; i < 6; i++) {
        new_key(kms);
        manual_clock_forward(&clock, SECOND);
    }
    CHECK_OK(kms_cut_changes(kms, NEW_YEAR_2025, &removed));
    CHECK_NUMBER(removed, 0);
    CHECK_OK(kms_cut_changes(kms, NEW_YEAR_2025 + 4 * SECOND, &removed));
    CHECK_NUMBER(removed, 4);
    CHECK_NUMBER(list_all(kms), 3);
    CHECK_TEXT(seen.actions[2], "CutChanges");
    CHECK_NUMBER(seen.changes[2].count, 4);
    CHECK_OK(kms_verify(kms, NULL, NULL));
    CHECK_OK(kms_cut_changes(kms, INT64_MAX, NULL));
    CHECK_NUMBER(list_all(kms), 1);
    CHECK_STATUS(kms_cut_changes(NULL, 0, &removed), KMS_INVALID_ARGUMENT);
    CHECK_NUMBER(removed, 0);
    kms_close(kms);
}

static void an_actor_is_printable_and_short(void) {
    kms_options_t *options = kms_options_new();
    char label[257];
    memset(label, 'x', sizeof label);
    label[256] = 0;
    CHECK_STATUS(kms_options_set_actor(options, label), KMS_LIMIT_EXCEEDED);
    label[255] = 0;
    CHECK_OK(kms_options_set_actor(options, label));
    CHECK_STATUS(kms_options_set_actor(options, ""), KMS_INVALID_ARGUMENT);
    CHECK_STATUS(kms_options_set_actor(options, "a\nb"), KMS_INVALID_ARGUMENT);
    CHECK_STATUS(kms_options_set_actor(options, NULL), KMS_INVALID_ARGUMENT);
    CHECK_STATUS(kms_options_set_actor(options, "\xff"), KMS_INVALID_ARGUMENT);
    kms_options_free(options);
}

int main(void) {
    RUN(an_entry_says_who_did_what_when);
    RUN(a_list_is_filtered_limited_and_continues);
    RUN(a_cut_log_continues_from_a_checkpoint);
    RUN(an_actor_is_printable_and_short);
    return check_result();
}

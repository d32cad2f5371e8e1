/* Surveys: counts by key and version, uncountable input, fork and kms_close. */
#define _GNU_SOURCE
#include "check.h"
#include <sys/wait.h>
#include <unistd.h>

enum { MOST = 8 };

typedef struct seen {
    kms_survey_count counts[MOST];
    int number, stop_at;
    kms_survey_t *survey; /* to call, or to free, during the visit */
    const small_blob *blob;
} seen;

static int32_t see(void *user, const kms_survey_count *count) {
    seen *found = user;
    REQUIRE(found->number < MOST);
    CHECK_NUMBER(count->struct_size, sizeof *count);
    CHECK_NUMBER(count->reserved, 0);
    found->counts[found->number++] = *count;
    return found->number == found->stop_at;
}

static seen counts_of(kms_survey_t *survey) {
    seen found = {0};
    CHECK_OK(kms_survey_counts(survey, see, &found));
    return found;
}

static kms_survey_t *begin(const kms_t *kms) {
    kms_survey_t *survey = NULL;
    REQUIRE_OK(kms_begin_survey(kms, &survey));
    REQUIRE(survey != NULL);
    return survey;
}

static void check_unreadable(kms_survey_t *survey, uint64_t malformed, uint64_t unknown_key, uint64_t unknown_version) {
    uint64_t found[3] = {77, 77, 77};
    CHECK_OK(kms_survey_unreadable(survey, &found[0], &found[1], &found[2]));
    CHECK_NUMBER(found[0], malformed);
    CHECK_NUMBER(found[1], unknown_key);
    CHECK_NUMBER(found[2], unknown_version);
}

static void a_survey_counts_every_version_of_the_keys_that_occur(void) {
    kms_t *kms = open_memory(NULL);
    key_id key = new_key(kms), absent = new_key(kms);
    char second[KMS_ID_SIZE];
    kms_survey_t *survey = begin(kms);
    small_blob blob = encrypt_text(kms, key.text, "one");
    seen found;
    int i;
    for (i = 0; i < 3; i++) {
        CHECK_OK(kms_survey_add(survey, blob.data, blob.len));
    }
    REQUIRE_OK(kms_rotate(kms, key.text, second));
    REQUIRE_OK(kms_rotate(kms, key.text, NULL));
    REQUIRE_OK(kms_disable_key_version(kms, key.text, second));
    blob = encrypt_text(kms, key.text, "two");
    CHECK_OK(kms_survey_add(survey, blob.data, blob.len));
    found = counts_of(survey);
    CHECK_NUMBER(found.number, 3);
    for (i = 0; i < 3; i++) {
        CHECK_TEXT(found.counts[i].key_id, key.text);
        CHECK_NUMBER(found.counts[i].number, 3 - i);
        CHECK_NUMBER(found.counts[i].is_primary, i == 0);
        CHECK_NUMBER(found.counts[i].state, i == 1 ? KMS_VERSION_DISABLED : KMS_VERSION_ENABLED);
    }
    CHECK_TEXT(found.counts[1].version_id, second);
    CHECK_NUMBER(found.counts[0].count, 1);
    CHECK_NUMBER(found.counts[1].count, 0);
    CHECK_NUMBER(found.counts[2].count, 3);
    REQUIRE_OK(kms_disable_key(kms, key.text));
    CHECK_OK(kms_survey_add(survey, blob.data, blob.len));
    CHECK_NUMBER(counts_of(survey).counts[0].count, 2);
    check_unreadable(survey, 0, 0, 0);
    (void)absent;
    kms_survey_free(survey);
    kms_close(kms);
}

static void what_cannot_be_read_is_counted_by_reason(void) {
    kms_t *kms = open_memory(NULL), *other = open_memory(NULL);
    key_id key = new_key(kms), foreign_key = new_key(other);
    small_blob good = encrypt_text(kms, key.text, "x"), foreign = encrypt_text(other, foreign_key.text, "x"), unknown = good;
    kms_survey_t *survey = begin(kms);
    int i;
    unknown.data[30] ^= 1;
    check_unreadable(survey, 0, 0, 0);
    for (i = 0; i < 2; i++) {
        CHECK_OK(kms_survey_add(survey, good.data, good.len));
        CHECK_STATUS(kms_survey_add(survey, foreign.data, foreign.len), KMS_KEY_NOT_FOUND);
        CHECK_STATUS(kms_survey_add(survey, unknown.data, unknown.len), KMS_KEY_VERSION_NOT_FOUND);
        CHECK_STATUS(kms_survey_add(survey, good.data, 79), KMS_MALFORMED_CIPHERTEXT);
        CHECK_STATUS(kms_survey_add(survey, NULL, 0), KMS_MALFORMED_CIPHERTEXT);
        CHECK_STATUS(kms_survey_add(survey, NULL, 1), KMS_INVALID_ARGUMENT);
    }
    check_unreadable(survey, 4, 2, 2);
    CHECK_OK(kms_survey_unreadable(survey, NULL, NULL, NULL));
    CHECK_NUMBER(counts_of(survey).counts[0].count, 2);
    kms_survey_free(survey);
    kms_close(other);
    kms_close(kms);
}

static void a_batch_counts_each_record(void) {
    kms_t *kms = open_memory(NULL);
    key_id key = new_key(kms);
    small_blob good = encrypt_text(kms, key.text, "x");
    kms_batch_record records[3] = {KMS_BATCH_RECORD_INIT, KMS_BATCH_RECORD_INIT, KMS_BATCH_RECORD_INIT};
    kms_survey_t *survey = begin(kms);
    int i;
    for (i = 0; i < 3; i++) {
        records[i].input = good.data;
        records[i].input_len = i == 1 ? 10 : good.len;
        records[i].out_len = 77;
    }
    CHECK_STATUS(kms_survey_add_batch(survey, records, sizeof *records, 3), KMS_BATCH_PARTIAL);
    for (i = 0; i < 3; i++) {
        CHECK_NUMBER(records[i].status, i == 1 ? KMS_MALFORMED_CIPHERTEXT : KMS_OK);
        CHECK_NUMBER(records[i].out_len, 0);
    }
    CHECK_OK(kms_survey_add_batch(survey, records, sizeof *records, 1));
    CHECK_OK(kms_survey_add_batch(survey, NULL, sizeof *records, 0));
    CHECK_NUMBER(counts_of(survey).counts[0].count, 3);
    check_unreadable(survey, 1, 0, 0);
    CHECK_STATUS(kms_survey_add_batch(survey, records, 8, 3), KMS_INVALID_ARGUMENT);
    CHECK_STATUS(kms_survey_add_batch(survey, NULL, sizeof *records, 1), KMS_INVALID_ARGUMENT);
    CHECK_STATUS(kms_survey_add_batch(NULL, records, sizeof *records, 1), KMS_INVALID_ARGUMENT);
    CHECK_NUMBER(records[0].status, KMS_INVALID_ARGUMENT);
    kms_survey_free(survey);
    kms_close(kms);
}

static int32_t add_and_free(void *user, const kms_survey_count *count) {
    seen *found = user;
    CHECK_OK(kms_survey_add(found->survey, found->blob->data, found->blob->len));
    CHECK_NUMBER(count->count, found->number++ == 0 ? 0 : 1);
    if (found->number == 2) {
        kms_survey_free(found->survey);
    }
    return 0;
}

static void the_visitor_ends_the_list_and_may_call_the_survey(void) {
    kms_t *kms = open_memory(NULL);
    key_id key = new_key(kms);
    small_blob blob = encrypt_text(kms, key.text, "x");
    kms_survey_t *survey = begin(kms);
    seen found = {0};
    CHECK_OK(kms_survey_add(survey, blob.data, blob.len));
    REQUIRE_OK(kms_rotate(kms, key.text, NULL));
    found.stop_at = 1;
    CHECK_OK(kms_survey_counts(survey, see, &found));
    CHECK_NUMBER(found.number, 1);
    CHECK_STATUS(kms_survey_counts(survey, NULL, NULL), KMS_INVALID_ARGUMENT);
    found.number = 0;
    found.survey = survey;
    found.blob = &blob;
    CHECK_OK(kms_survey_counts(survey, add_and_free, &found));
    CHECK_NUMBER(found.number, 2);
    kms_close(kms);
}

static void a_file_counts_by_its_header(void) {
    kms_t *kms = open_memory(NULL);
    key_id key = new_key(kms);
    kms_stream_t *stream = NULL;
    kms_survey_t *survey = begin(kms);
    static uint8_t sealed[40000];
    size_t len;
    REQUIRE_OK(kms_encrypt_stream(kms, key.text, NULL, 0, &stream));
    REQUIRE_OK(kms_stream_finish(stream, sealed, sizeof sealed, &len));
    kms_stream_free(stream);
    CHECK_OK(kms_survey_add(survey, sealed, KMS_FILE_HEADER_SIZE));
    CHECK_OK(kms_survey_add(survey, sealed, len));
    CHECK_STATUS(kms_survey_add(survey, sealed, KMS_FILE_HEADER_SIZE - 1), KMS_MALFORMED_CIPHERTEXT);
    CHECK_NUMBER(counts_of(survey).counts[0].count, 2);
    kms_survey_free(survey);
    kms_close(kms);
}

/* The parent would miss what the child counts. */
static void a_forked_child_cannot_use_its_parents_survey(void) {
    kms_t *kms = open_file("survey.db", NULL);
    key_id key = new_key(kms);
    small_blob blob = encrypt_text(kms, key.text, "x");
    kms_survey_t *survey = begin(kms);
    pid_t child;
    int status = 0;
    CHECK_OK(kms_survey_add(survey, blob.data, blob.len));
    fflush(NULL);
    child = fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        kms_batch_record record = KMS_BATCH_RECORD_INIT;
        uint64_t malformed = 77;
        seen found = {0};
        kms_survey_t *own;
        alarm(30);
        record.input = blob.data;
        record.input_len = blob.len;
        CHECK_STATUS(kms_survey_add(survey, blob.data, blob.len), KMS_FORKED);
        CHECK_STATUS(kms_survey_add_batch(survey, &record, sizeof record, 1), KMS_FORKED);
        CHECK_STATUS(record.status, KMS_FORKED);
        CHECK_STATUS(kms_survey_counts(survey, see, &found), KMS_FORKED);
        CHECK_STATUS(kms_survey_unreadable(survey, &malformed, NULL, NULL), KMS_FORKED);
        CHECK_NUMBER(malformed, 0);
        own = begin(kms);
        CHECK_OK(kms_survey_add(own, blob.data, blob.len));
        CHECK_NUMBER(counts_of(own).counts[0].count, 1);
        kms_survey_free(own);
        kms_survey_free(survey);
        kms_close(kms);
        _exit(check_result());
    }
    REQUIRE(waitpid(child, &status, 0) == child);
    CHECK_NUMBER(status, 0);
    CHECK_OK(kms_survey_add(survey, blob.data, blob.len));
    CHECK_NUMBER(counts_of(survey).counts[0].count, 2);
    kms_survey_free(survey);
    kms_close(kms);
}

static void a_survey_of_a_closed_keystore_fails_and_is_freed(void) {
    kms_t *kms = open_file("closed.db", NULL), *again;
    key_id key = new_key(kms);
    small_blob blob = encrypt_text(kms, key.text, "x");
    kms_batch_record record = KMS_BATCH_RECORD_INIT;
    kms_survey_t *survey = begin(kms);
    seen found = {0};
    record.input = blob.data;
    record.input_len = blob.len;
    CHECK_OK(kms_survey_add(survey, blob.data, blob.len));
    CHECK_STATUS(kms_survey_add(survey, NULL, 0), KMS_MALFORMED_CIPHERTEXT);
    kms_close(kms);
    again = open_file("closed.db", NULL);
    CHECK_STATUS(kms_survey_add(survey, blob.data, blob.len), KMS_INVALID_ARGUMENT);
    CHECK_STATUS(kms_survey_add_batch(survey, &record, sizeof record, 1), KMS_INVALID_ARGUMENT);
    CHECK_STATUS(kms_survey_counts(survey, see, &found), KMS_INVALID_ARGUMENT);
    CHECK_NUMBER(found.number, 0);
    check_unreadable(survey, 1, 0, 0);
    kms_survey_free(survey);
    kms_close(again);
}

static void a_key_that_was_destroyed_meanwhile_fails_the_counts(void) {
    manual_clock clock = {NEW_YEAR_2025};
    kms_t *kms = open_memory(&clock);
    key_id key = new_key(kms);
    small_blob blob = encrypt_text(kms, key.text, "x");
    kms_survey_t *survey = begin(kms);
    seen found = {0};
    int i;
    CHECK_OK(kms_survey_add(survey, blob.data, blob.len));
    REQUIRE_OK(kms_schedule_key_deletion(kms, key.text, 7));
    CHECK_NUMBER(counts_of(survey).number, 1);
    manual_clock_forward(&clock, 8 * DAY);
    for (i = 0; i < 3; i++) {
        REQUIRE_OK(kms_tick(kms, NULL));
        manual_clock_forward(&clock, 2 * HOUR);
    }
    CHECK_STATUS(kms_survey_counts(survey, see, &found), KMS_KEY_NOT_FOUND);
    CHECK_NUMBER(found.number, 0);
    kms_survey_free(survey);
    kms_close(kms);
}

static void arguments_are_checked(void) {
    kms_t *kms = open_memory(NULL);
    kms_survey_t *none = (kms_survey_t *)(void *)&kms;
    uint64_t malformed = 77;
    CHECK_STATUS(kms_begin_survey(NULL, &none), KMS_INVALID_ARGUMENT);
    CHECK(none == NULL);
    CHECK_STATUS(kms_begin_survey(kms, NULL), KMS_INVALID_ARGUMENT);
    CHECK_STATUS(kms_survey_add(NULL, NULL, 0), KMS_INVALID_ARGUMENT);
    CHECK_STATUS(kms_survey_counts(NULL, see, NULL), KMS_INVALID_ARGUMENT);
    CHECK_STATUS(kms_survey_unreadable(NULL, &malformed, NULL, NULL), KMS_INVALID_ARGUMENT);
    CHECK_NUMBER(malformed, 0);
    kms_survey_free(NULL);
    kms_close(kms);
}

int main(void) {
    RUN(a_survey_counts_every_version_of_the_keys_that_occur);
    RUN(what_cannot_be_read_is_counted_by_reason);
    RUN(a_batch_counts_each_record);
    RUN(the_visitor_ends_the_list_and_may_call_the_survey);
    RUN(a_file_counts_by_its_header);
    RUN(a_forked_child_cannot_use_its_parents_survey);
    RUN(a_survey_of_a_closed_keystore_fails_and_is_freed);
    RUN(a_key_that_was_destroyed_meanwhile_fails_the_counts);
    RUN(arguments_are_checked);
    return check_result();
}

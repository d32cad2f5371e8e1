/* A machine that sleeps: wall clock and boot clock advance, the monotonic clock stops. Keys that came due during the sleep
 * rotate once, soon after waking. No key is destroyed before two confirmations of its date, an hour apart.
 *
 * The library calls the clock_gettime that this program defines, so the sleep is real to it. */
#define _GNU_SOURCE
#include "check.h"
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { KEYS = 300 };

static int64_t slept_s;

int clock_gettime(clockid_t clock, struct timespec *now) {
    long failed = syscall(SYS_clock_gettime, clock, now);
    if (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE || clock == CLOCK_BOOTTIME) {
        now->tv_sec += __atomic_load_n(&slept_s, __ATOMIC_SEQ_CST);
    }
    return (int)failed;
}

static void sleep_for(int64_t seconds) { __atomic_add_fetch(&slept_s, seconds, __ATOMIC_SEQ_CST); }

static void pause_ms(long ms) {
    struct timespec time;
    time.tv_sec = ms / 1000;
    time.tv_nsec = ms % 1000 * 1000000;
    nanosleep(&time, NULL);
}

static int64_t awake_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static kms_t *open_with_thread(const char *name) {
    kms_options_t *options = new_options(NULL);
    kms_t *kms = NULL;
    REQUIRE_OK(kms_options_set_rotation_thread(options, 1));
    REQUIRE_OK(kms_open(name, options, &kms));
    kms_options_free(options);
    return kms;
}

/* The thread reads its clock once a second; a machine under load may take longer. */
static int within_a_minute(int (*happened)(const kms_t *, const key_id *), const kms_t *kms, const key_id *key) {
    int64_t end = awake_ms() + 60000;
    while (!happened(kms, key)) {
        if (awake_ms() > end) {
            return 0;
        }
        pause_ms(20);
    }
    return 1;
}

static int all_rotated(const kms_t *kms, const key_id *key) {
    (void)key;
    return health(kms).rotations >= KEYS;
}

static void what_came_due_asleep_rotates_once_after_waking(void) {
    kms_t *kms = open_with_thread("rotates.db");
    static key_id keys[KEYS];
    small_blob before;
    int64_t start;
    int i, twice = 0;
    for (i = 0; i < KEYS; i++) {
        keys[i] = new_rotating_key(kms, 3600);
    }
    before = encrypt_text(kms, keys[0].text, "before the machine slept");
    sleep_for(10 * 3600); /* ten periods */
    CHECK(opens_as(kms, &before, "before the machine slept"));
    CHECK(within_a_minute(all_rotated, kms, NULL));
    pause_ms(1500); /* two more readings of the clock */
    for (i = 0; i < KEYS; i++) {
        twice += describe(kms, keys[i].text).version_count != 2;
    }
    CHECK_NUMBER(twice, 0);
    CHECK_NUMBER(health(kms).rotations, KEYS);
    CHECK(opens_as(kms, &before, "before the machine slept"));
    sleep_for(10 * 3600);
    start = awake_ms();
    kms_close(kms);
    CHECK(awake_ms() - start < 5000); /* 100 ms on an idle machine, though all keys are due again */
}

static int is_gone(const kms_t *kms, const key_id *key) {
    kms_key_metadata metadata = KMS_KEY_METADATA_INIT;
    return kms_describe_key(kms, key->text, &metadata) == KMS_KEY_NOT_FOUND;
}

static void a_key_outlives_the_first_waking_after_its_date(void) {
    kms_t *kms = open_with_thread("deleted.db");
    key_id saved = new_key(kms), lost = new_key(kms);
    small_blob blob = encrypt_text(kms, saved.text, "not to be lost");
    CHECK_OK(kms_schedule_key_deletion(kms, saved.text, 7));
    CHECK_OK(kms_schedule_key_deletion(kms, lost.text, 7));
    sleep_for(8 * 24 * 3600);
    pause_ms(2500);
    CHECK(!is_gone(kms, &saved));
    CHECK(!is_gone(kms, &lost));
    CHECK_OK(kms_cancel_key_deletion(kms, saved.text));
    CHECK(opens_as(kms, &blob, "not to be lost"));
    sleep_for(2 * 3600);
    CHECK(within_a_minute(is_gone, kms, &lost));
    CHECK(opens_as(kms, &blob, "not to be lost"));
    kms_close(kms);
}

static int has_two_versions(const kms_t *kms, const key_id *key) { return describe(kms, key->text).version_count == 2; }

static void handles_opened_before_and_after_a_sleep_make_one_version(void) {
    kms_t *kms = open_with_thread("both.db"), *later;
    key_id key = new_rotating_key(kms, 3600);
    small_blob blob;
    sleep_for(5400);
    later = open_with_thread("both.db");
    blob = encrypt_text(later, key.text, "x");
    CHECK(opens_as(kms, &blob, "x"));
    CHECK(within_a_minute(has_two_versions, later, &key));
    pause_ms(2500);
    CHECK(has_two_versions(kms, &key));
    CHECK(opens_as(later, &blob, "x"));
    kms_close(later);
    kms_close(kms);
}

int main(void) {
    RUN(what_came_due_asleep_rotates_once_after_waking);
    RUN(a_key_outlives_the_first_waking_after_its_date);
    RUN(handles_opened_before_and_after_a_sleep_make_one_version);
    return check_result();
}

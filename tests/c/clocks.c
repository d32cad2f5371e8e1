/* The system's own clocks: a wall clock that was wrong and is corrected must not hasten a destruction. */
#define _GNU_SOURCE
#include "check.h"
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* What CLOCK_REALTIME and CLOCK_BOOTTIME show, in seconds; 0: the real ones. Elapsed time is left alone. */
static int64_t wall_s, boot_s;

/* Replaces the C library's function, for the library too: symbol lookup begins with the program. */
int clock_gettime(clockid_t clock, struct timespec *now) {
    if (wall_s == 0 || (clock != CLOCK_REALTIME && clock != CLOCK_BOOTTIME)) {
        return (int)syscall(SYS_clock_gettime, clock, now);
    }
    now->tv_sec = clock == CLOCK_REALTIME ? wall_s : boot_s;
    now->tv_nsec = 0;
    return 0;
}

static void pass(int64_t seconds) {
    wall_s += seconds;
    boot_s += seconds;
}

/* The hours that a key lives whose deletion was scheduled, for 7 days, by a clock that showed `wrong`. */
static int64_t hours_lived(int64_t wrong, int64_t right) {
    kms_options_t *options = new_options(NULL);
    kms_t *kms = NULL;
    key_id id;
    int64_t hours = 0;
    kms_key_metadata shown = KMS_KEY_METADATA_INIT;
    wall_s = wrong;
    boot_s = 7200;
    REQUIRE_OK(kms_options_set_rotation_thread(options, 0));
    REQUIRE_OK(kms_open("memory:", options, &kms));
    kms_options_free(options);
    id = new_key(kms);
    CHECK_OK(kms_schedule_key_deletion(kms, id.text, 7));
    pass(90);
    CHECK_OK(kms_tick(kms, NULL));
    wall_s = right;
    while (hours < 2000 && kms_describe_key(kms, id.text, &shown) == KMS_OK) {
        pass(3600);
        CHECK_OK(kms_tick(kms, NULL));
        hours++;
    }
    kms_close(kms);
    wall_s = 0;
    return hours;
}

enum { WEEK_H = 7 * 24, DAY_SECONDS = 24 * 3600 };

static void a_clock_that_was_behind_does_not_hasten_a_destruction(void) {
    const int64_t now = INT64_C(1780000000);
    const int64_t behind[] = {1, now - 21 * DAY_SECONDS, now - 8 * DAY_SECONDS, now - 3600, now};
    size_t i;
    for (i = 0; i < sizeof behind / sizeof *behind; i++) {
        int64_t hours = hours_lived(behind[i], now);
        CHECK(hours >= WEEK_H);
        CHECK(hours <= WEEK_H + 2);
    }
}

static void a_clock_that_was_ahead_delays_it_to_its_date(void) {
    const int64_t now = INT64_C(1780000000);
    int64_t hours = hours_lived(now + 21 * DAY_SECONDS, now);
    CHECK(hours >= WEEK_H + 21 * 24);
    CHECK(hours <= WEEK_H + 21 * 24 + 2);
}

int main(void) {
    RUN(a_clock_that_was_behind_does_not_hasten_a_destruction);
    RUN(a_clock_that_was_ahead_delays_it_to_its_date);
    return check_result();
}

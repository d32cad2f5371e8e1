// Measures keystores in a database, and in files beside them. `benches/postgres/run` starts the server and calls it.
//
//   main hot FILE DATABASE          ns of a 64-byte encrypt, in turn
//   main changes DATABASE N S       changes a second of N processes for S seconds, each with a key of its own
//   main storm LOCATION N           N keys: creation, rotation of all, open, first uses
#define _GNU_SOURCE
#include "kms.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { ROUNDS = 101, CALLS = 20000, BATCH = 1000, COLD = 100 };

static int64_t now_ms = 1790000000000;
static const int64_t month_ms = 31 * 86400000LL;

static int64_t manual_clock(void *unused) {
    (void)unused;
    return now_ms;
}

static double seconds(clockid_t clock) {
    struct timespec time;
    clock_gettime(clock, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void check(kms_status status, const char *call) {
    char text[512];
    if (status == KMS_OK)
        return;
    kms_last_error(text, sizeof text);
    fprintf(stderr, "%s: %d %s\n", call, (int)status, text);
    exit(1);
}
#define CHECK(call) check(call, #call)

static kms_t *open_keystore(const char *location, int is_manual) {
    const uint8_t root[32] = "a root key that is not a secret";
    struct kms_options_t *options = kms_options_new();
    kms_t *kms;
    CHECK(kms_options_set_root_key(options, root, sizeof root));
    CHECK(kms_options_set_create(options, 1));
    CHECK(kms_options_set_busy_timeout_ms(options, 20000));
    if (is_manual) {
        CHECK(kms_options_set_clock(options, manual_clock, NULL));
        CHECK(kms_options_set_rotation_thread(options, 0));
    }
    CHECK(kms_open(location, options, &kms));
    kms_options_free(options);
    return kms;
}

static void encrypt(kms_t *kms, const char *id) {
    const uint8_t text[64] = {1};
    uint8_t out[512];
    size_t length;
    CHECK(kms_encrypt(kms, id, text, sizeof text, NULL, 0, out, sizeof out, &length));
}

static int compare(const void *left, const void *right) {
    const double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

static double median(double *values) {
    qsort(values, ROUNDS, sizeof *values, compare);
    return values[ROUNDS / 2];
}

static void hot(const char *locations[2]) {
    static double ns[2][ROUNDS], ratios[ROUNDS];
    char ids[2][KMS_ID_SIZE];
    kms_t *kms[2];
    for (int at = 0; at < 2; at++) {
        kms[at] = open_keystore(locations[at], 0);
        CHECK(kms_create_key(kms[at], NULL, ids[at]));
    }
    for (int round = 0; round < ROUNDS; round++) {
        for (int turn = 0; turn < 2; turn++) {
            const int at = (round + turn) % 2;
            const double begun = seconds(CLOCK_THREAD_CPUTIME_ID);
            for (int call = 0; call < CALLS; call++)
                encrypt(kms[at], ids[at]);
            ns[at][round] = (seconds(CLOCK_THREAD_CPUTIME_ID) - begun) * 1e9 / CALLS;
        }
        ratios[round] = ns[1][round] / ns[0][round];
    }
    const double ratio = median(ratios);
    printf("encrypt 64 bytes: file %.0f ns, database %.0f ns, median of ratios %.3f\n", median(ns[0]), median(ns[1]), ratio);
    for (int at = 0; at < 2; at++)
        kms_close(kms[at]);
}

static void changes(const char *location, int processes, double time) {
    const double start = seconds(CLOCK_MONOTONIC) + 3;
    int ends[2];
    if (pipe(ends) != 0)
        exit(1);
    for (int at = 0; at < processes; at++) {
        if (fork() != 0)
            continue;
        kms_t *kms = open_keystore(location, 0);
        char id[KMS_ID_SIZE], text[32];
        CHECK(kms_create_key(kms, NULL, id));
        while (seconds(CLOCK_MONOTONIC) < start)
            usleep(100);
        long count = 0;
        while (seconds(CLOCK_MONOTONIC) < start + time) {
            snprintf(text, sizeof text, "change %ld", count);
            CHECK(kms_update_key_description(kms, id, text));
            count++;
        }
        if (write(ends[1], &count, sizeof count) != (ssize_t)sizeof count)
            _exit(1);
        kms_close(kms);
        _exit(0);
    }
    // A process that fails closes its end, too.
    close(ends[1]);
    long all = 0, count;
    int answers = 0;
    while (read(ends[0], &count, sizeof count) == (ssize_t)sizeof count) {
        all += count;
        answers++;
    }
    while (wait(NULL) > 0) {
    }
    if (answers != processes)
        exit(1);
    printf("%.0f\n", (double)all / time);
}

static void storm(const char *location, long keys) {
    kms_t *kms = open_keystore(location, 1);
    kms_create_key_options options = KMS_CREATE_KEY_OPTIONS_INIT;
    options.enable_automatic_rotation = 1;
    options.rotation_interval_s = 30 * 86400;
    static char ids[BATCH * KMS_ID_SIZE];
    double begun = seconds(CLOCK_MONOTONIC);
    for (long made = 0; made < keys; made += BATCH)
        CHECK(kms_create_keys(kms, &options, BATCH, ids));
    printf("%ld keys: %.0f created a second", keys, (double)keys / (seconds(CLOCK_MONOTONIC) - begun));
    now_ms += month_ms;
    begun = seconds(CLOCK_MONOTONIC);
    size_t done, all = 0;
    do {
        CHECK(kms_tick(kms, &done));
        all += done;
    } while (done != 0);
    printf(", %.0f rotations a second", (double)all / (seconds(CLOCK_MONOTONIC) - begun));
    kms_close(kms);
    begun = seconds(CLOCK_MONOTONIC);
    kms = open_keystore(location, 1);
    const double opened = seconds(CLOCK_MONOTONIC);
    encrypt(kms, ids);
    const double first = seconds(CLOCK_MONOTONIC);
    for (int at = 1; at <= COLD; at++)
        encrypt(kms, ids + at * KMS_ID_SIZE);
    printf(", open %.2f ms, first encrypt %.2f ms, of other keys %.2f ms each\n", (opened - begun) * 1e3,
           (first - opened) * 1e3, (seconds(CLOCK_MONOTONIC) - first) * 1e3 / COLD);
    kms_close(kms);
}

int main(int count, char **arguments) {
    if (count == 4 && strcmp(arguments[1], "hot") == 0) {
        hot((const char *[2]){arguments[2], arguments[3]});
    } else if (count == 5 && strcmp(arguments[1], "changes") == 0) {
        changes(arguments[2], atoi(arguments[3]), atof(arguments[4]));
    } else if (count == 4 && strcmp(arguments[1], "storm") == 0) {
        storm(arguments[2], atol(arguments[3]));
    } else {
        fprintf(stderr, "usage: main hot FILE DATABASE | changes DATABASE PROCESSES SECONDS | storm LOCATION KEYS\n");
        return 2;
    }
    return 0;
}

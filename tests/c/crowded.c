/* The library works in a program that can start no more threads, or whose environment sets tiny stacks. */
#define _GNU_SOURCE
#include "check.h"
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static char folder[] = "/tmp/libkms-crowded-XXXXXX";
static char location[sizeof folder + 16];

static void pause_ms(long ms) {
    const struct timespec time = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&time, NULL);
}

/* From here on no thread can be started, until `allow_threads`. Root is not limited. */
static void forbid_threads(void) {
    struct rlimit limit;
    REQUIRE(getrlimit(RLIMIT_NPROC, &limit) == 0);
    limit.rlim_cur = 0;
    REQUIRE(setrlimit(RLIMIT_NPROC, &limit) == 0);
}

static void allow_threads(void) {
    struct rlimit limit;
    REQUIRE(getrlimit(RLIMIT_NPROC, &limit) == 0);
    limit.rlim_cur = limit.rlim_max;
    REQUIRE(setrlimit(RLIMIT_NPROC, &limit) == 0);
}

static void count_event(void *user, const kms_event *event) {
    (void)event;
    __atomic_add_fetch((int *)user, 1, __ATOMIC_SEQ_CST);
}

static kms_t *open_with_thread(int *events) {
    kms_options_t *options = new_options(NULL);
    kms_t *kms = NULL;
    REQUIRE_OK(kms_options_set_rotation_thread(options, 1));
    REQUIRE_OK(kms_options_set_event_callback(options, count_event, events));
    REQUIRE_OK(kms_open(location, options, &kms));
    kms_options_free(options);
    return kms;
}

static uint32_t flags(kms_t *kms) {
    return health(kms).flags & (KMS_HEALTH_THREAD_NOT_STARTED | KMS_HEALTH_NO_ROTATION_THREAD);
}

/* Whether the key has more versions than `count` within `limit_ms`, by itself. */
static int rotates_beyond(kms_t *kms, const char *id, uint64_t count, long limit_ms) {
    long waited;
    for (waited = 0; waited < limit_ms; waited += 20, pause_ms(20)) {
        if (describe(kms, id).version_count > count) {
            return 1;
        }
    }
    return 0;
}

/* Runs `test` in a separate process, whose limits end with it. */
static void in_child(void (*test)(void)) {
    int status = 0;
    pid_t child = fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        check_failures = 0;
        test();
        _exit(check_failures != 0);
    }
    REQUIRE(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void the_rotation_thread_has_a_stack_of_its_own_size(void) {
    int events = 0;
    kms_t *kms = open_with_thread(&events);
    key_id id = new_rotating_key(kms, 1);
    CHECK(rotates_beyond(kms, id.text, 1, 20000));
    kms_close(kms);
    CHECK(events >= 1);
}

static void without_a_thread_calls_rotate_until_one_can_be_started(void) {
    int events = 0;
    uint64_t count;
    kms_t *kms;
    key_id id;
    forbid_threads();
    kms = open_with_thread(&events);
    CHECK_NUMBER(flags(kms), KMS_HEALTH_THREAD_NOT_STARTED);
    id = new_rotating_key(kms, 1);
    pause_ms(1200);
    CHECK_NUMBER(describe(kms, id.text).version_count, 1);
    encrypt_text(kms, id.text, "an overdue key rotates first");
    CHECK_NUMBER(describe(kms, id.text).version_count, 2);
    CHECK_NUMBER(events, 1);
    allow_threads();
    count = describe(kms, id.text).version_count;
    CHECK(rotates_beyond(kms, id.text, count, 20000));
    CHECK_NUMBER(flags(kms), 0);
    kms_close(kms);
}

static kms_t *parents;
static key_id parents_key;
static small_blob parents_blob;

static void a_forked_child_goes_on_without_a_thread(void) {
    small_blob blob;
    forbid_threads();
    CHECK(opens_as(parents, &parents_blob, "the parent's"));
    blob = encrypt_text(parents, parents_key.text, "the child's");
    CHECK(opens_as(parents, &blob, "the child's"));
    CHECK_OK(kms_rotate(parents, parents_key.text, NULL));
    CHECK_NUMBER(flags(parents), KMS_HEALTH_THREAD_NOT_STARTED);
    kms_close(parents);
}

int main(void) {
    int events = 0;
    /* Read by Rust's library at the first start of a thread. */
    setenv("RUST_MIN_STACK", "1", 1);
    REQUIRE(mkdtemp(folder) != NULL);
    snprintf(location, sizeof location, "%s/keys.db", folder);
    if (getuid() == 0) {
        REQUIRE(chown(folder, 65534, 65534) == 0);
        REQUIRE(setgid(65534) == 0 && setuid(65534) == 0);
    }
    RUN(the_rotation_thread_has_a_stack_of_its_own_size);
    in_child(without_a_thread_calls_rotate_until_one_can_be_started);
    parents = open_with_thread(&events);
    parents_key = new_key(parents);
    parents_blob = encrypt_text(parents, parents_key.text, "the parent's");
    in_child(a_forked_child_goes_on_without_a_thread);
    kms_close(parents);
    REQUIRE(chdir(folder) == 0);
    CHECK(unlink("keys.db") == 0 && unlink("keys.db-gen") == 0);
    unlink("keys.db-journal");
    CHECK(rmdir(folder) == 0);
    return check_result();
}

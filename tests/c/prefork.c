/* A child never hangs on a lock that a thread of its parent held when it was forked. */
#define _POSIX_C_SOURCE 200809L
#include "check.h"
#include "slow.h"
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Under valgrind a fork takes a tenth of a second. */
static int forks(void) { return SLOW ? 12 : 300; }

static kms_t *open_in_folder(int32_t rotation_thread) {
    kms_options_t *options = kms_options_new();
    kms_t *kms = NULL;
    REQUIRE_OK(kms_options_set_root_key(options, root_key, sizeof root_key));
    REQUIRE_OK(kms_options_set_create(options, 1));
    REQUIRE_OK(kms_options_set_rotation_thread(options, rotation_thread));
    REQUIRE_OK(kms_open("prefork.db", options, &kms));
    kms_options_free(options);
    return kms;
}

/* The report of a child through a pipe before it kills itself: it leaks what it inherited, by design. */
static void say_and_end(int pipe_end, int fine) {
    char word = fine ? 'y' : 'n';
    (void)!write(pipe_end, &word, 1);
    kill(getpid(), SIGKILL);
}

/* Forks; the child runs `task` within 30 s. Whether it was fine. */
static int in_a_child(int (*task)(void *), void *with) {
    int ends[2], status;
    char word = 0;
    pid_t child;
    REQUIRE(pipe(ends) == 0);
    child = fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        alarm(30);
        say_and_end(ends[1], task(with));
    }
    close(ends[1]);
    (void)!read(ends[0], &word, 1);
    close(ends[0]);
    waitpid(child, &status, 0);
    return word == 'y';
}

static void wait_ns(long ns) {
    struct timespec start, now;
    clock_gettime(CLOCK_MONOTONIC, &start);
    do {
        clock_gettime(CLOCK_MONOTONIC, &now);
    } while ((now.tv_sec - start.tv_sec) * 1000000000L + now.tv_nsec - start.tv_nsec < ns);
}

static int creates_a_key(void *kms) {
    char id[KMS_ID_SIZE];
    return kms_create_key(kms, NULL, id) == KMS_OK;
}

/* AddressSanitizer's allocator is locked while a thread allocates, and stays so in a child forked then: no thread under it. */
#ifdef __SANITIZE_ADDRESS__
enum { ROTATION_THREAD = 0 };
#else
enum { ROTATION_THREAD = 1 };
#endif

/* The rotation thread is just starting when the program forks its workers. */
static int opens_and_forks(void *delay_ns) {
    kms_t *kms = open_in_folder(ROTATION_THREAD);
    int fine;
    wait_ns(*(long *)delay_ns);
    fine = in_a_child(creates_a_key, kms);
    kms_close(kms);
    return fine;
}

static void a_child_forked_right_after_open_works(void) {
    long delay_ns;
    int i;
    for (i = 0; i < forks() / 3; i++) {
        delay_ns = (long)(i % 50) * 2000;
        CHECK(in_a_child(opens_and_forks, &delay_ns));
    }
}

static kms_t *shared;
static char shared_key[KMS_ID_SIZE];
static int stop;

static void *encrypts(void *unused) {
    uint8_t blob[1 + KMS_MAX_OVERHEAD];
    size_t len;
    (void)unused;
    return kms_encrypt(shared, shared_key, (const uint8_t *)"x", 1, NULL, 0, blob, sizeof blob, &len) == KMS_OK ? shared_key
                                                                                                                : NULL;
}

static void *starts_and_ends_threads(void *unused) {
    while (!__atomic_load_n(&stop, __ATOMIC_SEQ_CST)) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, encrypts, NULL) == 0) {
            pthread_join(thread, NULL);
        }
    }
    return unused;
}

static int encrypts_in_a_new_thread(void *unused) {
    pthread_t thread;
    void *fine = NULL;
    (void)unused;
    return encrypts(NULL) != NULL && pthread_create(&thread, NULL, encrypts, NULL) == 0 && pthread_join(thread, &fine) == 0 &&
           fine != NULL;
}

static void a_child_forked_while_threads_end_works_in_new_threads(void) {
    pthread_t churning[2];
    int i;
    shared = open_in_folder(0);
    REQUIRE_OK(kms_create_key(shared, NULL, shared_key));
    for (i = 0; i < 2; i++) {
        REQUIRE(pthread_create(&churning[i], NULL, starts_and_ends_threads, NULL) == 0);
    }
    for (i = 0; i < forks(); i++) {
        CHECK(in_a_child(encrypts_in_a_new_thread, NULL));
    }
    __atomic_store_n(&stop, 1, __ATOMIC_SEQ_CST);
    for (i = 0; i < 2; i++) {
        pthread_join(churning[i], NULL);
    }
    kms_close(shared);
}

int main(void) {
    RUN(a_child_forked_right_after_open_works);
#ifdef __SANITIZE_ADDRESS__
    /* AddressSanitizer's own list of threads is locked while a thread starts, and stays so in a child forked then. */
    (void)a_child_forked_while_threads_end_works_in_new_threads;
    puts("threads that end during a fork: tried plain and under valgrind only");
#else
    RUN(a_child_forked_while_threads_end_works_in_new_threads);
#endif
    return check_result();
}

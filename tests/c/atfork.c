/* A program's fork handlers use the library in all three phases while other threads work. They are registered before the
 * library's handlers and after. */
#define _GNU_SOURCE
#include "check.h"
#include <pthread.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { FORKS = 30, WORKERS = 3 };

static kms_t *kms;
static key_id id;
static small_blob blob;
static int calls, stop;

static void use(const char *text) {
    small_blob made;
    kms_key_metadata metadata;
    if (kms == NULL) {
        return;
    }
    metadata = describe(kms, id.text);
    CHECK(metadata.state == KMS_STATE_ENABLED);
    made = encrypt_text(kms, id.text, text);
    CHECK(opens_as(kms, &made, text));
    CHECK(opens_as(kms, &blob, "before"));
    REQUIRE_OK(kms_update_key_description(kms, id.text, text));
    calls++;
}

static void prepare(void) { use("in prepare"); }

static void parent(void) { use("in the parent"); }

static void child(void) { use("in the child"); }

/* Changes, so that threads wait at the fork with the connection and the cache's locks in their hands. */
static void *work(void *user) {
    unsigned turn = 0;
    (void)user;
    while (!__atomic_load_n(&stop, __ATOMIC_SEQ_CST)) {
        key_id key = new_key(kms);
        small_blob made = encrypt_text(kms, key.text, "a text");
        CHECK(opens_as(kms, &made, "a text"));
        if (turn++ % 8 == 0) {
            CHECK_OK(kms_rotate(kms, key.text, NULL));
        }
    }
    return NULL;
}

static void fork_handlers_use_the_library(void) {
    int i;
    for (i = 0; i < FORKS; i++) {
        const int before = calls;
        pid_t pid;
        int status, ends[2];
        char verdict = 0;
        REQUIRE(pipe(ends) == 0);
        fflush(NULL);
        pid = fork();
        REQUIRE(pid >= 0);
        if (pid == 0) {
            alarm(60);
            /* Both handlers of the child have run, and the child can use their results. */
            CHECK_NUMBER(calls - before, 4);
            use("after the fork, in the child");
            /* Not by its exit status: valgrind takes what the parent's threads hold for leaks of the child. */
            verdict = check_failures == 0;
            REQUIRE(write(ends[1], &verdict, 1) == 1);
            _exit(0);
        }
        close(ends[1]);
        CHECK_NUMBER(calls - before, 4);
        use("after the fork");
        REQUIRE(waitpid(pid, &status, 0) == pid);
        CHECK(read(ends[0], &verdict, 1) == 1 && verdict == 1);
        close(ends[0]);
    }
}

int main(int argc, char **argv) {
    char path[600];
    kms_options_t *options;
    pthread_t workers[WORKERS];
    int i;
    REQUIRE(argc == 2);
    snprintf(path, sizeof path, "%s/keys.db", argv[1]);
    alarm(240);
    /* Before the first call of the library, which registers its own. */
    REQUIRE(pthread_atfork(prepare, parent, child) == 0);
    options = kms_options_new();
    REQUIRE(options != NULL);
    REQUIRE_OK(kms_options_set_root_key(options, root_key, sizeof root_key));
    REQUIRE_OK(kms_options_set_create(options, 1));
    REQUIRE_OK(kms_options_set_busy_timeout_ms(options, 60000));
    REQUIRE_OK(kms_open(path, options, &kms));
    kms_options_free(options);
    id = new_key(kms);
    blob = encrypt_text(kms, id.text, "before");
    REQUIRE(pthread_atfork(prepare, parent, child) == 0);
    RUN(fork_handlers_use_the_library);
#if defined(__SANITIZE_ADDRESS__)
    /* AddressSanitizer's allocator (GCC 12) leaves a child the locks that other threads held at the fork. */
    (void)workers;
    (void)work;
    (void)i;
    kms_close(kms);
    return check_result();
#endif
    for (i = 0; i < WORKERS; i++) {
        REQUIRE(pthread_create(&workers[i], NULL, work, NULL) == 0);
    }
    RUN(fork_handlers_use_the_library);
    __atomic_store_n(&stop, 1, __ATOMIC_SEQ_CST);
    for (i = 0; i < WORKERS; i++) {
        pthread_join(workers[i], NULL);
    }
    kms_close(kms);
    return check_result();
}

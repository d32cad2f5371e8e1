/* Two copies of the library in one process, on one keystore, lose no change of each other or of other processes. */
#define _GNU_SOURCE
#include "check.h"
#include "slow.h"
#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PROCESSES = 3 };

/* Six threads contend for the file constantly; under valgrind each holds it for long. */
enum { PATIENCE_MS = 120000 };

static int changes(void) { return SLOW ? 20 : 300; }

typedef struct copy {
    kms_options_t *(*options_new)(void);
    void (*options_free)(kms_options_t *);
    kms_status (*set_root_key)(kms_options_t *, const uint8_t *, size_t);
    kms_status (*set_busy_timeout_ms)(kms_options_t *, int64_t);
    kms_status (*open)(const char *, const kms_options_t *, kms_t **);
    void (*close)(kms_t *);
    kms_status (*describe_key)(const kms_t *, const char *, kms_key_metadata *);
} copy;

static void find(void *library, const char *name, void *function) {
    void *symbol = dlsym(library, name);
    REQUIRE(symbol != NULL);
    memcpy(function, &symbol, sizeof symbol);
}

/* The library's file under another name, loaded beside the one that this program is linked with. */
static copy load_second(void) {
    static char command[4200];
    copy second;
    Dl_info info;
    void *library, *linked = dlsym(RTLD_DEFAULT, "kms_open");
    REQUIRE(linked != NULL && dladdr(linked, &info) != 0);
    snprintf(command, sizeof command, "cp -L '%s' ./second-%ld.so", info.dli_fname, (long)getpid());
    REQUIRE(system(command) == 0);
    snprintf(command, sizeof command, "./second-%ld.so", (long)getpid());
    library = dlopen(command, RTLD_NOW | RTLD_LOCAL);
    REQUIRE(library != NULL);
    REQUIRE(dlsym(library, "kms_open") != linked); /* it really is another copy */
    find(library, "kms_options_new", &second.options_new);
    find(library, "kms_options_free", &second.options_free);
    find(library, "kms_options_set_root_key", &second.set_root_key);
    find(library, "kms_options_set_busy_timeout_ms", &second.set_busy_timeout_ms);
    find(library, "kms_open", &second.open);
    find(library, "kms_close", &second.close);
    find(library, "kms_describe_key", &second.describe_key);
    return second;
}

static copy second;
static kms_options_t *second_options;
static int stop;

/* Constantly opens and closes the file through the second copy, which would drop POSIX locks of the first. */
static void *meddle(void *unused) {
    while (!__atomic_load_n(&stop, __ATOMIC_SEQ_CST)) {
        kms_t *other;
        REQUIRE_OK(second.open("copies.db", second_options, &other));
        second.close(other);
    }
    return unused;
}

static kms_t *open_first(void) {
    kms_options_t *options = new_options(NULL);
    kms_t *kms;
    REQUIRE_OK(kms_options_set_busy_timeout_ms(options, PATIENCE_MS));
    REQUIRE_OK(kms_open("copies.db", options, &kms));
    kms_options_free(options);
    return kms;
}

/* Changes through one copy, each seen by the other, which opens and closes the file constantly. */
static int change(int number) {
    kms_t *kms = open_first(), *other;
    pthread_t meddler;
    char name[64];
    FILE *log;
    int i;
    second = load_second();
    second_options = second.options_new();
    REQUIRE_OK(second.set_root_key(second_options, root_key, sizeof root_key));
    REQUIRE_OK(second.set_busy_timeout_ms(second_options, PATIENCE_MS));
    REQUIRE(pthread_create(&meddler, NULL, meddle, NULL) == 0);
    snprintf(name, sizeof name, "acknowledged-%d", number);
    log = fopen(name, "w");
    REQUIRE(log != NULL);
    for (i = 0; i < changes(); i++) {
        kms_key_metadata metadata = KMS_KEY_METADATA_INIT;
        key_id id = new_key(kms);
        fprintf(log, "%s\n", id.text);
        REQUIRE_OK(second.open("copies.db", second_options, &other));
        REQUIRE_OK(second.describe_key(other, id.text, &metadata));
        second.close(other);
    }
    REQUIRE(fclose(log) == 0);
    __atomic_store_n(&stop, 1, __ATOMIC_SEQ_CST);
    REQUIRE(pthread_join(meddler, NULL) == 0);
    second.options_free(second_options);
    kms_close(kms);
    return check_result();
}

static void changes_of_three_processes_with_two_copies_each_are_all_there(void) {
    char name[64], line[64];
    pid_t children[PROCESSES];
    int i, status, there = 0;
    kms_t *kms;
    kms_close(open_file("copies.db", NULL));
    fflush(NULL);
    for (i = 0; i < PROCESSES; i++) {
        children[i] = fork();
        REQUIRE(children[i] >= 0);
        if (children[i] == 0) {
            int failed;
            alarm(300);
            failed = change(i);
            fflush(NULL);
            kill(getpid(), failed ? SIGABRT : SIGKILL); /* what it inherited is leaked by design */
        }
    }
    for (i = 0; i < PROCESSES; i++) {
        REQUIRE(waitpid(children[i], &status, 0) == children[i]);
        CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    }
    kms = open_file("copies.db", NULL);
    for (i = 0; i < PROCESSES; i++) {
        FILE *log;
        snprintf(name, sizeof name, "acknowledged-%d", i);
        log = fopen(name, "r");
        REQUIRE(log != NULL);
        while (fgets(line, sizeof line, log) != NULL) {
            kms_key_metadata metadata = KMS_KEY_METADATA_INIT;
            line[strcspn(line, "\n")] = '\0';
            there += kms_describe_key(kms, line, &metadata) == KMS_OK;
        }
        fclose(log);
    }
    kms_close(kms);
    printf("%d of %d acknowledged changes are there\n", there, PROCESSES * changes());
    CHECK_NUMBER(there, PROCESSES * changes());
}

int main(void) {
    RUN(changes_of_three_processes_with_two_copies_each_are_all_there);
    return check_result();
}

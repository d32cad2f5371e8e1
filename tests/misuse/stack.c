/* The stack depth of each function, on a thread whose stack is filled with a pattern. The stack has only the size that kms.h
 * documents, with an inaccessible page below it. */
#define _GNU_SOURCE
#include "misuse.h"
#include <limits.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

/* What kms.h promises to be enough. */
enum { PROMISED = 128 * 1024, GUARD_PAGE = 4096 };

static uint8_t *stack;
static size_t deepest;
static char deepest_name[64];

static size_t used(void) {
    size_t at = 0;
    while (at < PROMISED && stack[at] == PATTERN) {
        at++;
    }
    return PROMISED - at;
}

typedef struct errand {
    kms_status (*call)(void *);
    void *argument;
} errand;

static void *on_small_stack(void *user) {
    errand *e = user;
    (void)e->call(e->argument);
    return NULL;
}

/* In a child, whose handle rebuilds its state in the call: that goes deepest. */
static void measure(const char *name, kms_status (*call)(void *), void *argument) {
    int ends[2], status = 0;
    size_t depth = 0;
    pid_t child;
    snprintf(progress->name, sizeof progress->name, "%s, on a stack of %d KiB", name, PROMISED / 1024);
    fflush(NULL);
    REQUIRE(pipe(ends) == 0);
    child = fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        errand e = {call, argument};
        pthread_attr_t attributes;
        pthread_t thread;
        alarm(60);
        memset(stack, PATTERN, PROMISED);
        REQUIRE(pthread_attr_init(&attributes) == 0 && pthread_attr_setstack(&attributes, stack, PROMISED) == 0);
        REQUIRE(pthread_create(&thread, &attributes, on_small_stack, &e) == 0);
        pthread_join(thread, NULL);
        depth = used();
        if (write(ends[1], &depth, sizeof depth) != (ssize_t)sizeof depth) {
            _exit(3);
        }
        _exit(0);
    }
    close(ends[1]);
    (void)!read(ends[0], &depth, sizeof depth);
    close(ends[0]);
    REQUIRE(waitpid(child, &status, 0) == child);
    progress->misused++;
    if (status != 0) {
        broken("the stack that kms.h promises is not enough");
    }
    if (depth > deepest) {
        deepest = depth;
        snprintf(deepest_name, sizeof deepest_name, "%s", name);
    }
    if (getenv("KMS_SHOW") != NULL) {
        fprintf(stderr, "%7zu %s\n", depth, name);
    }
}

static kms_status call_function(void *user) {
    const function *f = user;
    int64_t result = f->call(given);
    return f->result == STATUS ? (kms_status)result : KMS_OK;
}

static kms_options_t *passphrase(void) {
    kms_options_t *options = kms_options_new();
    REQUIRE(options != NULL);
    REQUIRE_OK(kms_options_set_root_passphrase(options, bytes("correct horse"), 13));
    REQUIRE_OK(kms_options_set_create(options, 1));
    return options;
}

/* Creates a keystore with a passphrase and a rotation thread, and closes it. */
static kms_status open_with_passphrase(void *user) {
    kms_options_t *options = passphrase();
    kms_t *kms = NULL;
    kms_status status = kms_open(user, options, &kms);
    kms_options_free(options);
    kms_close(kms);
    return status;
}

static kms_status to_passphrase(void *unused) {
    kms_options_t *options = passphrase();
    kms_status status = kms_change_root(here.kms, options);
    (void)unused;
    kms_options_free(options);
    return status;
}

static kms_status nested_json(void *user) {
    char *response = NULL;
    kms_status status = kms_call(here.kms, "ListKeys", user, &response);
    kms_string_free(response);
    return status;
}

static kms_status many_entries(void *unused) {
    static kms_context_entry entries[4000];
    static char texts[4000][8];
    uint8_t out[64];
    size_t i, len;
    (void)unused;
    for (i = 0; i < 4000; i++) {
        snprintf(texts[i], sizeof texts[i], "%zu", (i * 7919) % 4000);
        entries[i] = (kms_context_entry){texts[i], "v"};
    }
    return kms_decrypt(here.kms, here.blob.data, here.blob.len, entries, 4000, out, sizeof out, &len);
}

static kms_status rotate_overdue(void *unused) {
    size_t rotated;
    (void)unused;
    manual_clock_forward(&here.clock, 400 * DAY);
    return kms_tick(here.kms, &rotated);
}

static kms_status large(void *unused) {
    static uint8_t room[70000 + KMS_MAX_OVERHEAD];
    size_t len;
    kms_status status = kms_encrypt(here.kms, here.key.text, room, 70000, NULL, 0, room, sizeof room, &len);
    (void)unused;
    return status != KMS_OK ? status : kms_decrypt(here.kms, room, len, NULL, 0, room, sizeof room, &len);
}

void on_a_small_stack(void) {
    static char nested[4000];
    size_t i;
    make_regions();
    stack = mmap(NULL, PROMISED + GUARD_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REQUIRE(stack != MAP_FAILED && mprotect(stack, GUARD_PAGE, PROT_NONE) == 0);
    stack += GUARD_PAGE;
    for (i = 0; i < (size_t)function_count; i++) {
        make_world(&here, fresh_path(&here));
        prepare(&here, &functions[i]);
        functions[i].valid(&here, given);
        measure(functions[i].name, call_function, (void *)(uintptr_t)&functions[i]);
    }
    make_world(&here, fresh_path(&here));
    measure("a keystore created with a passphrase", open_with_passphrase, (void *)(uintptr_t)fresh_path(&here));
    measure("the root changed to a passphrase", to_passphrase, NULL);
    memset(nested, '[', 127);
    measure("JSON that is nested too deeply", nested_json, nested);
    strcpy(nested, "{\"Filters\":");
    memset(nested + strlen(nested), '[', 15);
    memset(nested + strlen(nested), ']', 15);
    strcat(nested, "}");
    measure("JSON as deeply nested as it may be", nested_json, nested);
    measure("a context of many entries", many_entries, NULL);
    measure("overdue rotations", rotate_overdue, NULL);
    measure("a large plaintext", large, NULL);
    printf("%d calls, the deepest %zu bytes: %s; %d broken\n", progress->misused, deepest, deepest_name, progress->broken);
    if (deepest > PROMISED * 3 / 4) {
        broken("less than a quarter of the promised stack is left");
    }
}

/* A child keeps using its parent's handle, but never its parent's randomness. */
#define _POSIX_C_SOURCE 200809L
#include "check.h"
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

/* Valgrind's count of wrong memory accesses so far in this process; without valgrind 0. */
#if defined(__has_include)
#if __has_include(<valgrind/valgrind.h>)
#include <valgrind/valgrind.h>
#define MEMORY_ERRORS ((int)VALGRIND_COUNT_ERRORS)
#endif
#endif
#ifndef MEMORY_ERRORS
#define MEMORY_ERRORS 0
#endif

enum { BLOBS = 20 };

typedef struct family {
    kms_t *kms;
    key_id id;
    small_blob before;
} family;

/* An open keystore, with a key and its ciphertexts. */
static family family_of(kms_t *kms) {
    family f;
    f.kms = kms;
    f.id = new_key(kms);
    f.before = encrypt_text(kms, f.id.text, "before the fork");
    return f;
}

typedef struct child_report {
    int failures;
    char version[KMS_ID_SIZE];
    small_blob blobs[BLOBS];
} child_report;

/* Runs `task` in a child, whose failures and memory errors count as this program's. By design the child leaks what it
 * inherited (it may not touch the parent's locks). It kills itself at its end, or valgrind would set the exit status. */
static void in_a_child(void (*task)(const family *, child_report *), const family *f, child_report *report) {
    const int inherited = check_failures;
    int ends[2], status = -1;
    size_t have = 0;
    pid_t child;
    memset(report, 0, sizeof *report);
    fflush(NULL);
    REQUIRE(pipe(ends) == 0);
    child = fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        size_t sent = 0;
        alarm(60);
        task(f, report);
        report->failures = check_failures - inherited + MEMORY_ERRORS;
        while (sent < sizeof *report) {
            ssize_t n = write(ends[1], (const char *)report + sent, sizeof *report - sent);
            REQUIRE(n > 0);
            sent += (size_t)n;
        }
        kill(getpid(), SIGKILL);
    }
    close(ends[1]);
    while (have < sizeof *report) {
        ssize_t n = read(ends[0], (char *)report + have, sizeof *report - have);
        if (n <= 0) {
            break;
        }
        have += (size_t)n;
    }
    close(ends[0]);
    REQUIRE(waitpid(child, &status, 0) == child);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    REQUIRE(have == sizeof *report);
    CHECK_NUMBER(report->failures, 0);
}

static void use_the_handle(const family *f, child_report *report) {
    size_t i;
    CHECK(opens_as(f->kms, &f->before, "before the fork"));
    for (i = 0; i < BLOBS; i++) {
        report->blobs[i] = encrypt_text(f->kms, f->id.text, "from the child");
    }
    CHECK_OK(kms_rotate(f->kms, f->id.text, report->version));
    report->blobs[BLOBS - 1] = encrypt_text(f->kms, f->id.text, "from the child");
    CHECK(opens_as(f->kms, &report->blobs[0], "from the child"));
    CHECK_TEXT(describe(f->kms, f->id.text).primary_version_id, report->version);
}

static void parent_and_child_go_on(int rotation_thread, const char *path) {
    static child_report report;
    kms_options_t *options = new_options(NULL);
    kms_t *kms = NULL;
    family f;
    small_blob after[BLOBS];
    kms_blob_info info = KMS_BLOB_INFO_INIT;
    size_t i, k;
    REQUIRE_OK(kms_options_set_rotation_thread(options, rotation_thread));
    REQUIRE_OK(kms_open(path, options, &kms));
    kms_options_free(options);
    f = family_of(kms);
    in_a_child(use_the_handle, &f, &report);
    CHECK_TEXT(describe(f.kms, f.id.text).primary_version_id, report.version);
    CHECK_NUMBER(describe(f.kms, f.id.text).version_count, 2);
    for (i = 0; i < BLOBS; i++) {
        after[i] = encrypt_text(f.kms, f.id.text, "from the parent");
        CHECK(opens_as(f.kms, &after[i], "from the parent"));
        CHECK(opens_as(f.kms, &report.blobs[i], "from the child"));
    }
    for (i = 0; i < BLOBS; i++) {
        CHECK(memcmp(f.before.data + 40, report.blobs[i].data + 40, 24) != 0);
        for (k = 0; k < BLOBS; k++) {
            CHECK(memcmp(after[i].data + 40, report.blobs[k].data + 40, 24) != 0);
        }
    }
    CHECK_OK(kms_inspect(f.kms, after[0].data, after[0].len, &info));
    CHECK_TEXT(info.version_id, report.version);
    CHECK(opens_as(f.kms, &f.before, "before the fork"));
    CHECK_OK(kms_rotate(f.kms, f.id.text, NULL));
    kms_close(f.kms);
}

static void a_child_encrypts_decrypts_and_rotates(void) { parent_and_child_go_on(0, "fork.db"); }

static void a_child_goes_on_beside_the_rotation_thread(void) { parent_and_child_go_on(1, "fork-thread.db"); }

static void close_the_handle(const family *f, child_report *report) {
    (void)report;
    kms_close(f->kms);
}

static void use_and_close_the_handle(const family *f, child_report *report) {
    use_the_handle(f, report);
    kms_close(f->kms);
}

static void a_child_may_close_the_handle(void) {
    static child_report report;
    family f = family_of(open_file("fork-close.db", NULL));
    in_a_child(close_the_handle, &f, &report);
    in_a_child(use_and_close_the_handle, &f, &report);
    CHECK(opens_as(f.kms, &f.before, "before the fork"));
    CHECK(opens_as(f.kms, &report.blobs[0], "from the child"));
    CHECK_OK(kms_rotate(f.kms, f.id.text, NULL));
    kms_close(f.kms);
}

static kms_key_metadata untouched = KMS_KEY_METADATA_INIT;

static int32_t see_nothing(void *user, const kms_key_metadata *key) {
    (void)user;
    (void)key;
    CHECK(!"a list in a child of a memory: keystore");
    return 0;
}

static void be_refused(const family *f, child_report *report) {
    kms_blob_info blob_info = KMS_BLOB_INFO_INIT;
    uint8_t out[256];
    size_t len = 7;
    (void)report;
    CHECK_STATUS(kms_encrypt(f->kms, f->id.text, bytes("x"), 1, NULL, 0, out, sizeof out, &len), KMS_FORKED);
    CHECK_NUMBER(len, 0);
    len = 7;
    CHECK_STATUS(kms_decrypt(f->kms, f->before.data, f->before.len, NULL, 0, out, sizeof out, &len), KMS_FORKED);
    CHECK_NUMBER(len, 0);
    CHECK_STATUS(kms_generate_data_key(f->kms, f->id.text, 32, NULL, 0, NULL, out, sizeof out, &len), KMS_FORKED);
    CHECK_STATUS(kms_reencrypt(f->kms, f->before.data, f->before.len, NULL, 0, f->id.text, NULL, 0, out, sizeof out, &len),
                 KMS_FORKED);
    CHECK_STATUS(kms_inspect(f->kms, f->before.data, f->before.len, &blob_info), KMS_FORKED);
    CHECK_STATUS(kms_rotate(f->kms, f->id.text, NULL), KMS_FORKED);
    CHECK_STATUS(kms_describe_key(f->kms, f->id.text, &untouched), KMS_FORKED);
    CHECK_STATUS(kms_disable_key(f->kms, f->id.text), KMS_FORKED);
    CHECK_STATUS(kms_list_keys(f->kms, NULL, 9, see_nothing, NULL), KMS_FORKED);
    CHECK_STATUS(kms_tick(f->kms, NULL), KMS_FORKED);
    CHECK(kms_last_error(NULL, 0) > 0);
    kms_close(f->kms);
    kms_close(open_memory(NULL)); /* a new keystore works */
}

static void a_memory_keystore_does_not_survive_a_fork(void) {
    static child_report report;
    family f = family_of(open_memory(NULL));
    in_a_child(be_refused, &f, &report);
    CHECK(opens_as(f.kms, &f.before, "before the fork"));
    CHECK_OK(kms_rotate(f.kms, f.id.text, NULL));
    kms_close(f.kms);
}

static void use_in_a_grandchild(const family *f, child_report *report) {
    small_blob mine = encrypt_text(f->kms, f->id.text, "from the child");
    in_a_child(use_the_handle, f, report);
    CHECK(opens_as(f->kms, &mine, "from the child"));
    CHECK(memcmp(mine.data + 40, report->blobs[0].data + 40, 24) != 0);
}

static void a_grandchild_goes_on_too(void) {
    static child_report report;
    family f = family_of(open_file("fork-grand.db", NULL));
    in_a_child(use_in_a_grandchild, &f, &report);
    CHECK(opens_as(f.kms, &report.blobs[0], "from the child"));
    kms_close(f.kms);
}

static int callbacks;

static kms_status wrap(void *user, const uint8_t *input, size_t input_len, const uint8_t *aad, size_t aad_len, uint8_t *out,
                       size_t out_cap, size_t *out_len) {
    (void)user;
    callbacks++;
    if (input_len + aad_len > out_cap) {
        return KMS_BUFFER_TOO_SMALL;
    }
    memcpy(out, aad, aad_len);
    memcpy(out + aad_len, input, input_len);
    *out_len = aad_len + input_len;
    return KMS_OK;
}

static kms_status unwrap(void *user, const uint8_t *input, size_t input_len, const uint8_t *aad, size_t aad_len, uint8_t *out,
                         size_t out_cap, size_t *out_len) {
    (void)user;
    callbacks++;
    if (input_len < aad_len || input_len - aad_len > out_cap || memcmp(input, aad, aad_len) != 0) {
        return KMS_AUTHENTICATION_FAILED;
    }
    memcpy(out, input + aad_len, input_len - aad_len);
    *out_len = input_len - aad_len;
    return KMS_OK;
}

static void use_without_unwrapping(const family *f, child_report *report) {
    const int before = callbacks;
    use_the_handle(f, report);
    CHECK_NUMBER(callbacks, before);
}

static void the_root_key_is_not_unwrapped_again_in_a_child(void) {
    static child_report report;
    kms_options_t *options = kms_options_new();
    kms_t *kms = NULL;
    family f;
    REQUIRE(options != NULL);
    REQUIRE_OK(kms_options_set_root_callback(options, wrap, unwrap, NULL));
    REQUIRE_OK(kms_options_set_create(options, 1));
    REQUIRE_OK(kms_open("fork-callback.db", options, &kms));
    kms_options_free(options);
    CHECK(callbacks > 0);
    f = family_of(kms);
    in_a_child(use_without_unwrapping, &f, &report);
    CHECK(opens_as(f.kms, &report.blobs[0], "from the child"));
    kms_close(f.kms);
}

int main(void) {
    RUN(a_child_encrypts_decrypts_and_rotates);
    RUN(a_child_goes_on_beside_the_rotation_thread);
    RUN(a_child_may_close_the_handle);
    RUN(a_memory_keystore_does_not_survive_a_fork);
    RUN(a_grandchild_goes_on_too);
    RUN(the_root_key_is_not_unwrapped_again_in_a_child);
    return check_result();
}

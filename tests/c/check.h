/* What the test programs here share: checks that name the broken promise, and keystores to test it on. */
#ifndef KMS_TESTS_CHECK_H
#define KMS_TESTS_CHECK_H

#include <kms.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int check_failures;
static const char *check_test = "";

static inline void check_report(const char *file, int line, const char *text) {
    __atomic_add_fetch(&check_failures, 1, __ATOMIC_SEQ_CST);
    fprintf(stderr, "%s:%d: %s: broken: %s\n", file, line, check_test, text);
}

static inline int check_status(const char *file, int line, const char *call, kms_status got, kms_status wanted) {
    char detail[512];
    if (got == wanted) {
        return 1;
    }
    kms_last_error(detail, sizeof detail);
    check_report(file, line, call);
    fprintf(stderr, "    wanted %s (%d), got %s (%d): %s\n", kms_status_name(wanted), (int)wanted, kms_status_name(got),
            (int)got, got == KMS_OK ? "" : detail);
    return 0;
}

static inline int check_number(const char *file, int line, const char *call, long long got, long long wanted) {
    if (got == wanted) {
        return 1;
    }
    check_report(file, line, call);
    fprintf(stderr, "    wanted %lld, got %lld\n", wanted, got);
    return 0;
}

/* The test continues after a failed CHECK. REQUIRE_OK ends the program where the rest depends on the call. */
#define CHECK(condition) ((condition) ? (void)0 : check_report(__FILE__, __LINE__, #condition))
#define CHECK_STATUS(call, wanted) check_status(__FILE__, __LINE__, #call, (call), (wanted))
#define CHECK_OK(call) CHECK_STATUS(call, KMS_OK)
#define CHECK_NUMBER(value, wanted)                                                                                            \
    check_number(__FILE__, __LINE__, #value " == " #wanted, (long long)(value), (long long)(wanted))
#define CHECK_TEXT(value, wanted)                                                                                              \
    (strcmp((value), (wanted)) == 0 ? (void)0 : check_report(__FILE__, __LINE__, #value " is " #wanted))
#define REQUIRE_OK(call) (CHECK_OK(call) ? (void)0 : exit(1))
#define REQUIRE(condition) ((condition) ? (void)0 : (check_report(__FILE__, __LINE__, #condition), exit(1)))

/* Runs one test; its name is the promise. */
#define RUN(test) (check_test = #test, test())

static inline int check_result(void) {
    if (check_failures != 0) {
        fprintf(stderr, "%d broken\n", check_failures);
    }
    return check_failures == 0 ? 0 : 1;
}

#define SECOND INT64_C(1000)
#define HOUR (3600 * SECOND)
#define DAY (24 * HOUR)
#define DAY_S (INT64_C(24) * 3600)
#define NEW_YEAR_2025 INT64_C(1735689600000)

typedef struct manual_clock {
    int64_t now_ms;
} manual_clock;

static inline int64_t manual_clock_now(void *user) {
    return __atomic_load_n(&((manual_clock *)user)->now_ms, __ATOMIC_SEQ_CST);
}

static inline void manual_clock_forward(manual_clock *clock, int64_t ms) {
    __atomic_add_fetch(&clock->now_ms, ms, __ATOMIC_SEQ_CST);
}

static const uint8_t root_key[32] = "a root key of exactly 32 bytes!";

/* Options with the root key above, create on; `clock` may be NULL: the system's, without a rotation thread. */
static inline kms_options_t *new_options(manual_clock *clock) {
    kms_options_t *options = kms_options_new();
    REQUIRE(options != NULL);
    REQUIRE_OK(kms_options_set_root_key(options, root_key, sizeof root_key));
    REQUIRE_OK(kms_options_set_create(options, 1));
    REQUIRE_OK(kms_options_set_rotation_thread(options, 0));
    if (clock != NULL) {
        REQUIRE_OK(kms_options_set_clock(options, manual_clock_now, clock));
    }
    return options;
}

static inline kms_t *open_file(const char *location, manual_clock *clock) {
    kms_options_t *options = new_options(clock);
    kms_t *kms = NULL;
    REQUIRE_OK(kms_open(location, options, &kms));
    REQUIRE(kms != NULL);
    kms_options_free(options);
    return kms;
}

static inline kms_t *open_memory(manual_clock *clock) { return open_file("memory:", clock); }

typedef struct key_id {
    char text[KMS_ID_SIZE];
} key_id;

static inline key_id new_key(const kms_t *kms) {
    key_id id;
    REQUIRE_OK(kms_create_key(kms, NULL, id.text));
    return id;
}

static inline key_id new_rotating_key(const kms_t *kms, int64_t interval_s) {
    kms_create_key_options options = KMS_CREATE_KEY_OPTIONS_INIT;
    key_id id;
    options.enable_automatic_rotation = 1;
    options.rotation_interval_s = interval_s;
    REQUIRE_OK(kms_create_key(kms, &options, id.text));
    return id;
}

static inline key_id new_external_key(const kms_t *kms) {
    kms_create_key_options options = KMS_CREATE_KEY_OPTIONS_INIT;
    key_id id;
    options.origin = KMS_ORIGIN_EXTERNAL;
    REQUIRE_OK(kms_create_key(kms, &options, id.text));
    return id;
}

static inline kms_key_metadata describe(const kms_t *kms, const char *key) {
    kms_key_metadata metadata = KMS_KEY_METADATA_INIT;
    REQUIRE_OK(kms_describe_key(kms, key, &metadata));
    return metadata;
}

static inline int32_t count_change(void *user, const kms_logged_change *change) {
    *(uint64_t *)user += change->status == KMS_OK;
    return 0;
}

/* How many changes the keystore has had. A refused call has an entry in the log, too, and is no change. */
static inline uint64_t changes_made(const kms_t *kms) {
    uint64_t count = 0;
    REQUIRE_OK(kms_list_changes(kms, NULL, 0, 0, 0, SIZE_MAX, count_change, &count));
    return count;
}

static inline kms_health_info health(const kms_t *kms) {
    kms_health_info info = KMS_HEALTH_INFO_INIT;
    REQUIRE_OK(kms_health(kms, &info));
    return info;
}

static const char no_such_id[] = "00000000-0000-4000-8000-000000000000";

static inline const uint8_t *bytes(const char *text) { return (const uint8_t *)text; }

/* A small ciphertext of a text without its NUL. */
typedef struct small_blob {
    uint8_t data[1024];
    size_t len;
} small_blob;

static inline small_blob encrypt_text(const kms_t *kms, const char *key, const char *text) {
    small_blob blob;
    memset(&blob, 0, sizeof blob); /* all of it may be sent through a pipe */
    REQUIRE_OK(kms_encrypt(kms, key, bytes(text), strlen(text), NULL, 0, blob.data, sizeof blob.data, &blob.len));
    return blob;
}

/* Whether the blob decrypts to the text. */
static inline int opens_as(const kms_t *kms, const small_blob *blob, const char *text) {
    uint8_t out[1024];
    size_t len = 77;
    kms_status status = kms_decrypt(kms, blob->data, blob->len, NULL, 0, out, sizeof out, &len);
    if (status != KMS_OK) {
        check_status(__FILE__, __LINE__, "kms_decrypt", status, KMS_OK);
        return 0;
    }
    return len == strlen(text) && memcmp(out, text, len) == 0;
}

static inline int all_are(const uint8_t *data, size_t len, int value) {
    size_t i;
    for (i = 0; i < len; i++) {
        if (data[i] != (uint8_t)value) {
            return 0;
        }
    }
    return 1;
}

#endif

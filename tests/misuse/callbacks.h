/* What the library calls: as it should be, failing, taking long, calling the library. */
#ifndef KMS_TESTS_CALLBACKS_H
#define KMS_TESTS_CALLBACKS_H

#include "misuse.h"

static enum { PLAIN, FAILING, LYING, SLOW, REENTERING } manner;
static int inside; /* a callback that re-enters isn't entered again by its own calls */
static unsigned long called, reentered;
static void call_everything(int depth);

static int32_t behave(void) {
    static const struct timespec long_time = {0, 20000000};
    called++;
    if (manner == SLOW) {
        nanosleep(&long_time, NULL);
    } else if (manner == REENTERING && !inside) {
        inside = 1;
        call_everything(1);
        inside = 0;
        reentered++;
    }
    return manner == FAILING;
}

static kms_status callback_kms_wrap_fn(void *user, const uint8_t *input, size_t input_len, uint8_t *out, size_t out_cap,
                                       size_t *out_len) {
    size_t i;
    (void)user;
    if (behave() != 0) {
        return 12345;
    }
    *out_len = manner == LYING ? SIZE_MAX : input_len < out_cap ? input_len : out_cap;
    for (i = 0; i < input_len && i < out_cap; i++) {
        out[i] = input[i] ^ 0x55;
    }
    return KMS_OK;
}

static int64_t callback_kms_clock_fn(void *user) {
    static int64_t wild;
    (void)user;
    if (behave() != 0) {
        return wild = wild == INT64_MIN ? INT64_MAX : INT64_MIN;
    }
    return manner == LYING ? -1 : NEW_YEAR_2025;
}

static uint8_t anchor_record[512];
static size_t anchor_len;

static kms_status callback_kms_anchor_get_fn(void *user, uint8_t *out, size_t out_cap, size_t *out_len) {
    (void)user;
    if (behave() != 0) {
        return 12345;
    }
    *out_len = manner == LYING ? out_cap + 1 : anchor_len < out_cap ? anchor_len : out_cap;
    memcpy(out, anchor_record, anchor_len < out_cap ? anchor_len : out_cap);
    return KMS_OK;
}

static kms_status callback_kms_anchor_put_fn(void *user, const uint8_t *record, size_t record_len) {
    (void)user;
    if (behave() != 0) {
        return -1;
    }
    anchor_len = record_len < sizeof anchor_record ? record_len : sizeof anchor_record;
    memcpy(anchor_record, record, anchor_len);
    return KMS_OK;
}

static void callback_kms_event_fn(void *user, const kms_event *event) {
    (void)user;
    (void)event;
    behave();
}

static int32_t callback_kms_visit_key_fn(void *user, const kms_key_metadata *key) {
    (void)user;
    (void)key;
    return behave();
}

static int32_t callback_kms_visit_version_fn(void *user, const kms_key_version *version) {
    (void)user;
    (void)version;
    return behave();
}

static int32_t callback_kms_visit_alias_fn(void *user, const char *alias, const char *key) {
    (void)user;
    (void)alias;
    (void)key;
    return behave();
}

static int32_t callback_kms_visit_tag_fn(void *user, const kms_tag *tag) {
    (void)user;
    (void)tag;
    return behave();
}

static int32_t callback_kms_visit_fault_fn(void *user, const char *key, kms_status status, const char *text) {
    (void)user;
    (void)key;
    (void)status;
    (void)text;
    return behave();
}

#endif

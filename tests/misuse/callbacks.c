/* Callbacks that behave, fail, call the library, or take long. */
#define _GNU_SOURCE
#include "misuse.h"
#include <time.h>

behaviour how;
int callbacks_run;
static int depth;
world *callback_world;

static void call_everything(void) {
    int i, j, region_before = next_region;
    if (callback_world == NULL || depth > 1) {
        return;
    }
    for (i = 0; i < function_count; i++) {
        const function *f = &functions[i];
        slot slots[PARAMS];
        memset(slots, 0, sizeof slots);
        /* Generating and reading RSA keys again in each callback would test nothing new. */
        if (strcmp(f->name, "kms_close") == 0 || strstr(f->name, "import") != NULL || f->result != STATUS) {
            continue;
        }
        next_region = region_before;
        f->valid(callback_world, slots);
        f->call(slots);
        for (j = 0; j < f->count; j++) {
            void *made = NULL;
            if (f->params[j].kind == VALUE_OUT && frees(f)) {
                memcpy(&made, slots[j].writable, sizeof made);
                free_made(f, made);
            }
        }
    }
    next_region = region_before;
}

static int behaves(void) {
    const struct timespec time = {0, 20000000};
    callbacks_run++;
    depth++;
    if (how == REENTER) {
        call_everything();
    } else if (how == LONG && depth == 1) {
        nanosleep(&time, NULL);
    }
    depth--;
    return how != FAIL;
}

/* Wraps and unwraps: prepends the bound data, and a second call removes it. */
static kms_status wrap(void *user, const uint8_t *in, size_t len, const uint8_t *aad, size_t aad_len, uint8_t *out, size_t cap,
                       size_t *out_len) {
    (void)user;
    if (!behaves() || cap < len + aad_len) {
        return KMS_KEYSTORE_IO;
    }
    if (len == 32) {
        memcpy(out, aad, aad_len);
        memcpy(out + aad_len, in, len);
        *out_len = aad_len + len;
        return KMS_OK;
    }
    if (len < aad_len || memcmp(in, aad, aad_len) != 0) {
        return KMS_AUTHENTICATION_FAILED;
    }
    memcpy(out, in + aad_len, len - aad_len);
    *out_len = len - aad_len;
    return KMS_OK;
}

static int64_t clock_now(void *user) {
    static const int64_t wrong[] = {INT64_MIN, INT64_MAX, -1, 0};
    static int at;
    (void)user;
    return behaves() ? NEW_YEAR_2025 : wrong[at++ % 4];
}

static uint8_t anchored[256];
static size_t anchored_len;

void forget_anchor(void) { anchored_len = 0; }

static kms_status anchor_get(void *user, uint8_t *out, size_t cap, size_t *out_len) {
    (void)user;
    if (!behaves() || cap < anchored_len) {
        return -1;
    }
    memcpy(out, anchored, anchored_len);
    *out_len = anchored_len;
    return KMS_OK;
}

static kms_status anchor_put(void *user, const uint8_t *record, size_t len) {
    (void)user;
    if (!behaves() || len > sizeof anchored) {
        return INT32_MAX;
    }
    memcpy(anchored, record, len);
    anchored_len = len;
    return KMS_OK;
}

static void on_event(void *user, const kms_event *event) {
    (void)user;
    (void)event;
    behaves();
}

static int32_t on_key(void *user, const kms_key_metadata *key) {
    (void)user;
    (void)key;
    return !behaves();
}

static int32_t on_version(void *user, const kms_key_version *version) {
    (void)user;
    (void)version;
    return !behaves();
}

static int32_t on_alias(void *user, const char *alias, const char *key) {
    (void)user;
    (void)alias;
    (void)key;
    return !behaves();
}

static int32_t on_tag(void *user, const kms_tag *tag) {
    (void)user;
    (void)tag;
    return !behaves();
}

static int32_t on_root_slot(void *user, const kms_root_slot *slot) {
    (void)user;
    (void)slot;
    return !behaves();
}

static int32_t on_change(void *user, const kms_logged_change *change) {
    (void)user;
    (void)change;
    return !behaves();
}

static int32_t on_survey_count(void *user, const kms_survey_count *count) {
    (void)user;
    (void)count;
    return !behaves();
}

static int32_t on_fault(void *user, const char *key, kms_status status, const char *text) {
    (void)user;
    (void)key;
    (void)status;
    (void)text;
    return !behaves();
}

/* Reads the sealed file; when it fails, it reports a wrong length. */
static kms_status read_at(void *user, uint64_t offset, uint8_t *out, size_t cap, size_t *out_len) {
    const world *w = user;
    size_t left = offset < w->sealed_len ? w->sealed_len - (size_t)offset : 0, len = left < cap ? left : cap;
    if (!behaves()) {
        *out_len = cap + 1;
        return offset == 0 ? KMS_OK : KMS_KEYSTORE_IO;
    }
    memcpy(out, w->sealed_bytes + (len == 0 ? 0 : offset), len);
    *out_len = len;
    return KMS_OK;
}

void (*visitor_of(const char *type))(void) {
#define IS(name, function)                                                                                                     \
    if (strcmp(type, name) == 0) {                                                                                             \
        return (void (*)(void))function;                                                                                       \
    }
    IS("kms_wrap_fn", wrap)
    IS("kms_clock_fn", clock_now)
    IS("kms_anchor_get_fn", anchor_get)
    IS("kms_anchor_put_fn", anchor_put)
    IS("kms_event_fn", on_event)
    IS("kms_visit_key_fn", on_key)
    IS("kms_visit_version_fn", on_version)
    IS("kms_visit_alias_fn", on_alias)
    IS("kms_visit_tag_fn", on_tag)
    IS("kms_visit_fault_fn", on_fault)
    IS("kms_visit_change_fn", on_change)
    IS("kms_visit_survey_count_fn", on_survey_count)
    IS("kms_visit_root_slot_fn", on_root_slot)
    IS("kms_read_at_fn", read_at)
#undef IS
    fprintf(stderr, "no callback of type %s\n", type);
    exit(1);
}

/* Every function of kms.h is misused in every way that the header's types allow: a status, no crash, no hang, no write
 * outside of the buffers given, and the handle works afterwards. The table of functions is generated: see ci/misuse. */
#define _GNU_SOURCE
#include "misuse.h"
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* The padding of a struct has no value; comparing it is no fault. */
#if defined(__has_include)
#if __has_include(<valgrind/memcheck.h>)
#include <valgrind/memcheck.h>
#define DEFINED(at, len) (void)VALGRIND_MAKE_MEM_DEFINED(at, len)
#endif
#endif
#ifndef DEFINED
#define DEFINED(at, len) (void)0
#endif

static void *put_records(world *decrypting);

#include "table.h"

enum { FUNCTIONS = sizeof functions / sizeof *functions };

/* ---- Memory: each argument ends at a page that can't be touched, and lies in a pattern. */

enum { REGIONS = 2 * PARAMS, REGION = 16384, GUARD = 4096, PATTERN = 0xA5, ROOMY_AT = 4096 };

typedef struct region {
    uint8_t *base, *at, *before;
    size_t len;
    int is_output;
} region;

static region regions[REGIONS];
static int next_region;
static int roomy; /* 1: in the middle of its memory, so that it may be misaligned or shared */

static void make_regions(void) {
    int i;
    for (i = 0; i < REGIONS; i++) {
        regions[i].base = mmap(NULL, REGION + GUARD, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        REQUIRE(regions[i].base != MAP_FAILED && mprotect(regions[i].base + REGION, GUARD, PROT_NONE) == 0);
        regions[i].before = malloc(REGION);
        REQUIRE(regions[i].before != NULL);
    }
}

static void *take(const void *data, size_t len) {
    region *r = &regions[next_region++];
    REQUIRE(next_region <= REGIONS && len <= REGION - ROOMY_AT);
    memset(r->base, PATTERN, REGION);
    r->at = roomy ? r->base + ROOMY_AT : r->base + REGION - len;
    r->len = len;
    r->is_output = data == NULL;
    if (data != NULL) {
        memcpy(r->at, data, len);
        DEFINED(r->at, len);
    }
    return r->at;
}

void *put(const void *data, size_t len) {
    return take(data, len);
}

void *put_text(const char *text) {
    return take(text, strlen(text) + 1);
}

void *room_for(size_t len) {
    return take(NULL, len);
}

static void *put_records(world *decrypting) {
    static uint8_t outputs[2][512];
    static const kms_context_entry context = {"tenant", "42"};
    kms_batch_record records[2] = {KMS_BATCH_RECORD_INIT, KMS_BATCH_RECORD_INIT};
    int i;
    for (i = 0; i < 2; i++) {
        records[i].input = decrypting != NULL ? decrypting->blob.data : bytes("a record");
        records[i].input_len = decrypting != NULL ? decrypting->blob.len : 8;
        records[i].context = &context;
        records[i].context_count = 1;
        records[i].out = outputs[i];
        records[i].out_cap = sizeof outputs[i];
    }
    return take(records, sizeof records);
}

/* ---- What the trials begin with. */

static world here;
static char folder[400];
static int path_number;

const char *fresh_path(world *w) {
    snprintf(w->path, sizeof w->path, "%s/%d-%ld", folder, path_number++, (long)getpid());
    return w->path;
}

kms_options_t *make_options(world *w) {
    kms_options_free(w->options);
    w->options = new_options(&w->clock);
    return w->options;
}

char *owned_string(world *w) {
    char *text = NULL;
    REQUIRE_OK(kms_call(w->kms, "ListKeys", NULL, &text));
    return text;
}

static void make_world(world *w, const char *location) {
    static uint8_t public_key[512];
    static size_t public_key_len;
    kms_context_entry context = {"tenant", "42"};
    key_id rsa;
    kms_close(w->kms);
    w->clock.now_ms = NEW_YEAR_2025;
    w->kms = open_file(location, &w->clock);
    w->key = new_rotating_key(w->kms, DAY_S);
    w->disabled = new_key(w->kms);
    w->external = new_external_key(w->kms);
    w->imported = new_external_key(w->kms);
    REQUIRE_OK(kms_import_raw_key_material(w->kms, w->imported.text, root_key, sizeof root_key, 0));
    REQUIRE_OK(kms_rotate(w->kms, w->key.text, w->version_id));
    REQUIRE_OK(kms_create_alias(w->kms, w->key.text, "alias/one"));
    REQUIRE_OK(kms_update_key_description(w->kms, w->key.text, "a key to misuse"));
    w->blob.len = w->data_key.len = w->wrapped_len = 0;
    REQUIRE_OK(kms_encrypt(w->kms, w->key.text, bytes("a text"), 6, &context, 1, w->blob.data, sizeof w->blob.data,
                           &w->blob.len));
    REQUIRE_OK(kms_generate_data_key(w->kms, w->key.text, 32, &context, 1, NULL, w->data_key.data,
                                     sizeof w->data_key.data, &w->data_key.len));
    REQUIRE_OK(kms_schedule_key_deletion(w->kms, w->disabled.text, 7));
    /* RSA keys take long to make: one is enough for all that only wraps with it. */
    w->token_len = 0;
    if (public_key_len == 0) {
        int64_t expires;
        uint8_t token[2048];
        size_t token_len;
        rsa = new_external_key(w->kms);
        REQUIRE_OK(kms_get_parameters_for_import(w->kms, rsa.text, KMS_WRAPPING_OAEP_SHA_256, public_key, sizeof public_key,
                                                 &public_key_len, token, sizeof token, &token_len, &expires));
    }
    memcpy(w->public_key, public_key, public_key_len);
    w->public_key_len = public_key_len;
    w->generation = health(w->kms).generation;
}

static void make_token(world *w) {
    int64_t expires;
    uint8_t blob[512];
    size_t blob_len;
    uint8_t public_key[512];
    size_t len;
    if (w->token_len != 0) {
        return;
    }
    REQUIRE_OK(kms_get_parameters_for_import(w->kms, w->external.text, KMS_WRAPPING_OAEP_SHA_256, public_key,
                                             sizeof public_key, &len, w->token, sizeof w->token, &w->token_len, &expires));
    REQUIRE_OK(kms_generate_and_export_data_key(w->kms, w->key.text, 32, NULL, 0, public_key, len,
                                                KMS_WRAPPING_OAEP_SHA_256, blob, sizeof blob, &blob_len, w->wrapped,
                                                sizeof w->wrapped, &w->wrapped_len));
}

/* What some functions need first. A key that is enabled needn't be disabled: the call is the same. */
static void prepare(world *w, const function *f) {
    if (health(w->kms).generation != w->generation) {
        make_world(w, "memory:");
    }
    if (strcmp(f->name, "kms_enable_key") == 0) {
        REQUIRE_OK(kms_cancel_key_deletion(w->kms, w->disabled.text));
    }
    if (strcmp(f->name, "kms_import_key_material") == 0) {
        make_token(w);
    }
    next_region = 0;
}

/* ---- Callbacks that behave, fail, call the library, or take long. */

typedef enum behaviour { WELL, FAIL, REENTER, LONG } behaviour;

static behaviour how;
static int depth, callbacks_run;
static world *callback_world; /* on whose handle they call */

static void call_everything(void) {
    int i, region_before = next_region;
    if (callback_world == NULL || depth > 1) {
        return;
    }
    for (i = 0; i < FUNCTIONS; i++) {
        const function *f = &functions[i];
        slot slots[PARAMS];
        memset(slots, 0, sizeof slots);
        /* Making and reading RSA keys once more in each callback shows nothing new. */
        if (strcmp(f->name, "kms_close") == 0 || strstr(f->name, "import") != NULL || f->result != STATUS) {
            continue;
        }
        next_region = region_before;
        f->valid(callback_world, slots);
        f->call(slots);
        if (strcmp(f->name, "kms_open") == 0) {
            kms_close(*(kms_t **)slots[2].writable);
        } else if (strcmp(f->name, "kms_call") == 0) {
            kms_string_free(*(char **)slots[3].writable);
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

static kms_status wrap(void *user, const uint8_t *in, size_t len, uint8_t *out, size_t cap, size_t *out_len) {
    (void)user;
    if (!behaves() || cap < len) {
        return KMS_KEYSTORE_IO;
    }
    memcpy(out, in, len);
    *out_len = len;
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

static int32_t on_fault(void *user, const char *key, kms_status status, const char *text) {
    (void)user;
    (void)key;
    (void)status;
    (void)text;
    return !behaves();
}

void (*visitor_of(const char *type))(void) {
#define IS(name, function)            \
    if (strcmp(type, name) == 0) {    \
        return (void (*)(void))function; \
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
#undef IS
    fprintf(stderr, "no callback of type %s\n", type);
    exit(1);
}

/* ---- A trial: valid arguments, one of them changed, the call, what must hold. */

/* Shared with the parent, who goes on after a trial that crashed. */
static struct progress {
    int number, broken, misused;
    char name[256];
} *progress;

static int go_on_at, quick; /* quick: the trials that are worth their time under valgrind */
static slot a[PARAMS];

typedef enum expected { ANY, NOT_OK, INVALID, TOO_SMALL, OK } expected;

static void broken(const char *text) {
    progress->broken++;
    fprintf(stderr, "%s: broken: %s\n", progress->name, text);
}

static int begin(const function *f, const char *name, const char *change) {
    if (progress->number++ < go_on_at) {
        return 0;
    }
    snprintf(progress->name, sizeof progress->name, "%s, %s: %s", f->name, name, change);
    prepare(&here, f);
    f->valid(&here, a);
    alarm(60);
    return 1;
}

/* `shared`: arguments lie in each other's memory, so what they hold afterwards says nothing. */
static void finish(const function *f, expected wanted, int shared) {
    int used = next_region, i;
    int64_t result;
    kms_status status;
    for (i = 0; i < used; i++) {
        memcpy(regions[i].before, regions[i].base, REGION);
    }
    result = f->call(a);
    status = f->result == STATUS ? (kms_status)result : KMS_OK;
    progress->misused++;
    if (f->result == POINTER && result == 0) {
        broken("it returned NULL");
    }
    if (strcmp(f->name, "kms_options_new") == 0) {
        kms_options_free((kms_options_t *)(intptr_t)result);
    }
    if (status < 0 || status >= 900 || strcmp(kms_status_name(status), kms_status_name(-1)) == 0) {
        char text[512];
        kms_last_error(text, sizeof text);
        fprintf(stderr, "%d: %s\n", (int)status, text);
        broken("a status that no argument can bring about");
    }
    if (f->result == STATUS && ((wanted == OK && status != KMS_OK) || (wanted == NOT_OK && status == KMS_OK) ||
                                (wanted == INVALID && status != KMS_INVALID_ARGUMENT) ||
                                (wanted == TOO_SMALL && status != KMS_BUFFER_TOO_SMALL))) {
        char text[512];
        kms_last_error(text, sizeof text);
        fprintf(stderr, "%s: %s\n", kms_status_name(status), status == KMS_OK ? "" : text);
        broken(wanted == OK ? "valid arguments are refused" : "it is not refused as it should be");
    }
    for (i = 0; i < used && !shared; i++) {
        region *r = &regions[i];
        size_t start = (size_t)(r->at - r->base);
        if (memcmp(r->base, r->before, start) != 0 ||
            memcmp(r->at + r->len, r->before + start + r->len, REGION - start - r->len) != 0) {
            broken("something outside of an argument was written");
        }
    }
    for (i = 0; i < f->count && !shared; i++) {
        const param *p = &f->params[i];
        const uint8_t *now = a[i].pointer;
        size_t size = p->kind == OUT && p->partner >= 0 ? (size_t)a[p->partner].number : 0;
        uint64_t value;
        if ((p->kind == TEXT || p->kind == BYTES || p->kind == ARRAY || p->kind == STRUCT_IN) && now != NULL) {
            int r;
            for (r = 0; r < used; r++) {
                region *in = &regions[r];
                if (now == in->at && memcmp(in->at, in->before + (in->at - in->base), in->len) != 0) {
                    broken("an input was written");
                }
            }
        }
        if (status == KMS_OK || now == NULL || f->result != STATUS) {
            continue;
        }
        if (p->kind == OUT && !all_are(now, size < 3000 ? size : 0, PATTERN) && !all_are(now, size < 3000 ? size : 0, 0)) {
            broken("a failed call wrote into its output");
        }
        if (p->kind == VALUE_OUT && i > 0 && f->params[i - 1].kind == CAPACITY && (uintptr_t)now % sizeof value == 0) {
            memcpy(&value, now, sizeof value);
            if (value != 0 && status != KMS_BUFFER_TOO_SMALL && value != UINT64_C(0xA5A5A5A5A5A5A5A5)) {
                broken("the length of a failed output is not 0");
            }
        }
    }
    for (i = 0; i < f->count; i++) {
        void *made = NULL;
        if (f->params[i].kind != VALUE_OUT || a[i].pointer == NULL) {
            continue;
        }
        if (strcmp(f->name, "kms_open") == 0 || strcmp(f->name, "kms_call") == 0) {
            memcpy(&made, a[i].pointer, sizeof made);
            if ((uintptr_t)a[i].pointer % sizeof made != 0 && status == KMS_INVALID_ARGUMENT) {
                continue; /* refused as misaligned: what lies there is not the call's */
            }
            if (all_are((const uint8_t *)&made, sizeof made, PATTERN)) {
                if ((uintptr_t)a[i].pointer % sizeof made == 0) {
                    broken("a failed call left its output as it was");
                }
            } else if (strcmp(f->name, "kms_open") == 0) {
                if ((made != NULL) != (status == KMS_OK)) {
                    broken("a handle without KMS_OK, or none with it");
                }
                kms_close(made);
            } else {
                kms_string_free(made);
            }
        }
    }
    /* Options that a setter took must also open. */
    if (f->params[0].kind == OPTIONS && f->count > 1 && status == KMS_OK && f->result == STATUS && !quick) {
        kms_t *kms = NULL;
        kms_status opened = kms_open("memory:", here.options, &kms);
        if (opened >= 900 || (opened == KMS_OK) != (kms != NULL)) {
            broken("options that were accepted don't open or fail properly");
        }
        kms_close(kms);
    }
    {
        uint8_t text[64];
        size_t len = 0;
        kms_context_entry context = {"tenant", "42"};
        kms_status after = kms_decrypt(here.kms, here.blob.data, here.blob.len, &context, 1, text, sizeof text, &len);
        kms_key_metadata key = KMS_KEY_METADATA_INIT;
        int usable = kms_describe_key(here.kms, here.key.text, &key) == KMS_OK && key.state == KMS_STATE_ENABLED;
        if (usable ? after != KMS_OK || len != 6 || memcmp(text, "a text", 6) != 0 : after / 100 != 3) {
            broken("the handle does not work afterwards");
        }
    }
    alarm(0);
}

/* ---- The changes. */

static void nulls(const function *f) {
    int i;
    for (i = 0; i < f->count; i++) {
        const param *p = &f->params[i];
        if (p->kind < LENGTH && p->kind != USER && begin(f, p->name, "NULL")) {
            if (strcmp(f->name, "kms_string_free") == 0) {
                kms_string_free(a[i].writable);
            }
            a[i].pointer = NULL;
            finish(f, p->nullable ? ANY : INVALID, 0);
        }
    }
}

static void misaligned(const function *f) {
    int i, by;
    for (i = 0; i < f->count; i++) {
        const param *p = &f->params[i];
        int holds_words = p->kind == HANDLE || p->kind == OPTIONS || p->kind == ARRAY || p->kind == RECORDS ||
                          p->kind == STRUCT_IN || p->kind == STRUCT_OUT || p->kind == VALUE_OUT;
        for (by = 1; holds_words && by < 8; by += 3) {
            roomy = 1;
            if (begin(f, p->name, "misaligned")) {
                const uint8_t *at = a[i].pointer;
                if (p->kind != HANDLE && p->kind != OPTIONS) {
                    memmove((uint8_t *)a[i].writable + by, at, 256);
                }
                a[i].pointer = at + by;
                finish(f, p->kind == HANDLE || p->kind == OPTIONS ? INVALID : ANY, 1);
            }
            roomy = 0;
        }
    }
}

static void numbers(const function *f) {
    static const uint64_t impossible[] = {SIZE_MAX, SIZE_MAX - 7, SIZE_MAX / 2, SIZE_MAX / 2 + 1, SIZE_MAX / 4};
    static const uint64_t any[] = {0, 1, 2, SIZE_MAX, SIZE_MAX / 2, SIZE_MAX / 2 + 1, UINT32_MAX, INT32_MAX};
    static const int64_t no_choice[] = {-1, INT32_MAX, INT32_MIN};
    size_t n;
    int i;
    for (i = 0; i < f->count; i++) {
        const param *p = &f->params[i];
        for (n = 0; p->kind == LENGTH && n < sizeof impossible / sizeof *impossible; n++) {
            if (begin(f, p->name, "an impossible length")) {
                a[i].number = impossible[n];
                finish(f, NOT_OK, 0);
            }
        }
        if (p->kind == LENGTH && begin(f, p->name, "0")) {
            a[i].number = 0;
            finish(f, ANY, 0);
        }
        if (p->kind == LENGTH && begin(f, p->name, "one short")) {
            a[i].number--;
            finish(f, ANY, 0);
        }
        for (n = 0; p->kind == CAPACITY && n < 2; n++) {
            if (begin(f, p->name, n == 0 ? "0" : "1")) {
                a[i].number = n;
                finish(f, TOO_SMALL, 0);
            }
        }
        for (n = 0; p->kind == CAPACITY && n < sizeof impossible / sizeof *impossible; n++) {
            if (begin(f, p->name, "an impossible capacity")) {
                a[i].number = impossible[n];
                finish(f, ANY, 0);
            }
        }
        for (n = 0; p->kind == SIZE && n < sizeof any / sizeof *any; n++) {
            if (begin(f, p->name, "another size of a record")) {
                a[i].number = any[n];
                finish(f, NOT_OK, 0);
            }
        }
        for (n = 0; p->kind == COUNT && n < sizeof any / sizeof *any; n++) {
            /* A count of records that are not there can't be told from one of records that are. */
            if (any[n] < 2 || any[n] > UINT32_MAX) {
                if (begin(f, p->name, "another count")) {
                    a[i].number = any[n];
                    finish(f, any[n] > 2 ? NOT_OK : ANY, 0);
                }
            }
        }
        for (n = 0; p->kind == NUMBER && n < sizeof any / sizeof *any; n++) {
            if (begin(f, p->name, "another number")) {
                a[i].number = any[n];
                finish(f, ANY, 0);
            }
        }
        for (n = 0; p->kind == CHOICE && n < 4; n++) {
            if (begin(f, p->name, "an unknown choice")) {
                a[i].number = (uint64_t)(n < 3 ? no_choice[n] : p->beyond);
                finish(f, INVALID, 0);
            }
        }
    }
}

static void texts(const function *f) {
    static char long_text[10001];
    const char *const all[] = {"", "\xff\xfe", "alias/", "alias/\xc3", "/", "\n", long_text};
    size_t n;
    int i;
    memset(long_text, 'x', sizeof long_text - 1);
    for (i = 0; i < f->count; i++) {
        for (n = 0; f->params[i].kind == TEXT && n < sizeof all / sizeof *all; n++) {
            if (begin(f, f->params[i].name, "another text")) {
                a[i].pointer = put_text(all[n]);
                finish(f, strcmp(all[n], "\xff\xfe") == 0 ? NOT_OK : ANY, 0);
            }
        }
    }
}

static void struct_sizes(const function *f) {
    static const uint32_t beyond[] = {1, 8, 4096, INT32_MAX, UINT32_MAX};
    int i, n;
    for (i = 0; i < f->count; i++) {
        const param *p = &f->params[i];
        if (p->kind != STRUCT_IN && p->kind != STRUCT_OUT) {
            continue;
        }
        for (n = 0; n < p->field_count + 2; n++) {
            uint32_t size = n < p->field_count ? (uint32_t)p->fields[n].offset : (uint32_t)p->size - (n == p->field_count ? 1 : 4);
            if (begin(f, p->name, "a struct_size that is too small")) {
                memcpy(a[i].writable, &size, sizeof size);
                finish(f, INVALID, 0);
            }
        }
        for (n = 0; n < (int)(sizeof beyond / sizeof *beyond); n++) {
            int zeros;
            for (zeros = 0; zeros < 2; zeros++) {
                uint32_t size = beyond[n] > INT32_MAX - 1 ? beyond[n] : (uint32_t)p->size + beyond[n];
                roomy = 1;
                if (begin(f, p->name, zeros ? "a struct_size that is too large, zeros beyond" : "a struct_size that is too large")) {
                    uint8_t *at = a[i].writable;
                    memcpy(at, &size, sizeof size);
                    if (zeros) {
                        memset(at + p->size, 0, (size_t)(REGION - ROOMY_AT) - p->size);
                    }
                    finish(f, zeros && beyond[n] < 4096 ? OK : zeros && beyond[n] == 4096 ? ANY : INVALID, 0);
                }
                roomy = 0;
            }
        }
    }
}

static void fields(const function *f) {
    static const int32_t no_choice[] = {-1, 2, INT32_MAX, INT32_MIN};
    static const int64_t wide[] = {-1, INT64_MAX, INT64_MIN};
    int i, n, k;
    for (i = 0; i < f->count; i++) {
        const param *p = &f->params[i];
        if (p->kind != STRUCT_IN && p->kind != RECORDS) {
            continue;
        }
        for (n = 0; n < p->field_count; n++) {
            const field *d = &p->fields[n];
            for (k = 0; k < (d->type == 'i' ? 4 : d->type == 'l' ? 3 : 1); k++) {
                uint8_t *at;
                if (!begin(f, d->name, "a wrong field")) {
                    continue;
                }
                at = (uint8_t *)a[i].writable + d->offset;
                if (d->type == 'i') {
                    memcpy(at, &no_choice[k], sizeof no_choice[k]);
                } else if (d->type == 'l') {
                    memcpy(at, &wide[k], sizeof wide[k]);
                } else if (d->type == 't') {
                    const char *text = "\xff";
                    memcpy(at, &text, sizeof text);
                } else if (p->kind == RECORDS) {
                    /* A pointer becomes NULL, a number impossible. */
                    size_t value = strstr(d->name, "_len") || strstr(d->name, "_c") ? SIZE_MAX / 2 : 0;
                    memcpy(at, &value, sizeof value);
                }
                finish(f, p->kind == STRUCT_IN && d->type == 'i' ? INVALID : ANY, 0);
            }
        }
    }
}

static void shared_memory(const function *f) {
    static const int offsets[] = {0, 1, -1, 40};
    int i, j, n;
    for (i = 0; i < f->count; i++) {
        for (j = 0; j < f->count; j++) {
            kind from = f->params[i].kind, to = f->params[j].kind;
            int input = from == TEXT || from == BYTES || from == ARRAY || from == STRUCT_IN || from == OUT ||
                        from == VALUE_OUT || from == STRUCT_OUT || from == TEXT_OUT;
            int output = to == OUT || to == TEXT_OUT || to == VALUE_OUT || to == STRUCT_OUT;
            for (n = 0; i != j && input && output && n < 4; n++) {
                roomy = 1;
                if (begin(f, f->params[j].name, f->params[i].name)) {
                    a[j].pointer = (const uint8_t *)a[i].pointer + offsets[n];
                    if (to == STRUCT_OUT) {
                        uint32_t size = (uint32_t)f->params[j].size;
                        memcpy(a[j].writable, &size, sizeof size);
                    }
                    finish(f, ANY, 1);
                }
                roomy = 0;
            }
        }
    }
}

static void callbacks(const function *f) {
    static const char *const names[] = {"behaves", "fails", "calls everything", "takes long"};
    int i, k;
    if (f->params[0].kind != HANDLE) {
        return;
    }
    for (i = 0; i < f->count; i++) {
        for (k = FAIL; f->params[i].kind == CALLBACK && k <= LONG; k++) {
            if (!begin(f, f->params[i].name, names[k])) {
                continue;
            }
            how = (behaviour)k;
            callback_world = &here;
            finish(f, k == REENTER ? ANY : OK, 1);
            how = WELL;
        }
    }
}

/* Option by option: a keystore opened and used while its callback behaves badly. */
static void option_callbacks(const function *f) {
    static world other;
    int k, has = 0, i;
    for (i = 0; i < f->count; i++) {
        has |= f->params[i].kind == CALLBACK;
    }
    if (f->params[0].kind != OPTIONS || !has) {
        return;
    }
    for (k = WELL; k <= LONG; k++) {
        kms_options_t *options;
        char location[512];
        key_id key;
        kms_t *again = NULL;
        if (!begin(f, "its callback, while a keystore is used", k == WELL ? "behaves" : k == FAIL ? "fails" : k == REENTER ? "calls everything" : "takes long")) {
            continue;
        }
        memset(&other, 0, sizeof other);
        anchored_len = 0;
        options = kms_options_new();
        REQUIRE(options != NULL);
        if (strcmp(f->name, "kms_options_set_root_callback") != 0) {
            REQUIRE_OK(kms_options_set_root_key(options, root_key, sizeof root_key));
        }
        REQUIRE_OK(kms_options_set_create(options, 1));
        REQUIRE_OK(kms_options_set_rotation_thread(options, 0));
        a[0].pointer = options;
        REQUIRE_OK((kms_status)f->call(a));
        callback_world = &here;
        how = (behaviour)k;
        strcpy(location, fresh_path(&other));
        if (kms_open(location, options, &other.kms) == KMS_OK) {
            here.generation = 0;
            if (kms_create_key(other.kms, NULL, key.text) == KMS_OK && kms_rotate(other.kms, key.text, NULL) == KMS_OK) {
                small_blob blob;
                if (kms_encrypt(other.kms, key.text, bytes("x"), 1, NULL, 0, blob.data, sizeof blob.data, &blob.len) == KMS_OK &&
                    !opens_as(other.kms, &blob, "x")) {
                    broken("what was encrypted does not open");
                }
            } else if (k != FAIL) {
                broken("a change fails though the callback succeeds");
            }
            (void)!kms_tick(other.kms, NULL);
        } else if (k != FAIL) {
            broken("a keystore does not open though the callback succeeds");
        }
        (void)!kms_open(location, options, &again);
        how = WELL;
        kms_close(again);
        kms_close(other.kms);
        kms_options_free(options);
        here.generation = 0;
        progress->misused++;
        alarm(0);
    }
}

static void in_a_child(const function *f, const char *location, expected wanted) {
    pid_t child;
    int status = 0;
    if (f->params[0].kind != HANDLE || f->result != STATUS || !begin(f, location, "in a forked child")) {
        return;
    }
    if (strcmp(location, "memory:") != 0) {
        make_world(&here, fresh_path(&here));
        prepare(&here, f);
        f->valid(&here, a);
    }
    fflush(NULL);
    child = fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        kms_status got;
        alarm(30);
        got = (kms_status)f->call(a);
        kms_close(here.kms);
        if (got != (wanted == OK ? KMS_OK : KMS_FORKED)) {
            fprintf(stderr, "%s\n", kms_status_name(got));
            _exit(1);
        }
        _exit(0);
    }
    REQUIRE(waitpid(child, &status, 0) == child);
    if (status != 0) {
        broken(WIFSIGNALED(status) ? "the child crashed or hung" : "the child got another status");
    }
    here.generation = 0;
    progress->misused++;
    alarm(0);
}

static void misuse(void) {
    int i;
    make_regions();
    make_world(&here, "memory:");
    for (i = 0; i < FUNCTIONS; i++) {
        const function *f = &functions[i];
        if (quick && strstr(f->name, "port") != NULL) {
            continue; /* import and export make RSA keys */
        }
        if (begin(f, "all arguments", "valid")) {
            finish(f, OK, 0);
        }
        nulls(f);
        struct_sizes(f);
        if (!quick) {
            numbers(f);
            misaligned(f);
            fields(f);
            texts(f);
            callbacks(f);
            option_callbacks(f);
        }
        if (!quick) {
            shared_memory(f);
            in_a_child(f, "memory:", NOT_OK);
            in_a_child(f, "a file", OK);
        }
    }
    kms_options_free(here.options);
    kms_close(here.kms);
    for (i = 0; i < REGIONS; i++) {
        free(regions[i].before);
    }
    if (progress->misused > 0 && callbacks_run == 0 && go_on_at == 0 && !quick) {
        broken("no callback ran");
    }
    exit(0); /* with a look for leaks */
}

int main(int argc, char **argv) {
    int crashes = 0, status;
    REQUIRE(argc >= 2);
    quick = argc > 2 && strcmp(argv[1], "quick") == 0;
    snprintf(folder, sizeof folder, "%s", argv[argc - 1]);
    progress = mmap(NULL, sizeof *progress, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    REQUIRE(progress != MAP_FAILED);
    check_test = "misuse";
    for (;;) {
        pid_t child;
        go_on_at = progress->number;
        progress->number = 0;
        fflush(NULL);
        child = fork();
        REQUIRE(child >= 0);
        if (child == 0) {
            misuse();
        }
        REQUIRE(waitpid(child, &status, 0) == child);
        if (status == 0) {
            break;
        }
        crashes++;
        fprintf(stderr, "%s: broken: %s %d\n", progress->name, WIFSIGNALED(status) ? "killed by signal" : "ended with",
                WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
        if (crashes > 40) {
            break;
        }
    }
    printf("%d functions, %d calls, %d broken, %d crashes\n", (int)FUNCTIONS, progress->misused, progress->broken, crashes);
    return progress->broken != 0 || crashes != 0 || progress->misused < 200;
}

/* Every function of kms.h, called wrongly in every way that its parameters allow: a status, nothing written outside of what
 * was given, outputs as the header has them after a failure, and a handle that goes on. The table is made from kms.h. */
#include "misuse.h"
#include "valid.h"
#include "callbacks.h"
#include "functions.h"

enum expected { ANY, FINE, REFUSED, INVALID, ARGUMENT, TOO_SMALL, FINE_OR_INVALID, FORKED, ACCEPTED };

static size_t needed[FUNCTIONS][MOST]; /* what an output took when all was valid */
static unsigned long attempts;

/* What is being tried, for whoever finds the program dead. */
static const char *now_function = "", *now_parameter = "", *now_label = "";
static long long now_number;

static void died(int signal_number) {
    char text[256];
    int len = snprintf(text, sizeof text, "signal %d in %s, %s: %s %lld\n", signal_number, now_function, now_parameter,
                       now_label, now_number);
    (void)!write(STDERR_FILENO, text, (size_t)len);
    signal(signal_number, SIG_DFL);
    raise(signal_number);
}

static void broken(const char *promise, kms_status status) {
    char detail[256] = "";
    (void)kms_last_error(detail, sizeof detail);
    check_failures++;
    fprintf(stderr, "broken: %s: %s, %s: %s %lld: %s (%s)\n", promise, now_function, now_parameter, now_label, now_number,
            kms_status_name(status), detail);
}

/* KMS_MISUSE: "quick" leaves out the calls that make an RSA pair each, "valgrind" most of the ways too. */
static int is_left_out(const function *f) {
    const char *kind = getenv("KMS_MISUSE");
    if (kind == NULL || strcmp(kind, "plain") == 0) {
        return 0;
    }
    return strcmp(f->name, "kms_get_parameters_for_import") == 0 || strstr(f->name, "passphrase") != NULL;
}

static int is_thorough(void) {
    const char *kind = getenv("KMS_MISUSE");
    return kind == NULL || strcmp(kind, "valgrind") != 0;
}

/* Arguments. */

static void make(attempt *a, int at) {
    static const char garbage[8];
    const parameter *p = &a->f->parameters[at];
    const uint64_t number = 777;
    const void *pointer = garbage;
    uint32_t size = (uint32_t)p->size;
    int i;
    a->v[at].n = 0;
    a->v[at].p = NULL;
    if (p->make != NULL) {
        p->make(a, at);
        return;
    }
    switch (p->kind) {
        case HANDLE: a->v[at].p = (void *)(uintptr_t)a->kms; break;
        case OUT: put(a, at, NULL, p->capacity >= 0 ? 2048 : 32); break;
        case LENGTH_OUT:
        case NUMBER_OUT: put(a, at, &number, sizeof number); break;
        case POINTER_OUT: put(a, at, &pointer, sizeof pointer); break;
        case ID_OUT: put(a, at, NULL, (size_t)KMS_ID_SIZE * (strcmp(p->name, "key_ids") == 0 ? 2 : 1)); break;
        case ERROR_TEXT: put(a, at, NULL, 1024); break;
        case STRUCT_OUT:
            memset(put(a, at, NULL, p->size), 0, p->size);
            memcpy(a->v[at].p, &size, sizeof size);
            break;
        case LENGTH: a->v[at].n = p->capacity >= 0 ? a->count[p->capacity] : a->f->parameters[2].kind == RECORDS ? 1 : 2; break;
        case CAPACITY:
            for (i = 0; i < at; i++) {
                a->v[at].n = a->f->parameters[i].capacity == at ? a->size[i] : a->v[at].n;
            }
            break;
        case RECORD_SIZE: a->v[at].n = sizeof(kms_batch_record); break;
        case ENUM: a->v[at].n = (uint64_t)(p->end - 1); break;
        case CALLBACK: a->v[at].call = p->callback; break;
        default: break;
    }
    if (p->kind == LENGTH && at > 0 && a->f->parameters[at - 1].kind == RECORD_SIZE) {
        a->v[at].n = 1;
    }
}

static void build(attempt *a, const function *f, const kms_t *kms, int depth) {
    int at;
    memset(a->v, 0, sizeof a->v);
    memset(a->size, 0, sizeof a->size);
    memset(a->made, 0, sizeof a->made);
    a->f = f;
    a->kms = kms;
    a->depth = depth;
    for (at = 0; at < f->count; at++) {
        make(a, at);
    }
}

/* Takes back what was made for the call, or by it. */
static void clean(attempt *a, const value *given, kms_status status) {
    int at;
    for (at = 0; at < a->f->count; at++) {
        enum kind kind = a->f->parameters[at].kind;
        int is_used = kind == OWNED && given[at].p == a->made[at];
        if (kind == POINTER_OUT && given[at].p != NULL) {
            void *pointer;
            memcpy(&pointer, given[at].p, sizeof pointer);
            if (strcmp(a->f->name, "kms_open") == 0 && status == KMS_OK) {
                kms_close(pointer);
            } else if (strcmp(a->f->name, "kms_call") == 0 && a->kms == given[0].p && (uintptr_t)given[at].p % 8 == 0) {
                kms_string_free(pointer);
            }
        }
        if (a->made[at] == NULL || is_used) {
            continue;
        }
        if (strcmp(a->f->name, "kms_close") == 0) {
            kms_close(a->made[at]);
        } else if (strcmp(a->f->name, "kms_string_free") == 0) {
            kms_string_free(a->made[at]);
        } else {
            kms_options_free(a->made[at]);
        }
    }
}

static const value no_values[MOST];

/* Outputs. */

static int is_output(enum kind kind) {
    return kind == OUT || kind == LENGTH_OUT || kind == NUMBER_OUT || kind == ID_OUT || kind == STRUCT_OUT ||
           kind == POINTER_OUT || kind == RECORDS || kind == ERROR_TEXT;
}

static void outputs_are_as_promised(const attempt *a, const value *given, kms_status status, int was_moved) {
    int at;
    for (at = 0; at < a->f->count; at++) {
        const parameter *p = &a->f->parameters[at];
        const uint8_t *now = place(a, at), *from = given[at].p;
        int is_here = from >= now && from < now + PLACE;
        size_t start = is_here ? (size_t)(from - now) : PLACE, end = is_here ? start + a->size[at] : PLACE;
        if (a->size[at] == 0 || was_moved) {
            continue;
        }
        if (!is_output(p->kind)) {
            start = end = PLACE;
        }
        end = end > PLACE ? PLACE : end;
        if (memcmp(now, a->before[at], start) != 0 || memcmp(now + end, a->before[at] + end, PLACE - end) != 0) {
            broken("nothing else is written", status);
        }
        if (status == KMS_OK || !is_here) {
            continue;
        }
        if (p->kind == LENGTH_OUT && status != KMS_BUFFER_TOO_SMALL && (uintptr_t)from % 8 == 0) {
            size_t len;
            memcpy(&len, from, sizeof len);
            if (len != 0) {
                broken("after a failure the length is 0", status);
            }
        } else if (p->kind == POINTER_OUT && (uintptr_t)from % 8 == 0 && strcmp(a->f->name, "kms_open") == 0) {
            void *pointer;
            memcpy(&pointer, from, sizeof pointer);
            if (pointer != NULL) {
                broken("after a failure there is no handle", status);
            }
        } else if ((p->kind == OUT || p->kind == ID_OUT || p->kind == STRUCT_OUT) &&
                   memcmp(from, a->before[at] + start, end - start) != 0) {
            broken("after a failure the output is untouched", status);
        }
    }
}

static void nothing_was_lost(void) {
    uint8_t text[16];
    size_t len;
    kms_status status = kms_decrypt(scene.kms, scene.blob.data, scene.blob.len, one_entry, 1, text, sizeof text, &len);
    if (status != KMS_OK || len != 10 || memcmp(text, "0123456789", 10) != 0) {
        broken("the handle goes on", status);
    }
}

static int is_as(enum expected expected, kms_status status) {
    switch (expected) {
        case FINE: return status == KMS_OK;
        case REFUSED: return status != KMS_OK;
        case INVALID: return status == KMS_INVALID_ARGUMENT;
        case ARGUMENT: return status >= 100 && status < 200;
        case TOO_SMALL: return status == KMS_BUFFER_TOO_SMALL;
        case FINE_OR_INVALID: return status == KMS_OK || status == KMS_INVALID_ARGUMENT;
        case ACCEPTED: return status == KMS_OK || status == KMS_MISSING_PARAMETER;
        case FORKED: return status == KMS_OK || status == KMS_FORKED;
        default: return status != KMS_INTERNAL && status != KMS_POISONED;
    }
}

static kms_status try_call(attempt *a, const value *given, enum expected expected, int was_moved) {
    kms_health_info before = KMS_HEALTH_INFO_INIT, after = KMS_HEALTH_INFO_INIT;
    kms_status status;
    int at;
    for (at = 0; at < a->f->count; at++) {
        if (a->size[at] != 0) {
            memcpy(a->before[at], place(a, at), PLACE);
        }
    }
    if (expected != FORKED) {
        (void)!kms_health(scene.kms, &before);
    }
    alarm(60);
    status = a->f->call(given);
    alarm(0);
    attempts++;
    if (a->f->has_status && !is_as(expected, status)) {
        broken(expected == FINE      ? "it is allowed"
               : expected == INVALID ? "it is KMS_INVALID_ARGUMENT"
                                     : "it is refused, or allowed where the header says so",
               status);
    }
    outputs_are_as_promised(a, given, status, was_moved);
    if (expected != FORKED) {
        (void)!kms_health(scene.kms, &after);
        if (a->kms == scene.kms && a->f->has_status && status != KMS_OK && status != KMS_BATCH_PARTIAL && before.generation != after.generation) {
            broken("a failed call has changed nothing", status);
        }
    }
    return status;
}

/* One call in which one argument is another one. */
static void vary(const function *f, int at, const char *label, value other, enum expected expected) {
    static attempt a;
    value given[MOST];
    kms_status status;
    build(&a, f, scene.kms, 0);
    memcpy(given, a.v, sizeof given);
    now_function = f->name;
    now_parameter = f->parameters[at].name;
    now_label = label;
    now_number = (long long)other.n;
    given[at] = other;
    status = try_call(&a, given, expected, 0);
    clean(&a, given, status);
    nothing_was_lost();
}

static void number(const function *f, int at, uint64_t n, enum expected expected) {
    const value other = {NULL, n, NULL};
    vary(f, at, "is", other, expected);
}

/* As `vary`, with the argument's bytes changed by `change` and moved `shift` bytes towards the guard's other side. */
static void change(const function *f, int at, const char *label, long long which, size_t size, size_t shift,
                   void (*edit)(uint8_t *, long long), enum expected expected) {
    static attempt a;
    uint8_t bytes_of_it[PLACE];
    value given[MOST];
    kms_status status;
    build(&a, f, scene.kms, 0);
    size = size == 0 ? a.size[at] : size;
    memset(bytes_of_it, 0, sizeof bytes_of_it);
    memcpy(bytes_of_it, a.v[at].p, a.size[at]);
    if (edit != NULL) {
        edit(bytes_of_it, which);
    }
    put(&a, at, NULL, size + shift);
    memcpy(a.v[at].p, bytes_of_it, size);
    a.size[at] = size;
    memcpy(given, a.v, sizeof given);
    now_function = f->name;
    now_parameter = f->parameters[at].name;
    now_label = label;
    now_number = which;
    status = try_call(&a, given, expected, 0);
    clean(&a, given, status);
    nothing_was_lost();
}

/* The ways. */

static void set_size(uint8_t *bytes_of_it, long long size) {
    uint32_t n = (uint32_t)size;
    memcpy(bytes_of_it, &n, sizeof n);
}

static void set_size_and_tail(uint8_t *bytes_of_it, long long size) {
    set_size(bytes_of_it, size);
    bytes_of_it[size - 1] = 1;
}

static size_t member_at;

static void set_member_32(uint8_t *bytes_of_it, long long n) {
    int32_t value_of_it = (int32_t)n;
    memcpy(bytes_of_it + member_at, &value_of_it, sizeof value_of_it);
}

static void set_member_64(uint8_t *bytes_of_it, long long n) {
    memcpy(bytes_of_it + member_at, &n, sizeof n);
}

static const long long wrong_numbers[] = {-1, INT32_MAX, INT32_MIN, 2, 256};
static const uint64_t lengths[] = {SIZE_MAX, SIZE_MAX - 7, SIZE_MAX / 2 + 1, SIZE_MAX / 2, SIZE_MAX / 2 - 4096, SIZE_MAX / 16 + 2};

static void structs(const function *f, int at) {
    const parameter *p = &f->parameters[at];
    const member *m;
    size_t size, i;
    for (size = 0; size < p->size; size += is_thorough() ? 1 : 13) {
        change(f, at, "struct_size", (long long)size, 0, 0, set_size, INVALID);
    }
    for (size = p->size + 1; size < p->size + 20; size += is_thorough() ? 1 : 9) {
        change(f, at, "struct_size with zeros after it", (long long)size, size, 0, set_size, FINE);
        change(f, at, "struct_size with a byte after it", (long long)size, size, 0, set_size_and_tail, INVALID);
    }
    change(f, at, "struct_size", 0x1001, 0, 0, set_size, INVALID);
    change(f, at, "struct_size", 0x10000, 0, 0, set_size, INVALID);
    change(f, at, "struct_size", 0xC5C5C5C5, 0, 0, set_size, INVALID);
    change(f, at, "struct_size", UINT32_MAX, 0, 0, set_size, INVALID);
    for (m = p->members; m->name != NULL && p->kind == STRUCT_IN; m++) {
        for (i = 0; i < sizeof wrong_numbers / sizeof wrong_numbers[0]; i++) {
            if (m->kind == FLAG) {
                member_at = m->at;
                change(f, at, m->name, wrong_numbers[i], 0, 0, set_member_32, INVALID);
            }
        }
    }
}

static void records(const function *f, int at) {
    const parameter *p = &f->parameters[at];
    const member *m;
    size_t i;
    for (m = p->members; m->name != NULL; m++) {
        member_at = m->at;
        if (m->kind == TEXT) {
            change(f, at, m->name, 0, 0, 0, set_member_64, ANY);
        }
        for (i = 0; i < sizeof wrong_numbers / sizeof wrong_numbers[0] && m->kind == FLAG; i++) {
            change(f, at, m->name, wrong_numbers[i], 0, 0, set_member_32, INVALID);
        }
        for (i = 0; i < sizeof lengths / sizeof lengths[0] && m->kind == SIZE; i++) {
            change(f, at, m->name, (long long)lengths[i], 0, 0, set_member_64, ANY);
        }
        if (m->kind == SIZE) {
            change(f, at, m->name, 0, 0, 0, set_member_64, ANY);
            change(f, at, m->name, 1, 0, 0, set_member_64, ANY);
        }
    }
}

static void every_way(const function *f) {
    static const char *const texts[] = {"", "\xFF", "\xC3", "%s%n", "alias/", "alias/acs/x", "../..", "[]", "{", "' --"};
    static char long_text[3000];
    static attempt a;
    const value null = {NULL, 0, NULL};
    size_t i;
    int at;
    memset(long_text, 'a', sizeof long_text - 1);
    for (at = 0; at < f->count; at++) {
        const parameter *p = &f->parameters[at];
        value other = {NULL, 0, NULL};
        uint64_t n;
        build(&a, f, scene.kms, 0);
        clean(&a, no_values, KMS_INTERNAL);
        n = a.v[at].n;
        /* NULL. */
        switch (p->kind) {
            case LENGTH: case CAPACITY: case SIZE: case RECORD_SIZE: case NUMBER: case FLAG: case ENUM: break;
            case USER: case OUT: vary(f, at, "is NULL", null, FINE); break;
            case ERROR_TEXT: case OWNED: vary(f, at, "is NULL", null, ANY); break;
            case DATA: case ARRAY: vary(f, at, "is NULL", null, a.count[at] == 0 ? FINE : INVALID); break;
            default: vary(f, at, "is NULL", null, p->may_be_null ? ACCEPTED : INVALID);
        }
        switch (p->kind) {
            case HANDLE: case OPTIONS:
                other.p = (uint8_t *)(uintptr_t)scene.kms + 1;
                vary(f, at, "is misaligned", other, INVALID);
                break;
            case LENGTH_OUT: case NUMBER_OUT: case POINTER_OUT: case ARRAY: case RECORDS: case STRUCT_IN: case STRUCT_OUT:
                for (i = 1; i < 8 && a.size[at] != 0; i += i == 1 ? 3 : 1) {
                    change(f, at, "is misaligned by", (long long)i, 0, i, NULL, FINE_OR_INVALID);
                }
                break;
            case TEXT:
                for (i = 0; i < sizeof texts / sizeof texts[0]; i++) {
                    other.p = (void *)(uintptr_t)texts[i];
                    vary(f, at, texts[i], other, i == 1 || i == 2 ? REFUSED : ANY);
                }
                other.p = long_text;
                vary(f, at, "is long", other, ANY);
                break;
            case LENGTH:
                number(f, at, 0, ANY);
                number(f, at, n == 0 ? 0 : n - 1, ANY);
                for (i = 0; i < sizeof lengths / sizeof lengths[0] - (p->capacity >= 0 && a.f->parameters[p->capacity].kind == DATA); i++) {
                    number(f, at, lengths[i], n == 0 ? ANY : ARGUMENT);
                }
                break;
            case CAPACITY: {
                size_t need = needed[f - functions][at];
                for (i = 0; i < need; i += i + 8 < need ? 7 : 1) {
                    number(f, at, i, TOO_SMALL);
                }
                number(f, at, need, FINE);
                number(f, at, SIZE_MAX, INVALID);
                number(f, at, SIZE_MAX / 2 + 1, INVALID);
                number(f, at, SIZE_MAX / 2, FINE_OR_INVALID);
                break;
            }
            case SIZE:
                number(f, at, 0, ANY);
                number(f, at, n - 1, ANY);
                for (i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
                    number(f, at, lengths[i], ANY);
                }
                break;
            case RECORD_SIZE:
                for (i = 0; i < n; i += is_thorough() ? 1 : 13) {
                    number(f, at, i, INVALID);
                }
                number(f, at, n + 1, INVALID);
                number(f, at, SIZE_MAX, INVALID);
                number(f, at, SIZE_MAX - 7, INVALID);
                break;
            case NUMBER: case FLAG: case ENUM:
                number(f, at, 0, p->kind == ENUM ? INVALID : ANY);
                number(f, at, (uint64_t)p->end, p->kind == NUMBER ? ANY : INVALID);
                number(f, at, UINT64_MAX, p->kind == NUMBER ? ANY : INVALID);
                number(f, at, INT32_MAX, p->kind == NUMBER ? ANY : INVALID);
                number(f, at, (uint64_t)INT32_MIN, p->kind == NUMBER ? ANY : INVALID);
                number(f, at, INT64_MAX, ANY);
                number(f, at, (uint64_t)INT64_MIN, ANY);
                break;
            default: break;
        }
        if (p->kind == STRUCT_IN || p->kind == STRUCT_OUT) {
            structs(f, at);
        } else if (p->kind == RECORDS) {
            records(f, at);
        }
    }
}

/* Each pair of arguments of which the second is written, in the same memory. Who gives one place for a result that is a
 * pointer and something else loses the pointer: that is left out. */
static void overlapping(const function *f) {
    static const size_t offsets[] = {0, 1, 8, 31};
    static attempt a;
    size_t sizes[MOST], i;
    int one, two;
    build(&a, f, scene.kms, 0);
    memcpy(sizes, a.size, sizeof sizes);
    clean(&a, no_values, KMS_INTERNAL);
    for (one = 0; one < f->count; one++) {
        for (two = 0; two < f->count; two++) {
            enum kind kind = f->parameters[two].kind;
            int can_meet = one != two && sizes[one] != 0 && sizes[two] != 0 && is_output(kind) && kind != RECORDS &&
                           kind != POINTER_OUT && f->parameters[one].kind != POINTER_OUT;
            for (i = 0; can_meet && i < sizeof offsets / sizeof offsets[0]; i++) {
                value given[MOST];
                uint8_t *base, *end = place(&a, two) + PLACE;
                build(&a, f, scene.kms, 0);
                base = (uint8_t *)a.v[two].p + offsets[i];
                base = base + a.size[one] > end ? end - a.size[one] : base;
                memmove(base, a.v[one].p, a.size[one]);
                memcpy(given, a.v, sizeof given);
                given[one].p = base;
                now_function = f->name;
                now_parameter = f->parameters[one].name;
                now_label = f->parameters[two].name;
                now_number = (long long)offsets[i];
                clean(&a, given, try_call(&a, given, ANY, 1));
            }
        }
    }
    nothing_was_lost();
}

/* All valid. */
static void call_valid(attempt *a, const function *f, const kms_t *kms, int depth, enum expected expected) {
    kms_status status;
    int at;
    build(a, f, kms, depth);
    now_function = f->name;
    now_parameter = "all";
    now_label = "valid";
    status = try_call(a, a->v, expected, depth > 0);
    for (at = 0; at < f->count && depth == 0 && status == KMS_OK; at++) {
        const parameter *p = &f->parameters[at];
        if (p->kind == OUT && p->capacity >= 0) {
            memcpy(&needed[f - functions][p->capacity], a->v[p->length].p, sizeof(size_t));
        }
    }
    clean(a, a->v, status);
}

static void call_everything(int depth) {
    static attempt a[DEEPEST];
    size_t i;
    for (i = 0; i < FUNCTIONS; i++) {
        static int pairs;
        const char *function = now_function;
        if (strcmp(functions[i].name, "kms_get_parameters_for_import") == 0 && pairs++ > 3) {
            continue; /* it makes an RSA pair each time */
        }
        call_valid(&a[depth], &functions[i], scene.kms, depth, ANY);
        now_function = function;
    }
}

static void each_call_succeeds_when_all_is_valid(enum expected expected) {
    static attempt a;
    size_t i;
    for (i = 0; i < FUNCTIONS; i++) {
        if (!is_thorough() && is_left_out(&functions[i])) {
            continue;
        }
        call_valid(&a, &functions[i], scene.kms, 0, expected);
    }
}

/* A keystore whose root, clock, anchor and events are callbacks; none may break it, whatever it does. */
static void callbacks_may_do_as_they_like(void) {
    static const char *const manners[] = {"plain", "failing", "lying", "slow", "re-entering"};
    static attempt a;
    kms_options_t *options = kms_options_new();
    kms_t *kms = NULL;
    char location[32];
    size_t i, m;
    REQUIRE_OK(kms_options_set_root_callback(options, callback_kms_wrap_fn, callback_kms_wrap_fn, NULL));
    REQUIRE_OK(kms_options_set_clock(options, callback_kms_clock_fn, NULL));
    REQUIRE_OK(kms_options_set_anchor_callback(options, callback_kms_anchor_get_fn, callback_kms_anchor_put_fn, NULL));
    REQUIRE_OK(kms_options_set_event_callback(options, callback_kms_event_fn, NULL));
    REQUIRE_OK(kms_options_set_create(options, 1));
    for (m = PLAIN; m <= REENTERING; m++) {
        now_function = "a callback";
        now_parameter = manners[m];
        manner = m;
        anchor_len = 0;
        snprintf(location, sizeof location, "callbacks-%d.db", (int)m);
        kms = NULL;
        if (kms_open(location, options, &kms) != KMS_OK) {
            CHECK(kms == NULL);
            manner = PLAIN;
            REQUIRE_OK(kms_open(location, options, &kms));
            manner = m;
        }
        for (i = 0; i < FUNCTIONS; i++) {
            build(&a, &functions[i], kms, 0);
            now_function = functions[i].name;
            clean(&a, a.v, try_call(&a, a.v, ANY, 1));
        }
        manner = PLAIN;
        {
            key_id id = new_key(kms);
            small_blob blob = encrypt_text(kms, id.text, "after all that");
            CHECK(opens_as(kms, &blob, "after all that"));
        }
        kms_close(kms);
    }
    kms_options_free(options);
    CHECK(called > 50);
    CHECK(reentered > 10);
}

/* Each function in a child, of a keystore in a file and of one in memory. */
static void a_forked_child(enum expected expected) {
    int status;
    pid_t child;
    fflush(NULL);
    child = fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        size_t i;
        check_failures = 0;
        each_call_succeeds_when_all_is_valid(expected);
        for (i = 0; i < FUNCTIONS && expected == FINE; i += 5) {
            if (strcmp(functions[i].name, "kms_get_parameters_for_import") != 0) {
                every_way(&functions[i]);
            }
        }
        kms_close(scene.kms);
        _exit(check_failures == 0 ? 0 : 1);
    }
    REQUIRE(waitpid(child, &status, 0) == child);
    CHECK_NUMBER(status, 0);
    nothing_was_lost();
}

int main(void) {
    static const int fatal[] = {SIGSEGV, SIGBUS, SIGABRT, SIGALRM, SIGFPE, SIGILL};
    size_t i;
    int round;
    for (i = 0; i < sizeof fatal / sizeof fatal[0]; i++) {
        signal(fatal[i], died);
    }
    make_places();
    for (round = 0; round < (is_thorough() ? 2 : 1); round++) {
        misused(round == 0 ? "memory:" : "misuse.db");
        check_test = round == 0 ? "in memory" : "in a file";
        each_call_succeeds_when_all_is_valid(FINE);
        for (i = 0; i < FUNCTIONS && round == 0; i++) {
            if (is_left_out(&functions[i])) {
                continue;
            }
            every_way(&functions[i]);
            if (is_thorough()) {
                overlapping(&functions[i]);
            }
        }
        if (is_thorough()) {
            a_forked_child(round == 0 ? FORKED : FINE);
        }
        if (round == 1 && is_thorough()) {
            callbacks_may_do_as_they_like();
        }
        kms_close(scene.kms);
    }
    printf("%d functions, %lu calls, %lu callbacks, %lu of which called every function\n", FUNCTIONS, attempts, called, reentered);
    return check_result();
}

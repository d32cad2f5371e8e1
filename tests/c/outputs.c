/* The Output rule of kms.h: exact sizes for nothing, nothing for a failure, and any overlap. */
#include "check.h"

enum { OVERHEAD = 80, CANARY = 0xC5 };

static size_t events;

static void count_event(void *user, const kms_event *event) {
    (void)user;
    (void)event;
    events++;
}

static kms_t *open_counted(manual_clock *clock) {
    kms_options_t *options = new_options(clock);
    kms_t *kms = NULL;
    events = 0;
    REQUIRE_OK(kms_options_set_event_callback(options, count_event, NULL));
    REQUIRE_OK(kms_open("memory:", options, &kms));
    kms_options_free(options);
    return kms;
}

/* The functions with an output, called alike. */
typedef struct call {
    const kms_t *kms;
    const char *key;
    const uint8_t *input;
    size_t input_len;
    const kms_context_entry *context;
    size_t context_count;
} call;
typedef kms_status (*output_fn)(const call *, uint8_t *, size_t, size_t *);

static kms_status encrypt(const call *c, uint8_t *out, size_t cap, size_t *len) {
    return kms_encrypt(c->kms, c->key, c->input, c->input_len, c->context, c->context_count, out, cap, len);
}
static kms_status decrypt(const call *c, uint8_t *out, size_t cap, size_t *len) {
    return kms_decrypt(c->kms, c->input, c->input_len, c->context, c->context_count, out, cap, len);
}
static kms_status reencrypt(const call *c, uint8_t *out, size_t cap, size_t *len) {
    return kms_reencrypt(c->kms, c->input, c->input_len, c->context, c->context_count, c->key, NULL, 0, out, cap, len);
}
static kms_status generate(const call *c, uint8_t *out, size_t cap, size_t *len) {
    return kms_generate_data_key(c->kms, c->key, 32, c->context, c->context_count, NULL, out, cap, len);
}
enum { FUNCTIONS = 4 };
static const output_fn functions[FUNCTIONS] = {encrypt, decrypt, reencrypt, generate};

static uint8_t buffer[20000];

/* A failure other than "too small": the size is 0 and no byte of `out` has changed. */
static void fails_untouched(output_fn function, const call *c, kms_status wanted) {
    size_t len = 12345;
    memset(buffer, CANARY, sizeof buffer);
    CHECK_STATUS(function(c, buffer, sizeof buffer, &len), wanted);
    CHECK_NUMBER(len, 0);
    CHECK(all_are(buffer, sizeof buffer, CANARY));
}

static void fails_when_asked_for_the_size(output_fn function, const call *c, kms_status wanted) {
    size_t len = 12345;
    CHECK_STATUS(function(c, NULL, 0, &len), wanted);
    CHECK_NUMBER(len, 0);
}

static void a_query_is_exact_and_has_no_effect(void) {
    manual_clock clock = {NEW_YEAR_2025};
    kms_t *kms = open_counted(&clock);
    key_id id = new_rotating_key(kms, DAY_S);
    small_blob blob = encrypt_text(kms, id.text, "0123456789");
    const kms_key_metadata before = describe(kms, id.text);
    const uint64_t generation = health(kms).generation;
    kms_key_metadata after;
    size_t i, cap;
    clock.now_ms += 5 * DAY; /* overdue */
    for (i = 0; i < FUNCTIONS; i++) {
        for (cap = 0; cap < 3; cap++) {
            call c = {kms, id.text, blob.data, blob.len, NULL, 0};
            size_t sizes[FUNCTIONS] = {sizeof "0123456789" - 1 + 2 * OVERHEAD, 10, 10 + OVERHEAD, 32 + OVERHEAD};
            size_t len = 9;
            CHECK_OK(functions[i](&c, NULL, cap == 2 ? SIZE_MAX : cap * 1000, &len)); /* out_cap means nothing here */
            CHECK_NUMBER(len, sizes[i]);
        }
    }
    after = describe(kms, id.text);
    CHECK_NUMBER(after.version_count, 1);
    CHECK_TEXT(after.primary_version_id, before.primary_version_id);
    CHECK_NUMBER(after.last_rotation_date_ms, before.last_rotation_date_ms);
    CHECK_NUMBER(health(kms).generation, generation);
    CHECK_NUMBER(health(kms).rotations, 0);
    CHECK_NUMBER(events, 0);
    CHECK_NUMBER(kms_last_error(NULL, 0), 0);
    kms_close(kms);
}

static void a_query_authenticates_nothing(void) {
    kms_t *kms = open_memory(NULL);
    key_id id = new_key(kms);
    small_blob blob = encrypt_text(kms, id.text, "0123456789");
    const kms_context_entry wrong[] = {{"a", "b"}};
    call c = {kms, id.text, blob.data, blob.len, NULL, 0};
    size_t len = 9;
    blob.data[blob.len - 1] ^= 1;
    CHECK_OK(decrypt(&c, NULL, 0, &len));
    CHECK_NUMBER(len, 10);
    c.context = wrong;
    c.context_count = 0;
    CHECK_OK(reencrypt(&c, NULL, 0, &len));
    CHECK_NUMBER(len, 10 + OVERHEAD);
    kms_close(kms);
}

static void a_query_makes_the_same_checks(void) {
    kms_t *kms = open_memory(NULL);
    key_id id = new_key(kms), external = new_external_key(kms);
    small_blob blob = encrypt_text(kms, id.text, "0123456789");
    const kms_context_entry bad[] = {{"", "b"}};
    size_t i;
    for (i = 0; i < FUNCTIONS; i++) {
        call c = {kms, id.text, blob.data, blob.len, bad, 1};
        fails_when_asked_for_the_size(functions[i], &c, KMS_INVALID_ARGUMENT);
        c.context = NULL;
        fails_when_asked_for_the_size(functions[i], &c, KMS_INVALID_ARGUMENT);
        c.context_count = 0;
        c.key = no_such_id;
        if (functions[i] != decrypt) {
            fails_when_asked_for_the_size(functions[i], &c, KMS_KEY_NOT_FOUND);
            c.key = external.text;
            fails_when_asked_for_the_size(functions[i], &c, KMS_REJECTED_PENDING_IMPORT);
        }
        c.key = id.text;
        REQUIRE_OK(kms_disable_key(kms, id.text));
        fails_when_asked_for_the_size(functions[i], &c, KMS_REJECTED_DISABLED);
        REQUIRE_OK(kms_enable_key(kms, id.text));
        if (functions[i] == decrypt || functions[i] == reencrypt) {
            c.input_len = 79;
            fails_when_asked_for_the_size(functions[i], &c, KMS_MALFORMED_CIPHERTEXT);
            c.input_len = blob.len;
            blob.data[24] ^= 1;
            fails_when_asked_for_the_size(functions[i], &c, KMS_KEY_VERSION_NOT_FOUND);
            blob.data[24] ^= 1;
            blob.data[8] ^= 1;
            fails_when_asked_for_the_size(functions[i], &c, KMS_KEY_NOT_FOUND);
            blob.data[8] ^= 1;
        }
    }
    kms_close(kms);
}

static void a_buffer_that_is_too_small_stays_untouched(void) {
    manual_clock clock = {NEW_YEAR_2025};
    kms_t *kms = open_counted(&clock);
    key_id id = new_rotating_key(kms, DAY_S);
    static uint8_t big[6000], big_blob[6000 + OVERHEAD];
    size_t big_len, i, k, big_too;
    small_blob blob = encrypt_text(kms, id.text, "0123456789");
    REQUIRE_OK(kms_encrypt(kms, id.text, big, sizeof big, NULL, 0, big_blob, sizeof big_blob, &big_len));
    clock.now_ms += DAY;
    for (big_too = 0; big_too < 2; big_too++) {
        for (i = 0; i < FUNCTIONS; i++) {
            call c = {kms, id.text, big_too ? big_blob : blob.data, big_too ? big_len : blob.len, NULL, 0};
            size_t size = 0, caps[4];
            CHECK_OK(functions[i](&c, NULL, 0, &size));
            caps[0] = size - 1;
            caps[1] = size / 2;
            caps[2] = 1;
            caps[3] = 0;
            for (k = 0; k < 4; k++) {
                size_t len = 3;
                memset(buffer, CANARY, sizeof buffer);
                CHECK_STATUS(functions[i](&c, buffer, caps[k], &len), KMS_BUFFER_TOO_SMALL);
                CHECK_NUMBER(len, size);
                CHECK(all_are(buffer, sizeof buffer, CANARY));
            }
        }
    }
    CHECK_NUMBER(describe(kms, id.text).version_count, 1); /* nothing was done */
    CHECK_NUMBER(events, 0);
    kms_close(kms);
}

static void a_buffer_of_the_exact_size_is_enough_and_no_byte_beyond_is_touched(void) {
    kms_t *kms = open_memory(NULL);
    key_id id = new_key(kms);
    static uint8_t big[6000], big_blob[6000 + OVERHEAD];
    size_t big_len, i, big_too;
    small_blob blob = encrypt_text(kms, id.text, "0123456789");
    REQUIRE_OK(kms_encrypt(kms, id.text, big, sizeof big, NULL, 0, big_blob, sizeof big_blob, &big_len));
    for (big_too = 0; big_too < 2; big_too++) {
        for (i = 0; i < FUNCTIONS; i++) {
            call c = {kms, id.text, big_too ? big_blob : blob.data, big_too ? big_len : blob.len, NULL, 0};
            size_t size = 0, len = 0;
            CHECK_OK(functions[i](&c, NULL, 0, &size));
            memset(buffer, CANARY, sizeof buffer);
            CHECK_OK(functions[i](&c, buffer, size, &len));
            CHECK_NUMBER(len, size);
            CHECK(all_are(buffer + size, sizeof buffer - size, CANARY));
            memset(buffer, CANARY, sizeof buffer);
            CHECK_OK(functions[i](&c, buffer, sizeof buffer, &len));
            CHECK_NUMBER(len, size);
            CHECK(all_are(buffer + size, sizeof buffer - size, CANARY));
        }
    }
    kms_close(kms);
}

static void a_failure_leaves_size_0_and_out_untouched(void) {
    kms_t *kms = open_memory(NULL);
    key_id id = new_key(kms), external = new_external_key(kms);
    small_blob blob = encrypt_text(kms, id.text, "0123456789");
    const kms_context_entry wrong[] = {{"a", "b"}}, bad[] = {{"a", "b"}, {"a", "c"}};
    size_t i;
    for (i = 0; i < FUNCTIONS; i++) {
        call c = {kms, id.text, blob.data, blob.len, bad, 2};
        fails_untouched(functions[i], &c, KMS_INVALID_ARGUMENT);
        c.context = NULL;
        c.context_count = 0;
        if (functions[i] != decrypt) {
            c.key = no_such_id;
            fails_untouched(functions[i], &c, KMS_KEY_NOT_FOUND);
            c.key = external.text;
            fails_untouched(functions[i], &c, KMS_REJECTED_PENDING_IMPORT);
            if (functions[i] != reencrypt) { /* there, the own key of the blob */
                c.key = NULL;
                fails_untouched(functions[i], &c, KMS_INVALID_ARGUMENT);
            }
            c.key = id.text;
        }
        if (functions[i] != generate) {
            c.input = NULL;
            fails_untouched(functions[i], &c, KMS_INVALID_ARGUMENT);
            c.input = blob.data;
        }
        c.kms = NULL;
        fails_untouched(functions[i], &c, KMS_INVALID_ARGUMENT);
        c.kms = kms;
        REQUIRE_OK(kms_disable_key(kms, id.text));
        fails_untouched(functions[i], &c, KMS_REJECTED_DISABLED);
        REQUIRE_OK(kms_enable_key(kms, id.text));
        if (functions[i] == decrypt || functions[i] == reencrypt) {
            c.context = wrong;
            c.context_count = 1;
            fails_untouched(functions[i], &c, KMS_AUTHENTICATION_FAILED);
            c.context_count = 0;
            blob.data[70] ^= 1;
            fails_untouched(functions[i], &c, KMS_AUTHENTICATION_FAILED);
            blob.data[70] ^= 1;
            blob.data[0] ^= 1;
            fails_untouched(functions[i], &c, KMS_MALFORMED_CIPHERTEXT);
            blob.data[0] ^= 1;
        }
    }
    kms_close(kms);
}

static const size_t sizes[] = {1, 17, 200, 4096, 4097, 6000};
enum { SIZES = sizeof sizes / sizeof sizes[0], REACH = 96 };
static uint8_t arena[6000 + OVERHEAD + 4 * REACH];

static void fill(uint8_t *out, size_t n) {
    size_t i;
    for (i = 0; i < n; i++) {
        out[i] = (uint8_t)(i * 7 + n);
    }
}

static void encrypt_may_write_over_its_input_at_any_offset(void) {
    static uint8_t plain[6000], blob[6000 + OVERHEAD], out[6000];
    kms_t *kms = open_memory(NULL);
    key_id id = new_key(kms);
    size_t s, len, out_len;
    int offset;
    for (s = 0; s < SIZES; s++) {
        fill(plain, sizes[s]);
        for (offset = -REACH; offset <= REACH; offset++) {
            uint8_t *from = arena + 2 * REACH, *to = from + offset;
            memset(arena, CANARY, sizeof arena);
            memcpy(from, plain, sizes[s]);
            CHECK_OK(kms_encrypt(kms, id.text, from, sizes[s], NULL, 0, to, sizes[s] + OVERHEAD, &len));
            CHECK_NUMBER(len, sizes[s] + OVERHEAD);
            memcpy(blob, to, len);
            CHECK_OK(kms_decrypt(kms, blob, len, NULL, 0, out, sizeof out, &out_len));
            CHECK(out_len == sizes[s] && memcmp(out, plain, out_len) == 0);
            CHECK(all_are(arena, REACH, CANARY));
        }
    }
    kms_close(kms);
}

static void decrypt_may_write_over_its_input_at_any_offset(void) {
    static uint8_t plain[6000], blob[6000 + OVERHEAD];
    kms_t *kms = open_memory(NULL);
    key_id id = new_key(kms);
    size_t s, len, out_len;
    int offset;
    for (s = 0; s < SIZES; s++) {
        fill(plain, sizes[s]);
        CHECK_OK(kms_encrypt(kms, id.text, plain, sizes[s], NULL, 0, blob, sizeof blob, &len));
        for (offset = -REACH; offset <= REACH; offset++) {
            uint8_t *from = arena + 2 * REACH, *to = from + offset;
            memset(arena, CANARY, sizeof arena);
            memcpy(from, blob, len);
            CHECK_OK(kms_decrypt(kms, from, len, NULL, 0, to, sizes[s], &out_len));
            CHECK(out_len == sizes[s] && memcmp(to, plain, out_len) == 0);
        }
    }
    kms_close(kms);
}

static void a_failed_decrypt_over_its_input_keeps_the_blob(void) {
    static uint8_t plain[6000], blob[6000 + OVERHEAD], out[6000];
    kms_t *kms = open_memory(NULL);
    key_id id = new_key(kms);
    const kms_context_entry wrong[] = {{"a", "b"}}, right[] = {{"a", "c"}};
    size_t s, len, out_len;
    int offset;
    for (s = 0; s < SIZES; s++) {
        fill(plain, sizes[s]);
        CHECK_OK(kms_encrypt(kms, id.text, plain, sizes[s], right, 1, blob, sizeof blob, &len));
        for (offset = -REACH; offset <= REACH; offset++) {
            uint8_t *from = arena + 2 * REACH, *to = from + offset;
            if (offset >= 0 ? (size_t)offset >= len : (size_t)-offset >= sizes[s]) {
                continue; /* no overlap */
            }
            memset(arena, CANARY, sizeof arena);
            memcpy(from, blob, len);
            out_len = 5;
            CHECK_STATUS(kms_decrypt(kms, from, len, wrong, 1, to, sizes[s], &out_len), KMS_AUTHENTICATION_FAILED);
            CHECK_NUMBER(out_len, 0);
            CHECK(memcmp(from, blob, len) == 0);
            from[64] ^= 1;
            CHECK_STATUS(kms_decrypt(kms, from, len, right, 1, to, sizes[s], &out_len), KMS_AUTHENTICATION_FAILED);
            from[64] ^= 1;
            CHECK(memcmp(from, blob, len) == 0);
        }
        memcpy(arena, blob, len);
        CHECK_OK(kms_decrypt(kms, arena, len, right, 1, out, sizeof out, &out_len));
        CHECK(out_len == sizes[s] && memcmp(out, plain, out_len) == 0);
    }
    kms_close(kms);
}

static void what_is_not_authentic_is_never_left_in_out(void) {
    static uint8_t plain[16384], blob[16384 + OVERHEAD];
    static const size_t lengths[] = {4095, 4096, 4097, 16384};
    kms_t *kms = open_memory(NULL);
    key_id id = new_key(kms);
    size_t i, len, out_len;
    fill(plain, sizeof plain);
    for (i = 0; i < 4; i++) {
        size_t n = lengths[i];
        CHECK_OK(kms_encrypt(kms, id.text, plain, n, NULL, 0, blob, sizeof blob, &len));
        blob[len - 1] ^= 1;
        memset(buffer, CANARY, sizeof buffer);
        out_len = 5;
        CHECK_STATUS(kms_decrypt(kms, blob, len, NULL, 0, buffer, sizeof buffer, &out_len), KMS_AUTHENTICATION_FAILED);
        CHECK_NUMBER(out_len, 0);
        CHECK(all_are(buffer, n, n > 4096 ? 0 : CANARY));
        CHECK(all_are(buffer + n, sizeof buffer - n, CANARY));
        memset(buffer, CANARY, sizeof buffer);
        CHECK_STATUS(kms_reencrypt(kms, blob, len, NULL, 0, id.text, NULL, 0, buffer, sizeof buffer, &out_len),
                     KMS_AUTHENTICATION_FAILED);
        CHECK(all_are(buffer, n, CANARY) || all_are(buffer, n, 0));
    }
    kms_close(kms);
}

static void reencrypt_may_write_over_its_input_at_any_offset(void) {
    static uint8_t plain[6000], blob[6000 + OVERHEAD], moved[6000 + OVERHEAD], out[6000];
    kms_t *kms = open_memory(NULL);
    key_id id = new_key(kms);
    size_t s, len, out_len;
    int offset;
    for (s = 0; s < SIZES; s++) {
        fill(plain, sizes[s]);
        CHECK_OK(kms_encrypt(kms, id.text, plain, sizes[s], NULL, 0, blob, sizeof blob, &len));
        for (offset = -REACH; offset <= REACH; offset += 3) {
            uint8_t *from = arena + 2 * REACH, *to = from + offset;
            memcpy(from, blob, len);
            CHECK_OK(kms_reencrypt(kms, from, len, NULL, 0, id.text, NULL, 0, to, len, &out_len));
            CHECK_NUMBER(out_len, len);
            memcpy(moved, to, len);
            CHECK(memcmp(moved + 40, blob + 40, 24) != 0);
            CHECK_OK(kms_decrypt(kms, moved, len, NULL, 0, out, sizeof out, &out_len));
            CHECK(out_len == sizes[s] && memcmp(out, plain, out_len) == 0);
        }
    }
    kms_close(kms);
}

static void a_failed_call_writes_no_id(void) {
    kms_t *kms = open_memory(NULL);
    kms_create_key_options options = KMS_CREATE_KEY_OPTIONS_INIT;
    char id[KMS_ID_SIZE];
    kms_t *other = kms;
    kms_options_t *none = kms_options_new();
    memset(id, '#', sizeof id);
    options.origin = 7;
    CHECK_STATUS(kms_create_key(kms, &options, id), KMS_INVALID_ARGUMENT);
    CHECK_STATUS(kms_rotate(kms, no_such_id, id), KMS_KEY_NOT_FOUND);
    CHECK(all_are((const uint8_t *)id, sizeof id, '#'));
    CHECK_STATUS(kms_open("memory:", none, &other), KMS_MISSING_PARAMETER);
    CHECK(other == NULL);
    kms_options_free(none);
    kms_close(kms);
}

int main(void) {
    RUN(a_query_is_exact_and_has_no_effect);
    RUN(a_query_authenticates_nothing);
    RUN(a_query_makes_the_same_checks);
    RUN(a_buffer_that_is_too_small_stays_untouched);
    RUN(a_buffer_of_the_exact_size_is_enough_and_no_byte_beyond_is_touched);
    RUN(a_failure_leaves_size_0_and_out_untouched);
    RUN(encrypt_may_write_over_its_input_at_any_offset);
    RUN(decrypt_may_write_over_its_input_at_any_offset);
    RUN(a_failed_decrypt_over_its_input_keeps_the_blob);
    RUN(what_is_not_authentic_is_never_left_in_out);
    RUN(reencrypt_may_write_over_its_input_at_any_offset);
    RUN(a_failed_call_writes_no_id);
    return check_result();
}

/* A ciphertext decrypts to the original bytes, under the key, version and context of its encryption. */
#define _DEFAULT_SOURCE
#include "check.h"
#include <sys/mman.h>

enum { OVERHEAD = 80 };

static void every_size_comes_back_80_bytes_longer_in_between(void) {
    static const size_t sizes[] = {0,    1,    15,   16,   17,    31,    32,    33,    63,
                                   64,   65,   127,  128,  255,   1000,  4015,  4016,  4017,
                                   4095, 4096, 4097, 8191, 16384, 65535, 65536, 65537, (1 << 20) + 3};
    kms_t *kms = open_memory(NULL);
    key_id id = new_key(kms);
    size_t i, k;
    for (i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        size_t n = sizes[i], blob_len = 0, out_len = 99;
        uint8_t *plain = malloc(n + 1), *blob = malloc(n + OVERHEAD), *out = malloc(n + 1);
        REQUIRE(plain != NULL && blob != NULL && out != NULL);
        for (k = 0; k < n; k++) {
            plain[k] = (uint8_t)(k * 31 + n);
        }
        CHECK_OK(kms_encrypt(kms, id.text, plain, n, NULL, 0, blob, n + OVERHEAD, &blob_len));
        CHECK_NUMBER(blob_len, n + OVERHEAD);
        CHECK_OK(kms_decrypt(kms, blob, blob_len, NULL, 0, out, n == 0 ? 1 : n, &out_len));
        CHECK_NUMBER(out_len, n);
        CHECK(memcmp(out, plain, n) == 0);
        free(plain);
        free(blob);
        free(out);
    }
    kms_close(kms);
}

static void an_empty_plaintext_may_be_null(void) {
    kms_t *kms = open_memory(NULL);
    key_id id = new_key(kms);
    uint8_t blob[OVERHEAD], out[1];
    size_t len, out_len = 9;
    CHECK_OK(kms_encrypt(kms, id.text, NULL, 0, NULL, 0, blob, sizeof blob, &len));
    CHECK_NUMBER(len, OVERHEAD);
    CHECK_OK(kms_decrypt(kms, blob, len, NULL, 0, out, sizeof out, &out_len));
    CHECK_NUMBER(out_len, 0);
    out_len = 9;
    CHECK_OK(kms_decrypt(kms, blob, len, NULL, 0, out, 0, &out_len)); /* a buffer of no bytes has room for none */
    CHECK_NUMBER(out_len, 0);
    kms_close(kms);
}

static void id_bytes(const char *text, uint8_t out[16]) {
    size_t n = 0;
    unsigned byte;
    while (n < 16) {
        if (*text == '-') {
            text++;
            continue;
        }
        REQUIRE(sscanf(text, "%2x", &byte) == 1);
        out[n++] = (uint8_t)byte;
        text += 2;
    }
}

static void a_blob_says_what_it_is(void) {
    static const uint8_t head[6] = {0x8B, 'K', 'M', 'S', 1, 1};
    kms_t *kms = open_memory(NULL);
    key_id id = new_key(kms);
    const kms_context_entry context[] = {{"a", "b"}};
    small_blob blob = encrypt_text(kms, id.text, "x");
    kms_blob_info info = KMS_BLOB_INFO_INIT;
    uint8_t raw[16];
    int with;
    for (with = 0; with < 2; with++) {
        CHECK_OK(kms_encrypt(kms, id.text, bytes("x"), 1, context, (size_t)with, blob.data, sizeof blob.data, &blob.len));
        CHECK(memcmp(blob.data, head, 6) == 0);
        CHECK_NUMBER(blob.data[6], with ? 2 : 0);
        CHECK_NUMBER(blob.data[7], 0);
        id_bytes(id.text, raw);
        CHECK(memcmp(blob.data + 8, raw, 16) == 0);
        id_bytes(describe(kms, id.text).primary_version_id, raw);
        CHECK(memcmp(blob.data + 24, raw, 16) == 0);
        CHECK_OK(kms_inspect(kms, blob.data, blob.len, &info));
        CHECK_NUMBER(info.struct_size, sizeof info);
        CHECK_NUMBER(info.algorithm, 1);
        CHECK_NUMBER(info.context_type, with ? 2 : 0);
        CHECK_NUMBER(info.is_primary, 1);
        CHECK_TEXT(info.key_id, id.text);
        CHECK_TEXT(info.version_id, describe(kms, id.text).primary_version_id);
    }
    CHECK_OK(kms_rotate(kms, id.text, NULL));
    CHECK_OK(kms_disable_key(kms, id.text));
    CHECK_OK(kms_inspect(kms, blob.data, blob.len, &info));
    CHECK_NUMBER(info.is_primary, 0);
    blob.data[blob.len - 1] ^= 1;
    CHECK_OK(kms_inspect(kms, blob.data, blob.len, &info)); /* nothing is authenticated */
    kms_close(kms);
}

static void no_two_ciphertexts_share_a_nonce(void) {
    enum { N = 300 };
    static uint8_t nonces[N][24];
    kms_t *kms = open_memory(NULL);
    key_id id = new_key(kms);
    size_t i, k;
    for (i = 0; i < N; i++) {
        small_blob blob = encrypt_text(kms, id.text, "same");
        memcpy(nonces[i], blob.data + 40, 24);
        for (k = 0; k < i; k++) {
            CHECK(memcmp(nonces[k], nonces[i], 24) != 0);
        }
    }
    kms_close(kms);
}

static void a_context_must_be_given_again_in_any_order(void) {
    kms_t *kms = open_memory(NULL);
    key_id id = new_key(kms);
    const kms_context_entry context[] = {{"tenant", "42"}, {"\xC3\xBC", "\xE2\x82\xAC"}, {"empty", ""}};
    const kms_context_entry shuffled[] = {{"empty", ""}, {"tenant", "42"}, {"\xC3\xBC", "\xE2\x82\xAC"}};
    const kms_context_entry other[] = {{"tenant", "43"}, {"\xC3\xBC", "\xE2\x82\xAC"}, {"empty", ""}};
    const kms_context_entry swapped[] = {{"42", "tenant"}, {"\xC3\xBC", "\xE2\x82\xAC"}, {"empty", ""}};
    uint8_t blob[128], out[16];
    size_t len, out_len;
    CHECK_OK(kms_encrypt(kms, id.text, bytes("x"), 1, context, 3, blob, sizeof blob, &len));
    CHECK_NUMBER(len, 1 + OVERHEAD);
    CHECK_OK(kms_decrypt(kms, blob, len, context, 3, out, sizeof out, &out_len));
    CHECK_OK(kms_decrypt(kms, blob, len, shuffled, 3, out, sizeof out, &out_len));
    CHECK_STATUS(kms_decrypt(kms, blob, len, NULL, 0, out, sizeof out, &out_len), KMS_AUTHENTICATION_FAILED);
    CHECK_STATUS(kms_decrypt(kms, blob, len, context, 2, out, sizeof out, &out_len), KMS_AUTHENTICATION_FAILED);
    CHECK_STATUS(kms_decrypt(kms, blob, len, other, 3, out, sizeof out, &out_len), KMS_AUTHENTICATION_FAILED);
    CHECK_STATUS(kms_decrypt(kms, blob, len, swapped, 3, out, sizeof out, &out_len), KMS_AUTHENTICATION_FAILED);
    CHECK_NUMBER(out_len, 0);
    CHECK_OK(kms_encrypt(kms, id.text, bytes("x"), 1, context, 0, blob, sizeof blob, &len)); /* an empty map is none */
    CHECK_OK(kms_decrypt(kms, blob, len, NULL, 0, out, sizeof out, &out_len));
    CHECK_STATUS(kms_decrypt(kms, blob, len, context, 1, out, sizeof out, &out_len), KMS_AUTHENTICATION_FAILED);
    kms_close(kms);
}

static void a_context_has_at_most_8192_encoded_bytes(void) {
    static char value[8193];
    kms_t *kms = open_memory(NULL);
    key_id id = new_key(kms);
    kms_context_entry context[] = {{"k", NULL}};
    uint8_t blob[128], out[16];
    size_t len, out_len;
    memset(value, 'v', sizeof value);
    value[8192 - 2 - 2 - 1 - 2] = 0; /* u16 count, u16 length, key, u16 length */
    context[0].value = value;
    CHECK_OK(kms_encrypt(kms, id.text, bytes("x"), 1, context, 1, blob, sizeof blob, &len));
    CHECK_OK(kms_decrypt(kms, blob, len, context, 1, out, sizeof out, &out_len));
    value[8192 - 2 - 2 - 1 - 2] = 'v';
    value[8192 - 2 - 2 - 1 - 1] = 0;
    len = 9;
    CHECK_STATUS(kms_encrypt(kms, id.text, bytes("x"), 1, context, 1, blob, sizeof blob, &len), KMS_LIMIT_EXCEEDED);
    CHECK_NUMBER(len, 0);
    CHECK_STATUS(kms_decrypt(kms, blob, 81, context, 1, out, sizeof out, &out_len), KMS_AUTHENTICATION_FAILED);
    kms_close(kms);
}

static void a_plaintext_has_at_most_1_gib(void) {
    kms_t *kms = open_memory(NULL);
    key_id id = new_key(kms);
    const size_t limit = (size_t)1 << 30;
    uint8_t *huge = mmap(NULL, limit + 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    uint8_t out[128];
    size_t len = 9;
    REQUIRE(huge != MAP_FAILED);
    CHECK_OK(kms_encrypt(kms, id.text, huge, limit, NULL, 0, NULL, 0, &len));
    CHECK_NUMBER(len, limit + OVERHEAD);
    CHECK_STATUS(kms_encrypt(kms, id.text, huge, limit + 1, NULL, 0, NULL, 0, &len), KMS_LIMIT_EXCEEDED);
    CHECK_NUMBER(len, 0);
    CHECK_STATUS(kms_encrypt(kms, id.text, huge, limit + 1, NULL, 0, out, sizeof out, &len), KMS_LIMIT_EXCEEDED);
    munmap(huge, limit + 4096);
    kms_close(kms);
}

static void reencrypting_moves_a_blob_to_the_newest_version(void) {
    kms_t *kms = open_memory(NULL);
    key_id id = new_key(kms);
    small_blob blob = encrypt_text(kms, id.text, "moved"), moved, again;
    kms_blob_info info = KMS_BLOB_INFO_INIT;
    char version[KMS_ID_SIZE];
    CHECK_OK(kms_rotate(kms, id.text, version));
    CHECK_OK(kms_reencrypt(kms, blob.data, blob.len, NULL, 0, id.text, NULL, 0, moved.data, sizeof moved.data, &moved.len));
    CHECK_NUMBER(moved.len, blob.len);
    CHECK_OK(kms_inspect(kms, moved.data, moved.len, &info));
    CHECK_TEXT(info.version_id, version);
    CHECK(opens_as(kms, &moved, "moved"));
    CHECK(opens_as(kms, &blob, "moved"));
    CHECK_OK(kms_reencrypt(kms, moved.data, moved.len, NULL, 0, id.text, NULL, 0, again.data, sizeof again.data, &again.len));
    CHECK(memcmp(moved.data + 40, again.data + 40, 24) != 0);
    CHECK(opens_as(kms, &again, "moved"));
    kms_close(kms);
}

static void reencrypting_changes_key_and_context(void) {
    kms_t *kms = open_memory(NULL);
    key_id from = new_key(kms), to = new_key(kms);
    const kms_context_entry one[] = {{"a", "1"}}, two[] = {{"b", "2"}, {"c", "3"}};
    uint8_t blob[128], moved[128], out[16];
    size_t len, moved_len, out_len;
    CHECK_OK(kms_encrypt(kms, from.text, bytes("secret"), 6, one, 1, blob, sizeof blob, &len));
    CHECK_OK(kms_reencrypt(kms, blob, len, one, 1, to.text, two, 2, moved, sizeof moved, &moved_len));
    CHECK_OK(kms_disable_key(kms, from.text));
    CHECK_OK(kms_decrypt(kms, moved, moved_len, two, 2, out, sizeof out, &out_len));
    CHECK(out_len == 6 && memcmp(out, "secret", 6) == 0);
    CHECK_STATUS(kms_decrypt(kms, moved, moved_len, one, 1, out, sizeof out, &out_len), KMS_AUTHENTICATION_FAILED);
    CHECK_OK(kms_enable_key(kms, from.text));
    moved_len = 9;
    CHECK_STATUS(kms_reencrypt(kms, blob, len, two, 2, to.text, two, 2, moved, sizeof moved, &moved_len),
                 KMS_AUTHENTICATION_FAILED);
    CHECK_NUMBER(moved_len, 0);
    kms_close(kms);
}

static void the_destination_may_be_an_alias_or_the_blobs_own_key(void) {
    kms_t *kms = open_memory(NULL);
    key_id from = new_key(kms), to = new_key(kms);
    small_blob blob = encrypt_text(kms, from.text, "moved"), moved;
    kms_blob_info info = KMS_BLOB_INFO_INIT;
    char version[KMS_ID_SIZE];
    CHECK_OK(kms_create_alias(kms, to.text, "alias/to"));
    CHECK_OK(kms_reencrypt(kms, blob.data, blob.len, NULL, 0, "alias/to", NULL, 0, moved.data, sizeof moved.data, &moved.len));
    CHECK_OK(kms_inspect(kms, moved.data, moved.len, &info));
    CHECK_TEXT(info.key_id, to.text);
    CHECK_OK(kms_rotate(kms, from.text, version));
    CHECK_OK(kms_reencrypt(kms, blob.data, blob.len, NULL, 0, NULL, NULL, 0, moved.data, sizeof moved.data, &moved.len));
    CHECK_OK(kms_inspect(kms, moved.data, moved.len, &info));
    CHECK_TEXT(info.key_id, from.text);
    CHECK_TEXT(info.version_id, version);
    CHECK(opens_as(kms, &moved, "moved"));
    CHECK_STATUS(
        kms_reencrypt(kms, blob.data, blob.len, NULL, 0, "alias/none", NULL, 0, moved.data, sizeof moved.data, &moved.len),
        KMS_ALIAS_NOT_FOUND);
    kms_close(kms);
}

static void reencrypting_checks_the_source_then_the_destination_then_the_blob(void) {
    kms_t *kms = open_memory(NULL);
    key_id from = new_key(kms), to = new_key(kms);
    small_blob blob = encrypt_text(kms, from.text, "x");
    uint8_t out[128];
    size_t len;
    blob.data[blob.len - 1] ^= 1;
    CHECK_OK(kms_disable_key(kms, from.text));
    CHECK_OK(kms_schedule_key_deletion(kms, to.text, 7));
    CHECK_STATUS(kms_reencrypt(kms, blob.data, blob.len, NULL, 0, to.text, NULL, 0, out, sizeof out, &len),
                 KMS_REJECTED_DISABLED);
    CHECK_OK(kms_enable_key(kms, from.text));
    CHECK_STATUS(kms_reencrypt(kms, blob.data, blob.len, NULL, 0, to.text, NULL, 0, out, sizeof out, &len),
                 KMS_REJECTED_PENDING_DELETION);
    CHECK_STATUS(kms_reencrypt(kms, blob.data, blob.len, NULL, 0, no_such_id, NULL, 0, out, sizeof out, &len),
                 KMS_KEY_NOT_FOUND);
    CHECK_OK(kms_cancel_key_deletion(kms, to.text));
    CHECK_STATUS(kms_reencrypt(kms, blob.data, blob.len, NULL, 0, to.text, NULL, 0, out, sizeof out, &len),
                 KMS_AUTHENTICATION_FAILED);
    kms_close(kms);
}

static void reencrypting_in_place_keeps_the_blob_on_failure(void) {
    enum { N = 6000 };
    static uint8_t buffer[N + OVERHEAD], copy[N + OVERHEAD], out[N];
    kms_t *kms = open_memory(NULL);
    key_id id = new_key(kms);
    const kms_context_entry context[] = {{"a", "1"}};
    size_t len, out_len, n;
    for (n = 10; n <= N; n += N - 10) {
        memset(buffer, 'p', n);
        CHECK_OK(kms_encrypt(kms, id.text, buffer, n, NULL, 0, buffer, sizeof buffer, &len));
        memcpy(copy, buffer, len);
        CHECK_STATUS(kms_reencrypt(kms, buffer, len, context, 1, id.text, NULL, 0, buffer, sizeof buffer, &out_len),
                     KMS_AUTHENTICATION_FAILED);
        CHECK(memcmp(buffer, copy, len) == 0);
        CHECK_OK(kms_rotate(kms, id.text, NULL));
        CHECK_OK(kms_reencrypt(kms, buffer, len, NULL, 0, id.text, context, 1, buffer, sizeof buffer, &len));
        CHECK_OK(kms_decrypt(kms, buffer, len, context, 1, out, sizeof out, &out_len));
        CHECK(out_len == n && all_are(out, n, 'p'));
    }
    kms_close(kms);
}

static void two_keystores_do_not_open_each_others_blobs(void) {
    kms_t *one = open_memory(NULL), *two = open_memory(NULL);
    key_id id = new_key(one);
    small_blob blob = encrypt_text(one, id.text, "x");
    uint8_t out[16];
    size_t len;
    CHECK_STATUS(kms_decrypt(two, blob.data, blob.len, NULL, 0, out, sizeof out, &len), KMS_KEY_NOT_FOUND);
    kms_close(one);
    kms_close(two);
}

int main(void) {
    RUN(every_size_comes_back_80_bytes_longer_in_between);
    RUN(an_empty_plaintext_may_be_null);
    RUN(a_blob_says_what_it_is);
    RUN(no_two_ciphertexts_share_a_nonce);
    RUN(a_context_must_be_given_again_in_any_order);
    RUN(a_context_has_at_most_8192_encoded_bytes);
    RUN(a_plaintext_has_at_most_1_gib);
    RUN(reencrypting_moves_a_blob_to_the_newest_version);
    RUN(reencrypting_changes_key_and_context);
    RUN(the_destination_may_be_an_alias_or_the_blobs_own_key);
    RUN(reencrypting_checks_the_source_then_the_destination_then_the_blob);
    RUN(reencrypting_in_place_keeps_the_blob_on_failure);
    RUN(two_keystores_do_not_open_each_others_blobs);
    return check_result();
}

/* Files encrypted and decrypted in pieces: no plaintext before its tag, nothing lost, nothing in a forked child. */
#define _GNU_SOURCE
#include "check.h"
#include <sys/wait.h>
#include <unistd.h>

enum { CHUNK = 16384, MOST = 3 * CHUNK + 77 };

static uint8_t plain[MOST], sealed[2 * MOST], opened[MOST + 32768];

static void make_plain(void) {
    size_t i;
    for (i = 0; i < MOST; i++) {
        plain[i] = (uint8_t)(i * 31 + i / 251);
    }
}

/* Passes `len` bytes in pieces of `piece`; returns the length of the output. */
static size_t pass(kms_stream_t *stream, const uint8_t *in, size_t len, size_t piece, uint8_t *out, size_t cap) {
    size_t done = 0, written = 0, more;
    while (done < len) {
        size_t part = len - done < piece ? len - done : piece;
        REQUIRE_OK(kms_stream_update(stream, in + done, part, out + written, cap - written, &more));
        done += part;
        written += more;
    }
    REQUIRE_OK(kms_stream_finish(stream, out + written, cap - written, &more));
    return written + more;
}

static size_t seal(const kms_t *kms, const char *key, size_t len, size_t piece) {
    kms_stream_t *stream = NULL;
    size_t sealed_len;
    REQUIRE_OK(kms_encrypt_stream(kms, key, NULL, 0, &stream));
    sealed_len = pass(stream, plain, len, piece, sealed, sizeof sealed);
    kms_stream_free(stream);
    return sealed_len;
}

static kms_stream_t *open_sealed(const kms_t *kms) {
    kms_stream_t *stream = NULL;
    REQUIRE_OK(kms_decrypt_stream(kms, sealed, KMS_FILE_START_SIZE, NULL, 0, &stream));
    return stream;
}

static void a_file_passes_in_pieces_of_any_length(void) {
    static const size_t lens[] = {0, 1, CHUNK - 1, CHUNK, CHUNK + 1, MOST};
    static const size_t pieces[] = {1, 1000, CHUNK, CHUNK + 16, MOST};
    kms_t *kms = open_memory(NULL);
    key_id key = new_key(kms);
    size_t l, p;
    for (l = 0; l < sizeof lens / sizeof *lens; l++) {
        for (p = 0; p < sizeof pieces / sizeof *pieces; p++) {
            size_t sealed_len = seal(kms, key.text, lens[l], pieces[p]), opened_len;
            kms_stream_t *stream = open_sealed(kms);
            CHECK_NUMBER(sealed_len, KMS_FILE_START_SIZE + lens[l] + 16 * (lens[l] / CHUNK + 1));
            opened_len =
                pass(stream, sealed + KMS_FILE_START_SIZE, sealed_len - KMS_FILE_START_SIZE, pieces[p], opened, sizeof opened);
            CHECK_NUMBER(opened_len, lens[l]);
            CHECK(memcmp(opened, plain, lens[l]) == 0);
            kms_stream_free(stream);
        }
    }
    kms_close(kms);
}

static void an_output_that_does_not_fit_takes_nothing(void) {
    kms_t *kms = open_memory(NULL);
    key_id key = new_key(kms);
    kms_stream_t *stream = NULL;
    size_t len = 77, first;
    REQUIRE_OK(kms_encrypt_stream(kms, key.text, NULL, 0, &stream));
    CHECK_OK(kms_stream_update(stream, plain, CHUNK, NULL, 0, &len));
    CHECK_NUMBER(len, KMS_FILE_START_SIZE + CHUNK + 16);
    CHECK_STATUS(kms_stream_update(stream, plain, CHUNK, sealed, len - 1, &len), KMS_BUFFER_TOO_SMALL);
    CHECK_NUMBER(len, KMS_FILE_START_SIZE + CHUNK + 16);
    REQUIRE_OK(kms_stream_update(stream, plain, CHUNK, sealed, len, &first));
    CHECK_NUMBER(first, len);
    CHECK_OK(kms_stream_finish(stream, NULL, 0, &len));
    CHECK_NUMBER(len, 16);
    CHECK_STATUS(kms_stream_finish(stream, sealed + first, 15, &len), KMS_BUFFER_TOO_SMALL);
    REQUIRE_OK(kms_stream_finish(stream, sealed + first, 16, &len));
    CHECK_STATUS(kms_stream_finish(stream, sealed + first, 16, &len), KMS_INVALID_ARGUMENT);
    CHECK_STATUS(kms_stream_update(stream, plain, 1, sealed, sizeof sealed, &len), KMS_INVALID_ARGUMENT);
    CHECK_NUMBER(len, 0);
    kms_stream_free(stream);

    stream = open_sealed(kms);
    CHECK_STATUS(kms_stream_update(stream, sealed, CHUNK + 16, sealed + 8, CHUNK, &len), KMS_INVALID_ARGUMENT);
    CHECK_STATUS(kms_stream_update(stream, NULL, 1, opened, sizeof opened, &len), KMS_INVALID_ARGUMENT);
    CHECK_STATUS(kms_stream_update(stream, plain, SIZE_MAX, opened, sizeof opened, &len), KMS_INVALID_ARGUMENT);
    CHECK_OK(kms_stream_update(stream, sealed + KMS_FILE_START_SIZE, CHUNK + 16, NULL, 0, &len));
    CHECK_NUMBER(len, CHUNK);
    CHECK_NUMBER(pass(stream, sealed + KMS_FILE_START_SIZE, CHUNK + 32, MOST, opened, sizeof opened), CHUNK);
    CHECK(memcmp(opened, plain, CHUNK) == 0);
    kms_stream_free(stream);
    kms_stream_free(NULL);
    kms_close(kms);
}

static void a_modified_chunk_yields_no_plaintext(void) {
    kms_t *kms = open_memory(NULL);
    key_id key = new_key(kms);
    size_t len = seal(kms, key.text, MOST, 4096), out_len = 77, at = KMS_FILE_START_SIZE + CHUNK + 16 + 5;
    kms_stream_t *stream;
    sealed[at] ^= 1;
    memset(opened, 0xA5, sizeof opened);
    stream = open_sealed(kms);
    /* Both chunks in one update: the first is right. */
    CHECK_STATUS(kms_stream_update(stream, sealed + KMS_FILE_START_SIZE, 2 * (CHUNK + 16), opened, sizeof opened, &out_len),
                 KMS_AUTHENTICATION_FAILED);
    CHECK_NUMBER(out_len, 0);
    CHECK(all_are(opened, 2 * CHUNK, 0));
    sealed[at] ^= 1;
    CHECK_STATUS(kms_stream_update(stream, sealed, 1, opened, sizeof opened, &out_len), KMS_INVALID_ARGUMENT);
    CHECK_STATUS(kms_stream_finish(stream, opened, sizeof opened, &out_len), KMS_INVALID_ARGUMENT);
    kms_stream_free(stream);

    stream = open_sealed(kms);
    sealed[len - 1] ^= 1;
    REQUIRE_OK(
        kms_stream_update(stream, sealed + KMS_FILE_START_SIZE, len - KMS_FILE_START_SIZE, opened, sizeof opened, &out_len));
    memset(opened, 0xA5, sizeof opened);
    CHECK_STATUS(kms_stream_finish(stream, opened, sizeof opened, &out_len), KMS_AUTHENTICATION_FAILED);
    CHECK_NUMBER(out_len, 0);
    CHECK(all_are(opened, 77, 0));
    sealed[len - 1] ^= 1;
    kms_stream_free(stream);
    kms_close(kms);
}

static void a_file_that_was_cut_off_does_not_finish(void) {
    static const size_t cuts[] = {0, 1, 15, 16, 17, CHUNK, CHUNK + 15, CHUNK + 16, CHUNK + 17, CHUNK + 31};
    kms_t *kms = open_memory(NULL);
    key_id key = new_key(kms);
    size_t i, len;
    seal(kms, key.text, CHUNK, 4096);
    for (i = 0; i < sizeof cuts / sizeof *cuts; i++) {
        kms_stream_t *stream = open_sealed(kms);
        kms_status status;
        REQUIRE_OK(kms_stream_update(stream, sealed + KMS_FILE_START_SIZE, cuts[i], opened, sizeof opened, &len));
        status = kms_stream_finish(stream, opened, sizeof opened, &len);
        CHECK(status == KMS_MALFORMED_CIPHERTEXT || status == KMS_AUTHENTICATION_FAILED);
        CHECK_NUMBER(len, 0);
        kms_stream_free(stream);
    }
    kms_close(kms);
}

static void a_stream_begins_with_the_right_key_context_and_start_only(void) {
    const kms_context_entry context = {"tenant", "42"}, other = {"tenant", "43"}, reserved = {"kms:file", "x"};
    kms_t *kms = open_memory(NULL);
    key_id key = new_key(kms);
    kms_stream_t *stream = NULL, *none = (kms_stream_t *)(void *)&key;
    size_t len;
    CHECK_STATUS(kms_encrypt_stream(kms, no_such_id, NULL, 0, &none), KMS_KEY_NOT_FOUND);
    CHECK(none == NULL);
    CHECK_STATUS(kms_encrypt_stream(kms, key.text, &reserved, 1, &none), KMS_INVALID_ARGUMENT);
    CHECK_STATUS(kms_encrypt_stream(kms, key.text, NULL, 0, NULL), KMS_INVALID_ARGUMENT);
    REQUIRE_OK(kms_encrypt_stream(kms, key.text, &context, 1, &stream));
    pass(stream, plain, 10, 10, sealed, sizeof sealed);
    kms_stream_free(stream);
    CHECK_STATUS(kms_decrypt_stream(kms, sealed, KMS_FILE_START_SIZE, &other, 1, &none), KMS_AUTHENTICATION_FAILED);
    CHECK_STATUS(kms_decrypt_stream(kms, sealed, KMS_FILE_START_SIZE, NULL, 0, &none), KMS_AUTHENTICATION_FAILED);
    CHECK_STATUS(kms_decrypt_stream(kms, sealed, KMS_FILE_START_SIZE - 1, &context, 1, &none), KMS_MALFORMED_CIPHERTEXT);
    CHECK_STATUS(kms_decrypt_stream(kms, sealed, KMS_FILE_START_SIZE + 1, &context, 1, &none), KMS_MALFORMED_CIPHERTEXT);
    CHECK_STATUS(kms_decrypt_stream(kms, plain, KMS_FILE_START_SIZE, &context, 1, &none), KMS_MALFORMED_CIPHERTEXT);
    CHECK(none == NULL);
    REQUIRE_OK(kms_disable_key(kms, key.text));
    CHECK_STATUS(kms_decrypt_stream(kms, sealed, KMS_FILE_START_SIZE, &context, 1, &none), KMS_REJECTED_DISABLED);
    CHECK_STATUS(kms_encrypt_stream(kms, key.text, NULL, 0, &none), KMS_REJECTED_DISABLED);
    CHECK_STATUS(kms_stream_update(NULL, plain, 1, sealed, sizeof sealed, &len), KMS_INVALID_ARGUMENT);
    CHECK_STATUS(kms_stream_finish(NULL, sealed, sizeof sealed, &len), KMS_INVALID_ARGUMENT);
    kms_close(kms);
}

/* Parent and child would encrypt different bytes under the same nonce. */
static void a_forked_child_cannot_use_its_parents_stream(void) {
    kms_t *kms = open_file("stream.db", NULL);
    key_id key = new_key(kms);
    kms_stream_t *writing = NULL, *reading;
    size_t written, len;
    pid_t child;
    int status = 0;
    seal(kms, key.text, CHUNK, CHUNK);
    reading = open_sealed(kms);
    REQUIRE_OK(kms_encrypt_stream(kms, key.text, NULL, 0, &writing));
    REQUIRE_OK(kms_stream_update(writing, plain, CHUNK + 5, opened, sizeof opened, &written));
    fflush(NULL);
    child = fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        kms_stream_t *own = NULL;
        alarm(30);
        CHECK_STATUS(kms_stream_update(writing, plain, CHUNK, sealed, sizeof sealed, &len), KMS_FORKED);
        CHECK_NUMBER(len, 0);
        CHECK_STATUS(kms_stream_update(writing, plain, CHUNK, NULL, 0, &len), KMS_FORKED);
        CHECK_STATUS(kms_stream_finish(writing, sealed, sizeof sealed, &len), KMS_FORKED);
        CHECK_STATUS(kms_stream_update(reading, sealed, CHUNK, opened, sizeof opened, &len), KMS_FORKED);
        CHECK_OK(kms_encrypt_stream(kms, key.text, NULL, 0, &own));
        CHECK_OK(kms_stream_update(own, plain, CHUNK, sealed, sizeof sealed, &len));
        kms_stream_free(own);
        kms_stream_free(writing);
        kms_stream_free(reading);
        kms_close(kms);
        _exit(check_result());
    }
    REQUIRE(waitpid(child, &status, 0) == child);
    CHECK_NUMBER(status, 0);
    REQUIRE_OK(kms_stream_finish(writing, opened + written, sizeof opened - written, &len));
    memcpy(sealed, opened, written + len);
    kms_stream_free(writing);
    kms_stream_free(reading);
    reading = open_sealed(kms);
    CHECK_NUMBER(pass(reading, sealed + KMS_FILE_START_SIZE, written + len - KMS_FILE_START_SIZE, MOST, opened, sizeof opened),
                 CHUNK + 5);
    CHECK(memcmp(opened, plain, CHUNK + 5) == 0);
    kms_stream_free(reading);
    kms_close(kms);
}

static void a_stream_outlives_its_keystore(void) {
    kms_t *kms = open_memory(NULL);
    key_id key = new_key(kms);
    kms_stream_t *writing = NULL, *reading;
    size_t len = seal(kms, key.text, MOST, MOST);
    reading = open_sealed(kms);
    REQUIRE_OK(kms_encrypt_stream(kms, key.text, NULL, 0, &writing));
    kms_close(kms);
    CHECK_NUMBER(pass(reading, sealed + KMS_FILE_START_SIZE, len - KMS_FILE_START_SIZE, 1000, opened, sizeof opened), MOST);
    CHECK(memcmp(opened, plain, MOST) == 0);
    CHECK_NUMBER(pass(writing, plain, MOST, 1000, sealed, sizeof sealed), len);
    kms_stream_free(writing);
    kms_stream_free(reading);
}

int main(void) {
    make_plain();
    CHECK_NUMBER(kms_file_start_size(), KMS_FILE_START_SIZE);
    RUN(a_file_passes_in_pieces_of_any_length);
    RUN(an_output_that_does_not_fit_takes_nothing);
    RUN(a_modified_chunk_yields_no_plaintext);
    RUN(a_file_that_was_cut_off_does_not_finish);
    RUN(a_stream_begins_with_the_right_key_context_and_start_only);
    RUN(a_forked_child_cannot_use_its_parents_stream);
    RUN(a_stream_outlives_its_keystore);
    return check_result();
}

/* Files of any size by their paths, and random access to encrypted files, also through misbehaving callbacks. */
#define _GNU_SOURCE
#include "check.h"
#include <pthread.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#ifdef __SANITIZE_ADDRESS__
enum { FORKS = 0 }; /* its allocator does not survive a fork beside other threads */
#else
enum { FORKS = 20 };
#endif
enum { CHUNK = 16384, MOST = 40 * CHUNK + 77 };

static uint8_t plain[MOST], found[MOST];

static void put_file(const char *path, const uint8_t *data, size_t len) {
    FILE *file = fopen(path, "wb");
    REQUIRE(file != NULL && fwrite(data, 1, len, file) == len && fclose(file) == 0);
}

static size_t read_file(const char *path, uint8_t *data, size_t cap) {
    FILE *file = fopen(path, "rb");
    size_t len;
    if (file == NULL) {
        return SIZE_MAX;
    }
    len = fread(data, 1, cap, file);
    fclose(file);
    return len;
}

static int is_there(const char *path) { return access(path, F_OK) == 0; }

/* "plain" has MOST bytes, "sealed" is the same encrypted under a new key. */
static key_id seal(const kms_t *kms) {
    key_id key = new_key(kms);
    put_file("plain", plain, MOST);
    remove("sealed");
    REQUIRE_OK(kms_encrypt_file(kms, key.text, "plain", "sealed", NULL, 0, NULL, NULL));
    return key;
}

static void a_file_comes_back(void) {
    static const size_t lens[] = {0, 1, CHUNK - 1, CHUNK, 16 * CHUNK, MOST};
    const kms_context_entry context = {"tenant", "42"};
    kms_t *kms = open_memory(NULL);
    key_id key = new_key(kms);
    kms_file_options options = KMS_FILE_OPTIONS_INIT;
    uint64_t len;
    size_t i;
    int32_t is_encrypted;
    options.replace = 1;
    for (i = 0; i < sizeof lens / sizeof *lens; i++) {
        options.threads = (int32_t)(i % 3);
        put_file("plain", plain, lens[i]);
        REQUIRE(chmod("plain", 0640) == 0);
        CHECK_OK(kms_encrypt_file(kms, key.text, "plain", "sealed", &context, 1, &options, &len));
        CHECK_NUMBER(len, lens[i]);
        len = 77;
        CHECK_OK(kms_decrypt_file(kms, "sealed", "again", &context, 1, &options, &len));
        CHECK_NUMBER(len, lens[i]);
        CHECK_NUMBER(read_file("again", found, MOST), lens[i]);
        CHECK(memcmp(found, plain, lens[i]) == 0);
    }
    CHECK_NUMBER(read_file("sealed", found, KMS_FILE_HEADER_SIZE), KMS_FILE_HEADER_SIZE);
    CHECK_OK(kms_is_encrypted_file(found, KMS_FILE_HEADER_SIZE, &is_encrypted));
    CHECK_NUMBER(is_encrypted, 1);
    CHECK_OK(kms_is_encrypted_file(plain, KMS_FILE_HEADER_SIZE, &is_encrypted));
    CHECK_NUMBER(is_encrypted, 0);
    CHECK_OK(kms_is_encrypted_file(NULL, 0, &is_encrypted));
    CHECK_NUMBER(is_encrypted, 0);
    CHECK_NUMBER(kms_file_header_size(), KMS_FILE_HEADER_SIZE);
    kms_close(kms);
}

static void failures_leave_no_output(void) {
    const kms_context_entry reserved = {"kms:file", "x"}, other = {"tenant", "43"};
    kms_t *kms = open_memory(NULL);
    key_id key = seal(kms);
    kms_file_options options = KMS_FILE_OPTIONS_INIT;
    uint64_t len = 77;
    CHECK_STATUS(kms_encrypt_file(kms, key.text, "plain", "sealed", NULL, 0, NULL, &len), KMS_FILE_EXISTS);
    CHECK_NUMBER(len, 77);
    CHECK_STATUS(kms_encrypt_file(kms, key.text, "no such file", "new", NULL, 0, NULL, NULL), KMS_FILE_IO);
    CHECK_STATUS(kms_encrypt_file(kms, key.text, "plain", "no such folder/new", NULL, 0, NULL, NULL), KMS_FILE_IO);
    CHECK_STATUS(kms_encrypt_file(kms, key.text, ".", "new", NULL, 0, NULL, NULL), KMS_FILE_IO);
    CHECK_STATUS(kms_encrypt_file(kms, key.text, "", "new", NULL, 0, NULL, NULL), KMS_INVALID_ARGUMENT);
    CHECK_STATUS(kms_encrypt_file(kms, key.text, "plain", "", NULL, 0, NULL, NULL), KMS_INVALID_ARGUMENT);
    CHECK_STATUS(kms_encrypt_file(kms, key.text, "plain", "new", &reserved, 1, NULL, NULL), KMS_INVALID_ARGUMENT);
    CHECK_STATUS(kms_encrypt_file(kms, no_such_id, "plain", "new", NULL, 0, NULL, NULL), KMS_KEY_NOT_FOUND);
    CHECK_STATUS(kms_decrypt_file(kms, "sealed", "new", &other, 1, NULL, NULL), KMS_AUTHENTICATION_FAILED);
    CHECK_STATUS(kms_decrypt_file(kms, "plain", "new", NULL, 0, NULL, NULL), KMS_MALFORMED_CIPHERTEXT);
    options.threads = 257;
    CHECK_STATUS(kms_encrypt_file(kms, key.text, "plain", "new", NULL, 0, &options, NULL), KMS_INVALID_ARGUMENT);
    options.threads = -1;
    CHECK_STATUS(kms_decrypt_file(kms, "sealed", "new", NULL, 0, &options, NULL), KMS_INVALID_ARGUMENT);
    options.threads = 1;
    options.replace = 2;
    CHECK_STATUS(kms_decrypt_file(kms, "sealed", "new", NULL, 0, &options, NULL), KMS_INVALID_ARGUMENT);
    options.replace = 0;
    options.struct_size = 8;
    CHECK_STATUS(kms_decrypt_file(kms, "sealed", "new", NULL, 0, &options, NULL), KMS_INVALID_ARGUMENT);
    REQUIRE(truncate("sealed", KMS_FILE_START_SIZE + 100) == 0);
    CHECK(kms_decrypt_file(kms, "sealed", "new", NULL, 0, NULL, NULL) / 100 == 4);
    REQUIRE_OK(kms_disable_key(kms, key.text));
    CHECK_STATUS(kms_encrypt_file(kms, key.text, "plain", "new", NULL, 0, NULL, NULL), KMS_REJECTED_DISABLED);
    CHECK(!is_there("new"));
    kms_close(kms);
}

typedef struct reports {
    const kms_t *kms;
    const char *key;
    uint64_t last;
    int calls, stop_at;
    kms_status stop;
} reports;

static kms_status report(void *user, uint64_t done) {
    reports *seen = user;
    small_blob blob;
    seen->calls += 1;
    seen->last = done;
    /* A callback may use the library. */
    blob = encrypt_text(seen->kms, seen->key, "inside");
    CHECK(opens_as(seen->kms, &blob, "inside"));
    return seen->calls == seen->stop_at ? seen->stop : KMS_OK;
}

static void progress_counts_and_can_stop(void) {
    kms_t *kms = open_memory(NULL);
    key_id key = seal(kms);
    reports seen = {0};
    kms_file_options options = KMS_FILE_OPTIONS_INIT;
    seen.kms = kms;
    seen.key = key.text;
    options.threads = 1;
    options.progress = report;
    options.progress_user = &seen;
    REQUIRE_OK(kms_encrypt_file(kms, key.text, "plain", "new", NULL, 0, &options, NULL));
    CHECK(seen.calls > 1);
    CHECK_NUMBER(seen.last, MOST);
    remove("new");
    seen.calls = 0;
    seen.stop_at = 1;
    seen.stop = KMS_BATCH_PARTIAL;
    CHECK_STATUS(kms_encrypt_file(kms, key.text, "plain", "new", NULL, 0, &options, NULL), KMS_BATCH_PARTIAL);
    seen.calls = 0;
    seen.stop = -5;
    CHECK_STATUS(kms_decrypt_file(kms, "sealed", "new", NULL, 0, &options, NULL), KMS_FILE_IO);
    CHECK(!is_there("new"));
    kms_close(kms);
}

static void re_encryption_rewrites_the_header(void) {
    kms_t *kms = open_memory(NULL);
    key_id key = seal(kms), other = new_key(kms);
    kms_file_info before = KMS_FILE_INFO_INIT, after = KMS_FILE_INFO_INIT;
    static uint8_t one[MOST * 2], two[MOST * 2];
    size_t len = read_file("sealed", one, sizeof one);
    int32_t changed = 77;
    CHECK_OK(kms_inspect_file(kms, "sealed", &before));
    CHECK_TEXT(before.key_id, key.text);
    CHECK_NUMBER(before.is_primary, 1);
    CHECK_NUMBER(before.sequence, 1);
    CHECK_NUMBER(before.plaintext_len, MOST);
    CHECK(!all_are(before.file_id, sizeof before.file_id, 0));
    CHECK_OK(kms_reencrypt_file(kms, "sealed", NULL, 0, NULL, &changed));
    CHECK_NUMBER(changed, 0);
    REQUIRE_OK(kms_rotate(kms, key.text, NULL));
    CHECK_OK(kms_inspect_file(kms, "sealed", &after));
    CHECK_NUMBER(after.is_primary, 0);
    CHECK_OK(kms_reencrypt_file(kms, "sealed", NULL, 0, NULL, &changed));
    CHECK_NUMBER(changed, 1);
    CHECK_OK(kms_reencrypt_file(kms, "sealed", NULL, 0, other.text, NULL));
    CHECK_OK(kms_inspect_file(kms, "sealed", &after));
    CHECK_TEXT(after.key_id, other.text);
    CHECK_NUMBER(after.sequence, 3);
    CHECK(memcmp(before.file_id, after.file_id, sizeof before.file_id) == 0);
    CHECK_NUMBER(read_file("sealed", two, sizeof two), len);
    CHECK(memcmp(one + KMS_FILE_HEADER_SIZE, two + KMS_FILE_HEADER_SIZE, len - KMS_FILE_HEADER_SIZE) == 0);
    remove("again");
    CHECK_OK(kms_decrypt_file(kms, "sealed", "again", NULL, 0, NULL, NULL));
    CHECK_STATUS(kms_reencrypt_file(kms, "sealed", NULL, 0, no_such_id, &changed), KMS_KEY_NOT_FOUND);
    CHECK_STATUS(kms_reencrypt_file(kms, "no such file", NULL, 0, NULL, &changed), KMS_FILE_IO);
    CHECK_STATUS(kms_reencrypt_file(kms, "plain", NULL, 0, NULL, &changed), KMS_MALFORMED_CIPHERTEXT);
    CHECK_STATUS(kms_inspect_file(kms, "plain", &after), KMS_MALFORMED_CIPHERTEXT);
    CHECK_STATUS(kms_inspect_file(kms, "no such file", &after), KMS_FILE_IO);
    CHECK_STATUS(kms_inspect_file(kms, "sealed", NULL), KMS_INVALID_ARGUMENT);
    kms_close(kms);
}

/* Whether reads of many lengths at many places agree with the plaintext. */
static void reads_agree(const kms_file_t *file) {
    static const size_t lens[] = {0, 1, 100, CHUNK, CHUNK + 1, 3 * CHUNK};
    uint8_t *buffer = malloc(3 * CHUNK);
    uint64_t at;
    size_t i, len;
    REQUIRE(buffer != NULL);
    for (at = 0; at < MOST + 100; at += 7919) {
        for (i = 0; i < sizeof lens / sizeof *lens; i++) {
            size_t left = at < MOST ? (size_t)(MOST - at) : 0;
            CHECK_OK(kms_file_read(file, at, buffer, lens[i], &len));
            CHECK_NUMBER(len, lens[i] < left ? lens[i] : left);
            CHECK(memcmp(buffer, plain + at, len) == 0);
        }
    }
    free(buffer);
}

static void *read_in_a_thread(void *file) {
    reads_agree(file);
    return NULL;
}

static void a_file_is_read_at_any_place(void) {
    kms_t *kms = open_file("file.db", NULL);
    kms_file_t *file = NULL;
    uint64_t size = 77;
    size_t len = 77;
    pthread_t threads[3];
    pid_t child;
    int i, status = 0;
    seal(kms);
    REQUIRE_OK(kms_open_file(kms, "sealed", NULL, 0, &file));
    CHECK_OK(kms_file_size(file, &size));
    CHECK_NUMBER(size, MOST);
    reads_agree(file);
    CHECK_OK(kms_file_read(file, UINT64_MAX, found, sizeof found, &len));
    CHECK_NUMBER(len, 0);
    CHECK_OK(kms_file_read(file, 5, NULL, 0, &len));
    CHECK_STATUS(kms_file_read(file, 5, NULL, 1, &len), KMS_INVALID_ARGUMENT);
    CHECK_STATUS(kms_file_read(file, 5, found, SIZE_MAX, &len), KMS_INVALID_ARGUMENT);
    CHECK_STATUS(kms_file_read(NULL, 5, found, 1, &len), KMS_INVALID_ARGUMENT);
    for (i = 0; i < 3; i++) {
        REQUIRE(pthread_create(&threads[i], NULL, read_in_a_thread, file) == 0);
    }
    for (i = 0; i < FORKS; i++) {
        fflush(NULL);
        child = fork();
        REQUIRE(child >= 0);
        if (child == 0) {
            alarm(30);
            check_failures = 0;
            CHECK_OK(kms_file_read(file, 5, found, 100, &len));
            CHECK(len == 100 && memcmp(found, plain + 5, 100) == 0);
            kms_file_close(file);
            kms_close(kms);
            _exit(check_result());
        }
        REQUIRE(waitpid(child, &status, 0) == child);
        CHECK_NUMBER(status, 0);
    }
    for (i = 0; i < 3; i++) {
        REQUIRE(pthread_join(threads[i], NULL) == 0);
    }
    kms_close(kms);
    CHECK_OK(kms_file_read(file, 5, found, 100, &len));
    kms_file_close(file);
    kms_file_close(NULL);
}

static void a_modified_or_shortened_file_yields_no_plaintext(void) {
    kms_t *kms = open_memory(NULL);
    kms_file_t *file = NULL;
    FILE *raw;
    size_t len = 77;
    seal(kms);
    REQUIRE_OK(kms_open_file(kms, "sealed", NULL, 0, &file));
    raw = fopen("sealed", "r+b");
    REQUIRE(raw != NULL && fseek(raw, KMS_FILE_START_SIZE + 2 * (CHUNK + 16) + 5, SEEK_SET) == 0);
    REQUIRE(fputc('?', raw) == '?' && fputc('!', raw) == '!' && fclose(raw) == 0);
    memset(found, 0xA5, sizeof found);
    CHECK_STATUS(kms_file_read(file, 0, found, 4 * CHUNK, &len), KMS_AUTHENTICATION_FAILED);
    CHECK_NUMBER(len, 0);
    CHECK(all_are(found, 2 * CHUNK, 0) && all_are(found + 2 * CHUNK, 2 * CHUNK, 0xA5));
    CHECK_OK(kms_file_read(file, 0, found, 2 * CHUNK, &len));
    CHECK_OK(kms_file_read(file, 3 * CHUNK, found, 2 * CHUNK, &len));
    REQUIRE(truncate("sealed", KMS_FILE_START_SIZE + CHUNK + 16) == 0);
    CHECK_STATUS(kms_file_read(file, 2 * CHUNK, found, 1, &len), KMS_MALFORMED_CIPHERTEXT);
    kms_file_close(file);
    CHECK(kms_open_file(kms, "sealed", NULL, 0, &file) / 100 == 4);
    CHECK(file == NULL);
    kms_close(kms);
}

/* An encrypted file in memory, and how its callback behaves. */
typedef struct source {
    uint8_t data[2 * MOST];
    size_t len, most; /* most: what one call returns at most, 0: as much as there is */
    kms_status fails;
    size_t too_much;
    const kms_file_t *inner; /* read from within the callback */
    int calls;
} source;

static source lying;

static kms_status read_at(void *user, uint64_t offset, uint8_t *out, size_t cap, size_t *out_len) {
    source *from = user;
    size_t left = offset < from->len ? from->len - (size_t)offset : 0, len = left < cap ? left : cap;
    __atomic_add_fetch(&from->calls, 1, __ATOMIC_SEQ_CST);
    if (from->inner != NULL) {
        const kms_file_t *inner = from->inner;
        uint8_t small[10];
        size_t read;
        from->inner = NULL;
        CHECK_OK(kms_file_read(inner, 3 * CHUNK - 5, small, sizeof small, &read));
        CHECK(read == sizeof small && memcmp(small, plain + 3 * CHUNK - 5, read) == 0);
        from->inner = inner;
    }
    if (from->most != 0 && len > from->most) {
        len = from->most;
    }
    memcpy(out, from->data + offset * (offset < from->len), len);
    *out_len = from->too_much != 0 ? cap + from->too_much : len;
    return from->fails;
}

static kms_status open_lying(const kms_t *kms, uint64_t len, kms_file_t **file) {
    return kms_open_file_callback(kms, read_at, &lying, len, NULL, 0, file);
}

static void a_callback_reads_and_may_lie(void) {
    kms_t *kms = open_memory(NULL);
    kms_file_t *file = NULL;
    uint64_t size;
    size_t len = 77;
    memset(&lying, 0, sizeof lying);
    seal(kms);
    lying.len = read_file("sealed", lying.data, sizeof lying.data);
    REQUIRE_OK(open_lying(kms, lying.len, &file));
    CHECK_OK(kms_file_size(file, &size));
    CHECK_NUMBER(size, MOST);
    reads_agree(file);
    lying.most = 1000;
    reads_agree(file);
    lying.inner = file; /* calls itself, once at a time */
    reads_agree(file);
    lying.inner = NULL;
    lying.fails = KMS_KEYSTORE_IO;
    CHECK_STATUS(kms_file_read(file, 9 * CHUNK, found, 10, &len), KMS_FILE_IO);
    CHECK_NUMBER(len, 0);
    lying.fails = -77;
    CHECK_STATUS(kms_file_read(file, 9 * CHUNK, found, 10, &len), KMS_FILE_IO);
    lying.fails = KMS_OK;
    lying.too_much = 1;
    CHECK_STATUS(kms_file_read(file, 9 * CHUNK, found, 10, &len), KMS_FILE_IO);
    lying.too_much = SIZE_MAX / 2;
    CHECK_STATUS(kms_file_read(file, 9 * CHUNK, found, 10, &len), KMS_FILE_IO);
    lying.too_much = 0;
    lying.len = KMS_FILE_START_SIZE + 5 * (CHUNK + 16) + 3; /* ends early */
    CHECK_STATUS(kms_file_read(file, 9 * CHUNK, found, 10, &len), KMS_MALFORMED_CIPHERTEXT);
    CHECK_STATUS(kms_file_read(file, 5 * CHUNK, found, 10, &len), KMS_MALFORMED_CIPHERTEXT);
    CHECK_OK(kms_file_read(file, 4 * CHUNK, found, 10, &len));
    kms_file_close(file);

    lying.len = read_file("sealed", lying.data, sizeof lying.data);
    lying.most = 0;
    CHECK(open_lying(kms, lying.len - 1, &file) != KMS_OK && file == NULL);
    CHECK(open_lying(kms, lying.len + 1, &file) != KMS_OK && file == NULL);
    CHECK(open_lying(kms, 0, &file) != KMS_OK && file == NULL);
    CHECK(open_lying(kms, UINT64_MAX, &file) != KMS_OK && file == NULL);
    lying.fails = KMS_INTERNAL;
    CHECK_STATUS(open_lying(kms, lying.len, &file), KMS_FILE_IO);
    CHECK_STATUS(kms_open_file_callback(kms, NULL, &lying, 5, NULL, 0, &file), KMS_INVALID_ARGUMENT);
    CHECK_STATUS(kms_open_file_callback(kms, read_at, &lying, 5, NULL, 0, NULL), KMS_INVALID_ARGUMENT);
    kms_close(kms);
}

int main(void) {
    size_t i;
    for (i = 0; i < MOST; i++) {
        plain[i] = (uint8_t)(i * 31 + i / 251);
    }
    RUN(a_file_comes_back);
    RUN(failures_leave_no_output);
    RUN(progress_counts_and_can_stop);
    RUN(re_encryption_rewrites_the_header);
    RUN(a_file_is_read_at_any_place);
    RUN(a_modified_or_shortened_file_yields_no_plaintext);
    RUN(a_callback_reads_and_may_lie);
    return check_result();
}

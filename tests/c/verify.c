/* An altered keystore is detected: kms_verify names the key, and an anchor refuses an older copy of the whole file. */
#include "check.h"

typedef struct told {
    int faults, named, stop;
    char wanted[KMS_ID_SIZE];
} told;

static int32_t note(void *user, const char *id, kms_status status, const char *text) {
    told *seen = user;
    seen->faults += 1;
    CHECK_NUMBER(status, KMS_KEYSTORE_CORRUPT);
    CHECK(text != NULL && text[0] != '\0');
    if (id != NULL && strcmp(id, seen->wanted) == 0) {
        seen->named += 1;
    }
    return seen->stop;
}

static uint8_t *read_all(const char *path, size_t *len) {
    FILE *file = fopen(path, "rb");
    uint8_t *bytes;
    REQUIRE(file != NULL);
    REQUIRE(fseek(file, 0, SEEK_END) == 0);
    *len = (size_t)ftell(file);
    rewind(file);
    bytes = malloc(*len + 1);
    REQUIRE(bytes != NULL && fread(bytes, 1, *len, file) == *len);
    fclose(file);
    return bytes;
}

static void write_all(const char *path, const uint8_t *bytes, size_t len) {
    FILE *file = fopen(path, "wb");
    REQUIRE(file != NULL && fwrite(bytes, 1, len, file) == len && fclose(file) == 0);
}

static void a_whole_keystore_is_ok(void) {
    kms_t *kms = open_memory(NULL);
    told seen = {0, 0, 0, ""};
    CHECK_OK(kms_verify(kms, NULL, NULL));
    new_key(kms);
    new_key(kms);
    CHECK_OK(kms_verify(kms, note, &seen));
    CHECK_NUMBER(seen.faults, 0);
    kms_close(kms);
    CHECK_STATUS(kms_verify(NULL, NULL, NULL), KMS_INVALID_ARGUMENT);
}

static void a_damaged_key_is_named(void) {
    static const char mark[] = "a description to be found in the file";
    kms_create_key_options options = KMS_CREATE_KEY_OPTIONS_INIT;
    kms_t *kms = open_file("verify.db", NULL);
    told seen = {0, 0, 0, ""};
    uint8_t *bytes;
    size_t len, at, found = 0;
    new_key(kms);
    options.description = mark;
    REQUIRE_OK(kms_create_key(kms, &options, seen.wanted));
    kms_close(kms);
    bytes = read_all("verify.db", &len);
    for (at = 0; at + sizeof mark - 1 <= len; at++) {
        if (memcmp(bytes + at, mark, sizeof mark - 1) == 0) {
            bytes[at] ^= 1;
            found += 1;
        }
    }
    CHECK_NUMBER(found, 1);
    write_all("verify.db", bytes, len);
    free(bytes);
    kms = open_file("verify.db", NULL);
    CHECK_STATUS(kms_verify(kms, note, &seen), KMS_KEYSTORE_CORRUPT);
    CHECK(seen.named >= 1);
    CHECK_NUMBER(seen.faults, seen.named);
    CHECK_STATUS(kms_verify(kms, NULL, NULL), KMS_KEYSTORE_CORRUPT);
    kms_close(kms);
}

static void an_older_copy_is_refused_by_the_anchor(void) {
    kms_options_t *options = new_options(NULL);
    kms_t *kms = NULL;
    uint8_t *bytes;
    size_t len;
    CHECK_STATUS(kms_options_set_anchor_file(options, ""), KMS_INVALID_ARGUMENT);
    CHECK_STATUS(kms_options_set_anchor_file(options, NULL), KMS_INVALID_ARGUMENT);
    REQUIRE_OK(kms_options_set_anchor_file(options, "anchor"));
    REQUIRE_OK(kms_open("anchored.db", options, &kms));
    bytes = read_all("anchored.db", &len);
    new_key(kms);
    kms_close(kms);
    write_all("anchored.db", bytes, len);
    free(bytes);
    CHECK_STATUS(kms_open("anchored.db", options, &kms), KMS_KEYSTORE_ROLLED_BACK);
    CHECK(kms == NULL);
    write_all("anchor", (const uint8_t *)"?", 1);
    CHECK_STATUS(kms_open("anchored.db", options, &kms), KMS_ANCHOR_UNAVAILABLE);
    write_all("anchor", (const uint8_t *)"", 0);
    REQUIRE_OK(kms_open("anchored.db", options, &kms));
    kms_close(kms);
    REQUIRE(remove("anchor") == 0);
    CHECK_STATUS(kms_open("anchored.db", options, &kms), KMS_ANCHOR_UNAVAILABLE);
    CHECK_STATUS(kms_open("memory:", options, &kms), KMS_INVALID_ARGUMENT);
    kms_options_free(options);
}

typedef struct record {
    uint8_t bytes[256];
    size_t len;
    int gets, puts;
    kms_status says;
} record;

static kms_status get(void *user, uint8_t *out, size_t cap, size_t *len) {
    record *kept = user;
    kept->gets += 1;
    REQUIRE(kept->len <= cap);
    memcpy(out, kept->bytes, kept->len);
    *len = kept->len;
    return kept->says;
}

static kms_status put(void *user, const uint8_t *bytes, size_t len) {
    record *kept = user;
    kept->puts += 1;
    CHECK_NUMBER(len, 104);
    if (kept->says == KMS_OK) {
        memcpy(kept->bytes, bytes, len);
        kept->len = len;
    }
    return kept->says;
}

static void an_anchor_may_be_two_functions(void) {
    kms_options_t *options = new_options(NULL);
    kms_t *kms = NULL;
    record kept = {{0}, 0, 0, 0, KMS_OK}, older;
    char id[KMS_ID_SIZE];
    CHECK_STATUS(kms_options_set_anchor_callback(options, NULL, put, &kept), KMS_INVALID_ARGUMENT);
    CHECK_STATUS(kms_options_set_anchor_callback(options, get, NULL, &kept), KMS_INVALID_ARGUMENT);
    REQUIRE_OK(kms_options_set_anchor_callback(options, get, put, &kept));
    REQUIRE_OK(kms_open("callback.db", options, &kms));
    CHECK_NUMBER(kept.puts, 1);
    older = kept;
    REQUIRE_OK(kms_create_key(kms, NULL, id));
    CHECK_NUMBER(kept.puts, 2);
    CHECK(memcmp(kept.bytes, older.bytes, sizeof kept.bytes) != 0);
    kept.says = KMS_INTERNAL;
    CHECK_STATUS(kms_create_key(kms, NULL, id), KMS_ANCHOR_UNAVAILABLE);
    kms_close(kms);
    CHECK_STATUS(kms_open("callback.db", options, &kms), KMS_ANCHOR_UNAVAILABLE);
    kept.says = KMS_OK;
    REQUIRE_OK(kms_open("callback.db", options, &kms));
    kms_close(kms);
    kms_options_free(options);
}

int main(void) {
    RUN(a_whole_keystore_is_ok);
    RUN(a_damaged_key_is_named);
    RUN(an_older_copy_is_refused_by_the_anchor);
    RUN(an_anchor_may_be_two_functions);
    return check_result();
}

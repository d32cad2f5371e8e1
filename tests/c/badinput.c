/* Every error of a caller returns the right status, and loses nothing. */
#include "check.h"

enum { OVERHEAD = 80, CANARY = 0xC5 };

static const size_t absurd[] = {SIZE_MAX, SIZE_MAX / 2 + 1};
static const char *const not_utf8[] = {"\xFF", "abc\x80", "\xC0\x80", "\xED\xA0\x80", "\xC3", "\xF5\x80\x80\x80"};
enum { NOT_UTF8 = sizeof not_utf8 / sizeof not_utf8[0] };

static int32_t visit_key(void *user, const kms_key_metadata *key) {
    (void)key;
    ++*(int *)user;
    return 0;
}

static int32_t visit_version(void *user, const kms_key_version *version) {
    (void)version;
    ++*(int *)user;
    return 0;
}

/* Pointers that are NULL. */

static void null_options_are_refused_everywhere(void) {
    manual_clock clock = {0};
    kms_t *kms = (kms_t *)(void *)&clock;
    CHECK_STATUS(kms_options_set_root_key(NULL, root_key, 32), KMS_INVALID_ARGUMENT);
    CHECK_STATUS(kms_options_set_root_key_file(NULL, "k"), KMS_INVALID_ARGUMENT);
    CHECK_STATUS(kms_options_set_root_passphrase(NULL, root_key, 32), KMS_INVALID_ARGUMENT);
    CHECK_STATUS(kms_options_set_root_callback(NULL, NULL, NULL, NULL), KMS_INVALID_ARGUMENT);
    CHECK_STATUS(kms_options_set_create(NULL, 1), KMS_INVALID_ARGUMENT);
    CHECK_STATUS(kms_options_set_read_only(NULL, 1), KMS_INVALID_ARGUMENT);
    CHECK_STATUS(kms_options_set_rotation_thread(NULL, 1), KMS_INVALID_ARGUMENT);
    CHECK_STATUS(kms_options_set_busy_timeout_ms(NULL, 1), KMS_INVALID_ARGUMENT);
    CHECK_STATUS(kms_options_set_poll_interval_ms(NULL, 100), KMS_INVALID_ARGUMENT);
    CHECK_STATUS(kms_options_set_offline_limit_s(NULL, 1), KMS_INVALID_ARGUMENT);
    CHECK_STATUS(kms_options_set_accept_rollback(NULL, 1), KMS_INVALID_ARGUMENT);
    CHECK_STATUS(kms_options_set_anchor_strict(NULL, 1), KMS_INVALID_ARGUMENT);
    CHECK_STATUS(kms_options_set_cache_keys(NULL, 1), KMS_INVALID_ARGUMENT);
    CHECK_STATUS(kms_options_set_require_backup(NULL, 1), KMS_INVALID_ARGUMENT);
    CHECK_STATUS(kms_options_set_clock(NULL, manual_clock_now, &clock), KMS_INVALID_ARGUMENT);
    CHECK_STATUS(kms_options_set_event_callback(NULL, NULL, NULL), KMS_INVALID_ARGUMENT);
    CHECK_STATUS(kms_open("memory:", NULL, &kms), KMS_INVALID_ARGUMENT);
    CHECK(kms == NULL);
    kms_options_free(NULL);
}

static kms_status never_called(void *user, const uint8_t *input, size_t input_len, const uint8_t *aad, size_t aad_len,
                               uint8_t *out, size_t out_cap, size_t *out_len) {
    (void)user;
    (void)input;
    (void)input_len;
    (void)aad;
    (void)aad_len;
    (void)out;
    (void)out_cap;
    (void)out_len;
    CHECK(!"called");
    return KMS_INTERNAL;
}

static void null_contents_of_options_are_refused(void) {
    kms_options_t *options = kms_options_new();
    kms_t *kms = NULL;
    size_t i;
    REQUIRE(options != NULL);
    CHECK_STATUS(kms_options_set_root_key(options, NULL, 0), KMS_INVALID_ARGUMENT);
    CHECK_STATUS(kms_options_set_root_key(options, NULL, 32), KMS_INVALID_ARGUMENT);
    CHECK_STATUS(kms_options_set_root_key_file(options, NULL), KMS_INVALID_ARGUMENT);
    CHECK_STATUS(kms_options_set_root_passphrase(options, NULL, 8), KMS_INVALID_ARGUMENT);
    for (i = 0; i < 2; i++) {
        CHECK_STATUS(kms_options_set_root_key(options, root_key, absurd[i]), KMS_INVALID_ARGUMENT);
        CHECK_STATUS(kms_options_set_root_passphrase(options, root_key, absurd[i]), KMS_INVALID_ARGUMENT);
        CHECK_STATUS(kms_options_set_root_passphrase(options, NULL, absurd[i]), KMS_INVALID_ARGUMENT);
    }
    CHECK_STATUS(kms_options_set_root_callback(options, NULL, never_called, NULL), KMS_INVALID_ARGUMENT);
    CHECK_STATUS(kms_options_set_root_callback(options, never_called, NULL, NULL), KMS_INVALID_ARGUMENT);
    CHECK_STATUS(kms_options_set_clock(options, NULL, NULL), KMS_INVALID_ARGUMENT);
    for (i = 0; i < NOT_UTF8; i++) {
        CHECK_STATUS(kms_options_set_root_key_file(options, not_utf8[i]), KMS_INVALID_ARGUMENT);
    }
    /* None of them has set a root key. */
    CHECK_STATUS(kms_open("memory:", options, &kms), KMS_MISSING_PARAMETER);
    CHECK(kms == NULL);
    kms_options_free(options);
}

static void open_refuses_bad_arguments(void) {
    kms_options_t *options = new_options(NULL);
    kms_t *kms;
    size_t i;
    kms = (kms_t *)(void *)options;
    CHECK_STATUS(kms_open(NULL, options, &kms), KMS_INVALID_ARGUMENT);
    CHECK(kms == NULL);
    CHECK_STATUS(kms_open("memory:", options, NULL), KMS_INVALID_ARGUMENT);
    for (i = 0; i < NOT_UTF8; i++) {
        kms = (kms_t *)(void *)options;
        CHECK_STATUS(kms_open(not_utf8[i], options, &kms), KMS_INVALID_ARGUMENT);
        CHECK(kms == NULL);
    }
    kms = (kms_t *)(void *)options;
    CHECK_STATUS(kms_open("", options, &kms), KMS_INVALID_ARGUMENT);
    CHECK(kms == NULL);
    CHECK_STATUS(kms_open("sqlite:", options, &kms), KMS_INVALID_ARGUMENT);
    CHECK(kms == NULL);
    kms_options_free(options);
}

static void a_null_handle_is_refused_everywhere(void) {
    kms_key_metadata metadata = KMS_KEY_METADATA_INIT;
    kms_blob_info info = KMS_BLOB_INFO_INIT;
    kms_health_info condition = KMS_HEALTH_INFO_INIT;
    char id[KMS_ID_SIZE];
    uint8_t blob[128] = {0}, out[128];
    size_t len;
    int seen = 0;
    CHECK_STATUS(kms_create_key(NULL, NULL, id), KMS_INVALID_ARGUMENT);
    CHECK_STATUS(kms_describe_key(NULL, no_such_id, &metadata), KMS_INVALID_ARGUMENT);
    CHECK_STATUS(kms_list_keys(NULL, NULL, 9, visit_key, &seen), KMS_INVALID_ARGUMENT);
    CHECK_STATUS(kms_enable_key(NULL, no_such_id), KMS_INVALID_ARGUMENT);
    CHECK_STATUS(kms_disable_key(NULL, no_such_id), KMS_INVALID_ARGUMENT);
    CHECK_STATUS(kms_schedule_key_deletion(NULL, no_such_id, 7), KMS_INVALID_ARGUMENT);
    CHECK_STATUS(kms_cancel_key_deletion(NULL, no_such_id), KMS_INVALID_ARGUMENT);
    len = 7;
    CHECK_STATUS(kms_encrypt(NULL, no_such_id, blob, 1, NULL, 0, out, sizeof out, &len), KMS_INVALID_ARGUMENT);
    CHECK_NUMBER(len, 0);
    len = 7;
    CHECK_STATUS(kms_decrypt(NULL, blob, 128, NULL, 0, out, sizeof out, &len), KMS_INVALID_ARGUMENT);
    CHECK_NUMBER(len, 0);
    len = 7;
    CHECK_STATUS(kms_reencrypt(NULL, blob, 128, NULL, 0, no_such_id, NULL, 0, out, sizeof out, &len), KMS_INVALID_ARGUMENT);
    CHECK_NUMBER(len, 0);
    len = 7;
    CHECK_STATUS(kms_generate_data_key(NULL, no_such_id, 32, NULL, 0, NULL, out, sizeof out, &len), KMS_INVALID_ARGUMENT);
    CHECK_NUMBER(len, 0);
    CHECK_STATUS(kms_inspect(NULL, blob, 128, &info), KMS_INVALID_ARGUMENT);
    CHECK_STATUS(kms_rotate(NULL, no_such_id, id), KMS_INVALID_ARGUMENT);
    CHECK_STATUS(kms_update_rotation_policy(NULL, no_such_id, 0, 0), KMS_INVALID_ARGUMENT);
    CHECK_STATUS(kms_tick(NULL, &len), KMS_INVALID_ARGUMENT);
    CHECK_STATUS(kms_list_key_versions(NULL, no_such_id, 0, 9, visit_version, &seen), KMS_INVALID_ARGUMENT);
    CHECK_STATUS(kms_health(NULL, &condition), KMS_INVALID_ARGUMENT);
    CHECK_NUMBER(seen, 0);
}

/* One handle, key and blob for everything below; `intact` proves at the end of each test that nothing was lost. */
static kms_t *kms;
static key_id id;
static small_blob blob;
static uint8_t out[4096];
static uint64_t changes;

static void set_up(void) {
    kms = open_memory(NULL);
    id = new_key(kms);
    blob = encrypt_text(kms, id.text, "0123456789");
    memset(out, CANARY, sizeof out);
    changes = changes_made(kms);
}

static void intact(void) {
    CHECK(all_are(out, sizeof out, CANARY));
    CHECK(opens_as(kms, &blob, "0123456789"));
    CHECK_NUMBER(describe(kms, id.text).version_count, 1);
    CHECK_NUMBER(describe(kms, id.text).state, KMS_STATE_ENABLED);
    CHECK_NUMBER(changes_made(kms), changes);
    kms_close(kms);
}

/* Calls with an output: status, size 0, `out` untouched. */
#define REFUSED(call, wanted) (len = 777, CHECK_STATUS(call, wanted), CHECK_NUMBER(len, 0))

static void null_pointers_are_refused_by_every_function(void) {
    size_t len;
    set_up();
    CHECK_STATUS(kms_create_key(kms, NULL, NULL), KMS_INVALID_ARGUMENT);
    CHECK_STATUS(kms_describe_key(kms, id.text, NULL), KMS_INVALID_ARGUMENT);
    CHECK_STATUS(kms_list_keys(kms, NULL, 9, NULL, NULL), KMS_INVALID_ARGUMENT);
    CHECK_STATUS(kms_list_key_versions(kms, id.text, 0, 9, NULL, NULL), KMS_INVALID_ARGUMENT);
    CHECK_STATUS(kms_inspect(kms, blob.data, blob.len, NULL), KMS_INVALID_ARGUMENT);
    CHECK_STATUS(kms_health(kms, NULL), KMS_INVALID_ARGUMENT);
    /* No place for the size: not even a query. */
    CHECK_STATUS(kms_encrypt(kms, id.text, bytes("x"), 1, NULL, 0, out, sizeof out, NULL), KMS_INVALID_ARGUMENT);
    CHECK_STATUS(kms_encrypt(kms, id.text, bytes("x"), 1, NULL, 0, NULL, 0, NULL), KMS_INVALID_ARGUMENT);
    CHECK_STATUS(kms_decrypt(kms, blob.data, blob.len, NULL, 0, out, sizeof out, NULL), KMS_INVALID_ARGUMENT);
    CHECK_STATUS(kms_decrypt(kms, blob.data, blob.len, NULL, 0, NULL, 0, NULL), KMS_INVALID_ARGUMENT);
    CHECK_STATUS(kms_reencrypt(kms, blob.data, blob.len, NULL, 0, id.text, NULL, 0, out, sizeof out, NULL),
                 KMS_INVALID_ARGUMENT);
    CHECK_STATUS(kms_generate_data_key(kms, id.text, 32, NULL, 0, out, out + 64, 512, NULL), KMS_INVALID_ARGUMENT);
    /* No blob where one is needed. */
    REFUSED(kms_decrypt(kms, NULL, 90, NULL, 0, out, sizeof out, &len), KMS_INVALID_ARGUMENT);
    REFUSED(kms_decrypt(kms, NULL, 0, NULL, 0, out, sizeof out, &len), KMS_MALFORMED_CIPHERTEXT);
    REFUSED(kms_reencrypt(kms, NULL, 90, NULL, 0, id.text, NULL, 0, out, sizeof out, &len), KMS_INVALID_ARGUMENT);
    REFUSED(kms_encrypt(kms, id.text, NULL, 1, NULL, 0, out, sizeof out, &len), KMS_INVALID_ARGUMENT);
    REFUSED(kms_encrypt(kms, id.text, bytes("x"), 1, NULL, 1, out, sizeof out, &len), KMS_INVALID_ARGUMENT);
    REFUSED(kms_decrypt(kms, blob.data, blob.len, NULL, 1, out, sizeof out, &len), KMS_INVALID_ARGUMENT);
    REFUSED(kms_reencrypt(kms, blob.data, blob.len, NULL, 1, id.text, NULL, 0, out, sizeof out, &len), KMS_INVALID_ARGUMENT);
    REFUSED(kms_reencrypt(kms, blob.data, blob.len, NULL, 0, id.text, NULL, 1, out, sizeof out, &len), KMS_INVALID_ARGUMENT);
    REFUSED(kms_generate_data_key(kms, id.text, 32, NULL, 1, NULL, out, sizeof out, &len), KMS_INVALID_ARGUMENT);
    {
        kms_blob_info info = KMS_BLOB_INFO_INIT;
        CHECK_STATUS(kms_inspect(kms, NULL, 90, &info), KMS_INVALID_ARGUMENT);
        CHECK_STATUS(kms_inspect(kms, NULL, 0, &info), KMS_MALFORMED_CIPHERTEXT);
        CHECK_NUMBER(info.algorithm, 0);
        CHECK_TEXT(info.key_id, "");
    }
    intact();
}

/* Everything that takes a key, given a bad one. `by_id`: also what takes a key id only. */
static void with_key(const char *key, kms_status wanted, int by_id) {
    kms_key_metadata metadata = KMS_KEY_METADATA_INIT;
    char made[KMS_ID_SIZE];
    size_t len;
    int seen = 0;
    memset(made, '#', sizeof made);
    CHECK_STATUS(kms_describe_key(kms, key, &metadata), wanted);
    CHECK_NUMBER(metadata.state, 0);
    CHECK_STATUS(kms_rotate(kms, key, made), wanted);
    CHECK(all_are((const uint8_t *)made, sizeof made, '#'));
    CHECK_STATUS(kms_list_key_versions(kms, key, 0, 9, visit_version, &seen), wanted);
    REFUSED(kms_encrypt(kms, key, bytes("x"), 1, NULL, 0, out, sizeof out, &len), wanted);
    REFUSED(kms_encrypt(kms, key, bytes("x"), 1, NULL, 0, NULL, 0, &len), wanted);
    REFUSED(kms_generate_data_key(kms, key, 32, NULL, 0, out, out + 64, 512, &len), wanted);
    CHECK_NUMBER(seen, 0);
    if (by_id) {
        CHECK_STATUS(kms_enable_key(kms, key), wanted);
        CHECK_STATUS(kms_disable_key(kms, key), wanted);
        CHECK_STATUS(kms_schedule_key_deletion(kms, key, 7), wanted);
        CHECK_STATUS(kms_cancel_key_deletion(kms, key), wanted);
        CHECK_STATUS(kms_update_rotation_policy(kms, key, 0, 0), wanted);
        if (key != NULL) { /* the blob's own key */
            REFUSED(kms_reencrypt(kms, blob.data, blob.len, NULL, 0, key, NULL, 0, out, sizeof out, &len), wanted);
        }
    }
}

static void bad_keys_are_refused_by_every_function(void) {
    size_t i;
    int seen = 0;
    set_up();
    with_key(NULL, KMS_INVALID_ARGUMENT, 1);
    for (i = 0; i < NOT_UTF8; i++) {
        with_key(not_utf8[i], KMS_INVALID_ARGUMENT, 1);
        CHECK_STATUS(kms_list_keys(kms, not_utf8[i], 9, visit_key, &seen), KMS_INVALID_ARGUMENT);
    }
    with_key(no_such_id, KMS_KEY_NOT_FOUND, 1);
    with_key("alias/nobody", KMS_ALIAS_NOT_FOUND, 0);
    CHECK_NUMBER(seen, 0);
    intact();
}

/* A text that can be no id: KMS_INVALID_ARGUMENT or KMS_KEY_NOT_FOUND, but the same from every function. */
static void texts_that_are_no_id_are_refused_alike(void) {
    static const char *const texts[] = {"",
                                        " ",
                                        "key",
                                        "00000000-0000-4000-8000-00000000000",
                                        "00000000-0000-4000-8000-0000000000000",
                                        "00000000_0000_4000_8000_000000000000",
                                        "0000000g-0000-4000-8000-000000000000",
                                        "\xC3\xA9",
                                        "%s%n",
                                        "' OR 1=1 --"};
    static char long_text[20001];
    kms_key_metadata metadata = KMS_KEY_METADATA_INIT;
    size_t i;
    set_up();
    memset(long_text, 'a', sizeof long_text - 1);
    for (i = 0; i <= sizeof texts / sizeof texts[0]; i++) {
        const char *text = i < sizeof texts / sizeof texts[0] ? texts[i] : long_text;
        kms_status status = kms_describe_key(kms, text, &metadata);
        CHECK(status == KMS_INVALID_ARGUMENT || status == KMS_KEY_NOT_FOUND);
        with_key(text, status, 1);
    }
    intact();
}

static void bad_contexts_are_refused(void) {
    const kms_context_entry bad[][2] = {
        {{"", "value"}, {"k", "v"}}, {{"k", "v"}, {"k", "v"}},    {{"k", "1"}, {"k", "2"}},    {{NULL, "v"}, {"k", "v"}},
        {{"k", NULL}, {"l", "v"}},   {{"\xFF", "v"}, {"k", "v"}}, {{"k", "\xC3"}, {"l", "v"}}, {{"k", "v"}, {"", ""}},
    };
    size_t i, len;
    set_up();
    for (i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        REFUSED(kms_encrypt(kms, id.text, bytes("x"), 1, bad[i], 2, out, sizeof out, &len), KMS_INVALID_ARGUMENT);
        REFUSED(kms_encrypt(kms, id.text, bytes("x"), 1, bad[i], 2, NULL, 0, &len), KMS_INVALID_ARGUMENT);
        REFUSED(kms_encrypt(kms, no_such_id, bytes("x"), 1, bad[i], 2, out, sizeof out, &len), KMS_INVALID_ARGUMENT);
        REFUSED(kms_decrypt(kms, blob.data, blob.len, bad[i], 2, out, sizeof out, &len), KMS_INVALID_ARGUMENT);
        REFUSED(kms_decrypt(kms, blob.data, blob.len, bad[i], 2, NULL, 0, &len), KMS_INVALID_ARGUMENT);
        REFUSED(kms_reencrypt(kms, blob.data, blob.len, bad[i], 2, id.text, NULL, 0, out, sizeof out, &len),
                KMS_INVALID_ARGUMENT);
        REFUSED(kms_reencrypt(kms, blob.data, blob.len, NULL, 0, id.text, bad[i], 2, out, sizeof out, &len),
                KMS_INVALID_ARGUMENT);
        REFUSED(kms_generate_data_key(kms, id.text, 32, bad[i], 2, out, out + 64, 512, &len), KMS_INVALID_ARGUMENT);
    }
    for (i = 0; i < 2; i++) {
        const kms_context_entry good[] = {{"k", "v"}};
        REFUSED(kms_encrypt(kms, id.text, bytes("x"), 1, good, absurd[i], out, sizeof out, &len), KMS_INVALID_ARGUMENT);
        REFUSED(kms_decrypt(kms, blob.data, blob.len, good, absurd[i], out, sizeof out, &len), KMS_INVALID_ARGUMENT);
        REFUSED(kms_encrypt(kms, id.text, bytes("x"), 1, good, SIZE_MAX / sizeof good[0] + 2, out, sizeof out, &len),
                KMS_INVALID_ARGUMENT);
        REFUSED(kms_encrypt(kms, id.text, bytes("x"), 1, NULL, absurd[i], out, sizeof out, &len), KMS_INVALID_ARGUMENT);
    }
    intact();
}

static void absurd_lengths_are_refused(void) {
    kms_blob_info info = KMS_BLOB_INFO_INIT;
    size_t i, len, out_len;
    set_up();
    for (i = 0; i < 2; i++) {
        REFUSED(kms_encrypt(kms, id.text, bytes("x"), absurd[i], NULL, 0, out, sizeof out, &len), KMS_INVALID_ARGUMENT);
        REFUSED(kms_encrypt(kms, id.text, bytes("x"), absurd[i], NULL, 0, NULL, 0, &len), KMS_INVALID_ARGUMENT);
        REFUSED(kms_encrypt(kms, id.text, NULL, absurd[i], NULL, 0, out, sizeof out, &len), KMS_INVALID_ARGUMENT);
        REFUSED(kms_decrypt(kms, blob.data, absurd[i], NULL, 0, out, sizeof out, &len), KMS_INVALID_ARGUMENT);
        REFUSED(kms_decrypt(kms, blob.data, absurd[i], NULL, 0, NULL, 0, &len), KMS_INVALID_ARGUMENT);
        REFUSED(kms_reencrypt(kms, blob.data, absurd[i], NULL, 0, id.text, NULL, 0, out, sizeof out, &len),
                KMS_INVALID_ARGUMENT);
        CHECK_STATUS(kms_inspect(kms, blob.data, absurd[i], &info), KMS_INVALID_ARGUMENT);
        CHECK_OK(kms_decrypt(kms, blob.data, blob.len, NULL, 0, NULL, absurd[i], &out_len)); /* a query has no buffer */
        CHECK_NUMBER(out_len, 10);
    }
    intact();
}

static void a_struct_of_a_wrong_size_is_refused(void) {
    static const uint32_t wrong[] = {0, 1, 4, 8};
    size_t i;
    char made[KMS_ID_SIZE];
    set_up();
    memset(made, '#', sizeof made);
    for (i = 0; i < 5; i++) {
        kms_create_key_options options = KMS_CREATE_KEY_OPTIONS_INIT;
        kms_key_metadata metadata = KMS_KEY_METADATA_INIT;
        kms_blob_info info = KMS_BLOB_INFO_INIT;
        kms_health_info condition = KMS_HEALTH_INFO_INIT;
        options.struct_size = i < 4 ? wrong[i] : (uint32_t)sizeof options - 1;
        metadata.struct_size = i < 4 ? wrong[i] : (uint32_t)sizeof metadata - 1;
        info.struct_size = i < 4 ? wrong[i] : (uint32_t)sizeof info - 1;
        condition.struct_size = i < 4 ? wrong[i] : (uint32_t)sizeof condition - 1;
        CHECK_STATUS(kms_create_key(kms, &options, made), KMS_INVALID_ARGUMENT);
        CHECK_STATUS(kms_describe_key(kms, id.text, &metadata), KMS_INVALID_ARGUMENT);
        CHECK_STATUS(kms_inspect(kms, blob.data, blob.len, &info), KMS_INVALID_ARGUMENT);
        CHECK_STATUS(kms_health(kms, &condition), KMS_INVALID_ARGUMENT);
        CHECK_NUMBER(metadata.state, 0);
        CHECK_TEXT(info.key_id, "");
        CHECK_NUMBER(condition.generation, 0);
    }
    CHECK(all_are((const uint8_t *)made, sizeof made, '#'));
    intact();
}

/* Structs of a program that was compiled against a later kms.h. */
static void a_longer_struct_is_fine_while_its_tail_is_zero(void) {
    struct {
        kms_create_key_options known;
        uint64_t tail[3];
    } options = {KMS_CREATE_KEY_OPTIONS_INIT, {0}};
    struct {
        kms_key_metadata known;
        uint64_t tail[3];
    } metadata = {KMS_KEY_METADATA_INIT, {0}};
    struct {
        kms_blob_info known;
        uint32_t tail[3];
    } info = {KMS_BLOB_INFO_INIT, {0}};
    struct {
        kms_health_info known;
        uint64_t tail[3];
    } condition = {KMS_HEALTH_INFO_INIT, {0}};
    uint8_t *tails[3];
    char made[KMS_ID_SIZE];
    size_t i;
    set_up();
    options.known.struct_size = sizeof options;
    metadata.known.struct_size = sizeof metadata;
    info.known.struct_size = sizeof info;
    condition.known.struct_size = sizeof condition;
    CHECK_OK(kms_describe_key(kms, id.text, &metadata.known));
    CHECK_NUMBER(metadata.known.state, KMS_STATE_ENABLED);
    CHECK_TEXT(metadata.known.key_id, id.text);
    CHECK_OK(kms_inspect(kms, blob.data, blob.len, &info.known));
    CHECK_TEXT(info.known.key_id, id.text);
    CHECK_OK(kms_health(kms, &condition.known));
    CHECK_NUMBER(condition.known.generation, health(kms).generation);
    CHECK(all_are((uint8_t *)metadata.tail, sizeof metadata.tail, 0));
    CHECK(all_are((uint8_t *)info.tail, sizeof info.tail, 0));
    CHECK(all_are((uint8_t *)condition.tail, sizeof condition.tail, 0));
    metadata.known.struct_size = sizeof metadata;
    info.known.struct_size = sizeof info;
    condition.known.struct_size = sizeof condition;
    tails[0] = (uint8_t *)metadata.tail;
    tails[1] = (uint8_t *)info.tail;
    tails[2] = (uint8_t *)condition.tail;
    for (i = 0; i < 3; i++) {
        tails[i][sizeof info.tail - 1] = 1; /* the last byte of each, or one in the middle */
    }
    CHECK_STATUS(kms_describe_key(kms, id.text, &metadata.known), KMS_INVALID_ARGUMENT);
    CHECK_STATUS(kms_inspect(kms, blob.data, blob.len, &info.known), KMS_INVALID_ARGUMENT);
    CHECK_STATUS(kms_health(kms, &condition.known), KMS_INVALID_ARGUMENT);
    options.tail[2] = UINT64_C(1) << 63;
    CHECK_STATUS(kms_create_key(kms, &options.known, made), KMS_INVALID_ARGUMENT);
    options.tail[2] = 0;
    CHECK_NUMBER(changes_made(kms), changes);
    CHECK_OK(kms_create_key(kms, &options.known, made));
    changes++;
    intact();
}

static void flags_and_enumerations_take_known_values_only(void) {
    static const int32_t flags[] = {2, -1, 256, INT32_MAX, INT32_MIN};
    static const int32_t windows[] = {6, 367, 0, -7, INT32_MAX, INT32_MIN};
    char made[KMS_ID_SIZE];
    size_t i;
    set_up();
    memset(made, '#', sizeof made);
    for (i = 0; i < 5; i++) {
        kms_create_key_options options = KMS_CREATE_KEY_OPTIONS_INIT;
        options.rotation_interval_s = 60;
        options.enable_automatic_rotation = flags[i];
        CHECK_STATUS(kms_create_key(kms, &options, made), KMS_INVALID_ARGUMENT);
        options.enable_automatic_rotation = 0;
        options.origin = flags[i];
        CHECK_STATUS(kms_create_key(kms, &options, made), KMS_INVALID_ARGUMENT);
        CHECK_STATUS(kms_update_rotation_policy(kms, id.text, flags[i], 60), KMS_INVALID_ARGUMENT);
        CHECK_STATUS(kms_update_rotation_policy(kms, no_such_id, flags[i], 60), KMS_INVALID_ARGUMENT);
    }
    for (i = 0; i < 6; i++) {
        CHECK_STATUS(kms_schedule_key_deletion(kms, id.text, windows[i]), KMS_INVALID_ARGUMENT);
        CHECK_STATUS(kms_schedule_key_deletion(kms, no_such_id, windows[i]), KMS_INVALID_ARGUMENT);
    }
    for (i = 0; i < NOT_UTF8; i++) {
        kms_create_key_options options = KMS_CREATE_KEY_OPTIONS_INIT;
        options.description = not_utf8[i];
        CHECK_STATUS(kms_create_key(kms, &options, made), KMS_INVALID_ARGUMENT);
    }
    CHECK(all_are((const uint8_t *)made, sizeof made, '#'));
    intact();
}

/* The required status for a blob with one wrong byte. */
static kms_status wanted_for(size_t at) {
    return at < 8    ? KMS_MALFORMED_CIPHERTEXT
           : at < 24 ? KMS_KEY_NOT_FOUND
           : at < 40 ? KMS_KEY_VERSION_NOT_FOUND
                     : KMS_AUTHENTICATION_FAILED;
}

static void every_flipped_bit_is_noticed(void) {
    size_t bit, len;
    set_up();
    for (bit = 0; bit < blob.len * 8; bit++) {
        kms_blob_info info = KMS_BLOB_INFO_INIT;
        kms_status wanted = wanted_for(bit / 8), seen;
        if (bit == 6 * 8 + 1) {
            wanted = KMS_AUTHENTICATION_FAILED; /* none became map: well-formed, but not what was encrypted */
        }
        blob.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        REFUSED(kms_decrypt(kms, blob.data, blob.len, NULL, 0, out, sizeof out, &len), wanted);
        REFUSED(kms_reencrypt(kms, blob.data, blob.len, NULL, 0, id.text, NULL, 0, out, sizeof out, &len), wanted);
        seen = kms_inspect(kms, blob.data, blob.len, &info);
        CHECK_NUMBER(seen, wanted == KMS_AUTHENTICATION_FAILED ? KMS_OK : wanted);
        blob.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    intact();
}

static void every_truncation_is_noticed(void) {
    size_t n, len;
    set_up();
    for (n = 0; n < blob.len; n++) {
        kms_blob_info info = KMS_BLOB_INFO_INIT;
        kms_status wanted = n < OVERHEAD ? KMS_MALFORMED_CIPHERTEXT : KMS_AUTHENTICATION_FAILED;
        uint8_t *exact = malloc(n == 0 ? 1 : n); /* so that reading beyond it is seen */
        REQUIRE(exact != NULL);
        memcpy(exact, blob.data, n);
        REFUSED(kms_decrypt(kms, exact, n, NULL, 0, out, sizeof out, &len), wanted);
        REFUSED(kms_reencrypt(kms, exact, n, NULL, 0, id.text, NULL, 0, out, sizeof out, &len), wanted);
        CHECK_STATUS(kms_inspect(kms, exact, n, &info), n < OVERHEAD ? KMS_MALFORMED_CIPHERTEXT : KMS_OK);
        free(exact);
    }
    memset(blob.data + blob.len, 0, 16);
    for (n = 1; n <= 16; n++) {
        REFUSED(kms_decrypt(kms, blob.data, blob.len + n, NULL, 0, out, sizeof out, &len), KMS_AUTHENTICATION_FAILED);
        REFUSED(kms_decrypt(kms, blob.data + n, blob.len - n, NULL, 0, out, sizeof out, &len), KMS_MALFORMED_CIPHERTEXT);
    }
    intact();
}

static void noise_is_no_ciphertext(void) {
    static uint8_t noise[300];
    uint32_t state = 12345;
    size_t round, i, len;
    set_up();
    for (round = 0; round < 200; round++) {
        for (i = 0; i < sizeof noise; i++) {
            state = state * 1664525u + 1013904223u;
            noise[i] = (uint8_t)(state >> 24);
        }
        REFUSED(kms_decrypt(kms, noise, round + 1, NULL, 0, out, sizeof out, &len), KMS_MALFORMED_CIPHERTEXT);
    }
    intact();
}

static void a_version_of_another_key_is_not_found(void) {
    key_id other;
    small_blob foreign;
    size_t len;
    set_up();
    other = new_key(kms);
    foreign = encrypt_text(kms, other.text, "0123456789");
    changes++;
    memcpy(foreign.data + 8, blob.data + 8, 16); /* our key, its version */
    REFUSED(kms_decrypt(kms, foreign.data, foreign.len, NULL, 0, out, sizeof out, &len), KMS_KEY_VERSION_NOT_FOUND);
    intact();
}

static void a_data_key_refuses_bad_sizes(void) {
    static const size_t sizes[] = {0, 1025, SIZE_MAX, SIZE_MAX / 2 + 1};
    size_t i, len;
    set_up();
    for (i = 0; i < 4; i++) {
        REFUSED(kms_generate_data_key(kms, id.text, sizes[i], NULL, 0, out, out + 64, 2000, &len), KMS_INVALID_ARGUMENT);
        REFUSED(kms_generate_data_key(kms, no_such_id, sizes[i], NULL, 0, out, out + 64, 2000, &len), KMS_INVALID_ARGUMENT);
    }
    intact();
}

static void an_empty_plaintext_is_fine(void) {
    uint8_t sealed[OVERHEAD], none[1];
    size_t len = 0;
    set_up();
    CHECK_OK(kms_encrypt(kms, id.text, NULL, 0, NULL, 0, sealed, sizeof sealed, &len));
    CHECK_OK(kms_decrypt(kms, sealed, len, NULL, 0, none, 0, &len));
    CHECK_NUMBER(len, 0);
    CHECK_OK(kms_encrypt(kms, id.text, bytes(""), 0, NULL, 0, sealed, sizeof sealed, &len));
    sealed[OVERHEAD - 1] ^= 1;
    REFUSED(kms_decrypt(kms, sealed, OVERHEAD, NULL, 0, none, 0, &len), KMS_AUTHENTICATION_FAILED);
    intact();
}

int main(void) {
    RUN(null_options_are_refused_everywhere);
    RUN(null_contents_of_options_are_refused);
    RUN(open_refuses_bad_arguments);
    RUN(a_null_handle_is_refused_everywhere);
    RUN(null_pointers_are_refused_by_every_function);
    RUN(bad_keys_are_refused_by_every_function);
    RUN(texts_that_are_no_id_are_refused_alike);
    RUN(bad_contexts_are_refused);
    RUN(absurd_lengths_are_refused);
    RUN(a_struct_of_a_wrong_size_is_refused);
    RUN(a_longer_struct_is_fine_while_its_tail_is_zero);
    RUN(flags_and_enumerations_take_known_values_only);
    RUN(every_flipped_bit_is_noticed);
    RUN(every_truncation_is_noticed);
    RUN(noise_is_no_ciphertext);
    RUN(a_version_of_another_key_is_not_found);
    RUN(a_data_key_refuses_bad_sizes);
    RUN(an_empty_plaintext_is_fine);
    return check_result();
}

/* Keys are created, described, listed, disabled, enabled and deleted as their states allow. */
#include "check.h"

static void a_new_key_is_what_the_defaults_say(void) {
    manual_clock clock = {NEW_YEAR_2025};
    kms_t *kms = open_memory(&clock);
    key_id id = new_key(kms), other = new_key(kms);
    kms_key_metadata key = describe(kms, id.text);
    CHECK(strlen(id.text) == 36);
    CHECK(strcmp(id.text, other.text) != 0);
    CHECK_TEXT(key.key_id, id.text);
    CHECK(strlen(key.primary_version_id) == 36);
    CHECK(strcmp(key.primary_version_id, key.key_id) != 0);
    CHECK_NUMBER(key.struct_size, sizeof key);
    CHECK_NUMBER(key.state, KMS_STATE_ENABLED);
    CHECK_NUMBER(key.origin, KMS_ORIGIN_KMS);
    CHECK_NUMBER(key.automatic_rotation, KMS_ROTATION_DISABLED);
    CHECK_NUMBER(key.version_count, 1);
    CHECK_NUMBER(key.rotation_interval_s, 0);
    CHECK_NUMBER(key.creation_date_ms, NEW_YEAR_2025);
    CHECK_NUMBER(key.last_rotation_date_ms, NEW_YEAR_2025);
    CHECK_NUMBER(key.next_rotation_date_ms, 0);
    CHECK_NUMBER(key.delete_date_ms, 0);
    kms_close(kms);
}

static void an_initialised_struct_means_the_defaults(void) {
    kms_t *kms = open_memory(NULL);
    kms_create_key_options options = KMS_CREATE_KEY_OPTIONS_INIT;
    key_id id;
    CHECK_OK(kms_create_key(kms, &options, id.text));
    CHECK_NUMBER(describe(kms, id.text).automatic_rotation, KMS_ROTATION_DISABLED);
    CHECK_NUMBER(describe(kms, id.text).origin, KMS_ORIGIN_KMS);
    kms_close(kms);
}

static void a_description_has_at_most_8192_characters(void) {
    kms_t *kms = open_memory(NULL);
    kms_create_key_options options = KMS_CREATE_KEY_OPTIONS_INIT;
    static char text[2 * 8193 + 1];
    key_id id;
    size_t i;
    memset(text, 'd', 8192);
    options.description = text;
    CHECK_OK(kms_create_key(kms, &options, id.text));
    text[8192] = 'd';
    CHECK_STATUS(kms_create_key(kms, &options, id.text), KMS_LIMIT_EXCEEDED);
    for (i = 0; i < 8192; i++) {
        memcpy(text + 2 * i, "\xC3\xA9", 2);
    }
    text[2 * 8192] = 0;
    CHECK_OK(kms_create_key(kms, &options, id.text));
    memcpy(text + 2 * 8192, "\xC3\xA9", 3);
    CHECK_STATUS(kms_create_key(kms, &options, id.text), KMS_LIMIT_EXCEEDED);
    options.description = "";
    CHECK_OK(kms_create_key(kms, &options, id.text));
    kms_close(kms);
}

static void an_external_key_waits_for_its_import(void) {
    kms_t *kms = open_memory(NULL);
    key_id id = new_external_key(kms);
    kms_key_metadata key = describe(kms, id.text);
    uint8_t out[128];
    size_t len = 5;
    CHECK_NUMBER(key.state, KMS_STATE_PENDING_IMPORT);
    CHECK_NUMBER(key.origin, KMS_ORIGIN_EXTERNAL);
    CHECK_NUMBER(key.automatic_rotation, KMS_ROTATION_DISABLED);
    CHECK_NUMBER(key.version_count, 0);
    CHECK_TEXT(key.primary_version_id, "");
    CHECK_STATUS(kms_encrypt(kms, id.text, bytes("x"), 1, NULL, 0, out, sizeof out, &len), KMS_REJECTED_PENDING_IMPORT);
    CHECK_STATUS(kms_generate_data_key(kms, id.text, 32, NULL, 0, NULL, out, sizeof out, &len), KMS_REJECTED_PENDING_IMPORT);
    CHECK_STATUS(kms_disable_key(kms, id.text), KMS_STATE_MODIFIED_FAILED);
    CHECK_STATUS(kms_enable_key(kms, id.text), KMS_STATE_MODIFIED_FAILED);
    CHECK_STATUS(kms_cancel_key_deletion(kms, id.text), KMS_STATE_MODIFIED_FAILED);
    CHECK_NUMBER(describe(kms, id.text).state, KMS_STATE_PENDING_IMPORT);
    CHECK_OK(kms_schedule_key_deletion(kms, id.text, 7));
    CHECK_NUMBER(describe(kms, id.text).state, KMS_STATE_PENDING_DELETION);
    CHECK_OK(kms_cancel_key_deletion(kms, id.text));
    CHECK_NUMBER(describe(kms, id.text).state, KMS_STATE_PENDING_IMPORT);
    kms_close(kms);
}

static void an_external_key_never_rotates(void) {
    kms_t *kms = open_memory(NULL);
    kms_create_key_options options = KMS_CREATE_KEY_OPTIONS_INIT;
    key_id id = new_external_key(kms), none;
    uint64_t changes = changes_made(kms);
    options.origin = KMS_ORIGIN_EXTERNAL;
    options.enable_automatic_rotation = 1;
    options.rotation_interval_s = DAY_S;
    CHECK_STATUS(kms_create_key(kms, &options, none.text), KMS_UNSUPPORTED_OPERATION);
    CHECK_STATUS(kms_rotate(kms, id.text, NULL), KMS_UNSUPPORTED_OPERATION);
    CHECK_STATUS(kms_update_rotation_policy(kms, id.text, 1, DAY_S), KMS_UNSUPPORTED_OPERATION);
    CHECK_STATUS(kms_update_rotation_policy(kms, id.text, 0, 0), KMS_UNSUPPORTED_OPERATION);
    CHECK_OK(kms_schedule_key_deletion(kms, id.text, 7));
    CHECK_STATUS(kms_rotate(kms, id.text, NULL), KMS_UNSUPPORTED_OPERATION);
    CHECK_NUMBER(changes_made(kms), changes + 1);
    kms_close(kms);
}

static void a_disabled_key_neither_encrypts_nor_decrypts(void) {
    kms_t *kms = open_memory(NULL);
    key_id id = new_key(kms);
    small_blob blob = encrypt_text(kms, id.text, "kept");
    uint8_t out[256];
    size_t len;
    CHECK_OK(kms_disable_key(kms, id.text));
    CHECK_OK(kms_disable_key(kms, id.text));
    CHECK_NUMBER(describe(kms, id.text).state, KMS_STATE_DISABLED);
    CHECK_STATUS(kms_encrypt(kms, id.text, bytes("x"), 1, NULL, 0, out, sizeof out, &len), KMS_REJECTED_DISABLED);
    CHECK_STATUS(kms_decrypt(kms, blob.data, blob.len, NULL, 0, out, sizeof out, &len), KMS_REJECTED_DISABLED);
    CHECK_STATUS(kms_generate_data_key(kms, id.text, 32, NULL, 0, NULL, out, sizeof out, &len), KMS_REJECTED_DISABLED);
    CHECK_STATUS(kms_rotate(kms, id.text, NULL), KMS_REJECTED_DISABLED);
    CHECK_OK(kms_enable_key(kms, id.text));
    CHECK_OK(kms_enable_key(kms, id.text));
    CHECK_NUMBER(describe(kms, id.text).state, KMS_STATE_ENABLED);
    CHECK(opens_as(kms, &blob, "kept"));
    kms_close(kms);
}

static void deletion_is_scheduled_once_and_can_be_cancelled(void) {
    manual_clock clock = {NEW_YEAR_2025};
    kms_t *kms = open_memory(&clock);
    key_id id = new_key(kms);
    small_blob blob = encrypt_text(kms, id.text, "kept");
    uint8_t out[256];
    size_t len;
    CHECK_STATUS(kms_cancel_key_deletion(kms, id.text), KMS_STATE_MODIFIED_FAILED);
    CHECK_OK(kms_schedule_key_deletion(kms, id.text, 7));
    CHECK_NUMBER(describe(kms, id.text).state, KMS_STATE_PENDING_DELETION);
    CHECK_NUMBER(describe(kms, id.text).delete_date_ms, NEW_YEAR_2025 + 7 * DAY);
    CHECK_STATUS(kms_schedule_key_deletion(kms, id.text, 30), KMS_STATE_MODIFIED_FAILED);
    CHECK_NUMBER(describe(kms, id.text).delete_date_ms, NEW_YEAR_2025 + 7 * DAY);
    CHECK_STATUS(kms_enable_key(kms, id.text), KMS_STATE_MODIFIED_FAILED);
    CHECK_STATUS(kms_disable_key(kms, id.text), KMS_STATE_MODIFIED_FAILED);
    CHECK_STATUS(kms_rotate(kms, id.text, NULL), KMS_REJECTED_PENDING_DELETION);
    CHECK_STATUS(kms_encrypt(kms, id.text, bytes("x"), 1, NULL, 0, out, sizeof out, &len), KMS_REJECTED_PENDING_DELETION);
    CHECK_STATUS(kms_decrypt(kms, blob.data, blob.len, NULL, 0, out, sizeof out, &len), KMS_REJECTED_PENDING_DELETION);
    CHECK_OK(kms_cancel_key_deletion(kms, id.text));
    CHECK_NUMBER(describe(kms, id.text).state, KMS_STATE_ENABLED);
    CHECK_NUMBER(describe(kms, id.text).delete_date_ms, 0);
    CHECK(opens_as(kms, &blob, "kept"));
    CHECK_OK(kms_disable_key(kms, id.text));
    CHECK_OK(kms_schedule_key_deletion(kms, id.text, 366));
    CHECK_NUMBER(describe(kms, id.text).delete_date_ms, NEW_YEAR_2025 + 366 * DAY);
    CHECK_OK(kms_cancel_key_deletion(kms, id.text));
    CHECK_NUMBER(describe(kms, id.text).state, KMS_STATE_ENABLED);
    kms_close(kms);
}

static void a_key_is_destroyed_when_its_date_was_seen_twice_an_hour_apart(void) {
    manual_clock clock = {NEW_YEAR_2025};
    kms_t *kms = open_memory(&clock);
    key_id id = new_key(kms), other = new_key(kms);
    small_blob blob = encrypt_text(kms, id.text, "lost"), kept = encrypt_text(kms, other.text, "kept");
    kms_key_metadata metadata = KMS_KEY_METADATA_INIT;
    kms_blob_info info = KMS_BLOB_INFO_INIT;
    uint8_t out[256];
    size_t len;
    CHECK_OK(kms_schedule_key_deletion(kms, id.text, 7));
    manual_clock_forward(&clock, 7 * DAY - 1);
    CHECK_OK(kms_tick(kms, NULL));
    manual_clock_forward(&clock, 1);
    CHECK_OK(kms_tick(kms, NULL));
    manual_clock_forward(&clock, HOUR - 1);
    CHECK_OK(kms_tick(kms, NULL));
    CHECK_NUMBER(describe(kms, id.text).state, KMS_STATE_PENDING_DELETION);
    CHECK_NUMBER(health(kms).keys_destroyed, 0);
    manual_clock_forward(&clock, 1);
    CHECK_OK(kms_tick(kms, NULL));
    CHECK_STATUS(kms_describe_key(kms, id.text, &metadata), KMS_KEY_NOT_FOUND);
    CHECK_STATUS(kms_decrypt(kms, blob.data, blob.len, NULL, 0, out, sizeof out, &len), KMS_KEY_NOT_FOUND);
    CHECK_STATUS(kms_inspect(kms, blob.data, blob.len, &info), KMS_KEY_NOT_FOUND);
    CHECK_STATUS(kms_cancel_key_deletion(kms, id.text), KMS_KEY_NOT_FOUND);
    CHECK_NUMBER(health(kms).keys_destroyed, 1);
    CHECK(opens_as(kms, &kept, "kept"));
    kms_close(kms);
}

static void a_key_can_be_cancelled_between_the_confirmations(void) {
    manual_clock clock = {NEW_YEAR_2025};
    kms_t *kms = open_memory(&clock);
    key_id id = new_key(kms);
    CHECK_OK(kms_schedule_key_deletion(kms, id.text, 7));
    manual_clock_forward(&clock, 8 * DAY);
    CHECK_OK(kms_tick(kms, NULL));
    CHECK_OK(kms_cancel_key_deletion(kms, id.text));
    manual_clock_forward(&clock, 8 * DAY);
    CHECK_OK(kms_tick(kms, NULL));
    CHECK_NUMBER(describe(kms, id.text).state, KMS_STATE_ENABLED);
    kms_close(kms);
}

static void an_alias_is_refused_where_a_key_id_is_wanted(void) {
    kms_t *kms = open_memory(NULL);
    uint8_t out[256];
    size_t len = 3;
    CHECK_STATUS(kms_enable_key(kms, "alias/a"), KMS_UNSUPPORTED_ALIAS);
    CHECK_STATUS(kms_disable_key(kms, "alias/a"), KMS_UNSUPPORTED_ALIAS);
    CHECK_STATUS(kms_schedule_key_deletion(kms, "alias/a", 7), KMS_UNSUPPORTED_ALIAS);
    CHECK_STATUS(kms_cancel_key_deletion(kms, "alias/a"), KMS_UNSUPPORTED_ALIAS);
    CHECK_STATUS(kms_update_rotation_policy(kms, "alias/a", 0, 0), KMS_UNSUPPORTED_ALIAS);
    CHECK_STATUS(kms_get_parameters_for_import(kms, "alias/a", KMS_WRAPPING_OAEP_SHA_256, out, sizeof out, &len, out,
                                               sizeof out, &len, NULL),
                 KMS_UNSUPPORTED_ALIAS);
    CHECK_NUMBER(len, 0);
    kms_close(kms);
}

static int32_t no_version(void *user, const kms_key_version *version) {
    (void)user;
    (void)version;
    return 0;
}

static void an_unknown_alias_is_not_found(void) {
    kms_t *kms = open_memory(NULL);
    kms_key_metadata metadata = KMS_KEY_METADATA_INIT;
    uint8_t out[256];
    size_t len;
    CHECK_STATUS(kms_describe_key(kms, "alias/nobody", &metadata), KMS_ALIAS_NOT_FOUND);
    CHECK_STATUS(kms_encrypt(kms, "alias/nobody", bytes("x"), 1, NULL, 0, out, sizeof out, &len), KMS_ALIAS_NOT_FOUND);
    CHECK_STATUS(kms_generate_data_key(kms, "alias/nobody", 16, NULL, 0, NULL, out, sizeof out, &len), KMS_ALIAS_NOT_FOUND);
    CHECK_STATUS(kms_rotate(kms, "alias/nobody", NULL), KMS_ALIAS_NOT_FOUND);
    CHECK_STATUS(kms_list_key_versions(kms, "alias/nobody", 0, 9, no_version, NULL), KMS_ALIAS_NOT_FOUND);
    kms_close(kms);
}

static void an_unknown_key_is_not_found(void) {
    kms_t *kms = open_memory(NULL);
    kms_key_metadata metadata = KMS_KEY_METADATA_INIT;
    uint64_t changes = changes_made(kms);
    uint8_t out[256];
    size_t len;
    CHECK_STATUS(kms_describe_key(kms, no_such_id, &metadata), KMS_KEY_NOT_FOUND);
    CHECK_STATUS(kms_enable_key(kms, no_such_id), KMS_KEY_NOT_FOUND);
    CHECK_STATUS(kms_disable_key(kms, no_such_id), KMS_KEY_NOT_FOUND);
    CHECK_STATUS(kms_schedule_key_deletion(kms, no_such_id, 7), KMS_KEY_NOT_FOUND);
    CHECK_STATUS(kms_cancel_key_deletion(kms, no_such_id), KMS_KEY_NOT_FOUND);
    CHECK_STATUS(kms_rotate(kms, no_such_id, NULL), KMS_KEY_NOT_FOUND);
    CHECK_STATUS(kms_update_rotation_policy(kms, no_such_id, 1, 60), KMS_KEY_NOT_FOUND);
    CHECK_STATUS(kms_update_rotation_policy(kms, no_such_id, 0, 0), KMS_KEY_NOT_FOUND);
    CHECK_STATUS(kms_list_key_versions(kms, no_such_id, 0, 9, no_version, NULL), KMS_KEY_NOT_FOUND);
    CHECK_STATUS(kms_encrypt(kms, no_such_id, bytes("x"), 1, NULL, 0, out, sizeof out, &len), KMS_KEY_NOT_FOUND);
    CHECK_STATUS(kms_generate_data_key(kms, no_such_id, 16, NULL, 0, NULL, out, sizeof out, &len), KMS_KEY_NOT_FOUND);
    CHECK_NUMBER(changes_made(kms), changes);
    kms_close(kms);
}

enum { KEYS = 7 };

typedef struct seen_keys {
    const kms_t *kms;
    size_t count, stop_at;
    char ids[KEYS + 2][KMS_ID_SIZE];
} seen_keys;

static int32_t see_key(void *user, const kms_key_metadata *key) {
    seen_keys *seen = user;
    REQUIRE(seen->count < KEYS + 2);
    CHECK_NUMBER(key->struct_size, sizeof *key);
    CHECK_NUMBER(key->state, KMS_STATE_ENABLED);
    CHECK(strlen(key->primary_version_id) == 36);
    memcpy(seen->ids[seen->count++], key->key_id, KMS_ID_SIZE);
    CHECK_TEXT(describe(seen->kms, key->key_id).key_id, key->key_id); /* the library may be entered again */
    return seen->count == seen->stop_at ? -1 : 0;
}

static void a_list_shows_each_key_once_in_order_and_continues(void) {
    kms_t *kms = open_memory(NULL);
    seen_keys all = {0}, some = {0}, one = {0}, none = {0};
    size_t i;
    all.kms = some.kms = one.kms = none.kms = kms;
    CHECK_OK(kms_list_keys(kms, NULL, 100, see_key, &none));
    CHECK_NUMBER(none.count, 0);
    for (i = 0; i < KEYS; i++) {
        new_key(kms);
    }
    CHECK_OK(kms_list_keys(kms, NULL, SIZE_MAX, see_key, &all));
    REQUIRE(all.count == KEYS);
    for (i = 1; i < KEYS; i++) {
        CHECK(strcmp(all.ids[i - 1], all.ids[i]) < 0);
    }
    CHECK_OK(kms_list_keys(kms, NULL, 3, see_key, &some));
    CHECK_NUMBER(some.count, 3);
    CHECK_OK(kms_list_keys(kms, some.ids[2], 3, see_key, &some));
    CHECK_NUMBER(some.count, 6);
    CHECK_OK(kms_list_keys(kms, some.ids[5], 3, see_key, &some));
    REQUIRE(some.count == KEYS);
    CHECK(memcmp(some.ids, all.ids, sizeof some.ids) == 0);
    CHECK_OK(kms_list_keys(kms, all.ids[KEYS - 1], 3, see_key, &none));
    CHECK_OK(kms_list_keys(kms, NULL, 0, see_key, &none));
    CHECK_NUMBER(none.count, 0);
    one.stop_at = 2;
    CHECK_OK(kms_list_keys(kms, NULL, 100, see_key, &one));
    CHECK_NUMBER(one.count, 2);
    kms_close(kms);
}

int main(void) {
    RUN(a_new_key_is_what_the_defaults_say);
    RUN(an_initialised_struct_means_the_defaults);
    RUN(a_description_has_at_most_8192_characters);
    RUN(an_external_key_waits_for_its_import);
    RUN(an_external_key_never_rotates);
    RUN(a_disabled_key_neither_encrypts_nor_decrypts);
    RUN(deletion_is_scheduled_once_and_can_be_cancelled);
    RUN(a_key_is_destroyed_when_its_date_was_seen_twice_an_hour_apart);
    RUN(a_key_can_be_cancelled_between_the_confirmations);
    RUN(an_alias_is_refused_where_a_key_id_is_wanted);
    RUN(an_unknown_alias_is_not_found);
    RUN(an_unknown_key_is_not_found);
    RUN(a_list_shows_each_key_once_in_order_and_continues);
    return check_result();
}

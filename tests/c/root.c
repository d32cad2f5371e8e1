/* Several roots open one keystore: added, listed, changed, removed. */
#include "check.h"

typedef struct seen {
    int count, stop_after;
    int kinds[KMS_MAX_ROOT_SLOTS + 1], opened[KMS_MAX_ROOT_SLOTS + 1];
    int64_t dates[KMS_MAX_ROOT_SLOTS + 1];
    char ids[KMS_MAX_ROOT_SLOTS + 1][KMS_ID_SIZE], labels[KMS_MAX_ROOT_SLOTS + 1][32];
} seen;

static int32_t see(void *user, const kms_root_slot *slot) {
    seen *s = user;
    REQUIRE(s->count <= KMS_MAX_ROOT_SLOTS);
    CHECK_NUMBER(slot->struct_size, sizeof *slot);
    s->kinds[s->count] = slot->kind;
    s->opened[s->count] = slot->opened_this_handle;
    s->dates[s->count] = slot->creation_date_ms;
    memcpy(s->ids[s->count], slot->slot_id, KMS_ID_SIZE);
    snprintf(s->labels[s->count], sizeof s->labels[0], "%s", slot->label == NULL ? "(none)" : slot->label);
    s->count++;
    return s->count == s->stop_after;
}

static seen slots_of(const kms_t *kms) {
    static const seen none;
    seen s = none;
    REQUIRE_OK(kms_list_root_slots(kms, see, &s));
    return s;
}

static kms_options_t *passphrase(const char *text) {
    kms_options_t *options = kms_options_new();
    REQUIRE(options != NULL);
    REQUIRE_OK(kms_options_set_root_passphrase(options, (const uint8_t *)text, strlen(text)));
    return options;
}

static kms_options_t *raw(uint8_t byte) {
    uint8_t key[32];
    kms_options_t *options = kms_options_new();
    REQUIRE(options != NULL);
    memset(key, byte, sizeof key);
    REQUIRE_OK(kms_options_set_root_key(options, key, sizeof key));
    return options;
}

static kms_status opened(const char *path, const kms_options_t *options) {
    kms_t *kms = NULL;
    const kms_status status = kms_open(path, options, &kms);
    CHECK((kms != NULL) == (status == KMS_OK));
    kms_close(kms);
    return status;
}

static void a_recovery_passphrase_opens_the_keystore_too(void) {
    manual_clock clock = {NEW_YEAR_2025};
    kms_options_t *recovery = passphrase("correct horse"), *first = new_options(&clock);
    char id[KMS_ID_SIZE];
    seen s;
    kms_t *kms = NULL;
    small_blob blob;
    REQUIRE_OK(kms_open("recovery.db", first, &kms));
    blob = encrypt_text(kms, new_key(kms).text, "kept");
    REQUIRE_OK(kms_add_root_slot(kms, recovery, "recovery", id));
    CHECK_STATUS(kms_add_root_slot(kms, recovery, NULL, NULL), KMS_ROOT_SLOT_EXISTS);
    CHECK_STATUS(kms_change_root(kms, recovery), KMS_ROOT_SLOT_EXISTS);
    s = slots_of(kms);
    CHECK_NUMBER(s.count, 2);
    CHECK(s.kinds[0] == KMS_ROOT_KEY && s.kinds[1] == KMS_ROOT_PASSPHRASE);
    CHECK(s.opened[0] == 1 && s.opened[1] == 0);
    CHECK(s.dates[0] == NEW_YEAR_2025 && s.dates[1] == NEW_YEAR_2025);
    CHECK_TEXT(s.labels[0], "(none)");
    CHECK_TEXT(s.labels[1], "recovery");
    CHECK_TEXT(s.ids[1], id);
    kms_close(kms);
    REQUIRE_OK(kms_open("recovery.db", recovery, &kms));
    CHECK(opens_as(kms, &blob, "kept"));
    CHECK(slots_of(kms).opened[1] == 1);
    REQUIRE_OK(kms_remove_root_slot(kms, s.ids[0]));
    CHECK_STATUS(kms_remove_root_slot(kms, s.ids[0]), KMS_ROOT_SLOT_NOT_FOUND);
    CHECK_STATUS(kms_remove_root_slot(kms, id), KMS_UNSUPPORTED_OPERATION);
    CHECK_STATUS(kms_remove_root_slot(kms, ""), KMS_INVALID_ARGUMENT);
    kms_close(kms);
    REQUIRE_OK(kms_options_set_create(first, 0));
    CHECK_STATUS(opened("recovery.db", first), KMS_WRONG_ROOT_KEY);
    CHECK_STATUS(opened("recovery.db", recovery), KMS_OK);
    kms_options_free(first);
    kms_options_free(recovery);
}

static void the_ninth_root_is_refused(void) {
    kms_t *kms = open_file("nine.db", NULL);
    uint8_t byte;
    seen s = {0};
    kms_options_t *options;
    for (byte = 100; byte < 100 + KMS_MAX_ROOT_SLOTS; byte++) {
        options = raw(byte);
        CHECK_STATUS(kms_add_root_slot(kms, options, NULL, NULL), byte < 107 ? KMS_OK : KMS_LIMIT_EXCEEDED);
        kms_options_free(options);
    }
    s.stop_after = 3;
    REQUIRE_OK(kms_list_root_slots(kms, see, &s));
    CHECK_NUMBER(s.count, 3);
    options = raw(99);
    REQUIRE_OK(kms_change_root(kms, options));
    CHECK_NUMBER(slots_of(kms).count, 1);
    kms_close(kms);
    CHECK_STATUS(opened("nine.db", options), KMS_OK);
    kms_options_free(options);
}

int main(void) {
    RUN(a_recovery_passphrase_opens_the_keystore_too);
    RUN(the_ninth_root_is_refused);
    return check_result();
}

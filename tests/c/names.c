/* Aliases, tags, descriptions, deletion protection and service-managed keys from C. */
#include "check.h"

typedef struct seen {
    int count;
    char first[300], key[KMS_ID_SIZE];
} seen;

static int32_t see_alias(void *user, const char *alias, const char *key_id) {
    seen *s = user;
    if (s->count++ == 0) {
        snprintf(s->first, sizeof s->first, "%s", alias);
        snprintf(s->key, sizeof s->key, "%s", key_id);
    }
    return 0;
}

static int32_t see_tag(void *user, const kms_tag *tag) {
    seen *s = user;
    if (s->count++ == 0) {
        snprintf(s->first, sizeof s->first, "%s=%s", tag->name, tag->value);
    }
    return 0;
}

static void an_alias_is_another_name_that_can_move(void) {
    kms_t *kms = open_memory(NULL);
    char one[KMS_ID_SIZE], two[KMS_ID_SIZE];
    uint8_t blob[5 + KMS_MAX_OVERHEAD], text[5];
    size_t len;
    kms_blob_info info = KMS_BLOB_INFO_INIT;
    seen s = {0, "", ""};
    REQUIRE_OK(kms_create_key(kms, NULL, one));
    REQUIRE_OK(kms_create_key(kms, NULL, two));
    CHECK_OK(kms_create_alias(kms, one, "alias/orders"));
    CHECK_STATUS(kms_create_alias(kms, two, "alias/orders"), KMS_ALIAS_ALREADY_EXISTS);
    CHECK_OK(kms_encrypt(kms, "alias/orders", (const uint8_t *)"hello", 5, NULL, 0, blob, sizeof blob, &len));
    CHECK_OK(kms_update_alias(kms, two, "alias/orders"));
    CHECK_OK(kms_decrypt(kms, blob, len, NULL, 0, text, sizeof text, &len));
    CHECK_OK(kms_encrypt(kms, "alias/orders", (const uint8_t *)"hello", 5, NULL, 0, blob, sizeof blob, &len));
    CHECK_OK(kms_inspect(kms, blob, len, &info));
    CHECK_TEXT(info.key_id, two);
    CHECK_OK(kms_list_aliases(kms, two, NULL, 10, see_alias, &s));
    CHECK_NUMBER(s.count, 1);
    CHECK_TEXT(s.first, "alias/orders");
    CHECK_TEXT(s.key, two);
    CHECK_OK(kms_delete_alias(kms, "alias/orders"));
    CHECK_STATUS(kms_delete_alias(kms, "alias/orders"), KMS_ALIAS_NOT_FOUND);
    CHECK_STATUS(kms_encrypt(kms, "alias/orders", NULL, 0, NULL, 0, blob, sizeof blob, &len), KMS_ALIAS_NOT_FOUND);
    CHECK_STATUS(kms_create_alias(kms, one, "orders"), KMS_INVALID_ARGUMENT);
    CHECK_STATUS(kms_create_alias(kms, one, "alias/acs/orders"), KMS_INVALID_ARGUMENT);
    CHECK_STATUS(kms_create_alias(kms, "alias/x", "alias/y"), KMS_UNSUPPORTED_ALIAS);
    kms_close(kms);
}

static void tags_are_set_replaced_listed_and_removed(void) {
    kms_t *kms = open_memory(NULL);
    char key[KMS_ID_SIZE];
    const kms_tag tags[2] = {{"team", "blue"}, {"stage", ""}}, other = {"stage", "live"}, bad = {"a b", ""};
    const char *names[2] = {"team", "nothing"};
    seen s = {0, "", ""};
    REQUIRE_OK(kms_create_key(kms, NULL, key));
    CHECK_OK(kms_tag_resource(kms, key, tags, 2));
    CHECK_OK(kms_tag_resource(kms, key, &other, 1));
    CHECK_STATUS(kms_tag_resource(kms, key, &bad, 1), KMS_INVALID_ARGUMENT);
    CHECK_OK(kms_untag_resource(kms, key, names, 2));
    CHECK_OK(kms_list_resource_tags(kms, key, see_tag, &s));
    CHECK_NUMBER(s.count, 1);
    CHECK_TEXT(s.first, "stage=live");
    CHECK_STATUS(kms_tag_resource(kms, key, NULL, 1), KMS_INVALID_ARGUMENT);
    CHECK_OK(kms_tag_resource(kms, key, NULL, 0));
    kms_close(kms);
}

static void a_protected_key_is_not_deleted_and_a_description_is_replaced(void) {
    kms_t *kms = open_memory(NULL);
    char key[KMS_ID_SIZE];
    uint8_t text[64];
    size_t len;
    kms_key_metadata metadata = KMS_KEY_METADATA_INIT;
    REQUIRE_OK(kms_create_key(kms, NULL, key));
    CHECK_OK(kms_set_deletion_protection(kms, key, 1, "in use"));
    CHECK_OK(kms_describe_key(kms, key, &metadata));
    CHECK_NUMBER(metadata.deletion_protection, 1);
    CHECK_STATUS(kms_schedule_key_deletion(kms, key, 7), KMS_DELETION_PROTECTED);
    CHECK_OK(kms_set_deletion_protection(kms, key, 0, NULL));
    CHECK_OK(kms_update_key_description(kms, key, "orders"));
    CHECK_OK(kms_get_key_description(kms, key, text, sizeof text, &len));
    CHECK(len == 6 && memcmp(text, "orders", 6) == 0);
    CHECK_OK(kms_schedule_key_deletion(kms, key, 7));
    CHECK_STATUS(kms_update_key_description(kms, key, ""), KMS_REJECTED_PENDING_DELETION);
    CHECK_STATUS(kms_set_deletion_protection(kms, key, 2, NULL), KMS_INVALID_ARGUMENT);
    kms_close(kms);
}

static void a_service_key_encrypts_but_neither_rotates_nor_goes(void) {
    kms_t *kms = open_memory(NULL);
    char key[KMS_ID_SIZE], again[KMS_ID_SIZE];
    uint8_t blob[KMS_MAX_OVERHEAD];
    size_t len;
    kms_key_metadata metadata = KMS_KEY_METADATA_INIT;
    REQUIRE_OK(kms_create_service_key(kms, "mailer", key));
    CHECK_OK(kms_create_service_key(kms, "mailer", again));
    CHECK_TEXT(again, key);
    CHECK_OK(kms_describe_key(kms, "alias/acs/mailer", &metadata));
    CHECK_NUMBER(metadata.service_managed, 1);
    CHECK_OK(kms_encrypt(kms, "alias/acs/mailer", NULL, 0, NULL, 0, blob, sizeof blob, &len));
    CHECK_STATUS(kms_rotate(kms, key, NULL), KMS_UNSUPPORTED_OPERATION);
    CHECK_STATUS(kms_update_rotation_policy(kms, key, 1, 60), KMS_UNSUPPORTED_OPERATION);
    CHECK_STATUS(kms_schedule_key_deletion(kms, key, 7), KMS_UNSUPPORTED_OPERATION);
    CHECK_STATUS(kms_delete_alias(kms, "alias/acs/mailer"), KMS_INVALID_ARGUMENT);
    kms_close(kms);
}

int main(void) {
    RUN(an_alias_is_another_name_that_can_move);
    RUN(tags_are_set_replaced_listed_and_removed);
    RUN(a_protected_key_is_not_deleted_and_a_description_is_replaced);
    RUN(a_service_key_encrypts_but_neither_rotates_nor_goes);
    return check_result();
}

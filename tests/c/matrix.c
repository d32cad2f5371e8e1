/* The service's matrix of operations against key states, row by row in its order: by the typed functions, then by
 * kms_call.
 *
 * Columns: Enabled, Disabled, PendingDeletion, PendingImport. Rows of the second table are for EXTERNAL keys only and have
 * one in every column; those of the first have a key made by the library, except that only an EXTERNAL key can be
 * PendingImport. Kind is checked before state, so such a key is refused a rotation for its origin. */
#include "check.h"
#include "slow.h"

#define OK KMS_OK
#define DISABLED KMS_REJECTED_DISABLED
#define PENDING KMS_REJECTED_PENDING_DELETION
#define IMPORT KMS_REJECTED_PENDING_IMPORT
#define FAILED KMS_STATE_MODIFIED_FAILED
#define KIND KMS_UNSUPPORTED_OPERATION

static const int32_t columns[] = {KMS_STATE_ENABLED, KMS_STATE_DISABLED, KMS_STATE_PENDING_DELETION, KMS_STATE_PENDING_IMPORT};

/* One key in the state of a column, with the objects that operations need; all were created while it was Enabled. */
typedef struct subject {
    const kms_t *kms;
    char id[KMS_ID_SIZE], version[KMS_ID_SIZE], other[KMS_ID_SIZE];
    char alias[64], other_alias[64];
    small_blob blob, other_blob;
    uint8_t token[2048], wrapped[256];
    size_t token_len, wrapped_len;
} subject;

static const uint8_t material[32] = "material from somewhere else !!!";

/* --- the typed functions --- */

static uint8_t out[4096];
static size_t out_len;

static kms_status create_key(const subject *s) {
    char id[KMS_ID_SIZE];
    return kms_create_key(s->kms, NULL, id);
}
static int32_t pass(void *user, const kms_key_metadata *key) { return user != NULL || key == NULL; }
static kms_status list_keys(const subject *s) { return kms_list_keys(s->kms, NULL, 100, pass, NULL); }
static kms_status describe_key(const subject *s) {
    kms_key_metadata metadata = KMS_KEY_METADATA_INIT;
    return kms_describe_key(s->kms, s->id, &metadata);
}
static kms_status encrypt(const subject *s) {
    return kms_encrypt(s->kms, s->id, bytes("x"), 1, NULL, 0, out, sizeof out, &out_len);
}
static kms_status decrypt(const subject *s) {
    return kms_decrypt(s->kms, s->blob.data, s->blob.len, NULL, 0, out, sizeof out, &out_len);
}
static kms_status generate_data_key(const subject *s) {
    uint8_t key[32];
    return kms_generate_data_key(s->kms, s->id, sizeof key, NULL, 0, key, out, sizeof out, &out_len);
}
static kms_status generate_data_key_without_plaintext(const subject *s) {
    return kms_generate_data_key(s->kms, s->id, 32, NULL, 0, NULL, out, sizeof out, &out_len);
}
static kms_status create_key_version(const subject *s) { return kms_rotate(s->kms, s->id, NULL); }
static kms_status rotation_on(const subject *s) { return kms_update_rotation_policy(s->kms, s->id, 1, 7 * DAY_S); }
static kms_status rotation_off(const subject *s) { return kms_update_rotation_policy(s->kms, s->id, 0, 0); }
static kms_status describe_key_version(const subject *s) {
    kms_key_version version = KMS_KEY_VERSION_INIT;
    return kms_describe_key_version(s->kms, s->id, s->version, &version);
}
static int32_t pass_version(void *user, const kms_key_version *version) { return user != NULL || version == NULL; }
static kms_status list_key_versions(const subject *s) {
    return kms_list_key_versions(s->kms, s->id, 0, 100, pass_version, NULL);
}
static kms_status update_key_description(const subject *s) {
    return kms_update_key_description(s->kms, s->id, "what it is for");
}
static kms_status tag_resource(const subject *s) {
    kms_tag tag = {"team", "orders"};
    return kms_tag_resource(s->kms, s->id, &tag, 1);
}
static kms_status untag_resource(const subject *s) {
    const char *name = "team";
    return kms_untag_resource(s->kms, s->id, &name, 1);
}
static int32_t pass_tag(void *user, const kms_tag *tag) { return user != NULL || tag == NULL; }
static kms_status list_resource_tags(const subject *s) { return kms_list_resource_tags(s->kms, s->id, pass_tag, NULL); }
static kms_status enable_key(const subject *s) { return kms_enable_key(s->kms, s->id); }
static kms_status disable_key(const subject *s) { return kms_disable_key(s->kms, s->id); }
static kms_status schedule_key_deletion(const subject *s) { return kms_schedule_key_deletion(s->kms, s->id, 7); }
static kms_status cancel_key_deletion(const subject *s) { return kms_cancel_key_deletion(s->kms, s->id); }
static kms_status create_alias(const subject *s) {
    char alias[80];
    snprintf(alias, sizeof alias, "%s-2", s->alias);
    return kms_create_alias(s->kms, s->id, alias);
}
static kms_status delete_alias(const subject *s) { return kms_delete_alias(s->kms, s->alias); }
static int32_t pass_alias(void *user, const char *alias, const char *id) { return user != NULL || alias == NULL || id == NULL; }
static kms_status list_aliases(const subject *s) { return kms_list_aliases(s->kms, NULL, NULL, 100, pass_alias, NULL); }
static kms_status update_alias(const subject *s) { return kms_update_alias(s->kms, s->id, s->other_alias); }
static kms_status get_parameters_for_import(const subject *s) {
    size_t public_key_len, token_len;
    return kms_get_parameters_for_import(s->kms, s->id, KMS_WRAPPING_OAEP_SHA_1, NULL, 0, &public_key_len, NULL, 0, &token_len,
                                         NULL);
}
static kms_status import_key_material(const subject *s) {
    if (s->wrapped_len == 0) {
        return kms_import_raw_key_material(s->kms, s->id, material, sizeof material, 0);
    }
    return kms_import_key_material(s->kms, s->id, s->wrapped, s->wrapped_len, s->token, s->token_len, 0);
}
static kms_status delete_key_material(const subject *s) { return kms_delete_key_material(s->kms, s->id); }
static kms_status re_encrypt_source(const subject *s) {
    return kms_reencrypt(s->kms, s->blob.data, s->blob.len, NULL, 0, s->other, NULL, 0, out, sizeof out, &out_len);
}
static kms_status re_encrypt_destination(const subject *s) {
    return kms_reencrypt(s->kms, s->other_blob.data, s->other_blob.len, NULL, 0, s->id, NULL, 0, out, sizeof out, &out_len);
}
static kms_status set_deletion_protection(const subject *s) { return kms_set_deletion_protection(s->kms, s->id, 1, "audit"); }
static kms_status list_aliases_by_key_id(const subject *s) {
    return kms_list_aliases(s->kms, s->id, NULL, 100, pass_alias, NULL);
}

/* --- the table --- */

typedef struct row {
    /* The service's name, which is also the action of kms_call. */
    const char *action;
    kms_status (*call)(const subject *);
    /* Parameters in JSON; @id@ and the like stand for values of the subject. */
    const char *request;
    /* Enabled, Disabled, PendingDeletion, PendingImport. */
    kms_status cells[4];
} row;

#define KEY "\"KeyId\":\"@id@\""

static const row matrix[] = {
    {"CreateKey", create_key, "{}", {OK, OK, OK, OK}},
    {"ListKeys", list_keys, "{}", {OK, OK, OK, OK}},
    {"DescribeKey", describe_key, "{" KEY "}", {OK, OK, OK, OK}},
    {"Encrypt", encrypt, "{" KEY ",\"Plaintext\":\"eA==\"}", {OK, DISABLED, PENDING, IMPORT}},
    {"Decrypt", decrypt, "{\"CiphertextBlob\":\"@blob@\"}", {OK, DISABLED, PENDING, IMPORT}},
    {"GenerateDataKey", generate_data_key, "{" KEY "}", {OK, DISABLED, PENDING, IMPORT}},
    {"GenerateDataKeyWithoutPlaintext",
     generate_data_key_without_plaintext,
     "{" KEY ",\"NumberOfBytes\":64}",
     {OK, DISABLED, PENDING, IMPORT}},
    {"CreateKeyVersion", create_key_version, "{" KEY "}", {OK, DISABLED, PENDING, KIND}},
    {"UpdateRotationPolicy",
     rotation_on,
     "{" KEY ",\"EnableAutomaticRotation\":true,\"RotationInterval\":\"7d\"}",
     {OK, DISABLED, PENDING, KIND}},
    {"UpdateRotationPolicy", rotation_off, "{" KEY ",\"EnableAutomaticRotation\":false}", {OK, DISABLED, PENDING, KIND}},
    {"DescribeKeyVersion", describe_key_version, "{" KEY ",\"KeyVersionId\":\"@version@\"}", {OK, OK, OK, OK}},
    {"ListKeyVersions", list_key_versions, "{" KEY "}", {OK, OK, OK, OK}},
    {"UpdateKeyDescription", update_key_description, "{" KEY ",\"Description\":\"what it is for\"}", {OK, OK, PENDING, OK}},
    {"TagResource", tag_resource, "{" KEY ",\"Tags\":[{\"TagKey\":\"team\",\"TagValue\":\"orders\"}]}", {OK, OK, PENDING, OK}},
    {"UntagResource", untag_resource, "{" KEY ",\"TagKeys\":[\"team\"]}", {OK, OK, PENDING, OK}},
    {"ListResourceTags", list_resource_tags, "{" KEY "}", {OK, OK, OK, OK}},
    {"EnableKey", enable_key, "{" KEY "}", {OK, OK, FAILED, FAILED}},
    {"DisableKey", disable_key, "{" KEY "}", {OK, OK, FAILED, FAILED}},
    {"ScheduleKeyDeletion", schedule_key_deletion, "{" KEY ",\"PendingWindowInDays\":7}", {OK, OK, FAILED, OK}},
    {"CancelKeyDeletion", cancel_key_deletion, "{" KEY "}", {FAILED, FAILED, OK, FAILED}},
    {"CreateAlias", create_alias, "{" KEY ",\"AliasName\":\"@alias@-2\"}", {OK, OK, FAILED, OK}},
    {"DeleteAlias", delete_alias, "{\"AliasName\":\"@alias@\"}", {OK, OK, OK, OK}},
    {"ListAliases", list_aliases, "{}", {OK, OK, OK, OK}},
    /* Only the key that it is moved to counts. */
    {"UpdateAlias", update_alias, "{" KEY ",\"AliasName\":\"@other_alias@\"}", {OK, OK, PENDING, OK}},
    /* Not in the service's matrix: see docs/contract.md. */
    {"ReEncrypt",
     re_encrypt_source,
     "{\"CiphertextBlob\":\"@blob@\",\"DestinationKeyId\":\"@other@\"}",
     {OK, DISABLED, PENDING, IMPORT}},
    {"ReEncrypt",
     re_encrypt_destination,
     "{\"CiphertextBlob\":\"@other_blob@\",\"DestinationKeyId\":\"@id@\"}",
     {OK, DISABLED, PENDING, IMPORT}},
    {"SetDeletionProtection", set_deletion_protection, "{" KEY ",\"EnableDeletionProtection\":true}", {OK, OK, PENDING, OK}},
    {"ListAliasesByKeyId", list_aliases_by_key_id, "{" KEY "}", {OK, OK, OK, OK}},
};

static const row external_matrix[] = {
    {"GetParametersForImport",
     get_parameters_for_import,
     "{" KEY ",\"WrappingKeySpec\":\"RSA_2048\",\"WrappingAlgorithm\":\"RSAES_OAEP_SHA_256\"}",
     {OK, OK, OK, OK}},
    {"ImportKeyMaterial",
     import_key_material,
     "{" KEY ",\"EncryptedKeyMaterial\":\"@wrapped@\",\"ImportToken\":\"@token@\",\"KeyMaterialExpireUnix\":0}",
     {OK, OK, FAILED, OK}},
    {"DeleteKeyMaterial", delete_key_material, "{" KEY "}", {OK, OK, OK, OK}},
};

#define ROWS(table) (sizeof(table) / sizeof *(table))

/* --- the same by action name and JSON --- */

static size_t base64(char *text, const uint8_t *data, size_t len) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t i, at = 0;
    for (i = 0; i < len; i += 3) {
        uint32_t group = (uint32_t)data[i] << 16 | (i + 1 < len ? (uint32_t)data[i + 1] << 8 : 0) |
                         (i + 2 < len ? (uint32_t)data[i + 2] : 0);
        text[at++] = digits[group >> 18];
        text[at++] = digits[group >> 12 & 63];
        text[at++] = i + 1 < len ? digits[group >> 6 & 63] : '=';
        text[at++] = i + 2 < len ? digits[group & 63] : '=';
    }
    text[at] = 0;
    return at;
}

/* Writes what the placeholder `name` stands for. */
static size_t put(char *text, const char *name, size_t name_len, const subject *s) {
    const struct {
        const char *name, *text;
    } texts[] = {
        {"id", s->id}, {"version", s->version}, {"other", s->other}, {"alias", s->alias}, {"other_alias", s->other_alias}};
    const struct {
        const char *name;
        const uint8_t *data;
        size_t len;
    } blobs[] = {{"blob", s->blob.data, s->blob.len},
                 {"other_blob", s->other_blob.data, s->other_blob.len},
                 {"wrapped", s->wrapped, s->wrapped_len},
                 {"token", s->token, s->token_len}};
    size_t i;
    for (i = 0; i < ROWS(texts); i++) {
        if (strlen(texts[i].name) == name_len && memcmp(texts[i].name, name, name_len) == 0) {
            strcpy(text, texts[i].text);
            return strlen(text);
        }
    }
    for (i = 0; i < ROWS(blobs); i++) {
        if (strlen(blobs[i].name) == name_len && memcmp(blobs[i].name, name, name_len) == 0) {
            return base64(text, blobs[i].data, blobs[i].len);
        }
    }
    REQUIRE(!"a placeholder that stands for something");
    return 0;
}

static kms_status call(const row *r, const subject *s) {
    static char request[8192];
    char *response = NULL, *to = request;
    const char *from = r->request, *end;
    char expected[80];
    kms_status status;
    while (*from != 0) {
        if (*from == '@') {
            end = strchr(from + 1, '@');
            REQUIRE(end != NULL);
            to += put(to, from + 1, (size_t)(end - from - 1), s);
            from = end + 1;
        } else {
            *to++ = *from++;
        }
    }
    *to = 0;
    status = kms_call(s->kms, r->action, request, &response);
    REQUIRE(response != NULL);
    CHECK(strstr(response, "\"RequestId\":\"") != NULL);
    if (status != KMS_OK) {
        snprintf(expected, sizeof expected, "\"Code\":\"%s\"", kms_status_code(status));
        CHECK(strstr(response, expected) != NULL);
    }
    kms_string_free(response);
    return status;
}

/* --- the subjects of the rows --- */

/* Imports material that no one has seen: a data key wrapped by the public key of the import. */
static void import_wrapped(subject *s) {
    uint8_t public_key[512];
    size_t public_key_len;
    REQUIRE_OK(kms_get_parameters_for_import(s->kms, s->id, KMS_WRAPPING_OAEP_SHA_256, public_key, sizeof public_key,
                                             &public_key_len, s->token, sizeof s->token, &s->token_len, NULL));
    REQUIRE_OK(kms_generate_and_export_data_key(s->kms, s->other, 32, NULL, 0, public_key, public_key_len,
                                                KMS_WRAPPING_OAEP_SHA_256, out, sizeof out, &out_len, s->wrapped,
                                                sizeof s->wrapped, &s->wrapped_len));
    REQUIRE_OK(kms_import_key_material(s->kms, s->id, s->wrapped, s->wrapped_len, s->token, s->token_len, 0));
}

static subject new_subject(const kms_t *kms, int external, int wrapped, int32_t state) {
    static int number;
    kms_tag tag = {"team", "payments"};
    subject s;
    memset(&s, 0, sizeof s);
    s.kms = kms;
    strcpy(s.other, new_key(kms).text);
    if (external || state == KMS_STATE_PENDING_IMPORT) {
        strcpy(s.id, new_external_key(kms).text);
        if (wrapped) {
            import_wrapped(&s);
        } else {
            REQUIRE_OK(import_key_material(&s));
        }
    } else {
        strcpy(s.id, new_rotating_key(kms, 365 * DAY_S).text);
    }
    snprintf(s.alias, sizeof s.alias, "alias/subject-%d", number);
    snprintf(s.other_alias, sizeof s.other_alias, "alias/other-%d", number++);
    REQUIRE_OK(kms_create_alias(kms, s.id, s.alias));
    REQUIRE_OK(kms_create_alias(kms, s.other, s.other_alias));
    REQUIRE_OK(kms_tag_resource(kms, s.id, &tag, 1));
    s.blob = encrypt_text(kms, s.id, "x");
    s.other_blob = encrypt_text(kms, s.other, "x");
    strcpy(s.version, describe(kms, s.id).primary_version_id);
    if (state == KMS_STATE_DISABLED) {
        REQUIRE_OK(kms_disable_key(kms, s.id));
    } else if (state == KMS_STATE_PENDING_DELETION) {
        REQUIRE_OK(kms_schedule_key_deletion(kms, s.id, 30));
    } else if (state == KMS_STATE_PENDING_IMPORT) {
        REQUIRE_OK(kms_delete_key_material(kms, s.id));
    }
    REQUIRE(describe(kms, s.id).state == state);
    return s;
}

/* The state in which an allowed operation leaves the key. */
static int32_t state_after(const row *r, int32_t before) {
    if (strcmp(r->action, "EnableKey") == 0 || strcmp(r->action, "CancelKeyDeletion") == 0) {
        return KMS_STATE_ENABLED;
    }
    if (strcmp(r->action, "DisableKey") == 0) {
        return KMS_STATE_DISABLED;
    }
    if (strcmp(r->action, "ScheduleKeyDeletion") == 0) {
        return KMS_STATE_PENDING_DELETION;
    }
    if (strcmp(r->action, "ImportKeyMaterial") == 0 && before == KMS_STATE_PENDING_IMPORT) {
        return KMS_STATE_ENABLED;
    }
    if (strcmp(r->action, "DeleteKeyMaterial") == 0 && before != KMS_STATE_PENDING_DELETION) {
        return KMS_STATE_PENDING_IMPORT;
    }
    return before;
}

static int same(const kms_key_metadata *a, const kms_key_metadata *b) {
    return a->state == b->state && a->origin == b->origin && a->automatic_rotation == b->automatic_rotation &&
           strcmp(a->key_id, b->key_id) == 0 && strcmp(a->primary_version_id, b->primary_version_id) == 0 &&
           a->version_count == b->version_count && a->rotation_interval_s == b->rotation_interval_s &&
           a->creation_date_ms == b->creation_date_ms && a->last_rotation_date_ms == b->last_rotation_date_ms &&
           a->next_rotation_date_ms == b->next_rotation_date_ms && a->delete_date_ms == b->delete_date_ms &&
           a->material_expire_date_ms == b->material_expire_date_ms && a->deletion_protection == b->deletion_protection &&
           a->service_managed == b->service_managed;
}

/* One cell. A refused operation leaves the key and the rest of the keystore unchanged. */
static void check_cell(const row *r, const subject *s, int by_json, kms_status wanted) {
    kms_key_metadata before = describe(s->kms, s->id), now;
    uint64_t changes = changes_made(s->kms);
    kms_status got = by_json ? call(r, s) : r->call(s);
    now = describe(s->kms, s->id);
    if (got != wanted) {
        fprintf(stderr, "%s%s of a key in state %d:\n", r->action, by_json ? " in JSON" : "", (int)before.state);
        CHECK_STATUS(got, wanted);
    } else if (got != KMS_OK) {
        CHECK(same(&before, &now));
        CHECK(changes_made(s->kms) == changes);
    } else {
        CHECK_NUMBER(now.state, state_after(r, before.state));
    }
}

static void each_row_holds(const row *rows, size_t count, int external, int by_json) {
    manual_clock clock = {NEW_YEAR_2025};
    kms_t *kms = open_memory(&clock);
    size_t i, column;
    for (i = 0; i < count; i++) {
        int wrapped = rows[i].call == import_key_material && (by_json || !SLOW);
        if (external && by_json && SLOW && rows[i].call != delete_key_material) {
            continue; /* an RSA key takes a quarter of a minute there; said in main */
        }
        for (column = 0; column < ROWS(columns); column++) {
            subject s = new_subject(kms, external, wrapped, columns[column]);
            check_cell(&rows[i], &s, by_json, rows[i].cells[column]);
        }
    }
    kms_close(kms);
}

static void every_typed_function_is_allowed_in_exactly_the_states_of_its_row(void) {
    each_row_holds(matrix, ROWS(matrix), 0, 0);
    each_row_holds(external_matrix, ROWS(external_matrix), 1, 0);
}

static void every_action_in_json_is_allowed_in_exactly_the_states_of_its_row(void) {
    each_row_holds(matrix, ROWS(matrix), 0, 1);
    each_row_holds(external_matrix, ROWS(external_matrix), 1, 1);
}

/* A key with generated material accepts no import, in any state. */
static void the_origin_is_told_before_the_state(void) {
    kms_t *kms = open_memory(NULL);
    size_t i, column;
    int by_json;
    for (i = 0; i < ROWS(external_matrix); i++) {
        for (column = 0; column < 3; column++) {
            subject s = new_subject(kms, 0, 0, columns[column]);
            for (by_json = 0; by_json < 2; by_json++) {
                check_cell(&external_matrix[i], &s, by_json, KMS_UNSUPPORTED_ORIGIN);
            }
        }
    }
    kms_close(kms);
}

int main(void) {
    RUN(every_typed_function_is_allowed_in_exactly_the_states_of_its_row);
    RUN(every_action_in_json_is_allowed_in_exactly_the_states_of_its_row);
    RUN(the_origin_is_told_before_the_state);
    if (SLOW) {
        puts("wrapped imports in every state: tried plain and under AddressSanitizer only");
    }
    return check_result();
}

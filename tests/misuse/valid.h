/* A valid argument for each parameter of kms.h whose type alone doesn't say what it is. */
#ifndef KMS_TESTS_VALID_H
#define KMS_TESTS_VALID_H

#include "misuse.h"

/* What the arguments speak of. Keys that a call would change are made for it. */
static struct {
    kms_t *kms;
    key_id key, external;
    char version[KMS_ID_SIZE];
    small_blob blob, data_key;
    uint8_t public_key[512], token[2048], wrapped[256];
    size_t public_key_len, token_len, wrapped_len;
    int made;
} scene;

static const kms_context_entry one_entry[] = {{"tenant", "42"}};

static kms_t *misused(const char *location) {
    int64_t expires;
    scene.kms = open_file(location, NULL);
    scene.key = new_key(scene.kms);
    scene.external = new_external_key(scene.kms);
    memcpy(scene.version, describe(scene.kms, scene.key.text).primary_version_id, KMS_ID_SIZE);
    REQUIRE_OK(kms_encrypt(scene.kms, scene.key.text, bytes("0123456789"), 10, one_entry, 1, scene.blob.data,
                           sizeof scene.blob.data, &scene.blob.len));
    REQUIRE_OK(kms_generate_data_key(scene.kms, scene.key.text, 32, NULL, 0, NULL, scene.data_key.data,
                                     sizeof scene.data_key.data, &scene.data_key.len));
    REQUIRE_OK(kms_get_parameters_for_import(scene.kms, scene.external.text, KMS_WRAPPING_OAEP_SHA_256, scene.public_key,
                                             sizeof scene.public_key, &scene.public_key_len, scene.token,
                                             sizeof scene.token, &scene.token_len, &expires));
    REQUIRE_OK(kms_export_data_key(scene.kms, scene.data_key.data, scene.data_key.len, NULL, 0, scene.public_key,
                                   scene.public_key_len, KMS_WRAPPING_OAEP_SHA_256, scene.wrapped, sizeof scene.wrapped,
                                   &scene.wrapped_len));
    REQUIRE_OK(kms_create_alias(scene.kms, scene.key.text, "alias/misuse"));
    return scene.kms;
}

#define VALID(name) static void valid_##name(attempt *a, int at)
#define TEXT_IS(name, text) VALID(name) { put_text(a, at, text); }
#define NUMBER_IS(name, number) VALID(name) { a->v[at].n = (uint64_t)(number); }

TEXT_IS(key, scene.key.text)
TEXT_IS(key_id, scene.key.text)
TEXT_IS(destination_key_id, scene.key.text)
TEXT_IS(after_key_id, scene.key.text)
TEXT_IS(import_key_material_key_id, scene.external.text)
TEXT_IS(delete_key_material_key_id, scene.external.text)
TEXT_IS(get_parameters_for_import_key_id, scene.external.text)
TEXT_IS(version_id, scene.version)
TEXT_IS(alias, "alias/misuse")
TEXT_IS(after_alias, "alias/m")
TEXT_IS(name, "part")
TEXT_IS(description, "what it is for")
TEXT_IS(action, "DescribeKey")
TEXT_IS(location, "memory:")
TEXT_IS(path, "./a-file")
NUMBER_IS(number_of_bytes, 32)
NUMBER_IS(limit, 10)
NUMBER_IS(keys, 100)
NUMBER_IS(cap, 1024)
NUMBER_IS(before_number, 0)
NUMBER_IS(expires_s, 0)
NUMBER_IS(interval_s, 3600)
NUMBER_IS(timeout_ms, 100)
NUMBER_IS(status, KMS_KEY_NOT_FOUND)
NUMBER_IS(pending_window_days, 7)

VALID(request_json) {
    char text[64];
    snprintf(text, sizeof text, "{\"KeyId\":\"%s\"}", scene.key.text);
    put_text(a, at, text);
}

static void unused_name(attempt *a, int at, const char *form) {
    char text[64];
    snprintf(text, sizeof text, form, ++scene.made, (int)getpid());
    put_text(a, at, text);
}

VALID(backup_path) { unused_name(a, at, "backup-%d-%d.db"); }
VALID(create_alias_alias) { unused_name(a, at, "alias/made-%d-%d"); }

VALID(delete_alias_alias) {
    unused_name(a, at, "alias/gone-%d-%d");
    (void)!kms_create_alias(a->kms, scene.key.text, a->v[at].p);
}

/* A key for one call; the call itself says why, where none can be made. */
static void fresh_key(attempt *a, int at, int32_t origin) {
    kms_create_key_options options = KMS_CREATE_KEY_OPTIONS_INIT;
    key_id id;
    memcpy(id.text, no_such_id, sizeof id.text);
    options.origin = origin;
    (void)!kms_create_key(a->kms, &options, id.text);
    put_text(a, at, id.text);
}

VALID(disable_key_key_id) { fresh_key(a, at, KMS_ORIGIN_KMS); }
VALID(update_key_description_key_id) { fresh_key(a, at, KMS_ORIGIN_KMS); }
VALID(schedule_key_deletion_key_id) { fresh_key(a, at, KMS_ORIGIN_KMS); }
VALID(import_raw_key_material_key_id) { fresh_key(a, at, KMS_ORIGIN_EXTERNAL); }

VALID(cancel_key_deletion_key_id) {
    fresh_key(a, at, KMS_ORIGIN_KMS);
    (void)!kms_schedule_key_deletion(a->kms, a->v[at].p, 7);
}

static void data(attempt *a, int at, const void *bytes, size_t len) {
    put(a, at, bytes, len);
    a->count[at] = len;
}

VALID(blob) {
    /* The wrapped form of a data key where one is to be exported. */
    const small_blob *blob = strstr(a->f->name, "export") != NULL ? &scene.data_key : &scene.blob;
    data(a, at, blob->data, blob->len);
}
VALID(options_set_root_key_key) { data(a, at, root_key, 32); }
VALID(passphrase) { data(a, at, "of eighteen bytes.", 18); }
VALID(plaintext) { data(a, at, "0123456789", 10); }
VALID(public_key) { data(a, at, scene.public_key, scene.public_key_len); }
VALID(token) { data(a, at, scene.token, scene.token_len); }
VALID(wrapped) { data(a, at, scene.wrapped, scene.wrapped_len); }
VALID(material) { data(a, at, root_key, 32); }

static void array(attempt *a, int at, const void *elements, size_t size, size_t count) {
    put(a, at, elements, size);
    a->count[at] = count;
}

VALID(context) {
    int is_data_key = strstr(a->f->name, "export_data_key") != NULL && strstr(a->f->name, "generate") == NULL;
    array(a, at, one_entry, is_data_key ? 0 : sizeof one_entry, is_data_key ? 0 : 1);
}
VALID(source_context) { array(a, at, one_entry, sizeof one_entry, 1); }
VALID(destination_context) { array(a, at, one_entry, sizeof one_entry, 1); }
VALID(tags) {
    static const kms_tag tag[] = {{"name", "value"}};
    array(a, at, tag, sizeof tag, 1);
}
VALID(names) {
    static const char *const names[] = {"name"};
    array(a, at, names, sizeof names, 1);
}

static void record(attempt *a, int at, const void *input, size_t len, const kms_context_entry *destination) {
    static uint8_t out[DEEPEST][512]; /* apart from all places: a record's input may be made to meet it */
    kms_batch_record one = KMS_BATCH_RECORD_INIT;
    one.input = input;
    one.input_len = len;
    one.context = one_entry;
    one.context_count = 1;
    one.destination_context = destination;
    one.destination_count = destination != NULL;
    one.out = out[a->depth];
    one.out_cap = sizeof out[0];
    put(a, at, &one, sizeof one);
}

VALID(records) { record(a, at, "0123456789", 10, NULL); }
VALID(decrypt_batch_records) { record(a, at, scene.blob.data, scene.blob.len, NULL); }
VALID(reencrypt_batch_records) { record(a, at, scene.blob.data, scene.blob.len, one_entry); }

VALID(options) {
    if (a->f->parameters[at].kind == STRUCT_IN) {
        static const kms_create_key_options options = KMS_CREATE_KEY_OPTIONS_INIT; /* static: its padding is compared too */
        put(a, at, &options, sizeof options);
        return;
    }
    a->v[at].p = a->made[at] = kms_options_new();
}
VALID(options_free_options) { a->v[at].p = a->made[at] = kms_options_new(); }
VALID(open_options) { a->v[at].p = a->made[at] = new_options(NULL); }
VALID(change_root_options) { a->v[at].p = a->made[at] = new_options(NULL); }
VALID(close_kms) { a->v[at].p = a->made[at] = open_memory(NULL); }
VALID(string) {
    char *text = NULL;
    (void)!kms_call(a->kms, "ListKeys", NULL, &text);
    a->v[at].p = a->made[at] = text;
}

#endif

/* The keystore that is misused, and the valid arguments that depend on it. */
#define _GNU_SOURCE
#include "misuse.h"
#include <unistd.h>

world here;
char folder[400];
static int path_number;

const char *fresh_path(world *w) {
    snprintf(w->path, sizeof w->path, "%s/%d-%ld", folder, path_number++, (long)getpid());
    return w->path;
}

kms_options_t *make_options(world *w) {
    kms_options_free(w->options);
    w->options = new_options(&w->clock);
    return w->options;
}

kms_options_t *make_other_root(world *w) {
    static const uint8_t other[32] = {42};
    kms_options_free(w->options);
    w->options = kms_options_new();
    REQUIRE(w->options != NULL);
    REQUIRE_OK(kms_options_set_root_key(w->options, other, sizeof other));
    return w->options;
}

static int32_t keep_slot(void *user, const kms_root_slot *slot) {
    memcpy(user, slot->slot_id, KMS_ID_SIZE);
    return 1;
}

char *owned_string(world *w) {
    char *text = NULL;
    REQUIRE_OK(kms_call(w->kms, "ListKeys", NULL, &text));
    return text;
}

/* A callback may have left the key unusable: then the stream is the one before. */
kms_stream_t *make_stream(world *w) {
    kms_stream_t *stream = NULL;
    if (kms_encrypt_stream(w->kms, w->key.text, NULL, 0, &stream) == KMS_OK) {
        kms_stream_free(w->stream);
        w->stream = stream;
    }
    return w->stream;
}

/* A callback may have closed the process to new surveys: then the survey is the one before. */
kms_survey_t *make_survey(world *w) {
    kms_survey_t *survey = NULL;
    if (kms_begin_survey(w->kms, &survey) == KMS_OK) {
        kms_survey_free(w->survey);
        w->survey = survey;
    }
    return w->survey;
}

int frees(const function *f) {
    static const char *const names[] = {"kms_open",           "kms_call",      "kms_encrypt_stream",
                                        "kms_decrypt_stream", "kms_open_file", "kms_open_file_callback",
                                        "kms_begin_survey"};
    size_t i;
    for (i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(f->name, names[i]) == 0) {
            return 1;
        }
    }
    return 0;
}

void free_made(const function *f, void *made) {
    if (strcmp(f->name, "kms_open") == 0) {
        kms_close(made);
    } else if (strcmp(f->name, "kms_call") == 0) {
        kms_string_free(made);
    } else if (strstr(f->name, "stream") != NULL) {
        kms_stream_free(made);
    } else if (strcmp(f->name, "kms_begin_survey") == 0) {
        kms_survey_free(made);
    } else {
        kms_file_close(made);
    }
}

/* All worlds share the files; their content is sealed under the key of this one. */
static void make_files(world *w, const kms_context_entry *context) {
    FILE *file;
    kms_file_options options = KMS_FILE_OPTIONS_INIT;
    options.threads = 1;
    options.replace = 1;
    snprintf(w->plain, sizeof w->plain, "%s/plain", folder);
    snprintf(w->sealed, sizeof w->sealed, "%s/sealed-%ld", folder, (long)getpid());
    file = fopen(w->plain, "wb");
    REQUIRE(file != NULL && fwrite("a short file", 1, 12, file) == 12 && fclose(file) == 0);
    REQUIRE_OK(kms_encrypt_file(w->kms, w->key.text, w->plain, w->sealed, context, 1, &options, NULL));
    file = fopen(w->sealed, "rb");
    REQUIRE(file != NULL);
    w->sealed_len = fread(w->sealed_bytes, 1, sizeof w->sealed_bytes, file);
    REQUIRE(fclose(file) == 0 && w->sealed_len == KMS_FILE_START_SIZE + 12 + 16);
    kms_file_close(w->file);
    w->file = NULL;
    REQUIRE_OK(kms_open_file(w->kms, w->sealed, context, 1, &w->file));
}

void make_world(world *w, const char *location) {
    static uint8_t public_key[512];
    static size_t public_key_len;
    kms_context_entry context = {"tenant", "42"};
    key_id rsa;
    kms_close(w->kms);
    w->clock.now_ms = NEW_YEAR_2025;
    w->kms = open_file(location, &w->clock);
    w->key = new_rotating_key(w->kms, DAY_S);
    w->disabled = new_key(w->kms);
    w->external = new_external_key(w->kms);
    w->imported = new_external_key(w->kms);
    REQUIRE_OK(kms_import_raw_key_material(w->kms, w->imported.text, root_key, sizeof root_key, 0));
    memcpy(w->old_version_id, describe(w->kms, w->key.text).primary_version_id, KMS_ID_SIZE);
    REQUIRE_OK(kms_rotate(w->kms, w->key.text, w->version_id));
    REQUIRE_OK(kms_create_alias(w->kms, w->key.text, "alias/one"));
    REQUIRE_OK(kms_update_key_description(w->kms, w->key.text, "a key to misuse"));
    {
        static const uint8_t second[32] = {43};
        kms_options_t *root = kms_options_new();
        REQUIRE(root != NULL);
        REQUIRE_OK(kms_options_set_root_key(root, second, sizeof second));
        REQUIRE_OK(kms_add_root_slot(w->kms, root, "second", NULL));
        kms_options_free(root);
        REQUIRE_OK(kms_list_root_slots(w->kms, keep_slot, w->slot_id));
    }
    w->blob.len = w->data_key.len = w->wrapped_len = 0;
    REQUIRE_OK(
        kms_encrypt(w->kms, w->key.text, bytes("a text"), 6, &context, 1, w->blob.data, sizeof w->blob.data, &w->blob.len));
    REQUIRE_OK(kms_generate_data_key(w->kms, w->key.text, 32, &context, 1, NULL, w->data_key.data, sizeof w->data_key.data,
                                     &w->data_key.len));
    make_files(w, &context);
    REQUIRE_OK(kms_schedule_key_deletion(w->kms, w->disabled.text, 7));
    /* RSA keys are slow to generate: one is enough for all calls that only wrap with it. */
    w->token_len = 0;
    if (public_key_len == 0) {
        int64_t expires;
        uint8_t token[2048];
        size_t token_len;
        rsa = new_external_key(w->kms);
        REQUIRE_OK(kms_get_parameters_for_import(w->kms, rsa.text, KMS_WRAPPING_OAEP_SHA_256, public_key, sizeof public_key,
                                                 &public_key_len, token, sizeof token, &token_len, &expires));
    }
    memcpy(w->public_key, public_key, public_key_len);
    w->public_key_len = public_key_len;
    w->generation = health(w->kms).generation;
}

static void make_token(world *w) {
    int64_t expires;
    uint8_t blob[512];
    size_t blob_len;
    uint8_t public_key[512];
    size_t len;
    if (w->token_len != 0) {
        return;
    }
    REQUIRE_OK(kms_get_parameters_for_import(w->kms, w->external.text, KMS_WRAPPING_OAEP_SHA_256, public_key, sizeof public_key,
                                             &len, w->token, sizeof w->token, &w->token_len, &expires));
    REQUIRE_OK(kms_generate_and_export_data_key(w->kms, w->key.text, 32, NULL, 0, public_key, len, KMS_WRAPPING_OAEP_SHA_256,
                                                blob, sizeof blob, &blob_len, w->wrapped, sizeof w->wrapped, &w->wrapped_len));
}

/* What some functions need first. A key that is enabled needn't be disabled: the call is the same. */
void prepare(world *w, const function *f) {
    if (health(w->kms).generation != w->generation) {
        make_world(w, "memory:");
    }
    if (strcmp(f->name, "kms_enable_key") == 0) {
        REQUIRE_OK(kms_cancel_key_deletion(w->kms, w->disabled.text));
    }
    if (strstr(f->name, "_key_version_deletion") != NULL) {
        REQUIRE_OK(kms_disable_key_version(w->kms, w->key.text, w->old_version_id));
    }
    if (strcmp(f->name, "kms_cancel_key_version_deletion") == 0) {
        REQUIRE_OK(kms_schedule_key_version_deletion(w->kms, w->key.text, w->old_version_id, 7));
    }
    if (strcmp(f->name, "kms_import_key_material") == 0) {
        make_token(w);
    }
    next_region = 0;
}

void *put_records(world *decrypting) {
    static uint8_t outputs[2][512];
    static const kms_context_entry context = {"tenant", "42"};
    kms_batch_record records[2] = {KMS_BATCH_RECORD_INIT, KMS_BATCH_RECORD_INIT};
    int i;
    for (i = 0; i < 2; i++) {
        records[i].input = decrypting != NULL ? decrypting->blob.data : bytes("a record");
        records[i].input_len = decrypting != NULL ? decrypting->blob.len : 8;
        records[i].context = &context;
        records[i].context_count = 1;
        records[i].out = outputs[i];
        records[i].out_cap = sizeof outputs[i];
    }
    return put(records, sizeof records);
}

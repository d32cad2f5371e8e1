/* A keystore opens with its root key in any form, and with no other. */
#define _POSIX_C_SOURCE 200809L
#include "check.h"
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static int exists(const char *path) {
    struct stat status;
    return stat(path, &status) == 0;
}

static void write_file(const char *path, const void *data, size_t len, mode_t mode) {
    FILE *file = fopen(path, "wb");
    REQUIRE(file != NULL);
    REQUIRE(fwrite(data, 1, len, file) == len);
    REQUIRE(fclose(file) == 0);
    REQUIRE(chmod(path, mode) == 0);
}

static kms_options_t *bare(void) {
    kms_options_t *options = kms_options_new();
    REQUIRE(options != NULL);
    return options;
}

/* Opening fails, and sets `out` to NULL. */
static void refused(const char *location, const kms_options_t *options, kms_status wanted) {
    int something;
    kms_t *kms = (kms_t *)(void *)&something;
    CHECK_STATUS(kms_open(location, options, &kms), wanted);
    CHECK(kms == NULL);
    CHECK(kms_last_error(NULL, 0) > 0);
}

static void opens(const char *location, const kms_options_t *options) {
    kms_t *kms = NULL;
    if (CHECK_OK(kms_open(location, options, &kms))) {
        CHECK(kms != NULL);
        kms_close(kms);
    }
}

static void create_is_off_by_default(void) {
    kms_options_t *options = bare();
    REQUIRE_OK(kms_options_set_root_key(options, root_key, sizeof root_key));
    refused("none.db", options, KMS_KEYSTORE_NOT_FOUND);
    CHECK(!exists("none.db"));
    REQUIRE_OK(kms_options_set_create(options, 1));
    REQUIRE_OK(kms_options_set_create(options, 0));
    refused("none.db", options, KMS_KEYSTORE_NOT_FOUND);
    refused("no/such/folder/none.db", options, KMS_KEYSTORE_NOT_FOUND);
    CHECK(!exists("none.db"));
    kms_options_free(options);
}

static void a_path_and_sqlite_path_are_the_same_keystore(void) {
    kms_t *kms = open_file("same.db", NULL);
    key_id id = new_key(kms);
    small_blob blob = encrypt_text(kms, id.text, "kept");
    kms_close(kms);
    CHECK(exists("same.db"));
    CHECK(!exists("sqlite:same.db"));
    kms = open_file("sqlite:same.db", NULL);
    CHECK(opens_as(kms, &blob, "kept"));
    kms_close(kms);
    kms = open_file("sqlite:made.db", NULL);
    kms_close(kms);
    CHECK(exists("made.db"));
}

static void memory_keystores_live_as_long_as_their_handle(void) {
    kms_t *one = open_memory(NULL), *two = open_memory(NULL);
    kms_key_metadata metadata = KMS_KEY_METADATA_INIT;
    key_id id = new_key(one);
    CHECK_STATUS(kms_describe_key(two, id.text, &metadata), KMS_KEY_NOT_FOUND);
    kms_close(one);
    one = open_memory(NULL);
    CHECK_STATUS(kms_describe_key(one, id.text, &metadata), KMS_KEY_NOT_FOUND);
    kms_close(one);
    kms_close(two);
    CHECK(!exists("memory:"));
}

static void a_wrong_root_key_opens_nothing(void) {
    kms_options_t *options = bare();
    uint8_t wrong[32];
    kms_close(open_file("wrong.db", NULL));
    memcpy(wrong, root_key, sizeof wrong);
    wrong[31] ^= 1;
    REQUIRE_OK(kms_options_set_root_key(options, wrong, sizeof wrong));
    refused("wrong.db", options, KMS_WRONG_ROOT_KEY);
    REQUIRE_OK(kms_options_set_create(options, 1));
    refused("wrong.db", options, KMS_WRONG_ROOT_KEY);
    kms_options_free(options);
    kms_close(open_file("wrong.db", NULL));
}

static void a_root_key_has_32_bytes(void) {
    static const size_t lengths[] = {0, 1, 31, 33, 64};
    static const uint8_t key[64] = {1};
    size_t i;
    for (i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        kms_options_t *options = bare();
        CHECK_STATUS(kms_options_set_root_key(options, key, lengths[i]), KMS_INVALID_ARGUMENT);
        refused("memory:", options, KMS_MISSING_PARAMETER); /* a setter that failed has set nothing */
        kms_options_free(options);
    }
}

static void without_a_root_key_nothing_opens(void) {
    kms_options_t *options = bare();
    REQUIRE_OK(kms_options_set_create(options, 1));
    refused("memory:", options, KMS_MISSING_PARAMETER);
    refused("rootless.db", options, KMS_MISSING_PARAMETER);
    CHECK(!exists("rootless.db"));
    kms_options_free(options);
}

static void two_root_keys_are_refused_by_the_setter_or_by_open(void) {
    kms_options_t *options = bare();
    kms_t *kms = NULL;
    kms_status status;
    REQUIRE_OK(kms_options_set_create(options, 1));
    REQUIRE_OK(kms_options_set_root_key(options, root_key, sizeof root_key));
    status = kms_options_set_root_key_file(options, "second.key");
    if (status == KMS_OK) {
        status = kms_open("second.db", options, &kms);
    }
    CHECK_STATUS(status, KMS_INVALID_ARGUMENT);
    CHECK(kms == NULL);
    CHECK(!exists("second.db") && !exists("second.key"));
    kms_options_free(options);
}

static void options_are_copied_and_can_be_used_again(void) {
    kms_options_t *options = bare();
    kms_t *one = NULL, *two = NULL;
    uint8_t key[32];
    char path[] = "copied.db";
    key_id id;
    memcpy(key, root_key, sizeof key);
    REQUIRE_OK(kms_options_set_root_key(options, key, sizeof key));
    memset(key, 0, sizeof key);
    REQUIRE_OK(kms_options_set_create(options, 1));
    REQUIRE_OK(kms_open(path, options, &one));
    REQUIRE_OK(kms_open(path, options, &two));
    kms_options_free(options);
    memset(path, 'x', sizeof path - 1);
    id = new_key(one);
    CHECK_NUMBER(describe(two, id.text).state, KMS_STATE_ENABLED); /* seen by the other handle's next call */
    CHECK_OK(kms_disable_key(two, id.text));
    CHECK_NUMBER(describe(one, id.text).state, KMS_STATE_DISABLED);
    kms_close(one);
    kms_close(two);
    kms_close(open_file("copied.db", NULL));
}

static void a_key_file_is_made_with_its_keystore(void) {
    kms_options_t *options = bare();
    struct stat status;
    REQUIRE_OK(kms_options_set_root_key_file(options, "made.key"));
    refused("keyfile.db", options, KMS_KEYSTORE_NOT_FOUND);
    CHECK(!exists("made.key") && !exists("keyfile.db"));
    REQUIRE_OK(kms_options_set_create(options, 1));
    opens("keyfile.db", options);
    REQUIRE(stat("made.key", &status) == 0);
    CHECK_NUMBER(status.st_size, 32);
    CHECK_NUMBER(status.st_mode & 0777, 0600);
    REQUIRE_OK(kms_options_set_create(options, 0));
    opens("keyfile.db", options);
    kms_options_free(options);
}

static void a_key_file_without_its_keystore_makes_nothing(void) {
    kms_options_t *options = bare();
    kms_t *kms = NULL;
    write_file("lone.key", root_key, 32, 0600);
    REQUIRE_OK(kms_options_set_root_key_file(options, "lone.key"));
    refused("lone.db", options, KMS_KEYSTORE_NOT_FOUND);
    REQUIRE_OK(kms_options_set_create(options, 1));
    CHECK(kms_open("lone.db", options, &kms) != KMS_OK); /* it may be another keystore's */
    CHECK(kms == NULL);
    CHECK(!exists("lone.db"));
    kms_close(kms);
    kms_options_free(options);
}

static void a_key_file_is_missing_open_to_others_or_of_the_wrong_size(void) {
    kms_options_t *options = bare();
    static const mode_t modes[] = {0644, 0604, 0660, 0620};
    uint8_t key[33] = {0};
    size_t i;
    FILE *file;
    REQUIRE_OK(kms_options_set_root_key_file(options, "bad.key"));
    REQUIRE_OK(kms_options_set_create(options, 1));
    opens("badkey.db", options);
    file = fopen("bad.key", "rb");
    REQUIRE(file != NULL && fread(key, 1, 32, file) == 32 && fclose(file) == 0);
    for (i = 0; i < 4; i++) { /* readable by others, or written by the group */
        REQUIRE(chmod("bad.key", modes[i]) == 0);
        refused("badkey.db", options, KMS_ROOT_KEY_UNAVAILABLE);
    }
    REQUIRE(chmod("bad.key", 0400) == 0);
    opens("badkey.db", options);
    REQUIRE(chmod("bad.key", 0440) == 0);
    opens("badkey.db", options);
    REQUIRE(unlink("bad.key") == 0);
    refused("badkey.db", options, KMS_ROOT_KEY_UNAVAILABLE);
    CHECK(!exists("bad.key"));
    write_file("bad.key", key, 31, 0600);
    refused("badkey.db", options, KMS_ROOT_KEY_UNAVAILABLE);
    write_file("bad.key", key, 33, 0600);
    refused("badkey.db", options, KMS_ROOT_KEY_UNAVAILABLE);
    write_file("bad.key", key, 0, 0600);
    refused("badkey.db", options, KMS_ROOT_KEY_UNAVAILABLE);
    write_file("bad.key", key, 32, 0600);
    opens("badkey.db", options);
    key[0] ^= 1;
    write_file("bad.key", key, 32, 0600);
    refused("badkey.db", options, KMS_WRONG_ROOT_KEY);
    kms_options_free(options);
}

static void a_passphrase_of_any_bytes_opens(void) {
    static const uint8_t passphrase[] = {'h', 'o', 'r', 's', 'e', 0, 0xFF, 0xC3};
    kms_options_t *options = bare(), *wrong = bare();
    REQUIRE_OK(kms_options_set_root_passphrase(options, passphrase, sizeof passphrase));
    REQUIRE_OK(kms_options_set_create(options, 1));
    opens("passphrase.db", options);
    opens("passphrase.db", options);
    REQUIRE_OK(kms_options_set_root_passphrase(wrong, passphrase, sizeof passphrase - 1));
    refused("passphrase.db", wrong, KMS_WRONG_ROOT_KEY);
    kms_options_free(options);
    kms_options_free(wrong);
}

typedef struct hsm {
    int wraps, unwraps, fail_wrap, fail_unwrap, lie, binds_nothing;
} hsm;

/* A toy: the bound data precedes the key, and all bytes are masked. */
static kms_status wrap(void *user, const uint8_t *input, size_t input_len, const uint8_t *aad, size_t aad_len, uint8_t *out,
                       size_t out_cap, size_t *out_len) {
    hsm *h = user;
    size_t i;
    h->wraps++;
    CHECK(aad_len > 36 && aad_len <= 128 && memcmp(aad, "libkms root key of keystore ", 28) == 0);
    if (h->fail_wrap != 0 || input_len + aad_len > out_cap) {
        return h->fail_wrap != 0 ? (kms_status)h->fail_wrap : KMS_BUFFER_TOO_SMALL;
    }
    for (i = 0; i < aad_len + input_len; i++) {
        out[i] = (i < aad_len ? aad[i] : input[i - aad_len]) ^ 0x5A;
    }
    *out_len = aad_len + input_len;
    return KMS_OK;
}

static kms_status unwrap(void *user, const uint8_t *input, size_t input_len, const uint8_t *aad, size_t aad_len, uint8_t *out,
                         size_t out_cap, size_t *out_len) {
    hsm *h = user;
    kms_status status = KMS_OK;
    size_t i;
    h->unwraps++;
    if (h->fail_unwrap != 0) {
        return (kms_status)h->fail_unwrap;
    }
    if (input_len < aad_len || input_len - aad_len > out_cap) {
        return KMS_BUFFER_TOO_SMALL;
    }
    for (i = 0; i < input_len; i++) {
        if (i < aad_len && (input[i] ^ 0x5A) != aad[i] && !h->binds_nothing) {
            return KMS_AUTHENTICATION_FAILED;
        }
        if (i >= aad_len) {
            out[i - aad_len] = input[i] ^ 0x5A;
        }
    }
    *out_len = input_len - aad_len;
    if (h->lie == 1) {
        out[0] ^= 1;
    } else if (h->lie == 2) {
        *out_len = out_cap + 1;
    } else if (h->lie == 3) {
        *out_len = 0;
    } else if (h->lie == 4) {
        *out_len = SIZE_MAX;
    }
    return status;
}

static void a_callback_wraps_once_and_unwraps_at_each_open(void) {
    kms_options_t *options = bare();
    hsm h = {0};
    REQUIRE_OK(kms_options_set_root_callback(options, wrap, unwrap, &h));
    REQUIRE_OK(kms_options_set_create(options, 1));
    opens("hsm.db", options);
    CHECK_NUMBER(h.wraps, 1);
    CHECK_NUMBER(h.unwraps, 2); /* tried with another aad, and the same */
    h.unwraps = 0;
    opens("hsm.db", options);
    opens("hsm.db", options);
    CHECK_NUMBER(h.wraps, 1);
    CHECK_NUMBER(h.unwraps, 2);
    kms_options_free(options);
}

static void a_callback_that_binds_nothing_is_refused(void) {
    kms_options_t *options = bare();
    hsm h = {0};
    h.binds_nothing = 1;
    REQUIRE_OK(kms_options_set_root_callback(options, wrap, unwrap, &h));
    REQUIRE_OK(kms_options_set_create(options, 1));
    refused("unbound.db", options, KMS_ROOT_KEY_UNAVAILABLE);
    CHECK(!exists("unbound.db"));
    kms_options_free(options);
}

static void zeros_are_no_root_key(void) {
    static const uint8_t zeros[32];
    kms_options_t *options = bare();
    FILE *file = fopen("zeros.key", "wb");
    REQUIRE(file != NULL && fwrite(zeros, 1, sizeof zeros, file) == sizeof zeros && fclose(file) == 0);
    REQUIRE(chmod("zeros.key", 0600) == 0);
    CHECK_STATUS(kms_options_set_root_key(options, zeros, sizeof zeros), KMS_INVALID_ARGUMENT);
    REQUIRE_OK(kms_options_set_root_key_file(options, "zeros.key"));
    REQUIRE_OK(kms_options_set_create(options, 1));
    refused("zeros.db", options, KMS_ROOT_KEY_UNAVAILABLE);
    CHECK(!exists("zeros.db"));
    kms_close(open_file("zeros.db", NULL));
    refused("zeros.db", options, KMS_ROOT_KEY_UNAVAILABLE);
    kms_options_free(options);
}

static void a_failing_callback_opens_nothing(void) {
    static const int failures[] = {KMS_ROOT_KEY_UNAVAILABLE, KMS_INTERNAL, 1, -1, KMS_BUFFER_TOO_SMALL};
    kms_options_t *options = bare();
    hsm h = {0};
    int i;
    REQUIRE_OK(kms_options_set_root_callback(options, wrap, unwrap, &h));
    REQUIRE_OK(kms_options_set_create(options, 1));
    for (i = 0; i < 5; i++) {
        h.fail_wrap = failures[i];
        refused("hsm2.db", options, KMS_ROOT_KEY_UNAVAILABLE);
        CHECK(!exists("hsm2.db"));
    }
    h.fail_wrap = 0;
    opens("hsm2.db", options);
    for (i = 0; i < 5; i++) {
        h.fail_unwrap = failures[i];
        refused("hsm2.db", options, KMS_ROOT_KEY_UNAVAILABLE);
    }
    h.fail_unwrap = 0;
    opens("hsm2.db", options);
    kms_options_free(options);
}

static void a_lying_callback_is_caught(void) {
    kms_options_t *options = bare();
    hsm h = {0};
    kms_t *kms = NULL;
    REQUIRE_OK(kms_options_set_root_callback(options, wrap, unwrap, &h));
    REQUIRE_OK(kms_options_set_create(options, 1));
    opens("hsm3.db", options);
    h.lie = 1;
    refused("hsm3.db", options, KMS_WRONG_ROOT_KEY);
    for (h.lie = 2; h.lie <= 4; h.lie++) {
        kms_status status = kms_open("hsm3.db", options, &kms);
        CHECK(status == KMS_ROOT_KEY_UNAVAILABLE || status == KMS_WRONG_ROOT_KEY);
        CHECK(kms == NULL);
    }
    h.lie = 0;
    opens("hsm3.db", options);
    kms_options_free(options);
}

static void another_kind_of_root_key_does_not_open(void) {
    kms_options_t *options = bare();
    hsm h = {0};
    kms_close(open_file("kind.db", NULL));
    REQUIRE_OK(kms_options_set_root_callback(options, wrap, unwrap, &h));
    refused("kind.db", options, KMS_WRONG_ROOT_KEY);
    kms_options_free(options);
}

static void read_only_decrypts_and_changes_nothing(void) {
    manual_clock clock = {NEW_YEAR_2025};
    kms_options_t *options = new_options(&clock);
    kms_t *kms = NULL;
    kms_create_key_options key_options = KMS_CREATE_KEY_OPTIONS_INIT;
    key_id id, none;
    small_blob blob;
    size_t rotated = 7;
    REQUIRE_OK(kms_open("ro.db", options, &kms));
    id = new_rotating_key(kms, DAY_S);
    blob = encrypt_text(kms, id.text, "kept");
    kms_close(kms);
    REQUIRE_OK(kms_options_set_create(options, 0));
    REQUIRE_OK(kms_options_set_read_only(options, 1));
    clock.now_ms += 5 * DAY;
    REQUIRE_OK(kms_open("ro.db", options, &kms));
    CHECK(opens_as(kms, &blob, "kept"));
    blob = encrypt_text(kms, id.text, "new"); /* overdue: under the old primary */
    CHECK(opens_as(kms, &blob, "new"));
    CHECK_NUMBER(describe(kms, id.text).version_count, 1);
    CHECK_STATUS(kms_rotate(kms, id.text, NULL), KMS_KEYSTORE_READ_ONLY);
    CHECK_STATUS(kms_create_key(kms, &key_options, none.text), KMS_KEYSTORE_READ_ONLY);
    CHECK_STATUS(kms_disable_key(kms, id.text), KMS_KEYSTORE_READ_ONLY);
    CHECK_STATUS(kms_schedule_key_deletion(kms, id.text, 7), KMS_KEYSTORE_READ_ONLY);
    CHECK_STATUS(kms_update_rotation_policy(kms, id.text, 0, 0), KMS_KEYSTORE_READ_ONLY);
    CHECK(kms_tick(kms, &rotated) == KMS_KEYSTORE_READ_ONLY || rotated == 0);
    CHECK_NUMBER(describe(kms, id.text).state, KMS_STATE_ENABLED);
    CHECK_NUMBER(describe(kms, id.text).version_count, 1);
    kms_close(kms);
    kms_options_free(options);
}

static void a_file_that_is_no_keystore_is_refused_and_left_alone(void) {
    static const char text[] = "Dear diary, this is not a keystore, whatever the program thinks of it.\n";
    kms_options_t *options = new_options(NULL);
    char now[sizeof text] = "";
    FILE *file;
    write_file("diary.txt", text, sizeof text, 0644);
    refused("diary.txt", options, KMS_NOT_A_KEYSTORE);
    file = fopen("diary.txt", "rb");
    REQUIRE(file != NULL && fread(now, 1, sizeof now, file) == sizeof now);
    CHECK(fgetc(file) == EOF);
    REQUIRE(fclose(file) == 0);
    CHECK(memcmp(now, text, sizeof text) == 0);
    kms_options_free(options);
}

static void a_keystore_whose_file_is_moved_away_or_replaced_takes_no_changes(void) {
    kms_t *kms = open_file("moved.db", NULL);
    key_id id = new_key(kms);
    small_blob blob = encrypt_text(kms, id.text, "kept");
    key_id none;
    int i;
    REQUIRE(rename("moved.db", "away.db") == 0);
    for (i = 0; i < 3; i++) { /* the same answer each time */
        CHECK_STATUS(kms_rotate(kms, id.text, NULL), KMS_KEYSTORE_REPLACED);
        CHECK(!exists("moved.db"));
        CHECK(opens_as(kms, &blob, "kept"));
    }
    kms_close(open_file("moved.db", NULL)); /* another one */
    for (i = 0; i < 3; i++) {
        CHECK_STATUS(kms_create_key(kms, NULL, none.text), KMS_KEYSTORE_REPLACED);
        CHECK_STATUS(kms_disable_key(kms, id.text), KMS_KEYSTORE_REPLACED);
        CHECK(opens_as(kms, &blob, "kept"));
    }
    REQUIRE(rename("away.db", "moved.db") == 0);
    CHECK_OK(kms_rotate(kms, id.text, NULL));
    CHECK_NUMBER(describe(kms, id.text).version_count, 2);
    kms_close(kms);
}

static void limits_of_options_are_checked(void) {
    static const int32_t flags[] = {2, -1, INT32_MAX, INT32_MIN};
    kms_options_t *options = bare();
    size_t i;
    CHECK_STATUS(kms_options_set_require_backup(options, -1), KMS_INVALID_ARGUMENT);
    CHECK_STATUS(kms_options_set_require_backup(options, KMS_BACKUP_WAIT_MAX_S + 1), KMS_INVALID_ARGUMENT);
    CHECK_OK(kms_options_set_require_backup(options, KMS_BACKUP_WAIT_MAX_S));
    CHECK_OK(kms_options_set_require_backup(options, KMS_BACKUP_WAIT_DEFAULT_S));
    CHECK_OK(kms_options_set_require_backup(options, 0));
    CHECK_STATUS(kms_options_set_poll_interval_ms(options, 9), KMS_INVALID_ARGUMENT);
    CHECK_STATUS(kms_options_set_poll_interval_ms(options, 60001), KMS_INVALID_ARGUMENT);
    CHECK_OK(kms_options_set_poll_interval_ms(options, 10));
    CHECK_OK(kms_options_set_poll_interval_ms(options, 60000));
    CHECK_STATUS(kms_options_set_accept_rollback(options, 2), KMS_INVALID_ARGUMENT);
    CHECK_OK(kms_options_set_accept_rollback(options, 1));
    CHECK_OK(kms_options_set_accept_rollback(options, 0));
    CHECK_STATUS(kms_options_set_anchor_strict(options, 2), KMS_INVALID_ARGUMENT);
    CHECK_OK(kms_options_set_anchor_strict(options, 1));
    CHECK_OK(kms_options_set_anchor_strict(options, 0));
    CHECK_STATUS(kms_options_set_offline_limit_s(options, -1), KMS_INVALID_ARGUMENT);
    CHECK_STATUS(kms_options_set_offline_limit_s(options, 2592001), KMS_INVALID_ARGUMENT);
    CHECK_OK(kms_options_set_offline_limit_s(options, 0));
    CHECK_OK(kms_options_set_offline_limit_s(options, 2592000));
    CHECK_OK(kms_options_set_busy_timeout_ms(options, 0));
    CHECK_OK(kms_options_set_busy_timeout_ms(options, 3600000));
    CHECK_STATUS(kms_options_set_busy_timeout_ms(options, 3600001), KMS_INVALID_ARGUMENT);
    CHECK_STATUS(kms_options_set_busy_timeout_ms(options, -1), KMS_INVALID_ARGUMENT);
    CHECK_STATUS(kms_options_set_busy_timeout_ms(options, INT64_MAX), KMS_INVALID_ARGUMENT);
    CHECK_STATUS(kms_options_set_cache_keys(options, 0), KMS_INVALID_ARGUMENT);
    CHECK_OK(kms_options_set_cache_keys(options, 1));
    for (i = 0; i < 4; i++) {
        CHECK_STATUS(kms_options_set_create(options, flags[i]), KMS_INVALID_ARGUMENT);
        CHECK_STATUS(kms_options_set_read_only(options, flags[i]), KMS_INVALID_ARGUMENT);
        CHECK_STATUS(kms_options_set_rotation_thread(options, flags[i]), KMS_INVALID_ARGUMENT);
    }
    kms_options_free(options);
}

static void a_second_process_opens_what_the_first_made(void) {
    int pipe_ends[2], status = -1;
    char id[KMS_ID_SIZE] = "";
    small_blob blob;
    pid_t child;
    kms_t *kms;
    REQUIRE(pipe(pipe_ends) == 0);
    child = fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        kms = open_file("process.db", NULL);
        REQUIRE_OK(kms_create_key(kms, NULL, id));
        blob = encrypt_text(kms, id, "from the child");
        REQUIRE_OK(kms_rotate(kms, id, NULL));
        kms_close(kms);
        REQUIRE(write(pipe_ends[1], id, sizeof id) == (ssize_t)sizeof id);
        REQUIRE(write(pipe_ends[1], &blob, sizeof blob) == (ssize_t)sizeof blob);
        _exit(0);
    }
    REQUIRE(close(pipe_ends[1]) == 0);
    REQUIRE(read(pipe_ends[0], id, sizeof id) == (ssize_t)sizeof id);
    REQUIRE(read(pipe_ends[0], &blob, sizeof blob) == (ssize_t)sizeof blob);
    REQUIRE(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    close(pipe_ends[0]);
    kms = open_file("process.db", NULL);
    CHECK(opens_as(kms, &blob, "from the child"));
    CHECK_NUMBER(describe(kms, id).version_count, 2);
    kms_close(kms);
}

static void closing_and_freeing_null_is_fine(void) {
    kms_close(NULL);
    kms_options_free(NULL);
}

int main(void) {
    RUN(a_second_process_opens_what_the_first_made);
    RUN(create_is_off_by_default);
    RUN(a_path_and_sqlite_path_are_the_same_keystore);
    RUN(memory_keystores_live_as_long_as_their_handle);
    RUN(a_wrong_root_key_opens_nothing);
    RUN(a_root_key_has_32_bytes);
    RUN(without_a_root_key_nothing_opens);
    RUN(two_root_keys_are_refused_by_the_setter_or_by_open);
    RUN(options_are_copied_and_can_be_used_again);
    RUN(a_key_file_is_made_with_its_keystore);
    RUN(a_key_file_without_its_keystore_makes_nothing);
    RUN(a_key_file_is_missing_open_to_others_or_of_the_wrong_size);
    RUN(a_passphrase_of_any_bytes_opens);
    RUN(a_callback_wraps_once_and_unwraps_at_each_open);
    RUN(a_callback_that_binds_nothing_is_refused);
    RUN(zeros_are_no_root_key);
    RUN(a_failing_callback_opens_nothing);
    RUN(a_lying_callback_is_caught);
    RUN(another_kind_of_root_key_does_not_open);
    RUN(read_only_decrypts_and_changes_nothing);
    RUN(a_file_that_is_no_keystore_is_refused_and_left_alone);
    RUN(a_keystore_whose_file_is_moved_away_or_replaced_takes_no_changes);
    RUN(limits_of_options_are_checked);
    RUN(closing_and_freeing_null_is_fine);
    return check_result();
}

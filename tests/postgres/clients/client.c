/* A C program opens a keystore in PostgreSQL: client LOCATION ABSENT. Both have a password; at ABSENT no server listens. */
#define _GNU_SOURCE
#include "../../c/check.h"
#include <time.h>

static const char *location, *absent;

static kms_options_t *database_options(void) {
    kms_options_t *options = new_options(NULL);
    REQUIRE_OK(kms_options_set_rotation_thread(options, 1));
    REQUIRE_OK(kms_options_set_poll_interval_ms(options, 50));
    REQUIRE_OK(kms_options_set_offline_limit_s(options, 60));
    REQUIRE_OK(kms_options_set_accept_rollback(options, 1));
    return options;
}

static void handles_share_a_keystore_and_obey_each_other(void) {
    kms_options_t *options = database_options();
    kms_t *ours = NULL, *theirs = NULL;
    key_id key;
    small_blob blob;
    uint8_t out[1024];
    size_t len;
    const struct timespec pause = {0, 10000000};
    int tries = 0;
    kms_status status;
    REQUIRE_OK(kms_open(location, options, &ours));
    REQUIRE_OK(kms_open(location, options, &theirs));
    key = new_key(ours);
    blob = encrypt_text(ours, key.text, "text");
    CHECK(opens_as(theirs, &blob, "text"));
    CHECK_OK(kms_disable_key(ours, key.text));
    do {
        nanosleep(&pause, NULL);
        status = kms_decrypt(theirs, blob.data, blob.len, NULL, 0, out, sizeof out, &len);
    } while (status == KMS_OK && ++tries < 3000);
    CHECK_STATUS(status, KMS_REJECTED_DISABLED);
    CHECK(health(theirs).polls > 0);
    CHECK_NUMBER(health(theirs).flags & (KMS_HEALTH_KEYSTORE_UNAVAILABLE | KMS_HEALTH_ROLLED_BACK), 0);
    kms_close(theirs);
    kms_close(ours);
    kms_options_free(options);
}

static void an_anchor_holds_the_checkpoint(void) {
    kms_options_t *options = database_options();
    kms_t *kms = NULL;
    FILE *anchor = fopen("anchor", "w");
    REQUIRE(anchor != NULL);
    fclose(anchor);
    REQUIRE_OK(kms_options_set_anchor_file(options, "anchor"));
    REQUIRE_OK(kms_open(location, options, &kms));
    (void)new_key(kms);
    kms_close(kms);
    REQUIRE_OK(kms_open(location, options, &kms));
    kms_close(kms);
    kms_options_free(options);
}

static void a_server_that_is_absent_has_a_status_and_no_password_is_told(void) {
    kms_options_t *options = database_options();
    kms_t *kms = NULL;
    char detail[512];
    CHECK_STATUS(kms_open(absent, options, &kms), KMS_KEYSTORE_UNAVAILABLE);
    CHECK(kms == NULL);
    kms_last_error(detail, sizeof detail);
    CHECK(strstr(detail, "127.0.0.1:1") != NULL);
    CHECK(strstr(detail, "hunter2") == NULL);
    kms_options_free(options);
}

/* The certificates of all authorities are larger than a small RLIMIT_MEMLOCK. */
static void tls_takes_no_locked_memory(void) {
    const uint32_t unlocked = KMS_HEALTH_MEMORY_NOT_LOCKED | KMS_HEALTH_CIPHER_MEMORY_UNPROTECTED;
    kms_options_t *options = database_options();
    kms_t *kms = open_memory(NULL), *shared = NULL;
    uint32_t before;
    (void)new_key(kms);
    before = health(kms).flags & unlocked;
    REQUIRE_OK(kms_open(location, options, &shared));
    (void)new_key(shared);
    CHECK_NUMBER(health(shared).flags & unlocked, before);
    CHECK_NUMBER(health(kms).flags & unlocked, before);
    kms_close(shared);
    kms_close(kms);
    kms_options_free(options);
}

int main(int count, char **arguments) {
    if (count < 3) {
        return 2;
    }
    location = arguments[1];
    absent = arguments[2];
    RUN(tls_takes_no_locked_memory);
    RUN(handles_share_a_keystore_and_obey_each_other);
    RUN(an_anchor_holds_the_checkpoint);
    RUN(a_server_that_is_absent_has_a_status_and_no_password_is_told);
    return check_result();
}

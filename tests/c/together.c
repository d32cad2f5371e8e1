/* Sixteen threads, each in a different kind of call, share keystores beside a rotation thread, and nothing is lost. */
#include "check.h"
#include <pthread.h>

enum { THREADS = 16, KINDS = 8, KEYS = 4, ROUNDS = 6, RECORDS = 4, LARGE = 6000 };

typedef struct worker {
    const kms_t *kms;
    const char *location; /* where another handle is opened; NULL: nowhere */
    const key_id *keys;
    const char *switched; /* the key that one kind of call disables and enables */
    int number, rounds;
    small_blob blobs[ROUNDS];
} worker;

static int64_t events_told;

static void note_event(void *user, const kms_event *event) {
    CHECK(event != NULL);
    __atomic_add_fetch((int64_t *)user, 1, __ATOMIC_RELAXED);
}

static int32_t count_key(void *user, const kms_key_metadata *key) {
    CHECK(key->version_count >= 1);
    *(int *)user += 1;
    return 0;
}

static int32_t count_version(void *user, const kms_key_version *version) {
    CHECK(version->version_id[0] != '\0');
    *(int *)user += 1;
    return 0;
}

static int32_t count_alias(void *user, const char *alias, const char *key) {
    CHECK(alias[0] == 'a' && key[0] != '\0');
    *(int *)user += 1;
    return 0;
}

static int32_t count_fault(void *user, const char *key, kms_status status, const char *text) {
    (void)key, (void)status, (void)text;
    *(int *)user += 1;
    return 0;
}

static void in_batches(const kms_t *kms, const char *key) {
    const kms_batch_record empty = KMS_BATCH_RECORD_INIT;
    kms_batch_record records[RECORDS];
    uint8_t plain[RECORDS][64], sealed[RECORDS][256], opened[RECORDS][256];
    int i;
    for (i = 0; i < RECORDS; i++) {
        memset(plain[i], i + 1, sizeof plain[i]);
        records[i] = empty;
        records[i].input = plain[i];
        records[i].input_len = sizeof plain[i];
        records[i].out = sealed[i];
        records[i].out_cap = sizeof sealed[i];
    }
    CHECK_OK(kms_encrypt_batch(kms, key, records, sizeof *records, RECORDS));
    for (i = 0; i < RECORDS; i++) {
        records[i].input = sealed[i];
        records[i].input_len = records[i].out_len;
        records[i].out = opened[i];
    }
    CHECK_OK(kms_decrypt_batch(kms, records, sizeof *records, RECORDS));
    for (i = 0; i < RECORDS; i++) {
        CHECK(records[i].out_len == sizeof plain[i] && all_are(opened[i], sizeof plain[i], i + 1));
        records[i].out = opened[i];
    }
    CHECK_OK(kms_reencrypt_batch(kms, key, records, sizeof *records, RECORDS));
}

/* Above 4 KiB a plaintext goes straight into the caller's memory. */
static void a_large_one(const kms_t *kms, const char *key) {
    uint8_t *plain = malloc(LARGE), *sealed = malloc(LARGE + KMS_MAX_OVERHEAD);
    size_t len = 0;
    REQUIRE(plain != NULL && sealed != NULL);
    memset(plain, 7, LARGE);
    CHECK_OK(kms_encrypt(kms, key, plain, LARGE, NULL, 0, sealed, LARGE + KMS_MAX_OVERHEAD, &len));
    memset(plain, 0, LARGE);
    CHECK_OK(kms_decrypt(kms, sealed, len, NULL, 0, plain, LARGE, &len));
    CHECK(len == LARGE && all_are(plain, LARGE, 7));
    free(plain);
    free(sealed);
}

static void another_handle(const worker *w) {
    kms_t *other = w->location == NULL ? open_memory(NULL) : open_file(w->location, NULL);
    key_id id = new_key(other);
    small_blob blob = encrypt_text(other, id.text, "through another handle");
    CHECK(opens_as(other, &blob, "through another handle"));
    if (w->location != NULL) {
        CHECK(opens_as(w->kms, &blob, "through another handle")); /* its very next call sees the key */
    }
    kms_close(other);
}

/* A key that is switched off by one thread is refused to the others, and to itself from the next call on. */
static void switched(const kms_t *kms, const char *key) {
    uint8_t out[256];
    size_t len = 0;
    CHECK_OK(kms_disable_key(kms, key));
    CHECK_STATUS(kms_encrypt(kms, key, bytes("x"), 1, NULL, 0, out, sizeof out, &len), KMS_REJECTED_DISABLED);
    CHECK_OK(kms_enable_key(kms, key));
    CHECK_OK(kms_encrypt(kms, key, bytes("x"), 1, NULL, 0, out, sizeof out, &len));
}

static void named(const kms_t *kms, const char *key, int number, int round) {
    kms_tag tag = {"purpose", "together"};
    const char *name = "purpose";
    char alias[64];
    small_blob blob;
    int seen = 0;
    snprintf(alias, sizeof alias, "alias/together-%d-%d", number, round);
    CHECK_OK(kms_create_alias(kms, key, alias));
    blob = encrypt_text(kms, alias, "by an alias");
    CHECK(opens_as(kms, &blob, "by an alias"));
    CHECK_OK(kms_list_aliases(kms, key, NULL, 1000, count_alias, &seen));
    CHECK(seen >= 1);
    CHECK_OK(kms_delete_alias(kms, alias));
    CHECK_OK(kms_tag_resource(kms, key, &tag, 1));
    CHECK_OK(kms_untag_resource(kms, key, &name, 1));
}

static void looked_at(const kms_t *kms, const char *key) {
    kms_health_info info = KMS_HEALTH_INFO_INIT;
    char *answer = NULL;
    int keys = 0, versions = 0, faults = 0;
    CHECK_OK(kms_list_keys(kms, NULL, 1000, count_key, &keys));
    CHECK(keys >= KEYS);
    CHECK_OK(kms_list_key_versions(kms, key, 0, 1000, count_version, &versions));
    CHECK(versions >= 1);
    CHECK_OK(kms_verify(kms, count_fault, &faults));
    CHECK_NUMBER(faults, 0);
    CHECK_OK(kms_health(kms, &info));
    CHECK_OK(kms_call(kms, "ListKeys", "{}", &answer));
    kms_string_free(answer);
}

static void made(const kms_t *kms) {
    uint8_t plain[32], out[32];
    small_blob blob;
    key_id id = new_rotating_key(kms, DAY_S);
    size_t len = 0;
    CHECK_OK(kms_generate_data_key(kms, id.text, sizeof plain, NULL, 0, plain, blob.data, sizeof blob.data, &blob.len));
    CHECK_OK(kms_decrypt(kms, blob.data, blob.len, NULL, 0, out, sizeof out, &len));
    CHECK(len == sizeof plain && memcmp(plain, out, len) == 0);
    CHECK_OK(kms_schedule_key_deletion(kms, id.text, 7));
    CHECK_OK(kms_cancel_key_deletion(kms, id.text));
}

static void *work(void *user) {
    worker *w = user;
    int round;
    for (round = 0; round < w->rounds; round++) {
        const char *key = w->keys[(w->number + round) % KEYS].text;
        size_t rotated = 0;
        w->blobs[round] = encrypt_text(w->kms, key, "kept");
        switch ((w->number + round) % KINDS) {
        case 0:
            in_batches(w->kms, key);
            break;
        case 1:
            a_large_one(w->kms, key);
            break;
        case 2:
            another_handle(w);
            break;
        case 3:
            named(w->kms, key, w->number, round);
            break;
        case 4:
            looked_at(w->kms, key);
            break;
        case 5:
            made(w->kms);
            break;
        case 6:
            CHECK_OK(kms_rotate(w->kms, key, NULL));
            break;
        default:
            CHECK_OK(kms_tick(w->kms, &rotated));
            break;
        }
        if (w->number == 0) { /* one thread, or another's switch would be taken for its own */
            switched(w->kms, w->switched);
        } else {
            uint8_t out[256];
            size_t len = 0;
            kms_status status = kms_encrypt(w->kms, w->switched, bytes("x"), 1, NULL, 0, out, sizeof out, &len);
            CHECK(status == KMS_OK || status == KMS_REJECTED_DISABLED);
        }
        CHECK(opens_as(w->kms, &w->blobs[round], "kept"));
    }
    return NULL;
}

/* The keystore is opened `location`, and by `other` too while the threads run. */
static void share(const char *location, const char *other) {
    static worker workers[THREADS];
    kms_options_t *options = new_options(NULL);
    pthread_t threads[THREADS];
    key_id keys[KEYS], apart;
    kms_t *kms = NULL;
    int i, round;
    REQUIRE_OK(kms_options_set_rotation_thread(options, 1));
    REQUIRE_OK(kms_options_set_busy_timeout_ms(options, 60000));
    REQUIRE_OK(kms_options_set_event_callback(options, note_event, &events_told));
    REQUIRE_OK(kms_open(location, options, &kms));
    kms_options_free(options);
    for (i = 0; i < KEYS; i++) {
        keys[i] = new_rotating_key(kms, 1);
    }
    apart = new_key(kms);
    for (i = 0; i < THREADS; i++) {
        workers[i].kms = kms;
        workers[i].location = other;
        workers[i].keys = keys;
        workers[i].switched = apart.text;
        workers[i].number = i;
        workers[i].rounds = ROUNDS;
        REQUIRE(pthread_create(&threads[i], NULL, work, &workers[i]) == 0);
    }
    for (i = 0; i < THREADS; i++) {
        REQUIRE(pthread_join(threads[i], NULL) == 0);
    }
    for (i = 0; i < THREADS; i++) {
        for (round = 0; round < ROUNDS; round++) {
            CHECK(opens_as(kms, &workers[i].blobs[round], "kept"));
        }
    }
    CHECK_OK(kms_verify(kms, NULL, NULL));
    kms_close(kms);
}

static void sixteen_threads_in_every_kind_of_call_share_a_keystore_in_memory(void) { share("memory:", NULL); }

static void sixteen_threads_in_every_kind_of_call_share_a_keystore_on_disk(void) { share("together.db", "together.db"); }

int main(void) {
    RUN(sixteen_threads_in_every_kind_of_call_share_a_keystore_in_memory);
    RUN(sixteen_threads_in_every_kind_of_call_share_a_keystore_on_disk);
    CHECK(__atomic_load_n(&events_told, __ATOMIC_RELAXED) > 0);
    return check_result();
}

/* Eight threads share one handle without locking, and nothing that they encrypted is lost. */
#include "check.h"
#include <pthread.h>

enum { THREADS = 8, ROUNDS = 24 };

typedef struct worker {
    const kms_t *kms;
    const key_id *keys;
    int number;
    small_blob blobs[ROUNDS];
} worker;

static void text_of(char *out, size_t cap, int thread, int round) { snprintf(out, cap, "thread %d round %d", thread, round); }

static void *work(void *user) {
    worker *w = user;
    char text[64];
    int round;
    for (round = 0; round < ROUNDS; round++) {
        const char *key = w->keys[(w->number + round) % 2].text;
        kms_key_metadata metadata = KMS_KEY_METADATA_INIT;
        kms_blob_info info = KMS_BLOB_INFO_INIT;
        text_of(text, sizeof text, w->number, round);
        w->blobs[round] = encrypt_text(w->kms, key, text);
        CHECK(opens_as(w->kms, &w->blobs[round], text));
        if (round % 8 == w->number) {
            CHECK_OK(kms_rotate(w->kms, key, NULL));
        }
        CHECK_OK(kms_describe_key(w->kms, key, &metadata));
        CHECK(metadata.version_count >= 1);
        CHECK_OK(kms_inspect(w->kms, w->blobs[round].data, w->blobs[round].len, &info));
        CHECK_TEXT(info.key_id, key);
        if (round > 0) {
            text_of(text, sizeof text, w->number, round - 1);
            CHECK(opens_as(w->kms, &w->blobs[round - 1], text));
        }
    }
    return NULL;
}

static void share(kms_t *kms) {
    static worker workers[THREADS];
    pthread_t threads[THREADS];
    key_id keys[2];
    char text[64];
    int i, round;
    keys[0] = new_key(kms);
    keys[1] = new_key(kms);
    for (i = 0; i < THREADS; i++) {
        workers[i].kms = kms;
        workers[i].keys = keys;
        workers[i].number = i;
        REQUIRE(pthread_create(&threads[i], NULL, work, &workers[i]) == 0);
    }
    for (i = 0; i < THREADS; i++) {
        REQUIRE(pthread_join(threads[i], NULL) == 0);
    }
    for (i = 0; i < THREADS; i++) {
        for (round = 0; round < ROUNDS; round++) {
            text_of(text, sizeof text, i, round);
            CHECK(opens_as(kms, &workers[i].blobs[round], text));
        }
    }
    CHECK_NUMBER(describe(kms, keys[0].text).version_count + describe(kms, keys[1].text).version_count,
                 2 + THREADS * (ROUNDS / 8));
}

static void eight_threads_share_a_keystore_in_memory(void) {
    kms_t *kms = open_memory(NULL);
    share(kms);
    kms_close(kms);
}

static void eight_threads_share_a_keystore_on_disk_beside_the_rotation_thread(void) {
    kms_options_t *options = new_options(NULL);
    kms_t *kms = NULL;
    REQUIRE_OK(kms_options_set_rotation_thread(options, 1));
    REQUIRE_OK(kms_open("threads.db", options, &kms));
    kms_options_free(options);
    share(kms);
    kms_close(kms);
}

static void *encrypt_and_leave(void *user) {
    worker *w = user;
    w->blobs[0] = encrypt_text(w->kms, w->keys[0].text, "from a thread that is gone");
    return NULL;
}

static void threads_may_come_and_go_before_close(void) {
    kms_t *kms = open_memory(NULL);
    static worker w;
    key_id id = new_key(kms);
    pthread_t thread;
    int i;
    w.kms = kms;
    w.keys = &id;
    for (i = 0; i < 20; i++) {
        REQUIRE(pthread_create(&thread, NULL, encrypt_and_leave, &w) == 0);
        REQUIRE(pthread_join(thread, NULL) == 0);
        CHECK(opens_as(kms, &w.blobs[0], "from a thread that is gone"));
    }
    kms_close(kms);
}

static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static int stage;

static void *outlive(void *user) {
    worker *w = user;
    kms_t *other;
    key_id id;
    small_blob blob = encrypt_text(w->kms, w->keys[0].text, "x");
    CHECK(opens_as(w->kms, &blob, "x"));
    pthread_mutex_lock(&turn);
    stage = 1;
    pthread_cond_broadcast(&changed);
    while (stage != 2) {
        pthread_cond_wait(&changed, &turn);
    }
    pthread_mutex_unlock(&turn);
    other = open_memory(NULL); /* what this thread kept for the closed handle is not taken for the new one's */
    id = new_key(other);
    blob = encrypt_text(other, id.text, "y");
    CHECK(opens_as(other, &blob, "y"));
    kms_close(other);
    return NULL;
}

static void a_handle_may_be_closed_while_a_thread_that_used_it_lives(void) {
    kms_t *kms = open_memory(NULL);
    static worker w;
    key_id id = new_key(kms);
    pthread_t thread;
    w.kms = kms;
    w.keys = &id;
    REQUIRE(pthread_create(&thread, NULL, outlive, &w) == 0);
    pthread_mutex_lock(&turn);
    while (stage != 1) {
        pthread_cond_wait(&changed, &turn);
    }
    kms_close(kms);
    stage = 2;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&turn);
    REQUIRE(pthread_join(thread, NULL) == 0);
}

int main(void) {
    RUN(eight_threads_share_a_keystore_in_memory);
    RUN(eight_threads_share_a_keystore_on_disk_beside_the_rotation_thread);
    RUN(threads_may_come_and_go_before_close);
    RUN(a_handle_may_be_closed_while_a_thread_that_used_it_lives);
    return check_result();
}

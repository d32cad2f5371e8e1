/* A thread that is cancelled during a call ends after it, and the keystore keeps working. */
#define _GNU_SOURCE
#include "check.h"
#include <pthread.h>
#include <time.h>
#include <unistd.h>

enum { ROUNDS = 40 };

#if defined(__SANITIZE_ADDRESS__)
/* A cancelled thread leaves AddressSanitizer's marks on its stack, and its own end of the thread then trips over them. */
const char *__asan_default_options(void) { return "use_sigaltstack=0"; }
#endif

static kms_t *kms;
static key_id id;
static small_blob blob;

static void pause_us(long us) {
    struct timespec time = {0, us * 1000};
    nanosleep(&time, NULL);
}

static int visit(void *user, const kms_key_metadata *key) {
    (void)key;
    (*(int *)user)++;
    pause_us(50); /* a cancellation point */
    return 0;
}

/* Calls that wait for the disk, draw random bytes, make RSA keys and run callbacks. */
static void *work(void *user) {
    const int what = *(const int *)user;
    for (;;) {
        uint8_t out[600];
        uint8_t token[2048];
        size_t len, token_len;
        int seen = 0;
        switch (what % 5) {
        case 0:
            CHECK_OK(kms_rotate(kms, id.text, NULL));
            break;
        case 1:
            CHECK_OK(kms_update_key_description(kms, id.text, seen++ % 2 ? "one" : "other"));
            break;
        case 2:
            CHECK_OK(kms_list_keys(kms, NULL, 100, visit, &seen));
            break;
        case 3: {
            small_blob more = encrypt_text(kms, id.text, "a text");
            CHECK(opens_as(kms, &more, "a text"));
            break;
        }
        default: {
            key_id external = new_external_key(kms);
            CHECK_OK(kms_get_parameters_for_import(kms, external.text, KMS_WRAPPING_OAEP_SHA_256, out, sizeof out, &len, token,
                                                   sizeof token, &token_len, NULL));
        }
        }
        pthread_testcancel();
    }
    return NULL;
}

static void a_cancelled_thread_ends_after_its_call(void) {
    int i;
    for (i = 0; i < ROUNDS; i++) {
        pthread_t thread;
        void *result = NULL;
        REQUIRE(pthread_create(&thread, NULL, work, &i) == 0);
        pause_us(300 + 731 * i % 3000);
        REQUIRE(pthread_cancel(thread) == 0);
        REQUIRE(pthread_join(thread, &result) == 0);
        CHECK(result == PTHREAD_CANCELED);
        CHECK(opens_as(kms, &blob, "before"));
    }
    CHECK_OK(kms_rotate(kms, id.text, NULL));
}

static void *one_call(void *user) {
    int old = -1, seen = 0;
    (void)user;
    pthread_cancel(pthread_self()); /* pending from here on */
    CHECK_OK(kms_list_keys(kms, NULL, 3, visit, &seen));
    CHECK_NUMBER(seen, 3);
    CHECK_OK(kms_rotate(kms, id.text, NULL));
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &old);
    CHECK_NUMBER(old, PTHREAD_CANCEL_ENABLE);
    CHECK_OK(kms_rotate(kms, id.text, NULL));
    pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &old);
    CHECK_NUMBER(old, PTHREAD_CANCEL_DISABLE);
    pthread_testcancel();
    CHECK(!"it was not cancelled");
    return NULL;
}

static void a_pending_cancellation_waits_and_the_state_is_the_callers(void) {
    pthread_t thread;
    void *result = NULL;
    REQUIRE(pthread_create(&thread, NULL, one_call, NULL) == 0);
    REQUIRE(pthread_join(thread, &result) == 0);
    CHECK(result == PTHREAD_CANCELED);
}

int main(int argc, char **argv) {
    char path[600];
    int i;
    REQUIRE(argc == 2);
    snprintf(path, sizeof path, "%s/keys.db", argv[1]);
    alarm(570);
    kms = open_file(path, NULL);
    id = new_key(kms);
    for (i = 0; i < 5; i++) {
        new_key(kms);
    }
    blob = encrypt_text(kms, id.text, "before");
    RUN(a_cancelled_thread_ends_after_its_call);
    RUN(a_pending_cancellation_waits_and_the_state_is_the_callers);
    kms_close(kms);
    return check_result();
}

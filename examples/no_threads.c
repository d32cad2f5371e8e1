/* A program without threads: it calls kms_tick where it has time, and sees five years of rotations in a moment.
 *
 *   no_threads DIR    creates a keystore in DIR
 *
 * The manual clock is for tests. A real program leaves out kms_options_set_clock, and turns the rotation thread off itself.
 */
#include <kms.h>
#include <stdio.h>
#include <string.h>

enum { DAY_S = 24 * 60 * 60, YEARS = 5, TICKS = YEARS * 365 };

static int64_t now_ms = INT64_C(1735689600000); /* 1 January 2025 */

static int64_t read_clock(void *user) {
    (void)user;
    return now_ms;
}

static char key[KMS_ID_SIZE];

/* Of our key; an earlier run may have left one in the keystore. */
static void count_event(void *user, const kms_event *event) {
    if (event->kind == KMS_EVENT_ROTATED && strcmp(event->key_id, key) == 0) {
        ++*(int *)user;
    }
}

static int failed(kms_status status, const char *what) {
    char why[256];
    if (status != KMS_OK) {
        kms_last_error(why, sizeof why);
        fprintf(stderr, "FAILED: %s: %s: %s\n", what, kms_status_name(status), why);
    }
    return status != KMS_OK;
}

int main(int argc, char **argv) {
    static const char text[] = "written in 2025";
    kms_options_t *options = kms_options_new();
    kms_create_key_options how = KMS_CREATE_KEY_OPTIONS_INIT;
    kms_t *kms = NULL;
    char store[4096], root[4096];
    uint8_t blob[sizeof text + KMS_MAX_OVERHEAD], out[sizeof text];
    size_t blob_len, len, rotated, sum = 0;
    int events = 0, tick;
    if (argc < 2 || options == NULL) {
        fprintf(stderr, "usage: no_threads DIR\n");
        return 2;
    }
    snprintf(store, sizeof store, "%s/no_threads.db", argv[1]);
    snprintf(root, sizeof root, "%s/no_threads.key", argv[1]);
    how.enable_automatic_rotation = 1;
    how.rotation_interval_s = 90 * DAY_S;
    if (failed(kms_options_set_root_key_file(options, root), "root key file") ||
        failed(kms_options_set_create(options, 1), "create") ||
        failed(kms_options_set_rotation_thread(options, 0), "no rotation thread") ||
        failed(kms_options_set_clock(options, read_clock, NULL), "clock") ||
        failed(kms_options_set_event_callback(options, count_event, &events), "events") ||
        failed(kms_open(store, options, &kms), "open") || failed(kms_create_key(kms, &how, key), "create key") ||
        failed(kms_encrypt(kms, key, (const uint8_t *)text, sizeof text, NULL, 0, blob, sizeof blob, &blob_len), "encrypt")) {
        return 1;
    }
    kms_options_free(options);
    for (tick = 0; tick < TICKS; tick++) { /* the program's own loop: once a day it has a moment */
        now_ms += INT64_C(1000) * DAY_S;
        if (failed(kms_tick(kms, &rotated), "tick")) {
            return 1;
        }
        sum += rotated;
    }
    if (failed(kms_decrypt(kms, blob, blob_len, NULL, 0, out, sizeof out, &len), "decrypt after five years") ||
        len != sizeof text || memcmp(out, text, len) != 0) {
        return 1;
    }
    printf("%d years, %d rotations, and still: %s\n", YEARS, events, (const char *)out);
    kms_close(kms);
    return events != YEARS * 365 / 90 || (int)sum < events;
}

/* Runs one hot call in a loop, for callgrind to count (ci/stages/instructions.sh): encrypt, decrypt or batch, which encrypts
 * 64 records. The arguments are the number of bytes and of context entries (0 or 1).
 *
 * The program defines clock_gettime, and the library uses that one too. Its time depends only on the number of calls, so that
 * the speed of the machine has no effect. By that clock the CPU's random generator is quick, as on most machines. */
#define _POSIX_C_SOURCE 200809L
#include <kms.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* A multiple of the 64 messages that one nonce prefix serves. */
enum { RECORDS = 64, MESSAGES = RECORDS * 16 };

static long looks;

int clock_gettime(clockid_t clock, struct timespec *now) {
    (void)clock;
    looks++;
    now->tv_sec = 1000000 + looks / 1000000;
    now->tv_nsec = looks % 1000000 * 100;
    return 0;
}

static void require(kms_status status, const char *what) {
    if (status != KMS_OK) {
        fprintf(stderr, "%s: %s\n", what, kms_status_name(status));
        exit(1);
    }
}

static kms_t *kms;
static char key[KMS_ID_SIZE];
static const kms_context_entry context = {"tenant", "42"};
static uint8_t plaintext[4096], blob[4096 + KMS_MAX_OVERHEAD], out[4096 + KMS_MAX_OVERHEAD];
static size_t blob_len, entries;

static kms_status encrypt(size_t len) {
    size_t out_len;
    return kms_encrypt(kms, key, plaintext, len, &context, entries, out, sizeof out, &out_len);
}

static kms_status batch(size_t len) {
    static kms_batch_record records[RECORDS];
    static uint8_t blobs[RECORDS][64 + KMS_MAX_OVERHEAD];
    int i;
    for (i = 0; i < RECORDS; i++) {
        records[i].input = plaintext;
        records[i].input_len = len;
        records[i].context = &context;
        records[i].context_count = entries;
        records[i].out = blobs[i];
        records[i].out_cap = sizeof blobs[i];
    }
    return kms_encrypt_batch(kms, key, records, sizeof records[0], RECORDS);
}

static kms_status decrypt(size_t len) {
    size_t out_len;
    (void)len;
    return kms_decrypt(kms, blob, blob_len, &context, entries, out, sizeof out, &out_len);
}

/* Counting is on inside of this function only. */
__attribute__((noinline)) void measured(kms_status (*call)(size_t), size_t len);
void measured(kms_status (*call)(size_t), size_t len) {
    int i;
    for (i = 0; i < MESSAGES; i += call == batch ? RECORDS : 1) {
        if (call(len) != KMS_OK) {
            exit(1);
        }
    }
}

int main(int argc, char **argv) {
    static const uint8_t root[32] = "a root key of exactly 32 bytes!";
    kms_options_t *options = kms_options_new();
    const char *what = argc > 1 ? argv[1] : "decrypt";
    kms_status (*call)(size_t) = strcmp(what, "encrypt") == 0 ? encrypt : strcmp(what, "batch") == 0 ? batch : decrypt;
    size_t len = argc > 2 ? strtoul(argv[2], NULL, 10) : 64;
    int i;
    entries = argc > 3 ? strtoul(argv[3], NULL, 10) : 0;
    require(kms_options_set_root_key(options, root, sizeof root), "root key");
    require(kms_open("memory:", options, &kms), "open");
    kms_options_free(options);
    require(kms_create_key(kms, NULL, key), "create");
    require(kms_encrypt(kms, key, plaintext, len, &context, entries, blob, sizeof blob, &blob_len), "encrypt");
    for (i = 1; i < 64; i++) {
        require(encrypt(len), "encrypt");
    }
    require(decrypt(len), "decrypt");
    measured(call, len);
    kms_close(kms);
    printf("%d\n", MESSAGES);
    return 0;
}

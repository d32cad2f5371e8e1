/* Keystores and ciphertexts are the same bytes on every platform, and a fork is noticed on each.
 *
 * formats make KEYSTORE          makes one, and prints a line for each ciphertext: itself, its tenant, its plaintext
 * formats open KEYSTORE <lines   decrypts them there, changes the keystore and verifies it
 * formats fork KEYSTORE          forks with it open; the process has one thread, as qemu-user wants it
 *
 * Bytes are in hexadecimal, behind a full stop because they may be none; a tenant `-` is no context. */
#define _POSIX_C_SOURCE 200809L
#include "../c/check.h"
#include <sys/wait.h>
#include <unistd.h>

enum { LONGEST = 6000 };

/* That of tests/fixtures. */
static const char *const fixture_root_key = "libkms TEST root key, not secret";

static kms_t *open_at(const char *location, int create) {
    kms_options_t *options = kms_options_new();
    kms_t *kms = NULL;
    REQUIRE(options != NULL);
    REQUIRE_OK(kms_options_set_root_key(options, (const uint8_t *)fixture_root_key, 32));
    REQUIRE_OK(kms_options_set_create(options, create));
    REQUIRE_OK(kms_options_set_rotation_thread(options, 0));
    REQUIRE_OK(kms_open(location, options, &kms));
    kms_options_free(options);
    return kms;
}

static void print_hex(const uint8_t *bytes, size_t len, const char *end) {
    size_t i;
    printf(".");
    for (i = 0; i < len; i++) {
        printf("%02x", bytes[i]);
    }
    printf("%s", end);
}

static size_t parse_hex(const char *text, uint8_t *bytes) {
    size_t len = 0;
    unsigned byte;
    REQUIRE(*text == '.');
    for (text++; *text != '\0'; text += 2) {
        REQUIRE(len < LONGEST && sscanf(text, "%2x", &byte) == 1);
        bytes[len++] = (uint8_t)byte;
    }
    return len;
}

static int make(const char *location) {
    static const size_t sizes[] = {0, 1, 16, 1000, 4097};
    static uint8_t plain[LONGEST], blob[LONGEST];
    kms_t *kms = open_at(location, 1);
    int version;
    for (version = 0; version < 3; version++) {
        key_id id = new_rotating_key(kms, 90 * DAY_S);
        size_t i, k, len;
        for (i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
            kms_context_entry context = {"tenant", "42"};
            for (k = 0; k < sizes[i]; k++) {
                plain[k] = (uint8_t)(k * 31 + i);
            }
            REQUIRE_OK(kms_encrypt(kms, id.text, plain, sizes[i], &context, i % 2, blob, sizeof blob, &len));
            print_hex(blob, len, i % 2 ? " 42 " : " - ");
            print_hex(plain, sizes[i], "\n");
            REQUIRE_OK(kms_rotate(kms, id.text, NULL));
        }
    }
    kms_close(kms);
    return 0;
}

static int open_and_change(const char *location) {
    static char blob_text[2 * LONGEST + 2], plain_text[2 * LONGEST + 2], tenant[100];
    static uint8_t blob[LONGEST], plain[LONGEST], out[LONGEST];
    kms_t *kms = open_at(location, 0);
    int lines = 0;
    size_t len;
    key_id id;
    while (scanf("%12001s %99s %12001s", blob_text, tenant, plain_text) == 3) {
        size_t blob_len = parse_hex(blob_text, blob), plain_len = parse_hex(plain_text, plain);
        kms_context_entry context = {"tenant", tenant};
        int count = strcmp(tenant, "-") != 0;
        kms_status status = kms_decrypt(kms, blob, blob_len, &context, count, out, sizeof out, &len);
        /* One key of a fixture is disabled. */
        if (status == KMS_REJECTED_DISABLED) {
            kms_blob_info info = KMS_BLOB_INFO_INIT;
            REQUIRE_OK(kms_inspect(kms, blob, blob_len, &info));
            REQUIRE_OK(kms_enable_key(kms, info.key_id));
            status = kms_decrypt(kms, blob, blob_len, &context, count, out, sizeof out, &len);
        }
        CHECK_STATUS(status, KMS_OK);
        CHECK(len == plain_len && memcmp(out, plain, plain_len) == 0);
        lines++;
    }
    CHECK(lines >= 8);
    /* The first change upgrades an older format. */
    id = new_key(kms);
    REQUIRE_OK(kms_encrypt(kms, id.text, plain, 9, NULL, 0, blob, sizeof blob, &len));
    kms_close(kms);
    kms = open_at(location, 0);
    CHECK_OK(kms_decrypt(kms, blob, len, NULL, 0, out, sizeof out, &len));
    CHECK_OK(kms_verify(kms, NULL, NULL));
    kms_close(kms);
    return check_result();
}

static int fork_beside(const char *location) {
    kms_t *memory = open_memory(NULL), *file = open_at(location, 1);
    key_id id = new_key(memory), kept = new_key(file);
    uint8_t blob[100], out[100];
    size_t len, out_len;
    int status = -1;
    pid_t child;
    REQUIRE_OK(kms_encrypt(memory, id.text, (const uint8_t *)"x", 1, NULL, 0, blob, sizeof blob, &len));
    child = fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        CHECK_STATUS(kms_encrypt(memory, id.text, (const uint8_t *)"x", 1, NULL, 0, blob, sizeof blob, &len), KMS_FORKED);
        CHECK_OK(kms_rotate(file, kept.text, NULL));
        CHECK_OK(kms_encrypt(file, kept.text, (const uint8_t *)"y", 1, NULL, 0, blob, sizeof blob, &len));
        CHECK_OK(kms_decrypt(file, blob, len, NULL, 0, out, sizeof out, &out_len));
        _exit(check_result());
    }
    REQUIRE(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    CHECK_OK(kms_decrypt(memory, blob, len, NULL, 0, out, sizeof out, &out_len));
    CHECK_OK(kms_rotate(file, kept.text, NULL));
    CHECK_OK(kms_verify(file, NULL, NULL));
    kms_close(file);
    kms_close(memory);
    return check_result();
}

int main(int count, char **arguments) {
    REQUIRE(count == 3);
    check_test = arguments[1];
    if (strcmp(arguments[1], "fork") == 0) {
        return fork_beside(arguments[2]);
    }
    return strcmp(arguments[1], "make") == 0 ? make(arguments[2]) : open_and_change(arguments[2]);
}

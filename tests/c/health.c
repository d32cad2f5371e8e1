/* The health of a handle counts its operations and flags each weakened promise. */
#define _GNU_SOURCE
#include "check.h"
#include <dlfcn.h>
#include <sys/wait.h>
#include <unistd.h>

static void a_new_handle_has_counted_nothing(void) {
    kms_t *kms = open_memory(NULL);
    kms_health_info info = health(kms);
    CHECK_NUMBER(info.struct_size, sizeof info);
    CHECK_NUMBER(info.rotations, 0);
    CHECK_NUMBER(info.rotation_failures, 0);
    CHECK_NUMBER(info.keys_destroyed, 0);
    CHECK_NUMBER(info.keys_cached, 0);
    CHECK((info.flags &
           ~(uint32_t)(KMS_HEALTH_MEMORY_NOT_LOCKED | KMS_HEALTH_POLLING | KMS_HEALTH_ROTATION_FAILING | KMS_HEALTH_READ_ONLY |
                       KMS_HEALTH_NO_ROTATION_THREAD | KMS_HEALTH_CIPHER_MEMORY_UNPROTECTED | KMS_HEALTH_SLOW_CPU)) == 0);
    CHECK((info.flags & (KMS_HEALTH_ROTATION_FAILING | KMS_HEALTH_READ_ONLY)) == 0);
    kms_close(kms);
}

static uint32_t flags_of(kms_options_t *options) {
    kms_t *kms = NULL;
    uint32_t flags;
    REQUIRE_OK(kms_open("memory:", options, &kms));
    flags = health(kms).flags;
    kms_close(kms);
    return flags;
}

static void a_missing_rotation_thread_is_flagged(void) {
    manual_clock clock = {NEW_YEAR_2025};
    kms_options_t *options = kms_options_new();
    REQUIRE(options != NULL);
    REQUIRE_OK(kms_options_set_root_key(options, root_key, sizeof root_key));
    REQUIRE_OK(kms_options_set_create(options, 1));
    CHECK_NUMBER(flags_of(options) & KMS_HEALTH_NO_ROTATION_THREAD, 0);
    REQUIRE_OK(kms_options_set_rotation_thread(options, 0));
    CHECK_NUMBER(flags_of(options) & KMS_HEALTH_NO_ROTATION_THREAD, KMS_HEALTH_NO_ROTATION_THREAD);
    REQUIRE_OK(kms_options_set_rotation_thread(options, 1));
    CHECK_NUMBER(flags_of(options) & KMS_HEALTH_NO_ROTATION_THREAD, 0);
    kms_options_free(options);

    options = kms_options_new();
    REQUIRE(options != NULL);
    REQUIRE_OK(kms_options_set_root_key(options, root_key, sizeof root_key));
    REQUIRE_OK(kms_options_set_create(options, 1));
    REQUIRE_OK(kms_options_set_clock(options, manual_clock_now, &clock));
    CHECK_NUMBER(flags_of(options) & KMS_HEALTH_NO_ROTATION_THREAD, KMS_HEALTH_NO_ROTATION_THREAD);
    REQUIRE_OK(kms_options_set_rotation_thread(options, 1));
    CHECK_NUMBER(flags_of(options) & KMS_HEALTH_NO_ROTATION_THREAD, 0);
    kms_options_free(options);
}

static void the_rotation_thread_asked_for_first_stays_with_a_clock_set_later(void) {
    manual_clock clock = {NEW_YEAR_2025};
    kms_options_t *options = kms_options_new();
    REQUIRE(options != NULL);
    REQUIRE_OK(kms_options_set_root_key(options, root_key, sizeof root_key));
    REQUIRE_OK(kms_options_set_create(options, 1));
    REQUIRE_OK(kms_options_set_rotation_thread(options, 1));
    REQUIRE_OK(kms_options_set_clock(options, manual_clock_now, &clock));
    CHECK_NUMBER(flags_of(options) & KMS_HEALTH_NO_ROTATION_THREAD, 0);
    kms_options_free(options);
}

/* If libcrypto's functions can be found, it is the system's, and the library does not choose its memory. */
static void ciphers_in_ordinary_memory_are_flagged_where_libcrypto_is_the_systems(void) {
    const int is_the_systems = dlsym(RTLD_DEFAULT, "OPENSSL_init_crypto") != NULL;
    kms_options_t *options = new_options(NULL);
    CHECK_NUMBER(flags_of(options) & KMS_HEALTH_CIPHER_MEMORY_UNPROTECTED,
                 is_the_systems ? KMS_HEALTH_CIPHER_MEMORY_UNPROTECTED : 0);
    kms_options_free(options);
}

/* In a program started with this value of OPENSSL_ia32cap, or without it. */
static uint32_t slow_cpu_flag_once(const char *capabilities) {
    const pid_t child = fork();
    int status = 0;
    REQUIRE(child >= 0);
    if (child == 0) {
        capabilities == NULL ? unsetenv("OPENSSL_ia32cap") : setenv("OPENSSL_ia32cap", capabilities, 1);
        execl("/proc/self/exe", "health", "slow-cpu", (char *)NULL);
        _exit(99);
    }
    REQUIRE(waitpid(child, &status, 0) == child);
    REQUIRE(WIFEXITED(status) && WEXITSTATUS(status) <= 1);
    return WEXITSTATUS(status) == 1 ? KMS_HEALTH_SLOW_CPU : 0;
}

/* A busy machine can make a quick random instruction look slow. */
static uint32_t slow_cpu_flag_under(const char *capabilities) {
    int tries = 5;
    while (tries-- > 0) {
        if (slow_cpu_flag_once(capabilities) == 0)
            return 0;
    }
    return KMS_HEALTH_SLOW_CPU;
}

/* A variable for other programs disables AES-NI in the system's libcrypto: the flag shows it. The built-in one ignores it. */
static void the_environment_takes_no_instruction_from_the_cipher_or_is_flagged(void) {
    const int is_the_systems = dlsym(RTLD_DEFAULT, "OPENSSL_init_crypto") != NULL;
    const uint32_t usual = slow_cpu_flag_under(NULL);
    const char *const disabling[] = {"0", "~0x200000200000000", "0:0:0:0:0"};
    size_t i;
    for (i = 0; i < sizeof disabling / sizeof *disabling; i++) {
        CHECK_NUMBER(slow_cpu_flag_under(disabling[i]), is_the_systems ? KMS_HEALTH_SLOW_CPU : usual);
    }
}

static void a_read_only_handle_is_flagged(void) {
    kms_options_t *options = new_options(NULL);
    kms_t *kms = NULL;
    REQUIRE_OK(kms_open("health.db", options, &kms));
    kms_close(kms);
    REQUIRE_OK(kms_options_set_create(options, 0));
    REQUIRE_OK(kms_options_set_read_only(options, 1));
    REQUIRE_OK(kms_open("health.db", options, &kms));
    CHECK_NUMBER(health(kms).flags & KMS_HEALTH_READ_ONLY, KMS_HEALTH_READ_ONLY);
    kms_close(kms);
    kms_options_free(options);
}

static void the_generation_grows_by_one_with_every_change(void) {
    manual_clock clock = {NEW_YEAR_2025};
    kms_t *kms = open_memory(&clock);
    kms_key_metadata metadata = KMS_KEY_METADATA_INIT;
    uint64_t generation = health(kms).generation;
    key_id id = new_rotating_key(kms, DAY_S);
    small_blob blob;
    CHECK_NUMBER(health(kms).generation - generation, 1);
    CHECK_OK(kms_rotate(kms, id.text, NULL));
    CHECK_NUMBER(health(kms).generation - generation, 2);
    CHECK_OK(kms_disable_key(kms, id.text));
    CHECK_NUMBER(health(kms).generation - generation, 3);
    manual_clock_forward(&clock, 2 * DAY);
    CHECK_OK(kms_enable_key(kms, id.text)); /* rotates too: one change */
    CHECK_NUMBER(health(kms).generation - generation, 4);
    CHECK_OK(kms_update_rotation_policy(kms, id.text, 0, 0));
    CHECK_NUMBER(health(kms).generation - generation, 5);
    blob = encrypt_text(kms, id.text, "x");
    CHECK(opens_as(kms, &blob, "x"));
    CHECK_OK(kms_describe_key(kms, id.text, &metadata));
    CHECK_NUMBER(health(kms).generation - generation, 5);
    CHECK_OK(kms_tick(kms, NULL)); /* stores the days of these uses */
    CHECK_NUMBER(health(kms).generation - generation, 6);
    CHECK_OK(kms_tick(kms, NULL));
    CHECK_NUMBER(health(kms).generation - generation, 6);
    CHECK_STATUS(kms_rotate(kms, no_such_id, NULL), KMS_KEY_NOT_FOUND); /* an entry in the change log */
    CHECK_NUMBER(health(kms).generation - generation, 7);
    CHECK_NUMBER(changes_made(kms), 6);
    kms_close(kms);
}

static void rotations_are_counted(void) {
    manual_clock clock = {NEW_YEAR_2025};
    kms_t *kms = open_memory(&clock);
    key_id id = new_rotating_key(kms, DAY_S);
    new_rotating_key(kms, DAY_S);
    manual_clock_forward(&clock, DAY);
    CHECK_OK(kms_tick(kms, NULL));
    CHECK_NUMBER(health(kms).rotations, 2);
    manual_clock_forward(&clock, DAY);
    encrypt_text(kms, id.text, "x");
    CHECK_NUMBER(health(kms).rotations, 3);
    CHECK_NUMBER(health(kms).rotation_failures, 0);
    kms_close(kms);
}

static void cached_keys_are_counted_and_bounded(void) {
    kms_options_t *options = new_options(NULL);
    kms_t *kms = NULL;
    key_id ids[6];
    small_blob blobs[6];
    size_t i;
    REQUIRE_OK(kms_options_set_cache_keys(options, 2));
    REQUIRE_OK(kms_open("memory:", options, &kms));
    kms_options_free(options);
    for (i = 0; i < 6; i++) {
        ids[i] = new_key(kms);
        blobs[i] = encrypt_text(kms, ids[i].text, "x");
        CHECK(health(kms).keys_cached >= 1);
        CHECK(health(kms).keys_cached <= 2);
    }
    for (i = 0; i < 6; i++) {
        CHECK(opens_as(kms, &blobs[i], "x"));
        CHECK(health(kms).keys_cached <= 2);
    }
    kms_close(kms);
}

int main(int argc, char **argv) {
    if (argc > 1 && strcmp(argv[1], "slow-cpu") == 0) {
        return (flags_of(new_options(NULL)) & KMS_HEALTH_SLOW_CPU) != 0;
    }
    RUN(a_new_handle_has_counted_nothing);
    RUN(a_missing_rotation_thread_is_flagged);
    RUN(the_rotation_thread_asked_for_first_stays_with_a_clock_set_later);
    RUN(ciphers_in_ordinary_memory_are_flagged_where_libcrypto_is_the_systems);
    /* valgrind emulates another CPU, and /proc/self/exe names valgrind. */
    if (getenv("LD_PRELOAD") == NULL || strstr(getenv("LD_PRELOAD"), "vgpreload") == NULL) {
        RUN(the_environment_takes_no_instruction_from_the_cipher_or_is_flagged);
    }
    RUN(a_read_only_handle_is_flagged);
    RUN(the_generation_grows_by_one_with_every_change);
    RUN(rotations_are_counted);
    RUN(cached_keys_are_counted_and_bounded);
    return check_result();
}

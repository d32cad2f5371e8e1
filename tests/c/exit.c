/* A host whose own OpenSSL is configured to allow nothing may call `exit` while library threads work. */
#define _POSIX_C_SOURCE 200809L
#include "check.h"
#include "slow.h"
#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { HANDLES = 2, KEYS = 8 };

/* In kinds of keystore and moments of closing, taken in turn. */
static int runs(void) {
    const char *wanted = getenv("KMS_EXIT_RUNS");
    return wanted != NULL ? atoi(wanted) : SLOW || SANITIZED ? 24 : 150;
}

static kms_t *handles[HANDLES];

static void close_all(void) {
    int i;
    for (i = 0; i < HANDLES; i++) {
        kms_close(handles[i]);
        handles[i] = NULL;
    }
}

static pthread_t exiting;
static int openssl_is_gone;
static int (*real_mac_init)(void *, const unsigned char *, size_t, const void *);

/* Replaces a function of a shared libcrypto, which the library calls for every row. After libcrypto has cleaned up, a call
 * from a thread other than the exiting one would eventually use freed memory. */
int EVP_MAC_init(void *context, const unsigned char *key, size_t key_len, const void *parameters) {
    if (__atomic_load_n(&openssl_is_gone, __ATOMIC_SEQ_CST) && !pthread_equal(pthread_self(), exiting)) {
        static const char text[] = "a thread of the library calls libcrypto after its end\n";
        (void)!write(STDERR_FILENO, text, sizeof text - 1);
        abort();
    }
    return real_mac_init(context, key, key_len, parameters);
}

/* The time that a host's cleanup may take, after OpenSSL's. */
static void linger(void) {
    const struct timespec time = {0, 30000000};
    __atomic_store_n(&openssl_is_gone, 1, __ATOMIC_SEQ_CST);
    nanosleep(&time, NULL);
}

/* Each call returns an hour later, so that the rotation threads never run out of work. */
static int64_t running_clock(void *now) { return __atomic_add_fetch((int64_t *)now, HOUR, __ATOMIC_SEQ_CST); }

static int64_t now_ms = NEW_YEAR_2025;

/* The host's own OpenSSL, started before the library with the configuration that OPENSSL_CONF names. */
static void start_openssl(void) {
    void *library = dlopen("libcrypto.so.3", RTLD_NOW | RTLD_GLOBAL);
    int (*init)(uint64_t, const void *);
    void *(*fetch)(void *, const char *, const char *);
    void *symbol;
    REQUIRE(library != NULL);
    symbol = dlsym(library, "OPENSSL_init_crypto");
    memcpy(&init, &symbol, sizeof init);
    symbol = dlsym(library, "EVP_MAC_init");
    memcpy(&real_mac_init, &symbol, sizeof real_mac_init);
    symbol = dlsym(library, "EVP_CIPHER_fetch");
    memcpy(&fetch, &symbol, sizeof fetch);
    REQUIRE(init(0x40 /* OPENSSL_INIT_LOAD_CONFIG */, NULL) == 1);
    REQUIRE(fetch(NULL, "AES-256-GCM", NULL) == NULL); /* it really allows nothing */
}

static int host(const char *kind, const char *closing, long delay_us) {
    kms_options_t *options;
    struct timespec delay = {0, 100000};
    small_blob blob;
    char location[64];
    key_id key;
    int i, k;
    if (strcmp(closing, "last") == 0) {
        REQUIRE(atexit(close_all) == 0); /* runs after all that is registered from here on, OpenSSL's end included */
    }
    exiting = pthread_self();
    REQUIRE(atexit(linger) == 0);
    start_openssl();
    options = new_options(NULL);
    REQUIRE_OK(kms_options_set_clock(options, running_clock, &now_ms));
    REQUIRE_OK(kms_options_set_rotation_thread(options, 1));
    for (i = 0; i < HANDLES; i++) {
        snprintf(location, sizeof location, strcmp(kind, "file") == 0 ? "exit-%d-%ld.db" : "memory:", i, (long)getpid());
        REQUIRE_OK(kms_open(location, options, &handles[i]));
        for (k = 0; k < KEYS; k++) {
            key = new_rotating_key(handles[i], 1);
        }
        blob = encrypt_text(handles[i], key.text, "x");
        REQUIRE(opens_as(handles[i], &blob, "x"));
    }
    kms_options_free(options);
    if (strcmp(closing, "first") == 0) {
        REQUIRE(atexit(close_all) == 0);
    }
    while (health(handles[HANDLES - 1]).rotations == 0) {
        nanosleep(&delay, NULL);
    }
    delay.tv_nsec = delay_us * 1000;
    nanosleep(&delay, NULL);
    exit(check_result());
}

static const char configuration[] = "openssl_conf = all\n[all]\nproviders = some\nalg_section = evp\n"
                                    "[some]\nbase = base\n[base]\nactivate = 1\n[evp]\ndefault_properties = fips=yes\n";

static long ms_since(const struct timespec *start) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (now.tv_sec - start->tv_sec) * 1000L + (now.tv_nsec - start->tv_nsec) / 1000000L;
}

/* `self` is this program's own path. */
static void exit_while_threads_work(const char *self, const char *folder) {
    static const char *const kinds[] = {"memory", "file"};
    static const char *const closings[] = {"never", "first", "last"};
    char path[512], delay[32];
    struct timespec start;
    long slowest = 0;
    int i, status, broken = 0;
    FILE *file;
    snprintf(path, sizeof path, "%s/openssl.cnf", folder);
    file = fopen(path, "w");
    REQUIRE(file != NULL && fputs(configuration, file) >= 0 && fclose(file) == 0);
    REQUIRE(setenv("OPENSSL_CONF", path, 1) == 0);
    for (i = 0; i < runs(); i++) {
        pid_t child;
        snprintf(delay, sizeof delay, "%d", i * 997 % 10000);
        fflush(NULL);
        clock_gettime(CLOCK_MONOTONIC, &start);
        child = fork();
        REQUIRE(child >= 0);
        if (child == 0) {
            alarm(20);
            execl(self, self, "host", kinds[i % 2], closings[i / 2 % 3], delay, (char *)NULL);
            _exit(127);
        }
        REQUIRE(waitpid(child, &status, 0) == child);
        slowest = ms_since(&start) > slowest ? ms_since(&start) : slowest;
        if (status != 0) {
            broken++;
            printf("run %d, a %s keystore closed %s: %s %d\n", i, kinds[i % 2], closings[i / 2 % 3],
                   WIFSIGNALED(status) ? "signal" : "exit", WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
        }
    }
    printf("%d of %d runs broke, the slowest took %ld ms\n", broken, i, slowest);
    CHECK_NUMBER(broken, 0);
}

int main(int argc, char **argv) {
    char self[512];
    ssize_t len;
    if (argc == 5 && strcmp(argv[1], "host") == 0) {
        return host(argv[2], argv[3], atol(argv[4]));
    }
    len = readlink("/proc/self/exe", self, sizeof self - 1);
    REQUIRE(len > 0 && argc == 2);
    self[len] = '\0';
    check_test = "exit_while_threads_work";
    exit_while_threads_work(self, argv[1]);
    return check_result();
}

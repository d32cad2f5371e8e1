/* A host may dlopen and dlclose the library for ever while its threads live: it stays loaded, so nothing is pulled from under
 * a thread, and nothing grows. What is opened is a copy, which nothing else in this process holds. */
#define _GNU_SOURCE
#include "check.h"
#include <dirent.h>
#include <dlfcn.h>
#include <link.h>
#include <pthread.h>
#include <unistd.h>

#if defined(__has_include)
#if __has_include(<valgrind/valgrind.h>)
#include <valgrind/valgrind.h>
#define SLOW RUNNING_ON_VALGRIND
#endif
#endif
#ifdef __SANITIZE_ADDRESS__
#undef SLOW
#define SLOW 1
#endif
#ifndef SLOW
#define SLOW 0
#endif

enum { WARM_UP = 20 };

static int rounds(void) {
    const char *wanted = getenv("KMS_DLOPEN_ROUNDS");
    return wanted != NULL ? atoi(wanted) : SLOW ? 40 : 1000;
}

/* The file of the library that this program is linked with. */
static int find_library(struct dl_phdr_info *info, size_t size, void *path) {
    (void)size;
    if (strstr(info->dlpi_name, "libkms.so") != NULL) {
        snprintf(path, 512, "%s", info->dlpi_name);
        return 1;
    }
    return 0;
}

static long entries(const char *folder) {
    DIR *directory = opendir(folder);
    long n = 0;
    REQUIRE(directory != NULL);
    while (readdir(directory) != NULL) {
        n++;
    }
    closedir(directory);
    return n;
}

static long lines(const char *path) {
    FILE *file = fopen(path, "r");
    long n = 0;
    int c;
    REQUIRE(file != NULL);
    while ((c = getc(file)) != EOF) {
        n += c == '\n';
    }
    fclose(file);
    return n;
}

static long resident_kib(void) {
    long pages = 0, ignored = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    REQUIRE(file != NULL && fscanf(file, "%ld %ld", &ignored, &pages) == 2);
    fclose(file);
    return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

/* The functions as a host finds them. */
typedef struct library {
    void *handle;
    kms_options_t *(*options_new)(void);
    void (*options_free)(kms_options_t *);
    kms_status (*set_root_key)(kms_options_t *, const uint8_t *, size_t);
    kms_status (*set_create)(kms_options_t *, int32_t);
    kms_status (*open)(const char *, const kms_options_t *, kms_t **);
    void (*close)(kms_t *);
    kms_status (*create_key)(const kms_t *, const kms_create_key_options *, char *);
    kms_status (*encrypt)(const kms_t *, const char *, const uint8_t *, size_t, const kms_context_entry *, size_t, uint8_t *,
                          size_t, size_t *);
} library;

static void find(const library *from, void *function, const char *name) {
    void *symbol = dlsym(from->handle, name);
    REQUIRE(symbol != NULL);
    memcpy(function, &symbol, sizeof symbol);
}

static library load(const char *path) {
    library l;
    l.handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    REQUIRE(l.handle != NULL);
    find(&l, &l.options_new, "kms_options_new");
    find(&l, &l.options_free, "kms_options_free");
    find(&l, &l.set_root_key, "kms_options_set_root_key");
    find(&l, &l.set_create, "kms_options_set_create");
    find(&l, &l.open, "kms_open");
    find(&l, &l.close, "kms_close");
    find(&l, &l.create_key, "kms_create_key");
    find(&l, &l.encrypt, "kms_encrypt");
    return l;
}

typedef struct user {
    library l;
    kms_t *kms;
    char key[KMS_ID_SIZE];
    pthread_barrier_t used, closed;
} user;

static void use(const user *u) {
    uint8_t blob[128];
    size_t len;
    REQUIRE(u->l.encrypt(u->kms, u->key, (const uint8_t *)"x", 1, NULL, 0, blob, sizeof blob, &len) == KMS_OK);
}

/* Has state of the library's own, which its end takes down after dlclose. */
static void *thread(void *of) {
    user *u = of;
    use(u);
    pthread_barrier_wait(&u->used);
    pthread_barrier_wait(&u->closed);
    return NULL;
}

/* `left_open`: dlclose while the handle is open and its rotation thread runs. */
static void round_trip(const char *path, int left_open) {
    kms_options_t *options;
    pthread_t other;
    user u;
    memset(&u, 0, sizeof u);
    u.l = load(path);
    options = u.l.options_new();
    REQUIRE(options != NULL && u.l.set_root_key(options, root_key, sizeof root_key) == KMS_OK);
    REQUIRE(u.l.set_create(options, 1) == KMS_OK);
    REQUIRE(u.l.open("memory:", options, &u.kms) == KMS_OK);
    u.l.options_free(options);
    REQUIRE(u.l.create_key(u.kms, NULL, u.key) == KMS_OK);
    use(&u);
    REQUIRE(pthread_barrier_init(&u.used, NULL, 2) == 0 && pthread_barrier_init(&u.closed, NULL, 2) == 0);
    REQUIRE(pthread_create(&other, NULL, thread, &u) == 0);
    pthread_barrier_wait(&u.used);
    if (!left_open) {
        u.l.close(u.kms);
    }
    REQUIRE(dlclose(u.l.handle) == 0);
    pthread_barrier_wait(&u.closed);
    REQUIRE(pthread_join(other, NULL) == 0);
    if (left_open) {
        u.l.close(u.kms); /* still there: it is never unloaded */
    }
    pthread_barrier_destroy(&u.used);
    pthread_barrier_destroy(&u.closed);
}

static void the_library_is_never_unloaded(const char *path) {
    library l = load(path);
    const char *(*version)(void);
    void *again;
    find(&l, &version, "kms_version");
    REQUIRE(dlclose(l.handle) == 0);
    again = dlopen(path, RTLD_NOW | RTLD_NOLOAD);
    REQUIRE(again != NULL);
    CHECK_TEXT(version(), kms_version());
    dlclose(again);
}

static void nothing_grows(const char *path) {
    long threads = 0, files = 0, mappings = 0, kib = 0;
    int i, n = rounds();
    for (i = 0; i < WARM_UP + n; i++) {
        if (i == WARM_UP) {
            threads = entries("/proc/self/task");
            files = entries("/proc/self/fd");
            mappings = lines("/proc/self/maps");
            kib = resident_kib();
        }
        round_trip(path, i % 2);
    }
    printf("%d rounds: threads %ld, then %ld; files %ld, %ld; mappings %ld, %ld; KiB %ld, %ld\n", n, threads,
           entries("/proc/self/task"), files, entries("/proc/self/fd"), mappings, lines("/proc/self/maps"), kib, resident_kib());
    CHECK_NUMBER(entries("/proc/self/task"), threads);
    CHECK_NUMBER(entries("/proc/self/fd"), files);
    CHECK(lines("/proc/self/maps") <= mappings + 16); /* the allocator's own, not one a round */
    CHECK(resident_kib() <= kib + 64 * 1024 || SLOW);
}

static void copy(const char *from, const char *to) {
    static char buffer[1 << 16];
    FILE *source = fopen(from, "rb"), *target = fopen(to, "wb");
    size_t n;
    REQUIRE(source != NULL && target != NULL);
    while ((n = fread(buffer, 1, sizeof buffer, source)) > 0) {
        REQUIRE(fwrite(buffer, 1, n, target) == n);
    }
    REQUIRE(fclose(target) == 0);
    fclose(source);
}

int main(int argc, char **argv) {
    static char path[512], another[600];
    REQUIRE(argc == 2 && dl_iterate_phdr(find_library, path) == 1);
    snprintf(another, sizeof another, "%s/another.so", argv[1]);
    copy(path, another);
    check_test = "the_library_is_never_unloaded";
    the_library_is_never_unloaded(another);
    check_test = "nothing_grows";
    nothing_grows(another);
    return check_result();
}

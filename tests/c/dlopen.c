/* A host may load and unload the library a thousand times, also while its threads work: nothing crashes or grows. */
#define _GNU_SOURCE
#include "check.h"
#include "slow.h"
#include <dirent.h>
#include <dlfcn.h>
#include <pthread.h>
#include <semaphore.h>
#include <unistd.h>

enum { ROUNDS = 1000, WARM = 50 };

static char library[1024];

/* The few functions that the host looks up. The program's link to the library only shows where the library is. */
typedef struct api {
    void *handle;
    kms_options_t *(*options_new)(void);
    void (*options_free)(kms_options_t *);
    kms_status (*set_root_key)(kms_options_t *, const uint8_t *, size_t);
    kms_status (*set_thread)(kms_options_t *, int32_t);
    kms_status (*open)(const char *, const kms_options_t *, kms_t **);
    void (*close)(kms_t *);
    kms_status (*create_key)(const kms_t *, const kms_create_key_options *, char *);
    kms_status (*encrypt)(const kms_t *, const char *, const uint8_t *, size_t, const kms_context_entry *, size_t, uint8_t *,
                          size_t, size_t *);
} api;

static void look_up(void *handle, const char *name, void *into) {
    void *symbol = dlsym(handle, name);
    REQUIRE(symbol != NULL);
    memcpy(into, &symbol, sizeof symbol);
}

static api load(void) {
    api a;
    memset(&a, 0, sizeof a);
    a.handle = dlopen(library, RTLD_NOW | RTLD_LOCAL);
    REQUIRE(a.handle != NULL);
    look_up(a.handle, "kms_options_new", &a.options_new);
    look_up(a.handle, "kms_options_free", &a.options_free);
    look_up(a.handle, "kms_options_set_root_key", &a.set_root_key);
    look_up(a.handle, "kms_options_set_rotation_thread", &a.set_thread);
    look_up(a.handle, "kms_open", &a.open);
    look_up(a.handle, "kms_close", &a.close);
    look_up(a.handle, "kms_create_key", &a.create_key);
    look_up(a.handle, "kms_encrypt", &a.encrypt);
    return a;
}

typedef struct user {
    const api *a;
    kms_t *kms;
    char key[KMS_ID_SIZE];
    sem_t used, unloaded;
} user;

/* Uses the library, so that it has something of this thread's to free, and ends after dlclose. */
static void *use_it(void *argument) {
    user *u = argument;
    uint8_t blob[256];
    size_t len = 0;
    REQUIRE(u->a->encrypt(u->kms, u->key, bytes("x"), 1, NULL, 0, blob, sizeof blob, &len) == KMS_OK && len > 80);
    REQUIRE(sem_post(&u->used) == 0);
    while (sem_wait(&u->unloaded) != 0) {
    }
    return NULL;
}

/* `closes`: the keystore is closed before the library is unloaded; otherwise only afterwards, through another load. */
static void one_round(int closes) {
    api a = load(), again;
    kms_options_t *options = a.options_new();
    kms_create_key_options rotating = KMS_CREATE_KEY_OPTIONS_INIT;
    user u;
    pthread_t thread;
    memset(&u, 0, sizeof u);
    rotating.enable_automatic_rotation = 1;
    rotating.rotation_interval_s = 1;
    REQUIRE(options != NULL && a.set_root_key(options, root_key, sizeof root_key) == KMS_OK);
    REQUIRE(a.set_thread(options, 1) == KMS_OK && a.open("memory:", options, &u.kms) == KMS_OK);
    a.options_free(options);
    REQUIRE(a.create_key(u.kms, &rotating, u.key) == KMS_OK);
    u.a = &a;
    REQUIRE(sem_init(&u.used, 0, 0) == 0 && sem_init(&u.unloaded, 0, 0) == 0);
    REQUIRE(pthread_create(&thread, NULL, use_it, &u) == 0);
    while (sem_wait(&u.used) != 0) {
    }
    if (closes) {
        a.close(u.kms);
    }
    REQUIRE(dlclose(a.handle) == 0);
    REQUIRE(sem_post(&u.unloaded) == 0 && pthread_join(thread, NULL) == 0);
    if (!closes) {
        /* The rotation thread has kept running in the unloaded library. */
        again = load();
        REQUIRE(again.close == a.close);
        again.close(u.kms);
        REQUIRE(dlclose(again.handle) == 0);
    }
    sem_destroy(&u.used);
    sem_destroy(&u.unloaded);
}

static long entries(const char *path) {
    DIR *folder = opendir(path);
    long count = 0;
    REQUIRE(folder != NULL);
    while (readdir(folder) != NULL) {
        count++;
    }
    closedir(folder);
    return count;
}

static long mappings(void) {
    FILE *file = fopen("/proc/self/maps", "r");
    long lines = 0;
    int c;
    REQUIRE(file != NULL);
    while ((c = fgetc(file)) != EOF) {
        lines += c == '\n';
    }
    fclose(file);
    return lines;
}

static void nothing_grows_in_a_thousand_loads(void) {
    int rounds = SLOW ? WARM + 50 : ROUNDS, i;
    long threads = 0, files = 0, maps = 0;
    for (i = 0; i < rounds; i++) {
        one_round(i % 2);
        if (i == WARM || i == rounds - 1) {
            long now[3];
            now[0] = entries("/proc/self/task");
            now[1] = entries("/proc/self/fd");
            now[2] = mappings();
            printf("after %d: %ld threads, %ld files, %ld mappings\n", i + 1, now[0] - 2, now[1] - 3, now[2]);
            if (i == WARM) {
                threads = now[0], files = now[1], maps = now[2];
            } else if (i > WARM) {
                CHECK_NUMBER(now[0], threads);
                CHECK_NUMBER(now[1], files);
                /* Allocators map by themselves; one mapping a round would be nine hundred. */
                CHECK(now[2] <= maps + 100);
            }
        }
    }
}

/* The code of a thread that outlives dlclose must stay: the library itself is linked for that (-z nodelete). */
static void it_is_never_unloaded(void) {
    void *handle = dlopen(library, RTLD_NOW | RTLD_LOCAL);
    const char *(*version)(void);
    REQUIRE(handle != NULL);
    look_up(handle, "kms_version", &version);
    REQUIRE(dlclose(handle) == 0);
    CHECK(dlopen(library, RTLD_NOW | RTLD_NOLOAD) != NULL);
    CHECK(strlen(version()) > 0);
}

/* A copy under another name is another library to the loader: this program, which is linked with the first, can see the
 * second come and go. */
static void copy_library(const char *folder) {
    const char *(*own)(void) = kms_version;
    char buffer[65536];
    FILE *from, *to;
    Dl_info info;
    void *symbol;
    size_t n;
    memcpy(&symbol, &own, sizeof symbol);
    REQUIRE(dladdr(symbol, &info) != 0);
    snprintf(library, sizeof library, "%s/copy.so", folder);
    from = fopen(info.dli_fname, "rb");
    to = fopen(library, "wb");
    REQUIRE(from != NULL && to != NULL);
    while ((n = fread(buffer, 1, sizeof buffer, from)) > 0) {
        REQUIRE(fwrite(buffer, 1, n, to) == n);
    }
    REQUIRE(fclose(to) == 0 && fclose(from) == 0);
}

int main(int argc, char **argv) {
    REQUIRE(argc == 2);
    copy_library(argv[1]);
    RUN(nothing_grows_in_a_thousand_loads);
    RUN(it_is_never_unloaded);
    return check_result();
}

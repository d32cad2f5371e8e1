/* Calls while memory is short: each function under many limits of the address space, in a child that ends with a status
 * or with success, never by a signal. */
#define _GNU_SOURCE
#include "misuse.h"
#include <pthread.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { KIB = 1024, MIB = 1024 * 1024, LARGE = 64 * MIB, MANY = 4 * MIB };

/* The memory that a child may allocate above its present use. */
static const size_t limits[] = {0,           32 * KIB,           64 * KIB, 100 * KIB,          160 * KIB, 256 * KIB, 768 * KIB,
                                3 * MIB / 2, 2 * MIB + 64 * KIB, 3 * MIB,  4 * MIB + 64 * KIB, 8 * MIB,   80 * MIB};
static const size_t large_limits[] = {MIB, 4 * MIB, 32 * MIB, 66 * MIB, 90 * MIB, 134 * MIB, 220 * MIB, 450 * MIB};

static int short_of_memory; /* children that were refused for lack of it */

static void limit_memory(size_t more) {
    char text[64] = {0};
    FILE *statm = fopen("/proc/self/statm", "r");
    size_t pages = 0;
    struct rlimit limit;
    REQUIRE(statm != NULL && fgets(text, sizeof text, statm) != NULL && sscanf(text, "%zu", &pages) == 1);
    fclose(statm);
    limit.rlim_cur = limit.rlim_max = pages * (size_t)sysconf(_SC_PAGESIZE) + more;
    REQUIRE(setrlimit(RLIMIT_AS, &limit) == 0);
}

/* 0: any status that is no bug, or success; 1: refused for lack of memory; 2: a status that must not be. */
static int verdict(kms_status status) {
    char text[256];
    size_t len = kms_last_error(text, sizeof text);
    if (status == KMS_OUT_OF_MEMORY) {
        return len > 0 ? 1 : 2;
    }
    if (status >= 900) {
        fprintf(stderr, "%s: %s\n", kms_status_name(status), text);
        return 2;
    }
    return 0;
}

/* How a child begins: with its parent's handle unchanged, with its own handle in use, or on a new thread. */
typedef enum start { COLD, WARM, NEW_THREAD } start;
static const char *const start_names[] = {"cold", "warm", "in a new thread"};

typedef struct job {
    kms_status (*call)(void *);
    void *argument;
    int verdict;
    int ready[2];
} job;

static void *on_thread(void *user) {
    job *j = user;
    char byte;
    if (read(j->ready[0], &byte, 1) == 1) {
        j->verdict = verdict(j->call(j->argument));
    }
    return NULL;
}

static kms_status call_function(void *user) {
    const function *f = user;
    int64_t result = f->call(given);
    return f->result == STATUS ? (kms_status)result : KMS_OK;
}

static void try_short(const char *name, start how_it_starts, size_t limit, kms_status (*call)(void *), void *argument) {
    pid_t child;
    int status = 0;
    fflush(NULL);
    snprintf(progress->name, sizeof progress->name, "%s, %s, %zu KiB more", name, start_names[how_it_starts], limit / KIB);
    child = fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        job j = {call, argument, 2, {-1, -1}};
        pthread_t thread;
        alarm(300); /* a busy machine */
        const function *f = call == call_function ? argument : NULL;
        const char *first = f != NULL && f->count > 0 ? f->params[0].name : "";
        if (strcmp(first, "stream") == 0) {
            given[0].pointer = make_stream(&here); /* the parent's is not for a child */
        }
        if (strcmp(first, "survey") == 0) {
            given[0].pointer = make_survey(&here);
        }
        if (how_it_starts != COLD) {
            (void)describe(here.kms, here.key.text);
            uint8_t out[128];
            size_t len;
            kms_status warm = kms_encrypt(here.kms, here.key.text, bytes("warm"), 4, NULL, 0, out, sizeof out, &len);
            REQUIRE(warm < 500); /* the call may have been one that disables the key */
        }
        if (how_it_starts == NEW_THREAD) {
            REQUIRE(pipe(j.ready) == 0 && pthread_create(&thread, NULL, on_thread, &j) == 0);
        }
        limit_memory(limit);
        if (how_it_starts == NEW_THREAD) {
            if (write(j.ready[1], "", 1) != 1) {
                _exit(3);
            }
            pthread_join(thread, NULL);
        } else {
            j.verdict = verdict(call(argument));
        }
        kms_close(here.kms);
        _exit(j.verdict);
    }
    REQUIRE(waitpid(child, &status, 0) == child);
    progress->misused++;
    if (WIFSIGNALED(status)) {
        broken(WTERMSIG(status) == SIGALRM ? "it hung" : "a signal ended it");
    } else if (WEXITSTATUS(status) > 1) {
        broken("it ended with a status that no shortage of memory can bring about");
    } else {
        short_of_memory += WEXITSTATUS(status);
    }
}

static void every_function(void) {
    size_t i, s, l;
    const char *only = getenv("KMS_ONLY"); /* by hand: part of a function's name */
    for (i = 0; i < (size_t)function_count; i++) {
        const function *f = &functions[i];
        if (only != NULL && strstr(f->name, only) == NULL) {
            continue;
        }
        for (s = COLD; s <= NEW_THREAD; s += NEW_THREAD) {
            make_world(&here, fresh_path(&here));
            prepare(&here, f);
            f->valid(&here, given);
            for (l = 0; l < sizeof limits / sizeof *limits; l++) {
                try_short(f->name, (start)s, limits[l], call_function, (void *)(uintptr_t)f);
            }
        }
    }
}

/* What is large. */
static char *text, *plaintext, *json;
static uint8_t *blob, *room;
static size_t blob_len;
static kms_context_entry *entries;
static kms_tag *tags;
static const char **names;
static kms_batch_record *records;

static void *pages(size_t len) {
    void *found = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    REQUIRE(found != MAP_FAILED);
    return found;
}

#define CALL(name, expression)                                                                                                 \
    static kms_status name(void *unused) {                                                                                     \
        size_t len = 0;                                                                                                        \
        (void)unused;                                                                                                          \
        (void)len;                                                                                                             \
        return expression;                                                                                                     \
    }
#define KEY here.key.text
#define BATCH records, sizeof *records
CALL(seal_large, kms_encrypt(here.kms, KEY, (uint8_t *)plaintext, LARGE, NULL, 0, room, LARGE + 80, &len))
CALL(seal_in_place, kms_encrypt(here.kms, KEY, room, LARGE, NULL, 0, room, LARGE + 80, &len))
CALL(open_large, kms_decrypt(here.kms, blob, blob_len, NULL, 0, room, LARGE, &len))
CALL(open_in_place, kms_decrypt(here.kms, blob, blob_len, NULL, 0, blob, LARGE, &len))
CALL(move_large, kms_reencrypt(here.kms, blob, blob_len, NULL, 0, KEY, NULL, 0, room, LARGE + 80, &len))
CALL(move_in_place, kms_reencrypt(here.kms, blob, blob_len, NULL, 0, KEY, NULL, 0, blob, LARGE + 80, &len))
CALL(inspect_large, kms_inspect(here.kms, blob, blob_len, &(kms_blob_info)KMS_BLOB_INFO_INIT))
CALL(batch_open, kms_decrypt_batch(here.kms, BATCH, 1))
CALL(batch_move, kms_reencrypt_batch(here.kms, KEY, BATCH, 1))
CALL(batch_seal, kms_encrypt_batch(here.kms, KEY, BATCH, 1))
CALL(seal_context, kms_encrypt(here.kms, KEY, (uint8_t *)"a", 1, entries, MANY, room, LARGE, &len))
CALL(open_context, kms_decrypt(here.kms, here.blob.data, here.blob.len, entries, 65535, room, LARGE, &len))
CALL(long_context, kms_decrypt(here.kms, here.blob.data, here.blob.len, &(kms_context_entry){text, text}, 1, room, LARGE, &len))
CALL(export_context, kms_generate_and_export_data_key(here.kms, KEY, 32, entries, MANY, here.public_key, here.public_key_len,
                                                      KMS_WRAPPING_OAEP_SHA_256, room, LARGE, &len, room + MIB, MIB, &len))
CALL(export_large, kms_export_data_key(here.kms, blob, blob_len, NULL, 0, (uint8_t *)text, LARGE, KMS_WRAPPING_OAEP_SHA_256,
                                       room, LARGE, &len))
CALL(many_tags, kms_tag_resource(here.kms, KEY, tags, MANY))
CALL(many_names, kms_untag_resource(here.kms, KEY, names, MANY))
CALL(long_description, kms_update_key_description(here.kms, KEY, text))
CALL(long_reason, kms_set_deletion_protection(here.kms, KEY, 1, text))
CALL(long_name, kms_create_service_key(here.kms, text, (char *)room))
CALL(long_alias, kms_create_alias(here.kms, KEY, text))
CALL(long_alias_used, kms_encrypt(here.kms, text, (uint8_t *)"a", 1, NULL, 0, room, LARGE, &len))
CALL(long_alias_moved, kms_update_alias(here.kms, KEY, text))
CALL(long_alias_after, kms_list_aliases(here.kms, NULL, text, 10, (kms_visit_alias_fn)visitor_of("kms_visit_alias_fn"), &here))
CALL(long_key, kms_enable_key(here.kms, text))
CALL(long_version, kms_describe_key_version(here.kms, KEY, text, &(kms_key_version)KMS_KEY_VERSION_INIT))
CALL(long_path, kms_backup(here.kms, text))
CALL(long_wrapped, kms_import_key_material(here.kms, here.external.text, (uint8_t *)text, LARGE, (uint8_t *)text, LARGE, 0))
CALL(long_raw, kms_import_raw_key_material(here.kms, here.external.text, (uint8_t *)text, LARGE, 0))
CALL(long_passphrase, kms_options_set_root_passphrase(here.options, (uint8_t *)text, LARGE))
CALL(long_key_file, kms_options_set_root_key_file(here.options, text))
CALL(long_anchor_file, kms_options_set_anchor_file(here.options, text))
CALL(long_location, kms_open(text, here.options, (kms_t **)(void *)room))
CALL(long_action, kms_call(here.kms, text, NULL, (char **)(void *)room))
CALL(long_request, kms_call(here.kms, "Encrypt", json, (char **)(void *)room))
CALL(many_keys, kms_create_keys(here.kms, NULL, 1000, (char *)room))

static kms_status long_description_of_new(void *many) {
    kms_create_key_options options = KMS_CREATE_KEY_OPTIONS_INIT;
    options.description = many != NULL ? text + LARGE - 8192 : text;
    return many != NULL ? kms_create_keys(here.kms, &options, 1000, (char *)room)
                        : kms_create_key(here.kms, &options, (char *)room);
}

static kms_status open_passphrase(void *unused) {
    kms_t *kms = NULL;
    kms_status status = kms_open("memory:", here.options, &kms);
    (void)unused;
    kms_close(kms);
    return status;
}

static kms_status list_keys_of_long_descriptions(void *unused) {
    (void)unused;
    return kms_list_keys(here.kms, NULL, 1000, (kms_visit_key_fn)visitor_of("kms_visit_key_fn"), &here);
}

typedef struct trial {
    const char *name;
    kms_status (*call)(void *);
} trial;
#define TRIAL(name)                                                                                                            \
    { #name, name }
static const trial trials[] = {
    TRIAL(seal_large),
    TRIAL(seal_in_place),
    TRIAL(open_large),
    TRIAL(open_in_place),
    TRIAL(move_large),
    TRIAL(move_in_place),
    TRIAL(inspect_large),
    TRIAL(batch_open),
    TRIAL(batch_move),
    TRIAL(batch_seal),
    TRIAL(seal_context),
    TRIAL(open_context),
    TRIAL(long_context),
    TRIAL(export_context),
    TRIAL(export_large),
    TRIAL(many_tags),
    TRIAL(many_names),
    TRIAL(long_description),
    TRIAL(long_reason),
    TRIAL(long_name),
    TRIAL(long_alias),
    TRIAL(long_alias_used),
    TRIAL(long_alias_moved),
    TRIAL(long_alias_after),
    TRIAL(long_key),
    TRIAL(long_version),
    TRIAL(long_path),
    TRIAL(long_wrapped),
    TRIAL(long_raw),
    TRIAL(long_passphrase),
    TRIAL(long_key_file),
    TRIAL(long_anchor_file),
    TRIAL(long_location),
    TRIAL(long_action),
    TRIAL(long_request),
    TRIAL(many_keys),
    TRIAL(long_description_of_new),
};

static void what_is_large(void) {
    static const char start[] = "{\"KeyId\":\"", middle[] = "\",\"Plaintext\":\"";
    size_t i, l, len = 0;
    make_world(&here, fresh_path(&here));
    make_options(&here);
    text = pages(LARGE + 4096);
    memset(text, 'a', LARGE);
    memcpy(text, "alias/", 6);
    plaintext = pages(LARGE);
    blob = pages(LARGE + 80);
    room = pages(LARGE + 4096);
    REQUIRE_OK(kms_encrypt(here.kms, KEY, (uint8_t *)plaintext, LARGE, NULL, 0, blob, LARGE + 80, &blob_len));
    json = pages(LARGE + 4096);
    snprintf(json, 4096, "%s%s%s", start, KEY, middle);
    len = strlen(json);
    memset(json + len, 'A', LARGE - len);
    memcpy(json + LARGE, "\"}", 3);
    entries = pages(MANY * sizeof *entries);
    tags = pages(MANY * sizeof *tags);
    names = pages(MANY * sizeof *names);
    records = pages(sizeof *records);
    for (i = 0; i < MANY; i++) {
        entries[i] = (kms_context_entry){text + LARGE - 1000 + i % 990, "value"};
        tags[i] = (kms_tag){"tag", "value"};
        names[i] = "tag";
    }
    *records = (kms_batch_record)KMS_BATCH_RECORD_INIT;
    records->input = records->out = blob;
    records->input_len = blob_len;
    records->out_cap = LARGE + 80;
    for (i = 0; i < sizeof trials / sizeof *trials; i++) {
        for (l = 0; l < sizeof large_limits / sizeof *large_limits; l++) {
            try_short(trials[i].name, WARM, large_limits[l], trials[i].call, NULL);
        }
    }
    /* An escape makes the parser copy the text. */
    json[LARGE / 2] = '\\';
    json[LARGE / 2 + 1] = '/';
    for (l = 0; l < sizeof large_limits / sizeof *large_limits; l++) {
        try_short("an escape in a long request", WARM, large_limits[l], long_request, NULL);
    }
    /* Many small values. */
    memset(json + len, 0, LARGE - len);
    memcpy(json, "{\"Tags\":[", 9);
    for (i = 9; i < 40 * MIB; i += 2) {
        memcpy(json + i, "0,", 2);
    }
    memcpy(json + i, "0]}", 4);
    for (l = 0; l < sizeof large_limits / sizeof *large_limits; l++) {
        try_short("many values in a request", WARM, large_limits[l], long_request, NULL);
    }
    for (l = 0; l < sizeof limits / sizeof *limits; l++) {
        try_short("1000 keys of long descriptions", WARM, limits[l], long_description_of_new, &here);
    }
    REQUIRE_OK(long_description_of_new(&here));
    for (l = 0; l < sizeof limits / sizeof *limits; l++) {
        try_short("1000 long descriptions listed", WARM, limits[l], list_keys_of_long_descriptions, NULL);
    }
    kms_options_free(here.options);
    here.options = kms_options_new();
    REQUIRE_OK(kms_options_set_root_passphrase(here.options, bytes("correct horse"), 13));
    for (l = 0; l < sizeof limits / sizeof *limits; l++) {
        try_short("a passphrase, with a rotation thread", WARM, limits[l], open_passphrase, NULL);
    }
}

/* A program that opens its first keystore: libcrypto and SQLite start too. So the program restarts for it. */
static void the_first_open(const char *program) {
    size_t l;
    for (l = 0; l < sizeof limits / sizeof *limits; l++) {
        pid_t child;
        int status = 0;
        char number[32], path[600];
        snprintf(number, sizeof number, "%zu", limits[l]);
        snprintf(path, sizeof path, "%s", fresh_path(&here));
        snprintf(progress->name, sizeof progress->name, "the first open, %zu KiB more", limits[l] / KIB);
        fflush(NULL);
        child = fork();
        REQUIRE(child >= 0);
        if (child == 0) {
            execl(program, program, "open", number, path, (char *)NULL);
            _exit(3);
        }
        REQUIRE(waitpid(child, &status, 0) == child);
        progress->misused++;
        if (WIFSIGNALED(status) || WEXITSTATUS(status) > 1) {
            broken(WIFSIGNALED(status) ? "a signal ended it" : "it ended with another status");
        } else {
            short_of_memory += WEXITSTATUS(status);
        }
    }
}

int open_while_memory_is_short(const char *more, const char *path) {
    static kms_t *kms;
    kms_options_t *options;
    key_id id;
    size_t len;
    uint8_t out[200];
    kms_status status;
    alarm(60);
    limit_memory(strtoull(more, NULL, 10));
    options = kms_options_new();
    if (options == NULL) {
        return 1;
    }
    if ((status = kms_options_set_root_key(options, root_key, sizeof root_key)) == KMS_OK &&
        (status = kms_options_set_create(options, 1)) == KMS_OK && (status = kms_open(path, options, &kms)) == KMS_OK &&
        (status = kms_create_key(kms, NULL, id.text)) == KMS_OK) {
        status = kms_encrypt(kms, id.text, bytes("text"), 4, NULL, 0, out, sizeof out, &len);
    }
    return verdict(status);
}

void while_memory_is_short(const char *program) {
    make_regions();
    the_first_open(program);
    fprintf(stderr, "%d calls\n", progress->misused);
    every_function();
    fprintf(stderr, "%d calls\n", progress->misused);
    what_is_large();
    if (short_of_memory < 200) {
        broken("memory was never short");
    }
    printf("%d functions, %d calls, %d for want of memory, %d broken\n", function_count, progress->misused, short_of_memory,
           progress->broken);
}

/* The types of the generated table of functions and of the trials of each function. */
#ifndef KMS_TESTS_MISUSE_H
#define KMS_TESTS_MISUSE_H

#include "check.h"
#include <stddef.h>

enum { PARAMS = 16 };

/* What a parameter is; the length of a pointer is the parameter that its `partner` names. */
typedef enum kind {
    HANDLE,
    OPTIONS,
    TEXT,
    BYTES,
    ARRAY,
    RECORDS,
    STRUCT_IN,
    STRUCT_OUT,
    OUT,
    TEXT_OUT,
    VALUE_OUT,
    CALLBACK,
    USER,
    OWNED,
    LENGTH,
    CAPACITY,
    SIZE,
    COUNT,
    NUMBER,
    CHOICE
} kind;

typedef struct field {
    const char *name;
    char type; /* i: int32_t, l: int64_t, t: text, o: something else */
    size_t offset;
} field;

typedef struct param {
    const char *name;
    kind kind;
    int partner;    /* of a pointer: its length, -1 none; of a length: its pointer */
    int nullable;   /* NULL is not refused as such */
    size_t size;    /* of what it points to, or of an element */
    int32_t beyond; /* of a choice: the first number after the last */
    const field *fields;
    int field_count;
} param;

/* A pointer or a number, as the generated calls cast them. */
typedef union slot {
    const void *pointer;
    void *writable;
    uint64_t number;
    void (*function)(void);
} slot;

typedef enum result { NOTHING, STATUS, POINTER, NUMBER_OF } result;

/* What valid arguments are made of. */
typedef struct world {
    kms_t *kms;
    int options_are_used; /* the options of the last call are the handle's: see make_options */
    kms_options_t *options;
    manual_clock clock;
    key_id key, disabled, external, imported;
    char version_id[KMS_ID_SIZE], old_version_id[KMS_ID_SIZE]; /* the primary, and the version before it */
    char slot_id[KMS_ID_SIZE];
    small_blob blob, data_key;
    uint8_t public_key[512], token[2048], wrapped[256];
    size_t public_key_len, token_len, wrapped_len;
    uint64_t generation;
    char path[512], plain[512], sealed[512]; /* paths: a file, and an encrypted one */
    uint8_t sealed_bytes[9000];
    size_t sealed_len;
    kms_file_t *file;
    kms_stream_t *stream;
    kms_survey_t *survey;
} world;

typedef struct function {
    const char *name;
    result result;
    int count;
    param params[PARAMS];
    void (*valid)(world *, slot *);
    int64_t (*call)(const slot *);
} function;

extern const function functions[]; /* the table, in table.c */
extern const int function_count;

/* memory.c */
enum { REGIONS = 2 * PARAMS, REGION = 16384, PATTERN = 0xA5, ROOMY_AT = 4096 };

typedef struct region {
    uint8_t *base, *at, *before;
    size_t len;
    int is_output;
} region;

extern region regions[REGIONS];
extern int next_region;
extern int roomy; /* 1: in the middle of its memory, so that it may be misaligned or shared */
void make_regions(void);
void free_regions(void);
void *put(const void *data, size_t len); /* into the next parameter's guarded memory */
void *put_text(const char *text);
void *room_for(size_t len); /* for an output: filled with a pattern */

/* world.c */
extern world here;
extern char folder[400];
void make_world(world *, const char *location);
void prepare(world *, const function *);
kms_options_t *make_options(world *);
kms_options_t *make_other_root(world *);
const char *fresh_path(world *);
char *owned_string(world *);
kms_stream_t *make_stream(world *);
kms_survey_t *make_survey(world *);
int frees(const function *);              /* whether it makes something that another function frees */
void free_made(const function *, void *); /* frees it */
void *put_records(world *decrypting);     /* NULL: records to encrypt */

/* callbacks.c */
typedef enum behaviour { WELL, FAIL, REENTER, LONG } behaviour;

extern behaviour how;
extern world *callback_world; /* on whose handle they call */
extern int callbacks_run;
void forget_anchor(void);                   /* what the anchor's callbacks keep */
void (*visitor_of(const char *type))(void); /* the callback for a callback type of the header */

/* trial.c */
typedef enum expected { ANY, NOT_OK, INVALID, TOO_SMALL, OK } expected;

/* Shared with the parent, which continues after a trial that crashed. */
extern struct progress {
    int number, broken, misused;
    char name[256];
} * progress;

extern int go_on_at, quick; /* quick: the trials that are worth their time under valgrind */
extern slot given[PARAMS];  /* the arguments of the call */
void broken(const char *text);
int begin(const function *, const char *name, const char *change);
/* `shared`: arguments overlap, so their contents afterwards prove nothing. */
void finish(const function *, expected wanted, int shared);

/* pointers.c, values.c, structs.c, behaviour.c, child.c, short.c, stack.c: the kinds of misuse. */
void nulls(const function *);
void misaligned(const function *);
void shared_memory(const function *);
void numbers(const function *);
void texts(const function *);
void struct_sizes(const function *);
void fields(const function *);
void callbacks(const function *);
void option_callbacks(const function *);
void on_a_small_stack(void);
void while_memory_is_short(const char *program);
int open_while_memory_is_short(const char *more, const char *path);
void in_a_child(const function *, const char *location, expected wanted);

#endif

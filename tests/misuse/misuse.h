/* What the generated table of functions is made of: a keystore to misuse, memory that shows each write too many. */
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
    int partner;  /* of a pointer: its length, -1 none; of a length: its pointer */
    int nullable; /* NULL is not refused as such */
    size_t size;  /* of what it points to, or of an element */
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
    char version_id[KMS_ID_SIZE];
    small_blob blob, data_key;
    uint8_t public_key[512], token[2048], wrapped[256];
    size_t public_key_len, token_len, wrapped_len;
    uint64_t generation;
    char path[512];
} world;

typedef struct function {
    const char *name;
    result result;
    int count;
    param params[PARAMS];
    void (*valid)(world *, slot *);
    int64_t (*call)(const slot *);
} function;

void *put(const void *data, size_t len);    /* into the next parameter's guarded memory */
void *put_text(const char *text);
void *room_for(size_t len);                 /* for an output: filled with a pattern */
kms_options_t *make_options(world *);
void (*visitor_of(const char *type))(void); /* the callback for a callback type of the header */
const char *fresh_path(world *);
char *owned_string(world *);

#endif

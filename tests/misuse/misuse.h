/* What is known of a function of kms.h, one attempt to call it, the memory that its arguments lie in. */
#ifndef KMS_TESTS_MISUSE_H
#define KMS_TESTS_MISUSE_H

#define _GNU_SOURCE
#include "check.h"
#include <signal.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum kind { HANDLE, OPTIONS, OWNED, POINTER_OUT, TEXT, DATA, ARRAY, OUT, LENGTH_OUT, NUMBER_OUT, ID_OUT, STRUCT_IN, STRUCT_OUT,
            RECORDS, USER, CALLBACK, ERROR_TEXT, LENGTH, CAPACITY, SIZE, RECORD_SIZE, NUMBER, FLAG, ENUM };

typedef void (*anything)(void);
typedef struct value {
    void *p;
    uint64_t n;
    anything call;
} value;

typedef struct member {
    const char *name;
    enum kind kind;
    size_t at;
} member;

struct attempt;
typedef struct parameter {
    const char *name;
    enum kind kind;
    int may_be_null;
    int length;   /* which parameter says how long this one is; -1: none */
    int capacity; /* of an output: which says how much room there is; of a length: whose it is */
    int32_t end;  /* the first number that the enumeration doesn't have */
    size_t size;
    const member *members;
    void (*make)(struct attempt *, int at);
    anything callback;
} parameter;

typedef struct function {
    const char *name;
    kms_status (*call)(const value *);
    const parameter *parameters;
    int count;
    int has_status;
} function;

enum { MOST = 16, PLACE = 4096, DEEPEST = 3, CANARY = 0xC5 };

/* Each argument ends where a page begins that nobody may touch; what precedes it must keep its bytes. */
typedef struct attempt {
    const function *f;
    const kms_t *kms;
    int depth;
    value v[MOST];
    size_t size[MOST];  /* bytes at v.p */
    size_t count[MOST]; /* elements there, as the length has it */
    void *made[MOST];   /* what cleaning up takes back */
    uint8_t before[MOST][PLACE];
} attempt;

static uint8_t *places;

static inline void make_places(void) {
    size_t stride = (size_t)PLACE * 2, i;
    places = mmap(NULL, stride * MOST * DEEPEST + PLACE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REQUIRE(places != MAP_FAILED);
    for (i = 0; i < (size_t)MOST * DEEPEST; i++) {
        REQUIRE(mprotect(places + PLACE + i * stride, PLACE, PROT_READ | PROT_WRITE) == 0);
    }
}

static inline uint8_t *place(const attempt *a, int at) {
    return places + PLACE + ((size_t)a->depth * MOST + (size_t)at) * PLACE * 2;
}

/* Puts an argument at the end of its place, or, where a variant needs room after it, before the end. */
static inline void *put(attempt *a, int at, const void *data, size_t size) {
    memset(place(a, at), CANARY, PLACE);
    a->size[at] = size;
    a->v[at].p = place(a, at) + PLACE - size;
    if (data != NULL) {
        memcpy(a->v[at].p, data, size);
    }
    return a->v[at].p;
}

static inline void put_text(attempt *a, int at, const char *text) {
    put(a, at, text, strlen(text) + 1);
}

#endif

/* Memory for arguments: each ends at an inaccessible page, surrounded by a pattern. */
#define _GNU_SOURCE
#include "misuse.h"
#include <sys/mman.h>

/* The padding of a struct has no value; comparing it is no fault. */
#if defined(__has_include)
#if __has_include(<valgrind/memcheck.h>)
#include <valgrind/memcheck.h>
#define DEFINED(at, len) (void)VALGRIND_MAKE_MEM_DEFINED(at, len)
#endif
#endif
#ifndef DEFINED
#define DEFINED(at, len) (void)0
#endif

enum { GUARD = 4096 };

region regions[REGIONS];
int next_region;
int roomy;

void make_regions(void) {
    int i;
    for (i = 0; i < REGIONS; i++) {
        regions[i].base = mmap(NULL, REGION + GUARD, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        REQUIRE(regions[i].base != MAP_FAILED && mprotect(regions[i].base + REGION, GUARD, PROT_NONE) == 0);
        regions[i].before = malloc(REGION);
        REQUIRE(regions[i].before != NULL);
    }
}

void free_regions(void) {
    int i;
    for (i = 0; i < REGIONS; i++) {
        free(regions[i].before);
    }
}

static void *take(const void *data, size_t len) {
    region *r = &regions[next_region++];
    REQUIRE(next_region <= REGIONS && len <= REGION - ROOMY_AT);
    memset(r->base, PATTERN, REGION);
    r->at = roomy ? r->base + ROOMY_AT : r->base + REGION - len;
    r->len = len;
    r->is_output = data == NULL;
    if (data != NULL) {
        memcpy(r->at, data, len);
        DEFINED(r->at, len);
    }
    return r->at;
}

void *put(const void *data, size_t len) { return take(data, len); }

void *put_text(const char *text) { return take(text, strlen(text) + 1); }

void *room_for(size_t len) { return take(NULL, len); }

/* Pointers that are NULL, misaligned, or lead into another argument's memory. */
#include "misuse.h"

void nulls(const function *f) {
    int i;
    for (i = 0; i < f->count; i++) {
        const param *p = &f->params[i];
        if (p->kind < LENGTH && p->kind != USER && begin(f, p->name, "NULL")) {
            if (strcmp(f->name, "kms_string_free") == 0) {
                kms_string_free(given[i].writable);
            }
            given[i].pointer = NULL;
            finish(f, p->nullable ? ANY : INVALID, 0);
        }
    }
}

void misaligned(const function *f) {
    int i, by;
    for (i = 0; i < f->count; i++) {
        const param *p = &f->params[i];
        int holds_words = p->kind == HANDLE || p->kind == OPTIONS || p->kind == ARRAY || p->kind == RECORDS ||
                          p->kind == STRUCT_IN || p->kind == STRUCT_OUT || p->kind == VALUE_OUT;
        for (by = 1; holds_words && by < 8; by += 3) {
            roomy = 1;
            if (begin(f, p->name, "misaligned")) {
                const uint8_t *at = given[i].pointer;
                if (p->kind != HANDLE && p->kind != OPTIONS) {
                    memmove((uint8_t *)given[i].writable + by, at, 256);
                }
                given[i].pointer = at + by;
                finish(f, p->kind == HANDLE || p->kind == OPTIONS ? INVALID : ANY, 1);
            }
            roomy = 0;
        }
    }
}

void shared_memory(const function *f) {
    static const int offsets[] = {0, 1, -1, 40};
    int i, j, n;
    for (i = 0; i < f->count; i++) {
        for (j = 0; j < f->count; j++) {
            kind from = f->params[i].kind, to = f->params[j].kind;
            int input = from == TEXT || from == BYTES || from == ARRAY || from == STRUCT_IN || from == OUT ||
                        from == VALUE_OUT || from == STRUCT_OUT || from == TEXT_OUT;
            int output = to == OUT || to == TEXT_OUT || to == VALUE_OUT || to == STRUCT_OUT;
            for (n = 0; i != j && input && output && n < 4; n++) {
                roomy = 1;
                if (begin(f, f->params[j].name, f->params[i].name)) {
                    given[j].pointer = (const uint8_t *)given[i].pointer + offsets[n];
                    if (to == STRUCT_OUT) {
                        uint32_t size = (uint32_t)f->params[j].size;
                        memcpy(given[j].writable, &size, sizeof size);
                    }
                    finish(f, ANY, 1);
                }
                roomy = 0;
            }
        }
    }
}

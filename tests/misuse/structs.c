/* Structs whose size or one of whose fields is wrong. */
#include "misuse.h"

void struct_sizes(const function *f) {
    static const uint32_t beyond[] = {1, 8, 4096, INT32_MAX, UINT32_MAX};
    int i, n;
    for (i = 0; i < f->count; i++) {
        const param *p = &f->params[i];
        if (p->kind != STRUCT_IN && p->kind != STRUCT_OUT) {
            continue;
        }
        for (n = 0; n < p->field_count + 2; n++) {
            uint32_t size = (uint32_t)p->size - (n == p->field_count ? 1 : 4);
            if (n < p->field_count) {
                size = (uint32_t)p->fields[n].offset;
            }
            if (begin(f, p->name, "a struct_size that is too small")) {
                memcpy(given[i].writable, &size, sizeof size);
                finish(f, INVALID, 0);
            }
        }
        for (n = 0; n < (int)(sizeof beyond / sizeof *beyond); n++) {
            int zeros;
            for (zeros = 0; zeros < 2; zeros++) {
                uint32_t size = beyond[n] > INT32_MAX - 1 ? beyond[n] : (uint32_t)p->size + beyond[n];
                roomy = 1;
                if (begin(f, p->name, zeros ? "a struct_size too large, zeros beyond" : "a struct_size too large")) {
                    uint8_t *at = given[i].writable;
                    memcpy(at, &size, sizeof size);
                    if (zeros) {
                        memset(at + p->size, 0, (size_t)(REGION - ROOMY_AT) - p->size);
                    }
                    finish(f, zeros && beyond[n] < 4096 ? OK : zeros && beyond[n] == 4096 ? ANY : INVALID, 0);
                }
                roomy = 0;
            }
        }
    }
}

void fields(const function *f) {
    static const int32_t no_choice[] = {-1, 2, INT32_MAX, INT32_MIN};
    static const int64_t wide[] = {-1, INT64_MAX, INT64_MIN};
    int i, n, k;
    for (i = 0; i < f->count; i++) {
        const param *p = &f->params[i];
        if (p->kind != STRUCT_IN && p->kind != RECORDS) {
            continue;
        }
        for (n = 0; n < p->field_count; n++) {
            const field *d = &p->fields[n];
            for (k = 0; k < (d->type == 'i' ? 4 : d->type == 'l' ? 3 : 1); k++) {
                uint8_t *at;
                if (!begin(f, d->name, "a wrong field")) {
                    continue;
                }
                at = (uint8_t *)given[i].writable + d->offset;
                if (d->type == 'i') {
                    memcpy(at, &no_choice[k], sizeof no_choice[k]);
                } else if (d->type == 'l') {
                    memcpy(at, &wide[k], sizeof wide[k]);
                } else if (d->type == 't') {
                    const char *text = "\xff";
                    memcpy(at, &text, sizeof text);
                } else if (p->kind == RECORDS) {
                    /* A pointer becomes NULL, a number impossible. */
                    size_t value = strstr(d->name, "_len") || strstr(d->name, "_c") ? SIZE_MAX / 2 : 0;
                    memcpy(at, &value, sizeof value);
                }
                finish(f,
                       p->kind == STRUCT_IN && d->type == 'i' && !(k == 1 && strcmp(d->name, "threads") == 0) ? INVALID : ANY,
                       0);
            }
        }
    }
}

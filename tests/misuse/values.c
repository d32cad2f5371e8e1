/* Lengths, numbers and texts that no sensible caller passes. */
#include "misuse.h"

void numbers(const function *f) {
    static const uint64_t impossible[] = {SIZE_MAX, SIZE_MAX - 7, SIZE_MAX / 2, SIZE_MAX / 2 + 1, SIZE_MAX / 4};
    static const uint64_t any[] = {0, 1, 2, SIZE_MAX, SIZE_MAX / 2, SIZE_MAX / 2 + 1, UINT32_MAX, INT32_MAX};
    static const int64_t no_choice[] = {-1, INT32_MAX, INT32_MIN};
    size_t n;
    int i;
    for (i = 0; i < f->count; i++) {
        const param *p = &f->params[i];
        for (n = 0; p->kind == LENGTH && n < sizeof impossible / sizeof *impossible; n++) {
            if (begin(f, p->name, "an impossible length")) {
                given[i].number = impossible[n];
                finish(f, NOT_OK, 0);
            }
        }
        if (p->kind == LENGTH && begin(f, p->name, "0")) {
            given[i].number = 0;
            finish(f, ANY, 0);
        }
        if (p->kind == LENGTH && begin(f, p->name, "one short")) {
            given[i].number--;
            finish(f, ANY, 0);
        }
        for (n = 0; p->kind == CAPACITY && n < 2; n++) {
            if (begin(f, p->name, n == 0 ? "0" : "1")) {
                given[i].number = n;
                finish(f, TOO_SMALL, 0);
            }
        }
        for (n = 0; p->kind == CAPACITY && n < sizeof impossible / sizeof *impossible; n++) {
            if (begin(f, p->name, "an impossible capacity")) {
                given[i].number = impossible[n];
                finish(f, ANY, 0);
            }
        }
        for (n = 0; p->kind == SIZE && n < sizeof any / sizeof *any; n++) {
            if (begin(f, p->name, "another size of a record")) {
                given[i].number = any[n];
                finish(f, NOT_OK, 0);
            }
        }
        for (n = 0; p->kind == COUNT && n < sizeof any / sizeof *any; n++) {
            /* A wrong count of records can't be distinguished from a right one. */
            if (any[n] < 2 || any[n] > UINT32_MAX) {
                if (begin(f, p->name, "another count")) {
                    given[i].number = any[n];
                    finish(f, any[n] > 2 ? NOT_OK : ANY, 0);
                }
            }
        }
        for (n = 0; p->kind == NUMBER && n < sizeof any / sizeof *any; n++) {
            if (begin(f, p->name, "another number")) {
                given[i].number = any[n];
                finish(f, ANY, 0);
            }
        }
        for (n = 0; p->kind == CHOICE && n < 4; n++) {
            if (begin(f, p->name, "an unknown choice")) {
                given[i].number = (uint64_t)(n < 3 ? no_choice[n] : p->beyond);
                finish(f, INVALID, 0);
            }
        }
    }
}

void texts(const function *f) {
    static char long_text[10001];
    const char *const all[] = {"", "\xff\xfe", "alias/", "alias/\xc3", "/", "\n", long_text};
    size_t n;
    int i;
    memset(long_text, 'x', sizeof long_text - 1);
    for (i = 0; i < f->count; i++) {
        for (n = 0; f->params[i].kind == TEXT && n < sizeof all / sizeof *all; n++) {
            if (begin(f, f->params[i].name, "another text")) {
                given[i].pointer = put_text(all[n]);
                finish(f, strcmp(all[n], "\xff\xfe") == 0 ? NOT_OK : ANY, 0);
            }
        }
    }
}

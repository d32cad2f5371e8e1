/* A trial: valid arguments, one of them changed, the call, and the conditions that must hold afterwards. */
#define _GNU_SOURCE
#include "misuse.h"
#include <unistd.h>

struct progress *progress;
int go_on_at, quick;
slot given[PARAMS];

void broken(const char *text) {
    progress->broken++;
    fprintf(stderr, "%s: broken: %s\n", progress->name, text);
}

int begin(const function *f, const char *name, const char *change) {
    if (progress->number++ < go_on_at) {
        return 0;
    }
    snprintf(progress->name, sizeof progress->name, "%s, %s: %s", f->name, name, change);
    prepare(&here, f);
    f->valid(&here, given);
    alarm(60);
    return 1;
}

void finish(const function *f, expected wanted, int shared) {
    int used = next_region, i;
    int64_t result;
    kms_status status;
    for (i = 0; i < used; i++) {
        memcpy(regions[i].before, regions[i].base, REGION);
    }
    result = f->call(given);
    status = f->result == STATUS ? (kms_status)result : KMS_OK;
    progress->misused++;
    if (f->result == POINTER && result == 0) {
        broken("it returned NULL");
    }
    if (strcmp(f->name, "kms_options_new") == 0) {
        kms_options_free((kms_options_t *)(intptr_t)result);
    }
    if (status < 0 || status >= 900 || strcmp(kms_status_name(status), kms_status_name(-1)) == 0) {
        char text[512];
        kms_last_error(text, sizeof text);
        fprintf(stderr, "%d: %s\n", (int)status, text);
        broken("a status that no argument can bring about");
    }
    if (f->result == STATUS &&
        ((wanted == OK && status != KMS_OK) || (wanted == NOT_OK && status == KMS_OK) ||
         (wanted == INVALID && status != KMS_INVALID_ARGUMENT) || (wanted == TOO_SMALL && status != KMS_BUFFER_TOO_SMALL))) {
        char text[512];
        kms_last_error(text, sizeof text);
        fprintf(stderr, "%s: %s\n", kms_status_name(status), status == KMS_OK ? "" : text);
        broken(wanted == OK ? "valid arguments are refused" : "it is not refused as it should be");
    }
    for (i = 0; i < used && !shared; i++) {
        region *r = &regions[i];
        size_t start = (size_t)(r->at - r->base);
        if (memcmp(r->base, r->before, start) != 0 ||
            memcmp(r->at + r->len, r->before + start + r->len, REGION - start - r->len) != 0) {
            broken("something outside of an argument was written");
        }
    }
    for (i = 0; i < f->count && !shared; i++) {
        const param *p = &f->params[i];
        const uint8_t *now = given[i].pointer;
        size_t size = p->kind == OUT && p->partner >= 0 ? (size_t)given[p->partner].number : 0;
        uint64_t value;
        if ((p->kind == TEXT || p->kind == BYTES || p->kind == ARRAY || p->kind == STRUCT_IN) && now != NULL) {
            int r;
            for (r = 0; r < used; r++) {
                region *in = &regions[r];
                if (now == in->at && memcmp(in->at, in->before + (in->at - in->base), in->len) != 0) {
                    broken("an input was written");
                }
            }
        }
        if (status == KMS_OK || now == NULL || f->result != STATUS) {
            continue;
        }
        if (p->kind == OUT && !all_are(now, size < 3000 ? size : 0, PATTERN) && !all_are(now, size < 3000 ? size : 0, 0)) {
            broken("a failed call wrote into its output");
        }
        if (p->kind == VALUE_OUT && i > 0 && f->params[i - 1].kind == CAPACITY && (uintptr_t)now % sizeof value == 0) {
            memcpy(&value, now, sizeof value);
            if (value != 0 && status != KMS_BUFFER_TOO_SMALL && value != UINT64_C(0xA5A5A5A5A5A5A5A5)) {
                broken("the length of a failed output is not 0");
            }
        }
    }
    for (i = 0; i < f->count; i++) {
        void *made = NULL;
        if (f->params[i].kind != VALUE_OUT || given[i].pointer == NULL) {
            continue;
        }
        if (frees(f)) {
            memcpy(&made, given[i].pointer, sizeof made);
            if ((uintptr_t)given[i].pointer % sizeof made != 0 && status == KMS_INVALID_ARGUMENT) {
                continue; /* refused as misaligned: what lies there is not the call's */
            }
            if (all_are((const uint8_t *)&made, sizeof made, PATTERN)) {
                if ((uintptr_t)given[i].pointer % sizeof made == 0) {
                    broken("a failed call left its output as it was");
                }
            } else {
                if (strcmp(f->name, "kms_call") != 0 && (made != NULL) != (status == KMS_OK)) {
                    broken("a handle without KMS_OK, or none with it");
                }
                free_made(f, made);
            }
        }
    }
    /* Options that a setter accepted must also open. */
    if (f->params[0].kind == OPTIONS && f->count > 1 && status == KMS_OK && f->result == STATUS && !quick) {
        kms_t *kms = NULL;
        kms_status opened = kms_open("memory:", here.options, &kms);
        if (opened >= 900 || (opened == KMS_OK) != (kms != NULL)) {
            broken("options that were accepted don't open or fail properly");
        }
        kms_close(kms);
    }
    {
        uint8_t text[64];
        size_t len = 0;
        kms_context_entry context = {"tenant", "42"};
        kms_status after = kms_decrypt(here.kms, here.blob.data, here.blob.len, &context, 1, text, sizeof text, &len);
        kms_key_metadata key = KMS_KEY_METADATA_INIT;
        int usable = kms_describe_key(here.kms, here.key.text, &key) == KMS_OK && key.state == KMS_STATE_ENABLED;
        if (usable ? after != KMS_OK || len != 6 || memcmp(text, "a text", 6) != 0 : after / 100 != 3) {
            broken("the handle does not work afterwards");
        }
    }
    alarm(0);
}

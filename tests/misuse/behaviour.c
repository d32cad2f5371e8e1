/* Calls during which a callback fails, calls everything or takes long. */
#define _GNU_SOURCE
#include "misuse.h"
#include <unistd.h>

static const char *const behaviours[] = {"behaves", "fails", "calls everything", "takes long"};

void callbacks(const function *f) {
    int i, k;
    if (f->params[0].kind != HANDLE) {
        return;
    }
    for (i = 0; i < f->count; i++) {
        for (k = FAIL; f->params[i].kind == CALLBACK && k <= LONG; k++) {
            if (!begin(f, f->params[i].name, behaviours[k])) {
                continue;
            }
            how = (behaviour)k;
            callback_world = &here;
            /* A failing visitor ends a list with success; a failing callback fails a read. */
            finish(f, k == REENTER ? ANY : k == FAIL && strcmp(f->params[i].name, "read_at") == 0 ? NOT_OK : OK, 1);
            how = WELL;
        }
    }
}

/* Option by option: a keystore opened and used while its callback behaves badly. */
void option_callbacks(const function *f) {
    static world other;
    int k, has = 0, i;
    for (i = 0; i < f->count; i++) {
        has |= f->params[i].kind == CALLBACK;
    }
    if (f->params[0].kind != OPTIONS || !has) {
        return;
    }
    for (k = WELL; k <= LONG; k++) {
        kms_options_t *options;
        char location[512];
        key_id key;
        kms_t *again = NULL;
        if (!begin(f, "its callback, while a keystore is used", behaviours[k])) {
            continue;
        }
        memset(&other, 0, sizeof other);
        forget_anchor();
        options = kms_options_new();
        REQUIRE(options != NULL);
        if (strcmp(f->name, "kms_options_set_root_callback") != 0) {
            REQUIRE_OK(kms_options_set_root_key(options, root_key, sizeof root_key));
        }
        REQUIRE_OK(kms_options_set_create(options, 1));
        REQUIRE_OK(kms_options_set_rotation_thread(options, 0));
        given[0].pointer = options;
        REQUIRE_OK((kms_status)f->call(given));
        callback_world = &here;
        how = (behaviour)k;
        strcpy(location, fresh_path(&other));
        if (kms_open(location, options, &other.kms) == KMS_OK) {
            here.generation = 0;
            if (kms_create_key(other.kms, NULL, key.text) == KMS_OK && kms_rotate(other.kms, key.text, NULL) == KMS_OK) {
                small_blob blob;
                if (kms_encrypt(other.kms, key.text, bytes("x"), 1, NULL, 0, blob.data, sizeof blob.data, &blob.len) ==
                        KMS_OK &&
                    !opens_as(other.kms, &blob, "x")) {
                    broken("what was encrypted does not open");
                }
            } else if (k != FAIL) {
                broken("a change fails though the callback succeeds");
            }
            (void)!kms_tick(other.kms, NULL);
        } else if (k != FAIL) {
            broken("a keystore does not open though the callback succeeds");
        }
        (void)!kms_open(location, options, &again);
        how = WELL;
        kms_close(again);
        kms_close(other.kms);
        kms_options_free(options);
        here.generation = 0;
        progress->misused++;
        alarm(0);
    }
}

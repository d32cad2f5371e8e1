// Makes the calls of OpenBao's PKCS#11 seal while the key rotates: random IV, key by label, GCM, the IV read back, HMAC-free.
// Arguments: module, label of the key, seconds.

#include <dlfcn.h>
#include <p11-kit/pkcs11.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define CHECK(call)                                                                                                            \
    do {                                                                                                                       \
        CK_RV answer = (call);                                                                                                 \
        if (answer != CKR_OK) {                                                                                                \
            fprintf(stderr, "%s:%d: %s: 0x%lx\n", __FILE__, __LINE__, #call, answer);                                          \
            exit(1);                                                                                                           \
        }                                                                                                                      \
    } while (0)

struct message {
    unsigned char text[32], iv[12], sealed[48];
};

static CK_FUNCTION_LIST *functions;
static CK_SESSION_HANDLE session;

static CK_OBJECT_HANDLE key_by_label(char *label) {
    CK_OBJECT_CLASS class = CKO_SECRET_KEY;
    CK_ATTRIBUTE template[] = {{CKA_CLASS, &class, sizeof class}, {CKA_LABEL, label, strlen(label)}};
    CK_OBJECT_HANDLE found[2];
    CK_ULONG count;
    CHECK(functions->C_FindObjectsInit(session, template, 2));
    CHECK(functions->C_FindObjects(session, found, 2, &count));
    CHECK(functions->C_FindObjectsFinal(session));
    if (count != 1) {
        fprintf(stderr, "%lu keys are labelled %s\n", count, label);
        exit(1);
    }
    return found[0];
}

static void pass(int encrypts, struct message *message, CK_OBJECT_HANDLE key) {
    CK_GCM_PARAMS parameters = {message->iv, 12, 96, NULL, 0, 128};
    CK_MECHANISM mechanism = {CKM_AES_GCM, &parameters, sizeof parameters};
    if (encrypts) {
        CK_ULONG len = sizeof message->sealed;
        CHECK(functions->C_EncryptInit(session, &mechanism, key));
        CHECK(functions->C_Encrypt(session, message->text, sizeof message->text, message->sealed, &len));
    } else {
        unsigned char text[48];
        CK_ULONG len = sizeof text;
        CHECK(functions->C_DecryptInit(session, &mechanism, key));
        CHECK(functions->C_Decrypt(session, message->sealed, sizeof message->sealed, text, &len));
        if (len != sizeof message->text || memcmp(text, message->text, len) != 0) {
            fprintf(stderr, "another text came back\n");
            exit(1);
        }
    }
}

int main(int count, char **arguments) {
    if (count != 4)
        return 2;
    void *module = dlopen(arguments[1], RTLD_NOW);
    if (module == NULL) {
        fprintf(stderr, "%s\n", dlerror());
        return 1;
    }
    CK_RV (*list)(CK_FUNCTION_LIST **);
    *(void **)&list = dlsym(module, "C_GetFunctionList");
    CHECK(list(&functions));
    CK_C_INITIALIZE_ARGS locking = {.flags = CKF_OS_LOCKING_OK};
    CHECK(functions->C_Initialize(&locking));
    CHECK(functions->C_OpenSession(0, CKF_SERIAL_SESSION | CKF_RW_SESSION, NULL, NULL, &session));

    size_t room = 100000, kept = 0;
    struct message *messages = calloc(room, sizeof *messages);
    if (messages == NULL)
        return 1;
    time_t end = time(NULL) + atoi(arguments[3]);
    while (time(NULL) < end && kept < room) {
        struct message *message = &messages[kept++];
        CK_OBJECT_HANDLE key = key_by_label(arguments[2]);
        CHECK(functions->C_GenerateRandom(session, message->text, sizeof message->text));
        // Every other message leaves the IV to the module and reads it back.
        if (kept % 2 == 0)
            CHECK(functions->C_GenerateRandom(session, message->iv, sizeof message->iv));
        pass(1, message, key);
        pass(0, &messages[kept / 2], key);
        usleep(10000);
    }
    for (size_t at = 0; at < kept; at++)
        pass(0, &messages[at], key_by_label(arguments[2]));
    free(messages);
    CHECK(functions->C_CloseAllSessions(0));
    CHECK(functions->C_Finalize(NULL));
    printf("%zu messages\n", kept);
    return 0;
}

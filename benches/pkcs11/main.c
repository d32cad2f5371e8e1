// Measures one encryption and one decryption of 64 bytes through PKCS#11, compared with SoftHSM2 and
// kms_encrypt, in one run on one thread. Arguments: the module of libkms, that of SoftHSM2, an empty folder for their
// files.
#define _GNU_SOURCE

#include <dlfcn.h>
#include <kms.h>
#include <p11-kit/pkcs11.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#define TEXT 64
#define SLICES 101
#define CALLS 2000

// CKM_KMS_BLOB.
#define BLOB 0xCB4D5301UL

#define CHECK(call)                                                                                                            \
    do {                                                                                                                       \
        unsigned long answer = (unsigned long)(call);                                                                          \
        if (answer != 0) {                                                                                                     \
            fprintf(stderr, "%s:%d: %s: 0x%lx\n", __FILE__, __LINE__, #call, answer);                                          \
            exit(1);                                                                                                           \
        }                                                                                                                      \
    } while (0)

struct token {
    CK_FUNCTION_LIST *functions;
    CK_SESSION_HANDLE session;
    CK_OBJECT_HANDLE key;
};

static unsigned char text[TEXT], out[TEXT + 80];
static struct token ours, softhsm, softhsm_session;
static kms_t *keystore;
static char key_id[KMS_ID_SIZE];
static unsigned char counter[12], sealed[4][TEXT + 80];
static size_t sealed_len[4];
static uint8_t blob[TEXT + 80];

static CK_FUNCTION_LIST *load(const char *path) {
    void *module = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    CK_RV (*list)(CK_FUNCTION_LIST **);
    CK_FUNCTION_LIST *functions;
    CK_C_INITIALIZE_ARGS locking = {.flags = CKF_OS_LOCKING_OK};
    if (module == NULL) {
        fprintf(stderr, "%s\n", dlerror());
        exit(1);
    }
    *(void **)&list = dlsym(module, "C_GetFunctionList");
    CHECK(list(&functions));
    CHECK(functions->C_Initialize(&locking));
    return functions;
}

static void open_ours(const char *module, const char *folder) {
    char path[4096], config[4096];
    snprintf(config, sizeof config, "%s/pkcs11.toml", folder);
    FILE *file = fopen(config, "w");
    if (file == NULL || fchmod(fileno(file), 0600) != 0) {
        exit(1);
    }
    fprintf(file, "[[slot]]\nlabel = \"bench\"\nkeystore = \"%s/keys.db\"\nroot_key_file = \"%s/root.key\"\n", folder, folder);
    fclose(file);
    setenv("KMS_PKCS11_CONF", config, 1);

    kms_options_t *options = kms_options_new();
    snprintf(path, sizeof path, "%s/root.key", folder);
    CHECK(kms_options_set_root_key_file(options, path));
    CHECK(kms_options_set_create(options, 1));
    snprintf(path, sizeof path, "%s/keys.db", folder);
    CHECK(kms_open(path, options, &keystore));
    kms_options_free(options);
    CHECK(kms_create_key(keystore, NULL, key_id));

    CK_ULONG count;
    ours.functions = load(module);
    CHECK(ours.functions->C_OpenSession(0, CKF_SERIAL_SESSION, NULL, NULL, &ours.session));
    CHECK(ours.functions->C_FindObjectsInit(ours.session, NULL, 0));
    CHECK(ours.functions->C_FindObjects(ours.session, &ours.key, 1, &count));
    CHECK(ours.functions->C_FindObjectsFinal(ours.session));
}

static void open_softhsm(const char *module, const char *folder) {
    char path[4096];
    unsigned char label[32], pin[] = "123456";
    CK_SLOT_ID slots[8];
    CK_ULONG count = 8;
    snprintf(path, sizeof path, "%s/softhsm2.conf", folder);
    FILE *file = fopen(path, "w");
    if (file == NULL) {
        exit(1);
    }
    fprintf(file, "directories.tokendir = %s\nobjectstore.backend = file\nlog.level = ERROR\n", folder);
    fclose(file);
    setenv("SOFTHSM2_CONF", path, 1);
    memset(label, ' ', sizeof label);
    softhsm.functions = load(module);
    CHECK(softhsm.functions->C_GetSlotList(CK_TRUE, slots, &count));
    CHECK(softhsm.functions->C_InitToken(slots[0], pin, 6, label));
    count = 8;
    CHECK(softhsm.functions->C_GetSlotList(CK_TRUE, slots, &count));
    CHECK(softhsm.functions->C_OpenSession(slots[0], CKF_SERIAL_SESSION | CKF_RW_SESSION, NULL, NULL, &softhsm.session));
    CHECK(softhsm.functions->C_Login(softhsm.session, CKU_SO, pin, 6));
    CHECK(softhsm.functions->C_InitPIN(softhsm.session, pin, 6));
    CHECK(softhsm.functions->C_Logout(softhsm.session));
    CHECK(softhsm.functions->C_Login(softhsm.session, CKU_USER, pin, 6));
    // A token object, as the keys of libkms are; and one that lives in the session, which SoftHSM2 finds quicker.
    CK_BBOOL yes = CK_TRUE, no = CK_FALSE;
    CK_ULONG size = 32;
    CK_MECHANISM generate = {CKM_AES_KEY_GEN, NULL, 0};
    CK_ATTRIBUTE template[] = {
        {CKA_TOKEN, &yes, 1}, {CKA_VALUE_LEN, &size, sizeof size}, {CKA_ENCRYPT, &yes, 1}, {CKA_DECRYPT, &yes, 1}};
    CHECK(softhsm.functions->C_GenerateKey(softhsm.session, &generate, template, 4, &softhsm.key));
    softhsm_session = softhsm;
    template[0].pValue = &no;
    CHECK(softhsm.functions->C_GenerateKey(softhsm.session, &generate, template, 4, &softhsm_session.key));
}

static void next_iv(void) {
    for (int at = 0; at < 12 && ++counter[at] == 0; at++) {
    }
}

static void encrypt(struct token *token, CK_MECHANISM *mechanism, unsigned char *to, size_t *to_len) {
    CK_ULONG len = TEXT + 80;
    CHECK(token->functions->C_EncryptInit(token->session, mechanism, token->key));
    CHECK(token->functions->C_Encrypt(token->session, text, TEXT, to, &len));
    *to_len = len;
}

static void decrypt(struct token *token, CK_MECHANISM *mechanism, unsigned char *from, size_t from_len) {
    CK_ULONG len = sizeof out;
    CHECK(token->functions->C_DecryptInit(token->session, mechanism, token->key));
    CHECK(token->functions->C_Decrypt(token->session, from, from_len, out, &len));
}

static CK_GCM_PARAMS parameters = {counter, 12, 96, NULL, 0, 128};
static CK_MECHANISM gcm = {CKM_AES_GCM, &parameters, sizeof parameters}, vendor = {BLOB, NULL, 0};
// The IVs of the messages that are decrypted.
static unsigned char ivs[3][12];
static CK_GCM_PARAMS kept[3] = {{ivs[0], 12, 96, NULL, 0, 128}, {ivs[1], 12, 96, NULL, 0, 128}, {ivs[2], 12, 96, NULL, 0, 128}};
static CK_MECHANISM kept_gcm[3] = {
    {CKM_AES_GCM, &kept[0], sizeof kept[0]}, {CKM_AES_GCM, &kept[1], sizeof kept[1]}, {CKM_AES_GCM, &kept[2], sizeof kept[2]}};

static void ours_gcm(void) {
    next_iv();
    encrypt(&ours, &gcm, sealed[0], &sealed_len[0]);
}
static void ours_blob(void) { encrypt(&ours, &vendor, sealed[1], &sealed_len[1]); }
static void softhsm_gcm(void) {
    next_iv();
    encrypt(&softhsm, &gcm, sealed[2], &sealed_len[2]);
}
static void softhsm_session_gcm(void) {
    next_iv();
    encrypt(&softhsm_session, &gcm, sealed[3], &sealed_len[3]);
}
static void softhsm_session_gcm_open(void) { decrypt(&softhsm_session, &kept_gcm[2], sealed[3], sealed_len[3]); }
static void kms_direct(void) {
    size_t len;
    CHECK(kms_encrypt(keystore, key_id, text, TEXT, NULL, 0, blob, sizeof blob, &len));
}
static void ours_gcm_open(void) { decrypt(&ours, &kept_gcm[0], sealed[0], sealed_len[0]); }
static void ours_blob_open(void) { decrypt(&ours, &vendor, sealed[1], sealed_len[1]); }
static void softhsm_gcm_open(void) { decrypt(&softhsm, &kept_gcm[1], sealed[2], sealed_len[2]); }
static void kms_direct_open(void) {
    size_t len;
    CHECK(kms_decrypt(keystore, blob, sizeof blob, NULL, 0, out, sizeof out, &len));
}

struct variant {
    const char *name;
    void (*run)(void);
    double slices[SLICES];
};

static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

// Processor time of this thread: other work on the machine doesn't count.
static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

static void measure(const char *title, struct variant *variants, size_t count) {
    for (int slice = 0; slice < SLICES; slice++) {
        for (size_t at = 0; at < count; at++) {
            double start = now();
            for (int call = 0; call < CALLS; call++) {
                variants[at].run();
            }
            variants[at].slices[slice] = (now() - start) / CALLS;
        }
    }
    printf("%s, %d bytes, median of %d slices\n", title, TEXT, SLICES);
    for (size_t at = 0; at < count; at++) {
        qsort(variants[at].slices, SLICES, sizeof(double), by_size);
    }
    double peer = variants[count - 1].slices[SLICES / 2];
    for (size_t at = 0; at < count; at++) {
        double median = variants[at].slices[SLICES / 2];
        printf("  %-38s %8.0f ns %8.2f times as fast as the last\n", variants[at].name, median, peer / median);
    }
}

int main(int count, char **arguments) {
    static struct variant seals[] = {
        {.name = "kms_encrypt", .run = kms_direct},
        {.name = "libkms-pkcs11, CKM_KMS_BLOB", .run = ours_blob},
        {.name = "libkms-pkcs11, CKM_AES_GCM", .run = ours_gcm},
        {.name = "SoftHSM2, CKM_AES_GCM, session key", .run = softhsm_session_gcm},
        {.name = "SoftHSM2, CKM_AES_GCM, token key", .run = softhsm_gcm},
    };
    static struct variant opens[] = {
        {.name = "kms_decrypt", .run = kms_direct_open},
        {.name = "libkms-pkcs11, CKM_KMS_BLOB", .run = ours_blob_open},
        {.name = "libkms-pkcs11, CKM_AES_GCM", .run = ours_gcm_open},
        {.name = "SoftHSM2, CKM_AES_GCM, session key", .run = softhsm_session_gcm_open},
        {.name = "SoftHSM2, CKM_AES_GCM, token key", .run = softhsm_gcm_open},
    };
    if (count != 4) {
        return 2;
    }
    open_ours(arguments[1], arguments[3]);
    open_softhsm(arguments[2], arguments[3]);
    measure("Encrypt", seals, 5);
    ours_gcm();
    memcpy(ivs[0], counter, 12);
    softhsm_gcm();
    memcpy(ivs[1], counter, 12);
    softhsm_session_gcm();
    memcpy(ivs[2], counter, 12);
    measure("Decrypt", opens, 5);
    kms_close(keystore);
    return 0;
}

/* Every operation by action name and JSON, for a program that can only pass strings. */
#include "check.h"

/* Calls; the response is the caller's to free. */
static char *call(const kms_t *kms, const char *action, const char *request, kms_status wanted) {
    char *response = NULL;
    CHECK_STATUS(kms_call(kms, action, request, &response), wanted);
    REQUIRE(response != NULL);
    return response;
}

/* The text of a field, up to its closing quote. */
static void field(const char *json, const char *name, char *out, size_t cap) {
    char pattern[64];
    const char *at;
    size_t len = 0;
    snprintf(pattern, sizeof pattern, "\"%s\":\"", name);
    at = strstr(json, pattern);
    REQUIRE(at != NULL);
    for (at += strlen(pattern); *at != '"' && *at != 0 && len + 1 < cap; at++) {
        out[len++] = *at;
    }
    out[len] = 0;
}

static void a_program_of_strings_encrypts_and_decrypts(void) {
    kms_t *kms = open_memory(NULL);
    char key[64], blob[512], text[64], request[1024];
    char *response = call(kms, "CreateKey", "{\"EnableAutomaticRotation\":true,\"RotationInterval\":\"7d\"}", KMS_OK);
    field(response, "KeyId", key, sizeof key);
    CHECK(strstr(response, "\"RotationInterval\":\"604800s\"") != NULL);
    kms_string_free(response);

    snprintf(request, sizeof request, "{\"KeyId\":\"%s\",\"Plaintext\":\"aGVsbG8=\",\"EncryptionContext\":{\"a\":\"b\"}}", key);
    response = call(kms, "Encrypt", request, KMS_OK);
    field(response, "CiphertextBlob", blob, sizeof blob);
    kms_string_free(response);

    snprintf(request, sizeof request, "{\"CiphertextBlob\":\"%s\",\"EncryptionContext\":\"{\\\"a\\\":\\\"b\\\"}\"}", blob);
    response = call(kms, "Decrypt", request, KMS_OK);
    field(response, "Plaintext", text, sizeof text);
    CHECK_TEXT(text, "aGVsbG8=");
    kms_string_free(response);
    kms_close(kms);
}

static void a_failure_gives_the_services_error_body(void) {
    kms_t *kms = open_memory(NULL);
    char *response = call(kms, "DescribeKey", "{\"KeyId\":\"ffffffff-ffff-4fff-bfff-ffffffffffff\"}", KMS_KEY_NOT_FOUND);
    CHECK(strstr(response, "\"Code\":\"Forbidden.KeyNotFound\"") != NULL);
    CHECK(strstr(response, "\"HttpStatus\":404") != NULL);
    kms_string_free(response);
    kms_string_free(call(kms, "Dance", NULL, KMS_UNKNOWN_ACTION));
    kms_string_free(call(kms, "DescribeKey", NULL, KMS_MISSING_PARAMETER));
    kms_string_free(call(kms, "DescribeKey", "[", KMS_INVALID_ARGUMENT));
    kms_string_free(call(kms, "CreateKey", "{\"Descriptoin\":\"\"}", KMS_INVALID_ARGUMENT));
    kms_string_free(NULL);
    kms_close(kms);
}

static void null_and_bad_text_are_refused(void) {
    kms_t *kms = open_memory(NULL);
    char *response = (char *)1;
    CHECK_STATUS(kms_call(NULL, "ListKeys", NULL, &response), KMS_INVALID_ARGUMENT);
    CHECK(response == NULL);
    CHECK_STATUS(kms_call(kms, NULL, NULL, &response), KMS_INVALID_ARGUMENT);
    CHECK_STATUS(kms_call(kms, "ListKeys", NULL, NULL), KMS_INVALID_ARGUMENT);
    CHECK_STATUS(kms_call(kms, "ListKeys", "\xff", &response), KMS_INVALID_ARGUMENT);
    kms_close(kms);
}

int main(void) {
    RUN(a_program_of_strings_encrypts_and_decrypts);
    RUN(a_failure_gives_the_services_error_body);
    RUN(null_and_bad_text_are_refused);
    return check_result();
}

/* Misuses every function of kms.h in every way that the header's types allow: a status, no crash, no hang, no write
 * outside the buffers, and the handle works afterwards. The table of functions is generated: see tests/misuse/generate. */
#define _GNU_SOURCE
#include "misuse.h"
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static void misuse(void) {
    int i;
    make_regions();
    make_world(&here, "memory:");
    for (i = 0; i < function_count; i++) {
        const function *f = &functions[i];
        if (quick && strstr(f->name, "port") != NULL) {
            continue; /* import and export make RSA keys */
        }
        if (begin(f, "all arguments", "valid")) {
            finish(f, OK, 0);
        }
        nulls(f);
        struct_sizes(f);
        if (!quick) {
            numbers(f);
            misaligned(f);
            fields(f);
            texts(f);
            callbacks(f);
            option_callbacks(f);
            shared_memory(f);
            in_a_child(f, "memory:", NOT_OK);
            in_a_child(f, "a file", OK);
        }
    }
    kms_options_free(here.options);
    kms_stream_free(here.stream);
    kms_survey_free(here.survey);
    kms_file_close(here.file);
    kms_close(here.kms);
    free_regions();
    if (progress->misused > 0 && callbacks_run == 0 && go_on_at == 0 && !quick) {
        broken("no callback ran");
    }
    exit(0); /* with a check for leaks */
}

int main(int argc, char **argv) {
    int crashes = 0, status;
    REQUIRE(argc >= 2);
    if (argc > 3 && strcmp(argv[1], "open") == 0) {
        return open_while_memory_is_short(argv[2], argv[3]);
    }
    quick = argc > 2 && strcmp(argv[1], "quick") == 0;
    snprintf(folder, sizeof folder, "%s", argv[argc - 1]);
    progress = mmap(NULL, sizeof *progress, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    REQUIRE(progress != MAP_FAILED);
    check_test = "misuse";
    if (argc > 2 && strcmp(argv[1], "short") == 0) {
        while_memory_is_short(argv[0]);
        return progress->broken != 0;
    }
    if (argc > 2 && strcmp(argv[1], "stack") == 0) {
        on_a_small_stack();
        return progress->broken != 0;
    }
    for (;;) {
        pid_t child;
        go_on_at = progress->number;
        progress->number = 0;
        fflush(NULL);
        child = fork();
        REQUIRE(child >= 0);
        if (child == 0) {
            misuse();
        }
        REQUIRE(waitpid(child, &status, 0) == child);
        if (status == 0) {
            break;
        }
        crashes++;
        fprintf(stderr, "%s: broken: %s %d\n", progress->name, WIFSIGNALED(status) ? "killed by signal" : "ended with",
                WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
        if (crashes > 40) {
            break;
        }
    }
    printf("%d functions, %d calls, %d broken, %d crashes\n", function_count, progress->misused, progress->broken, crashes);
    return progress->broken != 0 || crashes != 0 || progress->misused < 200;
}

/* Calls in a forked child, on its parent's handle. */
#define _GNU_SOURCE
#include "misuse.h"
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

void in_a_child(const function *f, const char *location, expected wanted) {
    pid_t child;
    int status = 0;
    if (f->count == 0 || f->params[0].kind != HANDLE || strcmp(f->params[0].name, "kms") != 0 || f->result != STATUS ||
        !begin(f, location, "in a forked child")) {
        return;
    }
    if (strcmp(location, "memory:") != 0) {
        make_world(&here, fresh_path(&here));
        prepare(&here, f);
        f->valid(&here, given);
    }
    fflush(NULL);
    child = fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        kms_status got;
        alarm(30);
        got = (kms_status)f->call(given);
        kms_close(here.kms);
        if (got != (wanted == OK ? KMS_OK : KMS_FORKED)) {
            fprintf(stderr, "%s\n", kms_status_name(got));
            _exit(1);
        }
        _exit(0);
    }
    REQUIRE(waitpid(child, &status, 0) == child);
    if (status != 0) {
        broken(WIFSIGNALED(status) ? "the child crashed or hung" : "the child got another status");
    }
    here.generation = 0;
    progress->misused++;
    alarm(0);
}

/* Loses a heap block: LeakSanitizer and valgrind must say so (ci/stages/c.sh). */
#include <stdlib.h>

static void lose(void) {
    volatile char *block = malloc(1000);
    if (block != NULL) {
        block[0] = 1;
    }
}

/* Overwrites the registers and the stack that may still hold the pointer. */
static int wipe(void) {
    volatile char stack[4096];
    size_t i;
    for (i = 0; i < sizeof stack; i++) {
        stack[i] = 0;
    }
    return stack[17];
}

int main(void) {
    lose();
    return wipe();
}

/* Writes one byte past a heap block: AddressSanitizer and valgrind must say so (ci/stages/c.sh). */
#include <stdlib.h>

int main(void) {
    volatile size_t size = 24;
    volatile char *block = malloc(size);
    if (block == NULL) {
        return 2;
    }
    block[size] = 1;
    free((void *)block);
    return 0;
}

/* One fault, which -Dheap_overflow, -Dleak, -Dundefined or -Ddata_race chooses: the stages c, valgrind and tsan must detect it. */
#include <limits.h>
#include <pthread.h>
#include <stddef.h>
#include <stdlib.h>

#if defined(heap_overflow)
/* Writes one byte past a heap block: AddressSanitizer and valgrind must report it. */
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
#elif defined(leak)
/* Loses a heap block: LeakSanitizer and valgrind must report it. */
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
#elif defined(undefined)
/* Overflows a signed integer: UBSan must report it. */
int main(void) {
    volatile int number = INT_MAX;
    number = number + 1;
    return number == 0;
}
#elif defined(data_race)
/* Two threads count without a lock: ThreadSanitizer must report it. */
static int counter;

static void *count(void *user) {
    int i;
    (void)user;
    for (i = 0; i < 1000; i++) {
        counter++;
    }
    return NULL;
}

int main(void) {
    pthread_t other;
    if (pthread_create(&other, NULL, count, NULL) != 0) {
        return 2;
    }
    count(NULL);
    return pthread_join(other, NULL) == 0 ? 0 : 2;
}
#endif

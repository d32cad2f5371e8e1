/* Two threads count without a lock: ThreadSanitizer must say so (ci/stages/tsan.sh). */
#include <pthread.h>
#include <stddef.h>

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

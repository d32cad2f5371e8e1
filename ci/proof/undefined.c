/* Overflows a signed integer: UBSan must say so (ci/stages/c.sh). */
#include <limits.h>

int main(void) {
    volatile int number = INT_MAX;
    number = number + 1;
    return number == 0;
}

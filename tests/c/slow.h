/* Whether valgrind runs the program (SLOW), or the address sanitizer is compiled in (SANITIZED): both reduce the number of rounds. */
#ifndef SLOW_H
#define SLOW_H

#if defined(__has_include)
#if __has_include(<valgrind/valgrind.h>)
#include <valgrind/valgrind.h>
#define SLOW RUNNING_ON_VALGRIND
#endif
#endif
#ifndef SLOW
#define SLOW 0
#endif

#ifdef __SANITIZE_ADDRESS__
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

#endif

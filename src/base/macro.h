/* Small macros that make data, never control flow. Ownership macros follow systemd's idea. */
#pragma once

#include <assert.h> /* static_assert */
#include <stdalign.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#define ELEMENTSOF(a)     (sizeof(a) / sizeof((a)[0]))
#define BIT(n)            (UINT64_C(1) << (n))
#define MAXALIGN(n)       (((n) + 7u) & ~(uint64_t) 7)
#define MIN(a, b)         ((a) < (b) ? (a) : (b))
#define MAX(a, b)         ((a) > (b) ? (a) : (b))
#define NORETURN          __attribute__((noreturn))
#define PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#define UNUSED            __attribute__((unused))
#define FALLTHROUGH       __attribute__((fallthrough))

/* Run `fn(&variable)` when the variable leaves its scope. */
#define CLEANUP(fn) __attribute__((cleanup(fn)))
/* Move a pointer or descriptor out of a CLEANUP variable. */
#define TAKE_PTR(p)                \
    ({                             \
        __typeof__(p) take_ = (p); \
        (p) = NULL;                \
        take_;                     \
    })
#define TAKE_FD(fd)       \
    ({                    \
        int take_ = (fd); \
        (fd) = -1;        \
        take_;            \
    })

/* On in every build: a broken invariant becomes a restart, never wrong data. Not for input. */
#define ASSERT(x)                                  \
    do {                                           \
        if (__builtin_expect(!(x), 0))             \
            assert_failed(#x, __FILE__, __LINE__); \
    } while (0)

/* Report a broken invariant on stderr and abort(). Runs anywhere. */
NORETURN void assert_failed(const char *what, const char *file, int line);

/* Cleanup handlers: accept the address of a NULL / -1 variable. `closep` keeps errno. */
void closep(int *fd);
void freep(void *pp);

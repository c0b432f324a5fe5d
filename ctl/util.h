/* Small things of the client. It shares only src/tbl with the server. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define ELEMENTSOF(a)     (sizeof(a) / sizeof((a)[0]))
#define PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#define CLEANUP(fn)       __attribute__((cleanup(fn)))

#define USEC_PER_SEC UINT64_C(1000000)

/* What the process ends with (README.md). */
enum ctl_exit {
    CTL_OK = 0,
    CTL_FAILED = 1,
    CTL_USAGE = 2,
    CTL_NOT_RUNNING = 3,
    CTL_NO_INSTANCE = 4,
    CTL_NOT_READY = 5,
    CTL_UNREACHABLE = 69,
    CTL_TIMED_OUT = 75,
    CTL_PROTOCOL = 76,
    CTL_PERMISSION = 77,
    CTL_CONFIG = 78,
    CTL_INTERRUPTED = 130,
};

/* A failure on its way to the user. Printed once, by main(). */
struct problem {
    int exit;       /* enum ctl_exit, or a status that piniond ended with; 0 = none */
    char name[128]; /* the server's error name, or empty */
    char message[512];
    char detail[16384]; /* several lines allowed */
    char hint[512];
};

/* Fill *p and return its exit code. */
int fail(struct problem *p, int exit_code, const char *fmt, ...) PRINTF(3, 4);
void hint(struct problem *p, const char *fmt, ...) PRINTF(2, 3);

/* Monotonic and real time in microseconds. */
uint64_t now_mono_usec(void);
uint64_t now_real_usec(void);

/* Set by SIGINT after util_catch_interrupt(): a wait ends, what was asked goes on. */
extern volatile int util_interrupted;
void util_catch_interrupt(void);

/* "3 days", "2 min 13 s", "0.4 s": the two largest units. */
void format_duration(char *to, size_t cap, uint64_t usec);
/* "12.4 GiB". */
void format_bytes(char *to, size_t cap, uint64_t bytes);
/* "Sat 2026-11-21 14:03:11 UTC", local time. */
void format_time(char *to, size_t cap, uint64_t real_usec);

/* "5min", "30s", "1h", "250ms"; without a unit seconds. false: it is none, or 0. */
bool parse_duration(const char *text, uint64_t *ret_usec);

/* fsync of the directory of `path`: what was made, renamed or removed there is so after a power
 * cut, too. 0 or -1 with errno. */
int sync_dir_of(const char *path);

void closep(int *fd);
void freep(void *pp);
/* To read a file of a data directory, which somebody else may have filled: NULL and errno unless it
 * is an ordinary file (EINVAL); never waits for a pipe's other end. */
FILE *open_file(const char *path);

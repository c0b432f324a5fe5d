/* One run of a program, again and again, each time with another death: a fault at hit 1, 2, 3 … of
 * any fault point until none fires; each I/O call failing once, as EIO, as a full disk, as half a
 * write; a power cut at each call that changes the disk. */
#pragma once

#include "base/fault.h"
#include "sim/io_sim.h"

struct lives {
    /* The program. */
    const char *name;
    void (*begin)(uint64_t seed); /* makes `sim` and all on it */
    void (*run)(void);
    void (*survived)(const char *what, unsigned n); /* the run ended by itself; may be NULL */
    void (*end)(const char *what, unsigned n);      /* power cut, recovery, checks; frees `sim` */
    unsigned seeds;                                 /* power cuts at one place */
    unsigned least;                                 /* places there must be, at least */
    unsigned stride;      /* only every so many-th place, unless PINION_LONG is set; 0 = each */
    unsigned least_calls; /* I/O calls there must be, at least */
    /* This life. */
    struct io_sim *sim;
    struct err why; /* of the last PANIC */
    bool is_armed;  /* a crash or a PANIC ends the run; else it is a failure */
};
/* The program defines it, with the first part filled; main() and the tests are in lives.c. */
extern struct lives lives;

/* run() begins with this operation, or goes on with it: what is passed from now on is counted for
 * it. The table of a run without any fault is printed, and an operation that passes fewer than
 * `least` I/O calls is a failure: then this program tests nothing any more. */
void lives_phase(const char *operation, unsigned least);

/* struct io over a tree of files in memory that forgets what was not synced, as a disk and a page
 * cache together do.
 *
 * Each file has two contents: what readers see now, and what is on the disk. Between them lies a
 * list of changes since the last sync. A power cut keeps, drops, or tears (by sector) each of them
 * by the seed; the same goes for names made, renamed and removed in a directory since its last
 * fsync_dir. A failed fsync drops what it should have written: readers go on seeing it until
 * dontneed, the disk never gets it, and the next fsync succeeds. Single-threaded. */
#pragma once

#include "base/io.h"

struct io_sim;

enum io_sim_op {
    SIM_OPEN,
    SIM_READ,
    SIM_WRITE,
    SIM_SYNC, /* fsync and fdatasync */
    SIM_SYNC_DIR,
    SIM_TRUNCATE,
    SIM_ALLOCATE,
    SIM_RENAME,
    SIM_UNLINK,
    SIM_MKDIR, /* and rmdir */
    SIM_SYNCFS,
    SIM_OTHER, /* size, list, dontneed, write_out */
    SIM_ANY,   /* in a rule: each of them */
    SIM_OPS
};

/* NULL if there is no memory. `seed` decides what cuts keep. */
struct io_sim *io_sim_new(uint64_t seed);
void io_sim_free(struct io_sim *s);
struct io *io_sim_io(struct io_sim *s);
/* A second disk with the same names and contents, all of it synced. */
struct io_sim *io_sim_clone(const struct io_sim *s, uint64_t seed);

/* Unit in which a write tears: 512 (default) or 4096. */
void io_sim_set_sector(struct io_sim *s, uint32_t bytes);
/* Calls that may change or sync something, since io_sim_new(). */
uint64_t io_sim_calls(const struct io_sim *s);
/* Calls that io_sim_fail_any() can let fail, since io_sim_new(). */
uint64_t io_sim_passed(const struct io_sim *s);
/* Call hook(arg) at the n-th such call from now (1 = the next), before or after its effect by the
 * seed. The hook must not return. 0 disarms. */
void io_sim_cut_after(struct io_sim *s, uint64_t n, void (*hook)(void *arg), void *arg);
/* fn(arg) is called before every call that reads, changes or syncs something: a simulation switches
 * to another process there. NULL = none. */
void io_sim_on_call(struct io_sim *s, void (*fn)(void *arg), void *arg);
/* The power is back: names and contents are what the disk kept. All descriptors and locks are gone.
 */
void io_sim_power_cut(struct io_sim *s);
/* Only the processes died: descriptors and locks are gone, the page cache is not. */
void io_sim_process_crash(struct io_sim *s);

/* The calls after + 1 … after + times of this kind on paths that begin with `prefix` fail with
 * errno `error`. One rule at a time; times 0 disarms. A failed SIM_SYNC drops the changes. */
void io_sim_fail(struct io_sim *s, enum io_sim_op op, const char *prefix, uint32_t after,
                 uint32_t times, int error);
/* The (after + 1)-th call of any kind from now on fails with `error`; if it is a write and `half`,
 * its first half has been written. */
void io_sim_fail_any(struct io_sim *s, uint32_t after, int error, bool half);
bool io_sim_failed(const struct io_sim *s); /* did it fire? */
/* Growth of files beyond this many bytes from now on is ENOSPC; UINT64_MAX = no limit. */
void io_sim_set_space(struct io_sim *s, uint64_t bytes);

/* Both contents of one file at once, without the seed: for tests that make a torn page by hand.
 * Returns 0 or -ENOENT. */
int io_sim_poke(struct io_sim *s, const char *path, uint64_t off, const void *p, size_t n);
/* A number for all names below `prefix` and their contents, as readers see them. */
uint64_t io_sim_digest(const struct io_sim *s, const char *prefix);
/* Write the tree into a real directory, for stock tools and for people. Returns 0 or -errno. */
int io_sim_export(const struct io_sim *s, int dir_fd);

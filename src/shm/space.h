/* Space on the file systems of log and data: what was refused, what is left, and the two decisions
 * that follow from it.
 *
 * Who makes files bigger notes how that went; the bgwriter measures what is left and judges; the
 * postmaster shows it. */
#pragma once

#include "base/macro.h"
#include "base/types.h"

enum space_disk { SPACE_WAL, SPACE_DATA, SPACE_DISKS };

/* Part of struct shm_status. Single relaxed atomics: for people, and for words in the log. */
struct shm_space {
    _Atomic uint64_t free_bytes;   /* bgwriter: for who is not root */
    _Atomic uint64_t total_bytes;  /* bgwriter; 0 = not measured yet */
    _Atomic uint64_t full_usec;    /* real: first refusal since something fitted; 0 = not full */
    _Atomic uint64_t refused_usec; /* real: the last refusal; 0 = none since the start */
    _Atomic uint64_t wanted;       /* bytes of the last refusal */
    _Atomic uint64_t n_refused;
    _Atomic uint32_t error;  /* errno of the last refusal: ENOSPC or EDQUOT */
    _Atomic uint32_t is_low; /* bgwriter */
};

/* Something was to take `wanted` bytes of that disk: r is 0 or -errno. Errors other than a full
 * disk (or quota) say nothing about space. `s` may be NULL. Any process. */
void space_note(struct shm_space *s, int r, uint64_t wanted);

/* What was measured and noted, and what was told before. */
struct space_view {
    uint64_t free_bytes;
    uint64_t threshold;   /* of low space; 0 = never */
    uint64_t wanted;      /* bytes of the last refusal */
    usec_t since_refusal; /* how long ago that was */
    bool was_low;
    bool was_full; /* something was refused, and nothing has fitted since */
};

struct space_verdict {
    bool is_low;
    bool is_full;
};

/* Low below the threshold, until an eighth more than it is free. Full until as much is free as was
 * refused, seen at a measurement a while after the refusal. Pure. */
struct space_verdict space_judge(const struct space_view *v);

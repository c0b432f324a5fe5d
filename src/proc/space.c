/* What is left on the disks. Runs in: bgwriter. Owns: the measured part of shm_status.space, and
 * what was told. The decision is space_judge() (shm/space.h). */
#include "proc/space.h"

#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>

#include "base/clock.h"
#include "base/log.h"
#include "conf/conf.h"

#define LOOK_EVERY_USEC (2 * USEC_PER_SEC)

static const struct place {
    const char *path;
    const char *what;
} places[SPACE_DISKS] = {
    [SPACE_WAL] = { "pg_wal", "write-ahead log" },
    [SPACE_DATA] = { "base", "data directory" },
};

/* This process' memory of what it told. */
static struct told {
    bool is_low;
    usec_t full_usec; /* real; 0 = not full, or not told */
} told[SPACE_DISKS];
static usec_t next_look;

static const char *
size_text(uint64_t bytes, char *p, size_t n)
{
    if (bytes >= UINT64_C(10) << 30)
        (void) snprintf(p, n, "%" PRIu64 " GB", bytes >> 30);
    else
        (void) snprintf(p, n, "%" PRIu64 " MB", bytes >> 20);
    return p;
}

static void
tell_low(enum space_disk disk, const struct shm_space *s, uint64_t threshold, bool is_low)
{
    struct err e = ERR_INIT;
    char left[32];
    char all[32];
    char least[32];

    (void) size_text(peek64(&s->free_bytes), left, sizeof left);
    (void) size_text(peek64(&s->total_bytes), all, sizeof all);
    if (!is_low) {
        log_event(LOG_LEVEL_LOG, LOG_EVENT_DISK_RELIEVED, NULL,
                  "disk space for the %s is no longer low: %s of %s free", places[disk].what, left,
                  all);
        return;
    }
    (void) ERR(&e, DISK_FULL, "disk space for the %s is low: %s of %s free", places[disk].what,
               left, all);
    err_detail(&e, "low_space_warning is %s.", size_text(threshold, least, sizeof least));
    err_hint(&e, "Free space before statements that write fail.");
    log_err_event(LOG_LEVEL_WARNING, LOG_EVENT_DISK_LOW, NULL, "", &e);
}

static void
tell_full(enum space_disk disk, usec_t since, bool is_full)
{
    struct err e = ERR_INIT;
    usec_t now = clock_real_usec();

    if (!is_full) {
        log_event(LOG_LEVEL_LOG, LOG_EVENT_DISK_RELIEVED, NULL,
                  "the disk of the %s is no longer full, after %" PRIu64 " s", places[disk].what,
                  now > since ? (now - since) / USEC_PER_SEC : 0);
        return;
    }
    (void) ERR(&e, DISK_FULL, "the disk of the %s is full", places[disk].what);
    err_detail(&e, "Statements that write fail or may fail; reading goes on.");
    err_hint(&e, "Free space; the server goes on by itself.");
    log_err_event(LOG_LEVEL_WARNING, LOG_EVENT_DISK_FULL, NULL, "", &e);
}

static void
judge(enum space_disk disk, struct shm_space *s, uint64_t threshold)
{
    uint64_t full = peek64(&s->full_usec);
    usec_t now = clock_real_usec();
    usec_t refused = peek64(&s->refused_usec);
    struct space_view view = { .free_bytes = peek64(&s->free_bytes),
                               .threshold = threshold,
                               .wanted = peek64(&s->wanted),
                               .since_refusal = now > refused ? now - refused : 0,
                               .was_low = told[disk].is_low,
                               .was_full = full != 0 };
    struct space_verdict v = space_judge(&view);

    if (full != 0 && !v.is_full) /* unless it was refused again just now */
        (void) atomic_compare_exchange_strong_explicit(&s->full_usec, &full, 0,
                                                       memory_order_relaxed, memory_order_relaxed);
    if (v.is_full != (told[disk].full_usec != 0)) {
        tell_full(disk, told[disk].full_usec, v.is_full);
        told[disk].full_usec = v.is_full ? full : 0;
    }
    if (v.is_low != told[disk].is_low)
        tell_low(disk, s, threshold, v.is_low);
    told[disk].is_low = v.is_low;
    atomic_store_explicit(&s->is_low, v.is_low, memory_order_relaxed);
}

void
space_look(const struct attached *a)
{
    struct shm_status *status = segment_status(a->start->segment);
    usec_t now = clock_mono_usec();

    if (now < next_look)
        return;
    next_look = now + LOOK_EVERY_USEC;
    for (int i = 0; i < SPACE_DISKS; i++) {
        struct shm_space *s = &status->space[i];
        struct statvfs fs;

        if (statvfs(places[i].path, &fs) < 0)
            continue;
        atomic_store_explicit(&s->free_bytes, (uint64_t) fs.f_bavail * fs.f_frsize,
                              memory_order_relaxed);
        atomic_store_explicit(&s->total_bytes, (uint64_t) fs.f_blocks * fs.f_frsize,
                              memory_order_relaxed);
        judge((enum space_disk) i, s, (uint64_t) a->start->conf->v.low_space_warning);
    }
}

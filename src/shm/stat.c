/* Cumulative statistics in the segment. Runs in: every attached process. Owns: struct stat_shared.
 * Source: PostgreSQL 15's pgstat_shmem.c for the idea of sums and pending counts; here the pending
 * ones are shared, so that they need not be sent. */
#include "shm/stat_int.h"

#include <string.h>

#include "base/clock.h"

/* clang-format off */
static const struct {
    enum stat_group group;
    bool is_msec;
    const char *column;
    const char *what;
} counts[STAT_COUNTS] = {
#define UNIT_COUNT false
#define UNIT_MSEC true
#define STAT(id, group, column, unit, what) \
    [STAT_##id] = { STAT_GROUP_##group, UNIT_##unit, #column, what },
#include "tbl/stat_counts.def"
#undef STAT
#undef UNIT_COUNT
#undef UNIT_MSEC
};
/* clang-format on */

static const char *const groups[STAT_GROUPS] = {
    [STAT_GROUP_DATABASE] = "database",
    [STAT_GROUP_BGWRITER] = "bgwriter",
    [STAT_GROUP_WAL] = "wal",
    [STAT_GROUP_ARCHIVER] = "archiver",
};

const char *
stat_group_name(enum stat_group group)
{
    return groups[group];
}

enum stat_group
stat_group_of(const char *name)
{
    enum stat_group g = 0;

    while (g < STAT_GROUPS && strcmp(groups[g], name) != 0)
        g++;
    return g;
}

enum stat_group
stat_group(enum stat_id id)
{
    return counts[id].group;
}

const char *
stat_column(enum stat_id id)
{
    return counts[id].column;
}

bool
stat_is_msec(enum stat_id id)
{
    return counts[id].is_msec;
}

const char *
stat_what(enum stat_id id)
{
    return counts[id].what;
}

/* ---- life ---- */

uint64_t
stat_shm_bytes(uint32_t max_procs)
{
    return sizeof(struct stat_shared) + max_procs * sizeof(struct stat_proc);
}

void
stat_attach(struct stats *st, void *mem, uint32_t max_procs, struct self *self)
{
    ASSERT(self->procno < max_procs);
    *st = (struct stats){ .sh = mem, .max_procs = max_procs, .self = self };
    self->stat = &st->sh->proc[self->procno];
}

static struct stat_db *
find_db(struct stat_shared *sh, oid_t oid)
{
    for (uint32_t i = 0; i < sh->n_dbs; i++)
        if (sh->db[i].is_used && sh->db[i].oid == oid)
            return &sh->db[i];
    return NULL;
}

struct stat_db *
stat_make_db(struct stat_shared *sh, oid_t oid)
{
    struct stat_db *db = find_db(sh, oid);
    uint32_t i = 0;

    if (db != NULL)
        return db;
    while (i < sh->n_dbs && sh->db[i].is_used)
        i++;
    if (i == STAT_DBS)
        return NULL;
    sh->n_dbs = MAX(sh->n_dbs, i + 1);
    sh->db[i] = (struct stat_db){ .oid = oid, .is_used = true };
    return &sh->db[i];
}

static uint64_t
count_of(const struct stat_proc *p, uint32_t id)
{
    return atomic_load_explicit(&p->n[id], memory_order_relaxed);
}

/* Counts [from, upto) of a block into `to`, if there is room for them. Under the lock. */
static void
fold(struct stat_proc *p, uint32_t from, uint32_t upto, uint64_t *to)
{
    for (uint32_t i = from; i < upto; i++) {
        if (to != NULL)
            to[i] += count_of(p, i);
        atomic_store_explicit(&p->n[i], 0, memory_order_relaxed);
    }
}

/* Made when it was chosen: if it is gone, the database was dropped. */
static void
fold_db(struct stats *st)
{
    struct stat_proc *mine = st->self->stat;
    oid_t oid = atomic_load_explicit(&mine->db_oid, memory_order_relaxed);
    struct stat_db *db = oid == 0 ? stat_make_db(st->sh, oid) : find_db(st->sh, oid);

    fold(mine, 0, STAT_DB_COUNTS, db != NULL ? db->n : NULL);
}

void
stat_set_db(struct stats *st, oid_t oid)
{
    spin_take(st->self, &st->sh->lock, LOCK_STATS);
    fold_db(st);
    (void) stat_make_db(st->sh, oid);
    atomic_store_explicit(&st->self->stat->db_oid, oid, memory_order_relaxed);
    spin_drop(st->self, &st->sh->lock, LOCK_STATS);
}

void
stat_process_exit(struct stats *st)
{
    struct stat_proc *mine = st->self->stat;

    if (mine == NULL)
        return;
    spin_take(st->self, &st->sh->lock, LOCK_STATS);
    fold_db(st);
    fold(mine, STAT_DB_COUNTS, STAT_COUNTS, st->sh->n);
    atomic_store_explicit(&mine->db_oid, 0, memory_order_relaxed);
    spin_drop(st->self, &st->sh->lock, LOCK_STATS);
    st->self->stat = NULL;
}

void
stat_add_file(struct stats *st, enum stat_id id, const char *name)
{
    struct stat_last last = { .when = clock_real_usec() };

    ASSERT(id >= STAT_ARCHIVED && id < STAT_ARCHIVED + STAT_FILES);
    memcpy(last.name, name, strnlen(name, sizeof last.name - 1));
    spin_take(st->self, &st->sh->lock, LOCK_STATS);
    stat_add(st->self, id, 1);
    st->sh->last[id - STAT_ARCHIVED] = last;
    spin_drop(st->self, &st->sh->lock, LOCK_STATS);
}

/* ---- sums; under the lock ---- */

static void
sum_cluster(const struct stats *st, uint64_t *ret)
{
    memcpy(ret, st->sh->n, sizeof st->sh->n);
    for (uint32_t p = 0; p < st->max_procs; p++)
        for (uint32_t i = STAT_DB_COUNTS; i < STAT_COUNTS; i++)
            ret[i] += count_of(&st->sh->proc[p], i);
}

static void
sum_db(const struct stats *st, oid_t oid, uint64_t *ret)
{
    const struct stat_db *db = find_db(st->sh, oid);

    if (db != NULL)
        memcpy(ret, db->n, sizeof db->n);
    else
        memset(ret, 0, sizeof db->n);
    for (uint32_t p = 0; p < st->max_procs; p++) {
        const struct stat_proc *proc = &st->sh->proc[p];

        if (atomic_load_explicit(&proc->db_oid, memory_order_relaxed) == oid)
            for (uint32_t i = 0; i < STAT_DB_COUNTS; i++)
                ret[i] += count_of(proc, i);
    }
}

/* ---- reading and resetting ---- */

/* Since the last reset. */
static void
show_cluster(const struct stats *st, uint64_t *ret)
{
    sum_cluster(st, ret);
    for (uint32_t i = STAT_DB_COUNTS; i < STAT_COUNTS; i++)
        ret[i] -= st->sh->base[i];
}

void
stat_read_cluster(struct stats *st, uint64_t *ret, usec_t *ret_reset)
{
    spin_take(st->self, &st->sh->lock, LOCK_STATS);
    show_cluster(st, ret);
    memcpy(ret_reset, st->sh->reset, sizeof st->sh->reset);
    spin_drop(st->self, &st->sh->lock, LOCK_STATS);
}

void
stat_read_archiver(struct stats *st, struct stat_archiver *ret)
{
    uint64_t n[STAT_COUNTS];

    spin_take(st->self, &st->sh->lock, LOCK_STATS);
    show_cluster(st, n);
    memcpy(ret->n, n + STAT_ARCHIVED, sizeof ret->n);
    memcpy(ret->last, st->sh->last, sizeof ret->last);
    ret->reset = st->sh->reset[STAT_GROUP_ARCHIVER];
    spin_drop(st->self, &st->sh->lock, LOCK_STATS);
}

void
stat_read_db(struct stats *st, oid_t oid, uint64_t ret[STAT_DB_COUNTS], usec_t *ret_reset)
{
    const struct stat_db *db;

    spin_take(st->self, &st->sh->lock, LOCK_STATS);
    sum_db(st, oid, ret);
    db = find_db(st->sh, oid);
    for (uint32_t i = 0; i < STAT_DB_COUNTS && db != NULL; i++)
        ret[i] -= db->base[i];
    *ret_reset = db != NULL ? db->reset : 0;
    spin_drop(st->self, &st->sh->lock, LOCK_STATS);
}

void
stat_reset_cluster(struct stats *st, enum stat_group group)
{
    uint64_t now[STAT_COUNTS];

    spin_take(st->self, &st->sh->lock, LOCK_STATS);
    sum_cluster(st, now);
    for (uint32_t i = STAT_DB_COUNTS; i < STAT_COUNTS; i++)
        if (counts[i].group == group)
            st->sh->base[i] = now[i];
    st->sh->reset[group] = clock_real_usec();
    if (group == STAT_GROUP_ARCHIVER)
        memset(st->sh->last, 0, sizeof st->sh->last);
    spin_drop(st->self, &st->sh->lock, LOCK_STATS);
}

void
stat_reset_db(struct stats *st, oid_t oid)
{
    struct stat_db *db;

    spin_take(st->self, &st->sh->lock, LOCK_STATS);
    db = stat_make_db(st->sh, oid);
    if (db != NULL) {
        sum_db(st, oid, db->base);
        db->reset = clock_real_usec();
    }
    spin_drop(st->self, &st->sh->lock, LOCK_STATS);
}

void
stat_forget_db(struct stats *st, oid_t oid)
{
    struct stat_db *db;

    spin_take(st->self, &st->sh->lock, LOCK_STATS);
    db = find_db(st->sh, oid);
    if (db != NULL)
        *db = (struct stat_db){ .is_used = false };
    spin_drop(st->self, &st->sh->lock, LOCK_STATS);
}

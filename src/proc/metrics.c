/* The metrics page: counters of tbl/stat_counts.def, positions in the log, sessions, cache, disks.
 *
 * Runs in: stats. Owns: nothing. Source: the OpenMetrics specification 1.0; names after the columns
 * of PostgreSQL's views, with base units (seconds, bytes) as the specification asks. */
#include "proc/metrics.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <string.h>

#include "conf/conf.h"

void
metrics_put_label(FILE *f, const char *value)
{
    for (const char *p = value; *p != '\0'; p++)
        switch (*p) {
        case '\\':
            (void) fputs("\\\\", f);
            break;
        case '"':
            (void) fputs("\\\"", f);
            break;
        case '\n':
            (void) fputs("\\n", f);
            break;
        default: /* any byte */
            (void) fputc(*p, f);
        }
}

/* ---- statistics ---- */

/* "wal_write" of group "wal" is pinion_wal_write: the group is not said twice. That "failed_count"
 * is a count every family's type says. */
static void
put_name(FILE *f, enum stat_id id)
{
    const char *group = stat_group_name(stat_group(id));
    const char *column = stat_column(id);
    size_t n = strlen(group);
    const char *end;

    if (strncmp(column, group, n) == 0 && column[n] == '_')
        column += n + 1;
    end = strstr(column, "_count");
    n = end != NULL && end[strlen("_count")] == '\0' ? (size_t) (end - column) : strlen(column);
    (void) fprintf(f, "pinion_%s_%.*s%s", group, (int) n, column,
                   stat_is_msec(id) ? "_seconds" : "");
}

static void
put_family(FILE *f, enum stat_id id)
{
    (void) fputs("# TYPE ", f);
    put_name(f, id);
    (void) fputs(" counter\n", f);
    if (stat_is_msec(id)) {
        (void) fputs("# UNIT ", f);
        put_name(f, id);
        (void) fputs(" seconds\n", f);
    }
    (void) fputs("# HELP ", f);
    put_name(f, id);
    (void) fprintf(f, " %s.\n", stat_what(id));
}

static void
put_count(FILE *f, enum stat_id id, const char *db, uint64_t n)
{
    put_name(f, id);
    (void) fputs("_total", f);
    if (db != NULL) {
        (void) fputs("{database=\"", f);
        metrics_put_label(f, db);
        (void) fputs("\"}", f);
    }
    if (stat_is_msec(id))
        (void) fprintf(f, " %.6f\n", (double) n / (double) USEC_PER_SEC);
    else
        (void) fprintf(f, " %" PRIu64 "\n", n);
}

/* Each database is read once, and told of in each family, as the format wants. */
static void
put_databases(FILE *f, struct attached *a, struct metrics_db *dbs, size_t n_dbs)
{
    usec_t reset;

    for (size_t i = 0; i < n_dbs; i++)
        stat_read_db(&a->stats, dbs[i].oid, dbs[i].n, &reset);
    for (uint32_t id = 0; id < STAT_DB_COUNTS; id++) {
        put_family(f, (enum stat_id) id);
        for (size_t i = 0; i < n_dbs; i++)
            put_count(f, (enum stat_id) id, dbs[i].name, dbs[i].n[id]);
    }
}

static void
put_cluster(FILE *f, struct attached *a)
{
    uint64_t n[STAT_COUNTS];
    usec_t reset[STAT_GROUPS];

    stat_read_cluster(&a->stats, n, reset);
    for (uint32_t id = STAT_DB_COUNTS; id < STAT_COUNTS; id++) {
        put_family(f, (enum stat_id) id);
        put_count(f, (enum stat_id) id, NULL, n[id]);
    }
}

/* ---- where it stands ---- */

static void
put_gauge(FILE *f, const char *name, const char *what, uint64_t n)
{
    (void) fprintf(f, "# TYPE pinion_%s gauge\n# HELP pinion_%s %s\npinion_%s %" PRIu64 "\n", name,
                   name, what, name, n);
}

static uint64_t
get64(const _Atomic uint64_t *p)
{
    return atomic_load_explicit(p, memory_order_relaxed);
}

static void
put_positions(FILE *f, const struct shm_status *s)
{
    put_gauge(f, "wal_insert_position_bytes", "End of the log as inserted.", get64(&s->insert_lsn));
    put_gauge(f, "wal_write_position_bytes", "End of the log as written.", get64(&s->write_lsn));
    put_gauge(f, "wal_flush_position_bytes", "End of the log as durable.", get64(&s->flush_lsn));
    put_gauge(f, "horizon_position_bytes", "What readers may be shown.", get64(&s->horizon_lsn));
    put_gauge(f, "checkpoint_redo_position_bytes", "Where recovery would begin.",
              get64(&s->checkpoint_redo_lsn));
    put_gauge(f, "next_transaction_id", "The next transaction id.", get64(&s->next_xid));
}

static void
put_sessions(FILE *f, const struct attached *a)
{
    static const char *const names[] = { [ACTIVITY_STARTING] = "starting",
                                         [ACTIVITY_IDLE] = "idle",
                                         [ACTIVITY_ACTIVE] = "active",
                                         [ACTIVITY_IDLE_IN_TRANSACTION] = "idle in transaction",
                                         [ACTIVITY_IDLE_IN_FAILED_TRANSACTION] =
                                             "idle in transaction (aborted)" };
    uint64_t counts[ELEMENTSOF(names)] = { 0 };
    int first;
    unsigned n = segment_pool(a->start->segment, CHILD_BACKEND, &first);

    for (unsigned i = 0; i < n; i++) {
        const struct slot *s = segment_slot(a->start->segment, first + (int) i);
        uint32_t what = atomic_load_explicit(&s->activity, memory_order_relaxed);

        if (atomic_load_explicit(&s->state, memory_order_acquire) == SLOT_ATTACHED &&
            what < ELEMENTSOF(counts))
            counts[what]++;
    }
    (void) fputs("# TYPE pinion_sessions gauge\n# HELP pinion_sessions Clients by what they do.\n",
                 f);
    for (size_t i = 0; i < ELEMENTSOF(names); i++)
        (void) fprintf(f, "pinion_sessions{state=\"%s\"} %" PRIu64 "\n", names[i], counts[i]);
    put_gauge(f, "max_connections", "Most of them at once.",
              (uint64_t) a->start->conf->v.max_connections);
}

/* As the background writer saw it last. */
static void
put_cache(FILE *f, const struct shm_status *s)
{
    /* clang-format off */
    static const struct {
        const char *name;
        const char *what;
    } rows[CACHE_COUNTS] = {
#define CACHE_COUNT(id, json, text) [CACHE_COUNT_##id] = { #json, text },
#include "tbl/cache_counts.def"
#undef CACHE_COUNT
    };
    /* clang-format on */

    (void) fputs("# TYPE pinion_cache unknown\n"
                 "# HELP pinion_cache Figures of the page cache by name, as in GetStatus.\n",
                 f);
    for (size_t i = 0; i < CACHE_COUNTS; i++)
        (void) fprintf(f, "pinion_cache{figure=\"%s\",what=\"%s\"} %" PRIu64 "\n", rows[i].name,
                       rows[i].what, get64(&s->cache[i]));
}

static void
put_disks(FILE *f, const struct shm_status *s)
{
    static const char *const names[SPACE_DISKS] = { [SPACE_WAL] = "wal", [SPACE_DATA] = "data" };

    (void) fputs("# TYPE pinion_disk_free_bytes gauge\n# UNIT pinion_disk_free_bytes bytes\n"
                 "# HELP pinion_disk_free_bytes Space left for who is not root.\n",
                 f);
    for (int i = 0; i < SPACE_DISKS; i++)
        (void) fprintf(f, "pinion_disk_free_bytes{disk=\"%s\"} %" PRIu64 "\n", names[i],
                       get64(&s->space[i].free_bytes));
    (void) fputs("# TYPE pinion_disk_refusals counter\n"
                 "# HELP pinion_disk_refusals Times that a disk was full, since the start.\n",
                 f);
    for (int i = 0; i < SPACE_DISKS; i++)
        (void) fprintf(f, "pinion_disk_refusals_total{disk=\"%s\"} %" PRIu64 "\n", names[i],
                       get64(&s->space[i].n_refused));
}

void
metrics_write(FILE *f, struct attached *a, struct metrics_db *dbs, size_t n_dbs)
{
    const struct shm_status *s = segment_status(a->start->segment);

    (void) fprintf(f,
                   "# TYPE pinion info\n# HELP pinion The server.\n"
                   "pinion_info{version=\"%s\",system_identifier=\"%" PRIu64 "\"} 1\n",
                   PINION_VERSION, get64(&s->sysid));
    put_sessions(f, a);
    put_databases(f, a, dbs, n_dbs);
    put_cluster(f, a);
    put_positions(f, s);
    put_cache(f, s);
    put_disks(f, s);
    (void) fputs("# EOF\n", f);
}

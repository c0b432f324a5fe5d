/* Recovery targets: which record is the last one. Pure; runs in: startup, tests.
 * Source: postmaster.md 5.2; REDO-8; the rules and words of PostgreSQL 15. */
#include "store/store_recover_target.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "wal/wal_xact.h"
#include "wal/wal_xlog.h"

/* "2026-11-21 13:40:00.123456+00" */
static const char *
time_text(int64_t wal_usec, char *p, size_t n)
{
    int64_t usec = wal_time_to_unix(wal_usec);
    int64_t sec = usec / 1000000 - (usec % 1000000 < 0);
    time_t t = (time_t) sec;
    struct tm tm;
    size_t at;

    (void) gmtime_r(&t, &tm);
    at = strftime(p, n, "%Y-%m-%d %H:%M:%S", &tm);
    usec -= sec * 1000000;
    if (usec != 0)
        at += (size_t) snprintf(p + at, n - at, ".%06d", (int) usec);
    while (usec != 0 && p[at - 1] == '0')
        at--;
    (void) snprintf(p + at, n - at, "+00");
    return p;
}

/* Does d end a transaction? Then *ret_time is when. */
static bool
is_end_of_xact(const struct wal_decoded *d, int64_t *ret_time)
{
    struct wal_xact_end end;

    if (!wal_decoded_is_xact(d, XACT_COMMIT) && !wal_decoded_is_xact(d, XACT_ABORT))
        return false;
    if (wal_xact_get_end(d->main, d->main_bytes, d->info, &end, NULL) < 0)
        return false;
    *ret_time = end.time;
    return true;
}

static bool
stop(const struct recover_target *t, const struct wal_decoded *d, bool after, int64_t time,
     struct recover_stop *ret)
{
    *ret = (struct recover_stop){
        .kind = t->kind, .after = after, .xid = d->xid, .time = time, .lsn = d->lsn
    };
    return true;
}

bool
recover_stops_before(const struct recover_target *t, const struct wal_decoded *d,
                     struct recover_stop *ret)
{
    int64_t time = 0;

    if (t->kind == RECOVER_TO_LSN && !t->inclusive && d->lsn >= t->lsn)
        return stop(t, d, false, 0, ret);
    if (!is_end_of_xact(d, &time))
        return false;
    if (t->kind == RECOVER_TO_XID && !t->inclusive && d->xid == t->xid)
        return stop(t, d, false, time, ret);
    /* Several may have ended in one microsecond: all of them, or none. */
    if (t->kind == RECOVER_TO_TIME && (t->inclusive ? time > t->time : time >= t->time))
        return stop(t, d, false, time, ret);
    return false;
}

static bool
is_named(const struct recover_target *t, const struct wal_decoded *d, struct recover_stop *ret)
{
    struct wal_restore_point point;

    if (t->kind != RECOVER_TO_NAME || !wal_decoded_is(d, RM_XLOG, XLOG_RESTORE_POINT) ||
        wal_xlog_get_restore_point(d->main, d->main_bytes, &point, NULL) < 0 ||
        strcmp(point.name, t->name) != 0)
        return false;
    (void) stop(t, d, true, point.time, ret);
    memcpy(ret->name, point.name, sizeof ret->name);
    return true;
}

bool
recover_stops_after(const struct recover_target *t, const struct wal_decoded *d, bool is_consistent,
                    struct recover_stop *ret)
{
    int64_t time = 0;

    if (is_named(t, d, ret))
        return true;
    if (t->kind == RECOVER_TO_LSN && t->inclusive && d->lsn >= t->lsn)
        return stop(t, d, true, 0, ret);
    if (t->kind == RECOVER_TO_XID && t->inclusive && d->xid == t->xid && is_end_of_xact(d, &time))
        return stop(t, d, true, time, ret);
    if (t->kind == RECOVER_TO_CONSISTENCY && is_consistent)
        return stop(t, d, true, 0, ret);
    return false;
}

/* ---- words ---- */

const char *
recover_target_text(const struct recover_target *t, char p[RECOVER_TEXT_BYTES])
{
    char when[64];

    switch (t->kind) {
    case RECOVER_TO_END:
        (void) snprintf(p, RECOVER_TEXT_BYTES, "starting archive recovery");
        break;
    case RECOVER_TO_XID:
        (void) snprintf(p, RECOVER_TEXT_BYTES, "starting point-in-time recovery to XID %u", t->xid);
        break;
    case RECOVER_TO_TIME:
        (void) snprintf(p, RECOVER_TEXT_BYTES, "starting point-in-time recovery to %s",
                        time_text(t->time, when, sizeof when));
        break;
    case RECOVER_TO_LSN:
        (void) snprintf(p, RECOVER_TEXT_BYTES,
                        "starting point-in-time recovery to WAL location (LSN) \"" LSN_FMT "\"",
                        LSN_ARGS(t->lsn));
        break;
    case RECOVER_TO_NAME:
        (void) snprintf(p, RECOVER_TEXT_BYTES, "starting point-in-time recovery to \"%s\"",
                        t->name);
        break;
    case RECOVER_TO_CONSISTENCY:
        (void) snprintf(p, RECOVER_TEXT_BYTES,
                        "starting point-in-time recovery to earliest consistent point");
        break;
    }
    return p;
}

const char *
recover_stop_text(const struct recover_stop *s, char p[RECOVER_TEXT_BYTES])
{
    const char *where = s->after ? "after" : "before";
    char when[64];

    switch (s->kind) {
    case RECOVER_TO_XID:
    case RECOVER_TO_TIME:
        (void) snprintf(p, RECOVER_TEXT_BYTES,
                        "recovery stopping %s commit of transaction %u, time %s", where, s->xid,
                        time_text(s->time, when, sizeof when));
        break;
    case RECOVER_TO_LSN:
        (void) snprintf(p, RECOVER_TEXT_BYTES,
                        "recovery stopping %s WAL location (LSN) \"" LSN_FMT "\"", where,
                        LSN_ARGS(s->lsn));
        break;
    case RECOVER_TO_NAME:
        (void) snprintf(p, RECOVER_TEXT_BYTES, "recovery stopping at restore point \"%s\", time %s",
                        s->name, time_text(s->time, when, sizeof when));
        break;
    case RECOVER_TO_CONSISTENCY:
        (void) snprintf(p, RECOVER_TEXT_BYTES, "recovery stopping after reaching consistency");
        break;
    case RECOVER_TO_END:
        p[0] = '\0';
        break;
    }
    return p;
}

const char *
recover_reason(const struct recover_stop *s, char p[RECOVER_TEXT_BYTES])
{
    const char *where = s != NULL && s->after ? "after" : "before";
    char when[64];

    switch (s != NULL ? s->kind : RECOVER_TO_END) {
    case RECOVER_TO_XID:
        (void) snprintf(p, RECOVER_TEXT_BYTES, "%s transaction %u", where, s->xid);
        break;
    case RECOVER_TO_TIME: /* these two end a line of their own */
        (void) snprintf(p, RECOVER_TEXT_BYTES, "%s %s\n", where,
                        time_text(s->time, when, sizeof when));
        break;
    case RECOVER_TO_LSN:
        (void) snprintf(p, RECOVER_TEXT_BYTES, "%s LSN " LSN_FMT "\n", where, LSN_ARGS(s->lsn));
        break;
    case RECOVER_TO_NAME:
        (void) snprintf(p, RECOVER_TEXT_BYTES, "at restore point \"%s\"", s->name);
        break;
    case RECOVER_TO_CONSISTENCY:
        (void) snprintf(p, RECOVER_TEXT_BYTES, "reached consistency");
        break;
    case RECOVER_TO_END:
        (void) snprintf(p, RECOVER_TEXT_BYTES, "no recovery target specified");
        break;
    }
    return p;
}

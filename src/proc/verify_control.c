/* The control file, both copies. Runs in: `piniond verify`. Owns: nothing. Source: CKPT-5. */
#include <stdio.h>
#include <string.h>

#include "proc/verify_int.h"

/* A server writes the second copy, syncs, then the first: they differ for the time of a sync. */
#define TRIES 200

struct copies {
    uint8_t bytes[WAL_CONTROL_FILE_BYTES];
    ssize_t n;
    struct wal_control control[2];
    struct err err[2];
    int r[2];
};

static void
look_at_copies(struct verify *v, struct copies *c)
{
    memset(c, 0, sizeof *c);
    c->n = io_read_file(&v->io, WAL_CONTROL_PATH, c->bytes, sizeof c->bytes);
    for (int i = 0; i < 2; i++)
        c->r[i] = wal_control_get(c->bytes + (size_t) i * WAL_CONTROL_SECOND_AT, &c->control[i],
                                  &c->err[i]);
}

static bool
rest_is_zero(const struct copies *c)
{
    for (size_t i = 0; i < sizeof c->bytes; i++) {
        if (i % WAL_CONTROL_SECOND_AT >= WAL_CONTROL_BYTES && c->bytes[i] != 0)
            return false;
    }
    return true;
}

static bool
are_equal(const struct copies *c)
{
    return memcmp(c->bytes, c->bytes + WAL_CONTROL_SECOND_AT, WAL_CONTROL_BYTES) == 0;
}

static bool
is_fine(const struct copies *c)
{
    return c->n == (ssize_t) WAL_CONTROL_FILE_BYTES && c->r[0] == 0 && c->r[1] == 0 &&
           are_equal(c) && rest_is_zero(c);
}

static void
problem(struct verify *v, const char *message, const char *detail)
{
    struct verify_problem p = { .part = "control", .file = WAL_CONTROL_PATH };

    (void) snprintf(p.message, sizeof p.message, "%s", message);
    (void) snprintf(p.detail, sizeof p.detail, "%s", detail);
    report_problem(&v->report, &p);
}

static void
tell(struct verify *v, const struct copies *c)
{
    char text[128];
    char detail[512];

    if (c->n < 0) {
        (void) snprintf(detail, sizeof detail, "%s.", strerrordesc_np((int) -c->n));
        problem(v, "could not read the file", detail);
        return;
    }
    if (c->n != (ssize_t) WAL_CONTROL_FILE_BYTES) {
        (void) snprintf(detail, sizeof detail, "Expected %u bytes, found %zd.",
                        WAL_CONTROL_FILE_BYTES, c->n);
        problem(v, "the file has a wrong size", detail);
    }
    for (unsigned i = 0; i < 2; i++) {
        if (c->r[i] == 0)
            continue;
        (void) snprintf(text, sizeof text, "the %s copy, at byte %u, cannot be used",
                        i == 0 ? "first" : "second", i * WAL_CONTROL_SECOND_AT);
        (void) snprintf(detail, sizeof detail, "%.250s%s%.250s", c->err[i].message,
                        c->err[i].detail[0] != '\0' ? ": " : "", c->err[i].detail);
        problem(v, text, detail);
    }
    if (c->r[0] == 0 && c->r[1] == 0 && !are_equal(c)) {
        (void) snprintf(detail, sizeof detail,
                        "Checkpoint " LSN_FMT " in the first, " LSN_FMT " in the second.",
                        LSN_ARGS(c->control[0].checkpoint_lsn),
                        LSN_ARGS(c->control[1].checkpoint_lsn));
        problem(v, "the two copies differ", detail);
    }
    if (!rest_is_zero(c))
        problem(v, "there are bytes that do not belong to a copy", "");
}

int
verify_control(struct verify *v)
{
    struct copies c;
    int used;

    look_at_copies(v, &c);
    for (int i = 0; i < TRIES && !is_fine(&c) && verify_pause(v); i++)
        look_at_copies(v, &c);
    /* Between the two writes (of a crash, or of a server whose disk is slow) the second is newer.
     */
    if (c.r[0] == 0 && c.r[1] == 0 && !are_equal(&c) && rest_is_zero(&c) &&
        c.control[1].checkpoint_lsn >= c.control[0].checkpoint_lsn)
        memcpy(c.bytes + WAL_CONTROL_SECOND_AT, c.bytes, WAL_CONTROL_BYTES);
    if (!is_fine(&c))
        tell(v, &c);
    used = c.r[0] == 0 ? 0 : c.r[1] == 0 ? 1 : -1;
    report_line("control");
    report_number(VERIFY_USABLE_COPIES, (unsigned) (c.r[0] == 0) + (c.r[1] == 0));
    if (used >= 0) {
        v->control = c.control[used];
        report_text(VERIFY_CLUSTER_STATE, wal_state_name(v->control.state));
        report_lsn(VERIFY_CHECKPOINT, v->control.checkpoint_lsn);
        report_lsn(VERIFY_REDO, v->control.checkpoint.redo);
    }
    report_line_end();
    return used < 0 ? -ERR_DATA_CORRUPTED : 0;
}

/* Statistics over a clean stop: lines of text, the last one a checksum of those before it.
 *
 *   pinion statistics 1
 *   cluster <column> <n>
 *   reset <group> <microseconds since 1970>
 *   last <column> <microseconds since 1970> <file>
 *   db <oid> <column> <n>
 *   db <oid> reset <microseconds since 1970>
 *   crc <CRC-32C, eight hexadecimal digits>
 *
 * What is 0 has no line. Columns that this version does not know are left out: a downgrade loses
 * them, nothing else. Runs in: checkpointer (save), startup process (restore). Owns: STAT_PATH.
 * Source: none; the moments are those of PostgreSQL 15's pgstat_write_statsfile(). */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/crc32c.h"
#include "shm/stat_int.h"

#define HEAD     "pinion statistics 1\n"
#define FILE_MAX ((size_t) 16 << 20)
#define CRC_LINE "crc "

/* ---- writing ---- */

static void
put_cluster(struct stats *st, FILE *f)
{
    uint64_t n[STAT_COUNTS];
    usec_t reset[STAT_GROUPS];

    stat_read_cluster(st, n, reset);
    for (uint32_t i = STAT_DB_COUNTS; i < STAT_COUNTS; i++)
        if (n[i] != 0)
            (void) fprintf(f, "cluster %s %" PRIu64 "\n", stat_column(i), n[i]);
    for (enum stat_group g = 0; g < STAT_GROUPS; g++)
        if (reset[g] != 0)
            (void) fprintf(f, "reset %s %" PRIu64 "\n", stat_group_name(g), reset[g]);
}

static void
put_archiver(struct stats *st, FILE *f)
{
    struct stat_archiver a;

    stat_read_archiver(st, &a);
    for (uint32_t i = 0; i < STAT_FILES; i++)
        if (a.last[i].when != 0)
            (void) fprintf(f, "last %s %" PRIu64 " %s\n", stat_column(STAT_ARCHIVED + i),
                           a.last[i].when, a.last[i].name);
}

static void
put_db(struct stats *st, oid_t oid, FILE *f)
{
    uint64_t n[STAT_DB_COUNTS];
    usec_t reset;

    stat_read_db(st, oid, n, &reset);
    for (uint32_t i = 0; i < STAT_DB_COUNTS; i++)
        if (n[i] != 0)
            (void) fprintf(f, "db %u %s %" PRIu64 "\n", oid, stat_column(i), n[i]);
    if (reset != 0)
        (void) fprintf(f, "db %u reset %" PRIu64 "\n", oid, reset);
}

/* The oids that have sums. They stay while we write: nobody else is left who could drop one. */
static uint32_t
list_dbs(struct stats *st, oid_t *oids)
{
    uint32_t n = 0;

    spin_take(st->self, &st->sh->lock, LOCK_STATS);
    for (uint32_t i = 0; i < st->sh->n_dbs; i++)
        if (st->sh->db[i].is_used)
            oids[n++] = st->sh->db[i].oid;
    spin_drop(st->self, &st->sh->lock, LOCK_STATS);
    return n;
}

int
stat_save(struct stats *st, struct io *io, struct err *e)
{
    CLEANUP(freep) oid_t *oids = malloc(STAT_DBS * sizeof *oids);
    CLEANUP(freep) char *text = NULL;
    size_t bytes = 0;
    FILE *f = open_memstream(&text, &bytes);
    bool failed;

    if (f == NULL)
        return ERR(e, OUT_OF_MEMORY, "could not write statistics: out of memory");
    (void) fputs(HEAD, f);
    put_cluster(st, f);
    put_archiver(st, f);
    for (uint32_t i = 0, n = oids != NULL ? list_dbs(st, oids) : 0; i < n; i++)
        put_db(st, oids[i], f);
    (void) fflush(f);
    (void) fprintf(f, CRC_LINE "%08x\n", crc32c(0, text, bytes));
    failed = ferror(f) != 0 || oids == NULL;
    if (fclose(f) != 0 || failed)
        return ERR(e, OUT_OF_MEMORY, "could not write statistics: out of memory");
    return io_write_file_durably(io, "pg_stat", STAT_PATH, text, bytes, e);
}

/* ---- reading ---- */

/* The counter of a column within [from, upto), or STAT_COUNTS. */
static uint32_t
find_column(const char *column, uint32_t from, uint32_t upto)
{
    for (uint32_t i = from; i < upto; i++)
        if (strcmp(stat_column(i), column) == 0)
            return i;
    return STAT_COUNTS;
}

static void
take_db(struct stats *st, oid_t oid, const char *column, uint64_t n)
{
    uint32_t i = find_column(column, 0, STAT_DB_COUNTS);
    struct stat_db *db;

    spin_take(st->self, &st->sh->lock, LOCK_STATS);
    db = stat_make_db(st->sh, oid);
    if (db != NULL && i < STAT_COUNTS)
        db->n[i] += n;
    else if (db != NULL && strcmp(column, "reset") == 0)
        db->reset = n;
    spin_drop(st->self, &st->sh->lock, LOCK_STATS);
}

static void
take_cluster(struct stats *st, const char *column, uint64_t n)
{
    uint32_t i = find_column(column, STAT_DB_COUNTS, STAT_COUNTS);

    spin_take(st->self, &st->sh->lock, LOCK_STATS);
    if (i < STAT_COUNTS)
        st->sh->n[i] += n;
    spin_drop(st->self, &st->sh->lock, LOCK_STATS);
}

static void
take_reset(struct stats *st, const char *name, usec_t when)
{
    enum stat_group g = stat_group_of(name);

    spin_take(st->self, &st->sh->lock, LOCK_STATS);
    if (g < STAT_GROUPS)
        st->sh->reset[g] = when;
    spin_drop(st->self, &st->sh->lock, LOCK_STATS);
}

static void
take_last(struct stats *st, const char *column, const struct stat_last *last)
{
    uint32_t i = find_column(column, STAT_ARCHIVED, STAT_ARCHIVED + STAT_FILES);

    spin_take(st->self, &st->sh->lock, LOCK_STATS);
    if (i < STAT_COUNTS)
        st->sh->last[i - STAT_ARCHIVED] = *last;
    spin_drop(st->self, &st->sh->lock, LOCK_STATS);
}

/* A line that is none of these is of another version. */
static void
take_line(struct stats *st, const char *line)
{
    struct stat_last last = { 0 };
    char name[64];
    uint64_t n;
    oid_t oid;

    if (sscanf(line, "cluster %63s %" SCNu64, name, &n) == 2)
        take_cluster(st, name, n);
    else if (sscanf(line, "reset %63s %" SCNu64, name, &n) == 2)
        take_reset(st, name, n);
    else if (sscanf(line, "last %63s %" SCNu64 " %47s", name, &last.when, last.name) == 3)
        take_last(st, name, &last);
    else if (sscanf(line, "db %u %63s %" SCNu64, &oid, name, &n) == 3)
        take_db(st, oid, name, n);
}

static int
damaged(struct err *e, const char *what)
{
    (void) ERR(e, DATA_CORRUPTED, "could not use statistics of \"%s\": %s", STAT_PATH, what);
    err_hint(e, "They begin at zero. Nothing else is lost.");
    return -ERR_DATA_CORRUPTED;
}

/* Head and checksum; cuts the checksum's line off. */
static int
check(char *text, size_t n, struct err *e)
{
    char *last = NULL;
    unsigned crc;

    if (strlen(text) != n || strncmp(text, HEAD, strlen(HEAD)) != 0)
        return damaged(e, "unknown format");
    for (char *p = strstr(text, "\n" CRC_LINE); p != NULL; p = strstr(p + 1, "\n" CRC_LINE))
        last = p + 1;
    if (last == NULL || sscanf(last, CRC_LINE "%8x", &crc) != 1)
        return damaged(e, "it is cut off");
    if (crc != crc32c(0, text, (size_t) (last - text)))
        return damaged(e, "wrong checksum");
    *last = '\0';
    return 0;
}

/* All or nothing: the sums of a damaged file are not half taken. */
static int
take_all(struct stats *st, char *text, size_t n, struct err *e)
{
    char *rest = text + strlen(HEAD);
    char *line;
    int r = check(text, n, e);

    if (r < 0)
        return r;
    while ((line = strsep(&rest, "\n")) != NULL)
        take_line(st, line);
    return 0;
}

/* 1: taken; 0: there is none. */
static int
take_file(struct stats *st, struct io *io, struct err *e)
{
    CLEANUP(freep) char *text = malloc(FILE_MAX + 1);
    ssize_t n;

    if (text == NULL)
        return ERR(e, OUT_OF_MEMORY, "could not read statistics: out of memory");
    n = io_read_file(io, STAT_PATH, text, FILE_MAX);
    if (n == -ENOENT)
        return 0;
    if (n < 0)
        return err_set_errno(e, (int) -n, "could not read file \"%s\"", STAT_PATH);
    text[n] = '\0';
    n = take_all(st, text, (size_t) n, e);
    return n < 0 ? (int) n : 1;
}

int
stat_restore(struct stats *st, struct io *io, bool keep, struct err *e)
{
    int r = keep ? take_file(st, io, e) : 0;
    int r2;

    if (r <= 0)
        for (enum stat_group g = STAT_GROUP_DATABASE + 1; g < STAT_GROUPS; g++)
            st->sh->reset[g] = clock_real_usec();
    r2 = io_unlink(io, STAT_PATH);
    if (r2 < 0 && r2 != -ENOENT && r >= 0)
        r = err_set_errno(e, -r2, "could not remove file \"%s\"", STAT_PATH);
    return MIN(r, 0);
}

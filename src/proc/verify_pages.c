/* The pages of a file: checksum, place, format, age. Runs in: `piniond verify`,
 * startup. Owns: one buffer.
 * Source: FILE-7, BACKUP-1 (a page that fails is read again before it is called wrong). */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "proc/verify_int.h"
#include "store/store_file.h"
#include "store/store_page.h"

#define CHUNK_PAGES 64u
#define TRIES       20 /* of a page that a running server may be writing just now */
#define BAD_MANY    10 /* so many in one file: no more patience with each */

struct pages {
    struct verify *v;
    const struct verify_db *db;
    char path[STORE_PATH_BYTES];
    int fd;
    uint64_t bytes; /* of the file */
    int64_t n_bad;
};

static void
problem(struct pages *p, blk_t block, bool has_page, const char *message, const char *detail)
{
    struct verify_problem out = { .part = "database", .page = has_page ? block + 1 : 0 };

    (void) snprintf(out.database, sizeof out.database, "%s", p->db->name);
    (void) snprintf(out.file, sizeof out.file, "%s", p->path);
    (void) snprintf(out.message, sizeof out.message, "%s", message);
    (void) snprintf(out.detail, sizeof out.detail, "%s", detail);
    p->n_bad++;
    report_problem(&p->v->report, &out);
}

/* A torn page of a crashed cluster: recovery may have what it needs. */
static void
suspect(struct pages *p, blk_t block, const struct err *why)
{
    struct verify *v = p->v;
    struct suspect *s = &v->suspects[v->n_suspects];

    *s = (struct suspect){ .oid = p->db->oid, .rel = p->db->rel, .block = block };
    s->problem = (struct verify_problem){ .part = "database", .page = block + 1 };
    (void) snprintf(s->problem.database, sizeof s->problem.database, "%s", p->db->name);
    (void) snprintf(s->problem.file, sizeof s->problem.file, "%s", p->path);
    (void) snprintf(s->problem.message, sizeof s->problem.message,
                    "%.400s, and the log has no image of the page", why->message);
    (void) snprintf(s->problem.detail, sizeof s->problem.detail, "%s", why->detail);
    v->n_suspects++;
}

/* Read one page again, if that can help. 0: it is fine now, or gone. */
static int
try_again(struct pages *p, blk_t block, lsn_t *ret_lsn, struct err *e)
{
    uint8_t page[PAGE_BYTES];
    int tries = p->n_bad < BAD_MANY ? TRIES : 1;
    int r = -ERR_DATA_CORRUPTED;

    for (int i = 0; i < tries && r < 0 && verify_pause(p->v); i++) {
        ssize_t n = io_pread(&p->v->io, p->fd, page, sizeof page, (uint64_t) block * PAGE_BYTES);

        if (n == 0)
            return 0; /* cut off meanwhile */
        if (n < (ssize_t) sizeof page)
            continue;
        err_clear(e);
        r = page_check(page, block, ret_lsn, e);
    }
    return r;
}

static void
check_page(struct pages *p, const uint8_t *page, blk_t block)
{
    struct verify *v = p->v;
    struct err e = ERR_INIT;
    lsn_t lsn = 0;
    int r = page_check(page, block, &lsn, &e);

    if (r < 0)
        r = try_again(p, block, &lsn, &e);
    if (r < 0 && v->server == SERVER_CRASHED && v->n_suspects < SUSPECTS_MAX) {
        suspect(p, block, &e);
        return;
    }
    if (r < 0)
        problem(p, block, true, e.message, e.detail);
    if (r == 0 && lsn > v->max_lsn) {
        v->max_lsn = lsn;
        v->max_block = block;
    }
}

static bool
is_unlinked(int fd)
{
    struct stat st;

    return fstat(fd, &st) == 0 && st.st_nlink == 0; /* dropped while we looked at it */
}

/* Is the file as long as page 1 says? While a server runs the two may differ: page 1 on disk is an
 * old one when the file is cut, and may be written before the pages behind the old end. What is
 * missing then is found by the check of the structure. After a crash the log repairs it. */
static void
check_size(struct pages *p)
{
    uint8_t page[PAGE_BYTES];
    uint64_t want = 0;
    lsn_t lsn;
    struct err e = ERR_INIT;
    ssize_t n = io_pread(&p->v->io, p->fd, page, sizeof page, 0);

    if (io_size(&p->v->io, p->fd, &p->bytes) < 0)
        return;
    if (p->v->server != SERVER_RUNNING && n == (ssize_t) sizeof page &&
        page_check(page, 0, &lsn, NULL) == 0)
        want = (uint64_t) page1_size(page) * PAGE_BYTES;
    want = MAX(want, PAGE_BYTES);
    if (p->bytes >= want)
        return;
    (void) ERR(&e, DATA_CORRUPTED, "the file is too short");
    err_detail(&e, "Expected %llu bytes, found %llu.", (unsigned long long) want,
               (unsigned long long) p->bytes);
    if (p->v->server == SERVER_CRASHED && p->v->n_suspects < SUSPECTS_MAX)
        suspect(p, 0, &e);
    else
        problem(p, 0, false, e.message, e.detail);
}

static int
read_pages(struct pages *p, uint32_t *ret_pages)
{
    CLEANUP(freep) uint8_t *bytes = malloc((size_t) CHUNK_PAGES * PAGE_BYTES);
    uint64_t n_pages = p->bytes / PAGE_BYTES;
    blk_t block = 0;

    if (bytes == NULL)
        return -ENOMEM;
    while (block < n_pages) {
        uint32_t n = (uint32_t) MIN(CHUNK_PAGES, n_pages - block);
        ssize_t got = io_pread(&p->v->io, p->fd, bytes, (size_t) n * PAGE_BYTES,
                               (uint64_t) block * PAGE_BYTES);

        if (got < 0)
            return (int) got;
        n = (uint32_t) ((size_t) got / PAGE_BYTES);
        if (n == 0)
            break; /* cut off meanwhile; a stopped one was measured before */
        for (uint32_t i = 0; i < n; i++)
            check_page(p, bytes + (size_t) i * PAGE_BYTES, block + i);
        block += n;
        if (report_pages(&p->v->report, p->db->name, n, block, n_pages) < 0)
            return -ECANCELED;
    }
    *ret_pages = block;
    return 0;
}

/* No page is newer than the log. */
static void
check_age(struct pages *p)
{
    struct verify *v = p->v;
    struct err e = ERR_INIT;
    lsn_t end = v->wal_end;
    char text[200];

    if (v->client != NULL && verify_ask_end(v, &end, &e) < 0) {
        report_unchecked(&v->report, "age of the pages of database \"%s\": %s", p->db->name,
                         e.message);
        return;
    }
    if (end == 0 || v->max_lsn <= end)
        return;
    (void) snprintf(text, sizeof text, "The page has " LSN_FMT ", the log ends at " LSN_FMT ".",
                    LSN_ARGS(v->max_lsn), LSN_ARGS(end));
    problem(p, v->max_block, true, "the page is newer than the log", text);
}

int64_t
verify_pages(struct verify *v, const struct verify_db *db, uint32_t *ret_pages)
{
    struct pages p = { .v = v, .db = db };
    int r;

    *ret_pages = 0;
    v->max_lsn = 0;
    store_path_file(p.path, sizeof p.path, db->oid, db->rel);
    p.fd = io_open(&v->io, p.path, O_RDONLY, 0);
    if (p.fd < 0) {
        if (p.fd == -ENOENT && v->server != SERVER_STOPPED)
            return VERIFY_GONE;
        problem(&p, 0, false, "could not open the file", strerrordesc_np(-p.fd));
        return p.n_bad;
    }
    check_size(&p);
    r = read_pages(&p, ret_pages);
    if (r < 0 && r != -ECANCELED)
        problem(&p, *ret_pages, true, "could not read the file", strerrordesc_np(-r));
    if (r == 0)
        check_age(&p);
    r = is_unlinked(p.fd) ? VERIFY_GONE : 0;
    (void) io_close(&v->io, p.fd);
    return r < 0 ? r : p.n_bad;
}

/* The list of pages that were in the cache: lines of text, the last one a checksum of those before
 * it.
 *
 *   pinion prewarm 1
 *   <database oid> <first block> <number of blocks>
 *   crc <CRC-32C, eight hexadecimal digits>
 *
 * Runs in: background worker. Owns: PREWARM_PATH. Source: PostgreSQL's autoprewarm.c, which has a
 * line for each page. */
#include "proc/prewarm_file.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/crc32c.h"

#define HEAD     "pinion prewarm 1\n"
#define CRC_LINE "crc "
#define FILE_MAX ((size_t) 1 << 30) /* a line for each page of the largest caches */

/* ---- the list ---- */
static int
compare(const void *a, const void *b)
{
    const struct cache_key *x = a;
    const struct cache_key *y = b;

    if (x->oid != y->oid)
        return x->oid < y->oid ? -1 : 1;
    return x->block < y->block ? -1 : x->block > y->block;
}

int
prewarm_list_make(struct cache_key *keys, uint32_t n, struct prewarm_list *ret, struct err *e)
{
    struct prewarm_run *last = NULL;

    *ret = (struct prewarm_list){ .runs = malloc(MAX(n, 1u) * sizeof *ret->runs) };
    if (ret->runs == NULL)
        return ERR(e, OUT_OF_MEMORY, "out of memory");
    qsort(keys, n, sizeof *keys, compare);
    for (uint32_t i = 0; i < n; i++) {
        if (last != NULL && keys[i].oid == last->oid && keys[i].block < last->first + last->n)
            continue; /* twice */
        if (last == NULL || keys[i].oid != last->oid || keys[i].block != last->first + last->n) {
            last = &ret->runs[ret->n++];
            *last = (struct prewarm_run){ .oid = keys[i].oid, .first = keys[i].block };
        }
        last->n++;
        ret->n_pages++;
    }
    return 0;
}

void
prewarm_list_done(struct prewarm_list *l)
{
    free(l->runs);
    *l = (struct prewarm_list){ .runs = NULL };
}

/* ---- writing ---- */
int
prewarm_save(const struct prewarm_list *l, struct io *io, struct err *e)
{
    CLEANUP(freep) char *text = NULL;
    size_t bytes = 0;
    FILE *f = open_memstream(&text, &bytes);
    bool failed;

    if (f == NULL)
        return ERR(e, OUT_OF_MEMORY, "could not write the list of pages: out of memory");
    (void) fputs(HEAD, f);
    for (uint32_t i = 0; i < l->n; i++)
        (void) fprintf(f, "%u %u %u\n", l->runs[i].oid, l->runs[i].first, l->runs[i].n);
    (void) fflush(f);
    (void) fprintf(f, CRC_LINE "%08x\n", crc32c(0, text, bytes));
    failed = ferror(f) != 0;
    if (fclose(f) != 0 || failed)
        return ERR(e, OUT_OF_MEMORY, "could not write the list of pages: out of memory");
    return io_write_file_durably(io, ".", PREWARM_PATH, text, bytes, e);
}

/* ---- reading ---- */
static int
damaged(struct err *e, const char *what)
{
    (void) ERR(e, DATA_CORRUPTED, "could not use the list of pages in \"%s\": %s", PREWARM_PATH,
               what);
    err_detail(e, "The cache fills as pages are used. Nothing is lost.");
    return -ERR_DATA_CORRUPTED;
}

/* Head and checksum; cuts the checksum's line off. */
static int
check(char *text, size_t n, struct err *e)
{
    char *last;
    unsigned crc;

    if (strlen(text) != n || strncmp(text, HEAD, strlen(HEAD)) != 0)
        return damaged(e, "unknown format");
    last = n < 2 ? NULL : memrchr(text, '\n', n - 1);
    if (last == NULL || text[n - 1] != '\n' || sscanf(last + 1, CRC_LINE "%8x", &crc) != 1)
        return damaged(e, "it is cut off");
    if (crc != crc32c(0, text, (size_t) (last + 1 - text)))
        return damaged(e, "wrong checksum");
    last[1] = '\0';
    return 0;
}

static int
take_lines(char *text, struct prewarm_list *ret, struct err *e)
{
    size_t n_lines = 0;
    char *rest = text + strlen(HEAD);
    char *line;

    for (const char *p = text; *p != '\0'; p++)
        n_lines += *p == '\n';
    ret->runs = malloc(n_lines * sizeof *ret->runs);
    if (ret->runs == NULL)
        return ERR(e, OUT_OF_MEMORY, "out of memory");
    while ((line = strsep(&rest, "\n")) != NULL) {
        struct prewarm_run run;

        if (line[0] == '\0')
            continue;
        if (sscanf(line, "%u %u %u", &run.oid, &run.first, &run.n) != 3 || run.n == 0 ||
            run.first > UINT32_MAX - run.n)
            return damaged(e, "a line that is none");
        ret->runs[ret->n++] = run;
        ret->n_pages += run.n;
    }
    return 1;
}

int
prewarm_load(struct io *io, struct prewarm_list *ret, struct err *e)
{
    CLEANUP(freep) char *text = NULL;
    uint64_t bytes = 0;
    ssize_t n;
    int r;
    int fd = io_open(io, PREWARM_PATH, O_RDONLY, 0);

    *ret = (struct prewarm_list){ .runs = NULL };
    if (fd == -ENOENT)
        return 0;
    r = fd < 0 ? fd : io_size(io, fd, &bytes);
    if (fd >= 0)
        (void) io_close(io, fd);
    if (r < 0)
        return err_set_errno(e, -r, "could not read file \"%s\"", PREWARM_PATH);
    if (bytes > FILE_MAX)
        return damaged(e, "it is too large");
    text = malloc((size_t) bytes + 1);
    if (text == NULL)
        return ERR(e, OUT_OF_MEMORY, "out of memory");
    n = io_read_file(io, PREWARM_PATH, text, (size_t) bytes);
    if (n < 0)
        return err_set_errno(e, (int) -n, "could not read file \"%s\"", PREWARM_PATH);
    text[n] = '\0';
    r = check(text, (size_t) n, e);
    if (r == 0)
        r = take_lines(text, ret, e);
    if (r < 0)
        prewarm_list_done(ret);
    return r;
}

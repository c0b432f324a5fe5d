/* New database files. Runs in: backend (CREATE DATABASE), init. Source: engine-rules FILE-2,
 * INIT-1; design 11. */
#include "vfs/vfs_build.h"

#include <string.h>

#include "vfs/vfs_err.h"
#include "vfs/vfs_file.h"

static int
build_settings(struct vfs_build *b, struct err *e)
{
    char sql[256];
    int reserve = (int) PAGE_TAIL_BYTES;
    int rc;

    rc = sqlite3_file_control(b->db, "main", SQLITE_FCNTL_RESERVE_BYTES, &reserve);
    (void) sqlite3_snprintf(sizeof sql, sql,
                            "PRAGMA encoding = 'UTF-8'; PRAGMA auto_vacuum = INCREMENTAL;"
                            "PRAGMA application_id = %d",
                            VFS_APPLICATION_ID);
    if (rc == SQLITE_OK)
        rc = sqlite3_exec(b->db, sql, NULL, NULL, NULL);
    if (rc != SQLITE_OK)
        return vfs_err_set(b->db, NULL, rc, e);
    return 0;
}

int
vfs_build_open(struct vfs_build *b, struct err *e)
{
    struct vfs_open_args args = { .ops = &vfs_mem_ops, .is_building = true };
    struct vfs_handle *h;
    int r;

    *b = (struct vfs_build){ .db = NULL };
    vfs_mem_init(&b->mem, NULL);
    args.t = vfs_mem_open(&b->mem);
    if (args.t == NULL)
        return ERR(e, OUT_OF_MEMORY, "out of memory");
    r = vfs_connect(&args, &b->db, &h, e);
    if (r < 0)
        return r;
    return build_settings(b, e);
}

int
vfs_build_finish(struct vfs_build *b, struct store_build *out, uint8_t **ret_pages, pgno_t *ret_n,
                 struct err *e)
{
    pgno_t n = vfs_mem_size(&b->mem);
    CLEANUP(freep) uint8_t *pages = NULL;

    (void) sqlite3_close(b->db);
    b->db = NULL;
    ASSERT(n > 0);
    pages = calloc(n, PAGE_BYTES);
    if (pages == NULL)
        return ERR(e, OUT_OF_MEMORY, "out of memory");
    for (pgno_t pgno = 1; pgno <= n; pgno++) {
        const uint8_t *p = vfs_mem_page(&b->mem, pgno);
        uint8_t *copy = pages + (size_t) (pgno - 1) * PAGE_BYTES;
        int r;

        if (p != NULL)
            memcpy(copy, p, PAGE_TAIL_AT); /* the tail is ours, not SQLite's */
        r = store_build_write(out, pgno, copy, e);
        if (r < 0)
            return r;
    }
    if (ret_pages != NULL)
        *ret_pages = TAKE_PTR(pages);
    if (ret_n != NULL)
        *ret_n = n;
    return 0;
}

void
vfs_build_done(struct vfs_build *b)
{
    if (b->db != NULL)
        (void) sqlite3_close(b->db);
    b->db = NULL;
    vfs_mem_done(&b->mem);
}

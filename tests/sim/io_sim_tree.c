/* Changes, files and names of the made-up disk. Runs in tests. Owns: inodes. */
#include "sim/io_sim_tree.h"

#include <stdio.h>
#include <string.h>

/* ---- changes ---- */

static void
change_free(struct change *c)
{
    free(c->p);
    free(c);
}

void
io_sim_drop_changes(struct inode *in)
{
    while (in->first != NULL) {
        struct change *c = in->first;

        in->first = c->next;
        change_free(c);
    }
    in->last = &in->first;
}

void
io_sim_add_change(struct inode *in, bool is_truncate, uint64_t off, const uint8_t *p, size_t n)
{
    struct change *c = calloc(1, sizeof *c);

    ASSERT(c != NULL);
    *c = (struct change){ .is_truncate = is_truncate, .off = off, .n = n };
    if (!is_truncate && n > 0 && !io_sim_is_zero(p, n)) {
        c->p = malloc(n);
        ASSERT(c->p != NULL);
        memcpy(c->p, p, n);
    }
    *in->last = c;
    in->last = &c->next;
}

void
io_sim_apply_change(struct content *to, const struct change *c)
{
    if (c->is_truncate)
        io_sim_content_size(to, c->off);
    else
        io_sim_content_put(to, c->off, c->p, c->n);
}

/* The disk gets some sectors of a write and not others. */
static void
apply_torn(struct io_sim *s, struct content *to, const struct change *c)
{
    uint64_t off = c->off;
    uint64_t end = c->off + c->n;

    while (off < end) {
        uint64_t stop = MIN(end, (off / s->sector + 1) * s->sector);

        if (rng_below(&s->rng, 2) == 0)
            io_sim_content_put(to, off, c->p == NULL ? NULL : c->p + (off - c->off), stop - off);
        off = stop;
    }
}

void
io_sim_settle_inode(struct inode *in)
{
    for (struct change *c = in->first; c != NULL; c = c->next)
        io_sim_apply_change(&in->disk, c);
    io_sim_drop_changes(in);
}

void
io_sim_settle_some(struct io_sim *s, struct inode *in, uint32_t keep, bool is_sync)
{
    for (struct change *c = in->first; c != NULL; c = c->next) {
        uint64_t dice = rng_below(&s->rng, 8);

        if (dice < keep || (is_sync && c->is_truncate))
            io_sim_apply_change(&in->disk, c);
        else if (!c->is_truncate && rng_below(&s->rng, 2) == 0)
            apply_torn(s, &in->disk, c);
    }
    io_sim_drop_changes(in);
}

struct inode *
io_sim_inode_new(struct io_sim *s, bool is_dir)
{
    struct inode *in = calloc(1, sizeof *in);

    ASSERT(in != NULL);
    in->is_dir = is_dir;
    in->lock_fd = -1;
    in->last = &in->first;
    in->next = s->inodes;
    s->inodes = in;
    return in;
}

void
io_sim_inode_free(struct inode *in)
{
    io_sim_drop_changes(in);
    io_sim_content_free(&in->now);
    io_sim_content_free(&in->disk);
    free(in);
}

/* Free what no name, descriptor or pending change leads to. */
void
io_sim_collect(struct io_sim *s)
{
    uint32_t mark = ++s->mark;

    for (uint32_t i = 0; i < s->now.n; i++)
        s->now.at[i].inode->mark = mark;
    for (uint32_t i = 0; i < s->disk.n; i++)
        s->disk.at[i].inode->mark = mark;
    for (uint32_t i = 0; i < s->n_pending; i++)
        s->pending[i].inode->mark = mark;
    for (uint32_t i = 0; i < SIM_FDS; i++)
        if (s->fds[i].inode != NULL)
            s->fds[i].inode->mark = mark;
    for (struct inode **at = &s->inodes; *at != NULL;) {
        struct inode *in = *at;

        if (in->mark == mark)
            at = &in->next;
        else {
            *at = in->next;
            io_sim_inode_free(in);
        }
    }
}

/* ---- names ---- */

struct name *
io_sim_find(struct names *t, const char *path)
{
    for (uint32_t i = 0; i < t->n; i++)
        if (strcmp(t->at[i].path, path) == 0)
            return &t->at[i];
    return NULL;
}

void
io_sim_names_set(struct names *t, const char *path, struct inode *in)
{
    struct name *found = io_sim_find(t, path);

    if (found == NULL) {
        ASSERT(t->n < SIM_NAMES);
        found = &t->at[t->n++];
        (void) snprintf(found->path, sizeof found->path, "%s", path);
    }
    found->inode = in;
}

void
io_sim_names_copy(struct names *to, const struct names *from)
{
    memcpy(to->at, from->at, from->n * sizeof from->at[0]);
    to->n = from->n;
}

static void
names_remove(struct names *t, const char *path)
{
    struct name *found = io_sim_find(t, path);

    if (found != NULL)
        *found = t->at[--t->n];
}

size_t
io_sim_dir_bytes(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash == NULL ? 0 : (size_t) (slash - path);
}

bool
io_sim_is_in_dir(const char *path, const char *dir)
{
    size_t n = io_sim_dir_bytes(path);

    if (dir[0] == '.' && dir[1] == '\0')
        dir++;
    return strlen(dir) == n && memcmp(path, dir, n) == 0;
}

bool
io_sim_has_parent(struct names *t, const char *path)
{
    char dir[SIM_PATH];
    size_t n = io_sim_dir_bytes(path);

    if (n == 0)
        return true;
    memcpy(dir, path, n);
    dir[n] = '\0';
    return io_sim_find(t, dir) != NULL && io_sim_find(t, dir)->inode->is_dir;
}

void
io_sim_apply_names(struct names *t, const struct name_change *c)
{
    switch (c->kind) {
    case NAME_ADD:
        io_sim_names_set(t, c->to, c->inode);
        break;
    case NAME_REMOVE:
        names_remove(t, c->from);
        break;
    case NAME_RENAME:
        names_remove(t, c->from);
        io_sim_names_set(t, c->to, c->inode);
        break;
    }
}

void
io_sim_change_names(struct io_sim *s, enum name_kind kind, const char *from, const char *to,
                    struct inode *in)
{
    struct name_change *c = &s->pending[s->n_pending];

    ASSERT(s->n_pending < SIM_PENDING);
    *c = (struct name_change){ .kind = kind, .inode = in };
    (void) snprintf(c->from, sizeof c->from, "%s", from);
    (void) snprintf(c->to, sizeof c->to, "%s", to);
    s->n_pending++;
    io_sim_apply_names(&s->now, c);
}

/* Settle the pending changes of one directory (NULL = of all). */
void
io_sim_settle_names(struct io_sim *s, const char *dir)
{
    uint32_t left = 0;

    for (uint32_t i = 0; i < s->n_pending; i++) {
        struct name_change *c = &s->pending[i];

        if (dir == NULL || io_sim_is_in_dir(c->kind == NAME_REMOVE ? c->from : c->to, dir))
            io_sim_apply_names(&s->disk, c);
        else
            s->pending[left++] = *c;
    }
    s->n_pending = left;
}

/* A file whose directory did not survive is gone. */
void
io_sim_drop_orphans(struct names *t)
{
    for (bool again = true; again;) {
        again = false;
        for (uint32_t i = t->n; i-- > 0;)
            if (!io_sim_has_parent(t, t->at[i].path)) {
                t->at[i] = t->at[--t->n];
                again = true;
            }
    }
}

/* The tree behind io_sim: files with two contents, names with two tables. For io_sim*.c only. */
#pragma once

#include "base/rng.h"
#include "sim/io_sim.h"
#include "sim/io_sim_content.h"

#define SIM_FDS     256
#define SIM_NAMES   1024
#define SIM_PENDING 16384
#define SIM_PATH    80

/* A change of a file since its last sync. */
struct change {
    struct change *next;
    bool is_truncate;
    uint64_t off; /* truncate: the new size */
    size_t n;
    uint8_t *p; /* owned; NULL = zeros */
};

struct inode {
    struct inode *next;
    bool is_dir;
    bool is_stale; /* readers see something that the disk will not get */
    uint32_t mark;
    struct content now;
    struct content disk;
    struct change *first;
    struct change **last;
    int lock_fd; /* holder of the lock, -1 */
    uint64_t allocated;
};

struct name {
    char path[SIM_PATH];
    struct inode *inode;
};
struct names {
    struct name at[SIM_NAMES];
    uint32_t n;
};

enum name_kind { NAME_ADD, NAME_REMOVE, NAME_RENAME };
/* A change of a directory since its last sync. */
struct name_change {
    enum name_kind kind;
    char from[SIM_PATH]; /* REMOVE, RENAME */
    char to[SIM_PATH];   /* ADD, RENAME */
    struct inode *inode;
};

struct open_file {
    struct inode *inode; /* NULL = free */
    char path[SIM_PATH];
};

struct fail_rule {
    enum io_sim_op op;
    char prefix[SIM_PATH];
    uint32_t after, times, hits;
    int error;
    bool fired;
    bool half; /* a write that fails has written its first half */
};

struct io_sim {
    struct io io;
    struct rng rng;
    struct inode *inodes;
    struct names now;
    struct names disk;
    struct name_change pending[SIM_PENDING];
    uint32_t n_pending;
    struct open_file fds[SIM_FDS];
    uint32_t sector;
    uint64_t calls;
    uint64_t cut_at;
    void (*cut_hook)(void *arg);
    void *cut_arg;
    void (*call_hook)(void *arg);
    void *call_arg;
    struct fail_rule fail;
    uint64_t passed; /* calls that may fail */
    uint64_t space;
    uint32_t mark;
};

/* Changes since the last sync. */
void io_sim_drop_changes(struct inode *in);
void io_sim_add_change(struct inode *in, bool is_truncate, uint64_t off, const uint8_t *p,
                       size_t n);
void io_sim_apply_change(struct content *to, const struct change *c);
void io_sim_settle_inode(struct inode *in);
/* Some of the changes reach the disk. `keep`: of 8, how many are kept whole; the rest are torn or
 * dropped. `is_sync`: a failed sync, not a power cut: it loses data only, the size is in the file
 * system's journal. */
void io_sim_settle_some(struct io_sim *s, struct inode *in, uint32_t keep, bool is_sync);
/* Files. */
struct inode *io_sim_inode_new(struct io_sim *s, bool is_dir);
void io_sim_inode_free(struct inode *in);
/* Free what no name, descriptor or pending change leads to. */
void io_sim_collect(struct io_sim *s);
/* Names. */
struct name *io_sim_find(struct names *t, const char *path);
void io_sim_names_set(struct names *t, const char *path, struct inode *in);
/* Only the entries in use are copied. */
void io_sim_names_copy(struct names *to, const struct names *from);
size_t io_sim_dir_bytes(const char *path);
bool io_sim_is_in_dir(const char *path, const char *dir);
bool io_sim_has_parent(struct names *t, const char *path);
void io_sim_apply_names(struct names *t, const struct name_change *c);
void io_sim_change_names(struct io_sim *s, enum name_kind kind, const char *from, const char *to,
                         struct inode *in);
/* Settle the pending changes of one directory (NULL = of all). */
void io_sim_settle_names(struct io_sim *s, const char *dir);
/* A file whose directory did not survive is gone. */
void io_sim_drop_orphans(struct names *t);

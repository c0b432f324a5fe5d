/* A cache over private memory and an array as disk. Runs in: tests. Owns: all it allocates. */
#include "support/cache_fake.h"

#include <stdlib.h>
#include <string.h>

struct fake *
fake_new(const struct cache_cfg *cfg, uint32_t n_blocks)
{
    struct fake *f = calloc(1, sizeof *f);
    struct cache_ops ops = { .read = fake_read, .write_back = fake_write_back };
    void *over = NULL;
    uint64_t bytes = (cache_shm_bytes(cfg) + 4095) & ~UINT64_C(4095);

    f->cfg = *cfg;
    f->n_blocks = n_blocks;
    f->mem = aligned_alloc(4096, bytes);
    memset(f->mem, 0, bytes);
    f->disk = calloc((size_t) FAKE_DBS * n_blocks, sizeof *f->disk);
    f->made = calloc((size_t) FAKE_DBS * n_blocks, sizeof *f->made);
    f->procs = calloc(cfg->max_procs, sizeof *f->procs);
    if (cfg->n_overflow > 0)
        over = aligned_alloc(64, (size_t) cfg->n_overflow * CACHE_FRAME_BYTES);
    cache_shm_init(f->mem, cfg);
    for (uint32_t i = 0; i < cfg->max_procs; i++) {
        struct fake_proc *p = &f->procs[i];

        p->fake = f;
        self_init(&p->self, i, NULL);
        ops.arg = p;
        cache_attach(&p->cache, f->mem, cfg, over, -1, &p->self, &ops);
    }
    for (uint32_t db = 0; db < FAKE_DBS; db++)
        cache_db_open(fake_cache(f, 0), db, fake_oid(db));
    atomic_store(&f->next_lsn, 1000);
    cache_horizon_raise(fake_cache(f, 0), 900);
    return f;
}

void
fake_free(struct fake *f)
{
    if (f == NULL)
        return;
    free(fake_cache(f, 0)->over_map);
    free(f->procs);
    free(f->made);
    free((void *) f->disk);
    free(f->mem);
    free(f);
}

oid_t
fake_oid(uint32_t db)
{
    return 16384 + db;
}

void
fake_fill(uint8_t *p, uint32_t db, blk_t block, lsn_t lsn)
{
    uint64_t words[4] = { db, block, lsn, ~lsn };

    memset(p, (int) (lsn & 0xFF), PAGE_BYTES);
    memcpy(p, words, sizeof words);
    memcpy(p + PAGE_BYTES - sizeof words, words, sizeof words);
}

bool
fake_is(const uint8_t *p, uint32_t db, blk_t block, lsn_t lsn)
{
    uint64_t words[4] = { db, block, lsn, ~lsn };

    return memcmp(p, words, sizeof words) == 0 && p[PAGE_BYTES / 2] == (lsn & 0xFF) &&
           memcmp(p + PAGE_BYTES - sizeof words, words, sizeof words) == 0;
}

int
fake_read(void *arg, uint32_t db, const struct cache_key *key, void *p, lsn_t *ret_lsn,
          struct err *e)
{
    struct fake *f = ((struct fake_proc *) arg)->fake;
    lsn_t lsn;

    ASSERT(key->oid == fake_oid(db));
    ASSERT(key->block < f->n_blocks);
    if (f->on_read != NULL)
        f->on_read(f);
    if (f->read_error < 0)
        return err_set(e, f->read_error, "could not read block %" PRIu32, key->block);
    lsn = atomic_load(&f->disk[db * f->n_blocks + key->block]);
    fake_fill(p, db, key->block, lsn);
    *ret_lsn = f->lie != 0 ? f->lie : lsn;
    return 0;
}

int
fake_write_back(void *arg, uint32_t page_idx, struct err *e)
{
    struct fake_proc *p = arg;
    struct fake *f = p->fake;
    struct cache_wb wb;
    int r = cache_wb_begin(&p->cache, page_idx, &wb);

    if (r == CACHE_WB_CLEAN)
        return 0;
    if (r != 0)
        return r;
    if (f->no_write)
        r = ERR(e, IO_ERROR, "could not write");
    else if (cache_wb_must_save(&p->cache, &wb))
        r = cache_wb_save_disk(&p->cache, &wb, e);
    if (r != 0) {
        cache_wb_end(&p->cache, &wb, 0);
        return r;
    }
    ASSERT(fake_is(wb.data, wb.db, wb.key.block, wb.lsn));
    ASSERT(atomic_load(&f->disk[wb.db * f->n_blocks + wb.key.block]) < wb.lsn);
    atomic_store(&f->disk[wb.db * f->n_blocks + wb.key.block], wb.lsn);
    cache_wb_end(&p->cache, &wb, wb.lsn);
    return 0;
}

int
fake_commit(struct fake *f, uint32_t proc, uint32_t db, const blk_t *blocks, uint32_t n,
            lsn_t *ret_lsn, struct err *e)
{
    struct cache *c = fake_cache(f, proc);
    uint32_t *frames = calloc(n, sizeof *frames);
    int r = cache_frames_take(c, db, n, frames, e);
    lsn_t lsn;

    if (r == 0) {
        lsn = atomic_fetch_add(&f->next_lsn, 10) + 10;
        for (uint32_t i = 0; i < n; i++) {
            fake_fill(cache_frame(c, frames[i]), db, blocks[i], lsn);
            f->made[db * f->n_blocks + blocks[i]] = lsn;
        }
        cache_publish(c, db, FAKE_REL, blocks, frames, n, lsn);
        if (ret_lsn != NULL)
            *ret_lsn = lsn;
    }
    free(frames);
    return r;
}

uint32_t
fake_snapshot(struct fake *f, uint32_t proc, uint32_t db, lsn_t *ret_s)
{
    struct cache *c = fake_cache(f, proc);
    uint32_t entry;
    lsn_t s;

    ASSERT(cache_entry_claim(c, db, &entry, NULL) == 0);
    s = cache_snapshot_take(c, entry, 0);
    if (ret_s != NULL)
        *ret_s = s;
    return entry;
}

/* ---- the whole object ---- */

static void
count_list(struct cache *c, const struct cache_list *l, uint32_t state, uint8_t *seen,
           uint32_t want_n)
{
    uint32_t n = 0;
    uint32_t last = 0;

    for (uint32_t ref = l->first; ref != 0; ref = c->ver[ref - 1].next) {
        ASSERT(atomic_load(&c->ver[ref - 1].state) == state);
        ASSERT(!seen[ref - 1]);
        seen[ref - 1] = 1;
        last = ref;
        n++;
    }
    ASSERT(l->last == last);
    ASSERT(n == want_n);
}

static uint32_t
check_chain(struct cache *c, uint32_t idx, uint8_t *retired)
{
    struct cache_chain *ch = &c->chain[idx];
    lsn_t above = 0;
    uint32_t n = 0;

    for (uint32_t ref = atomic_load(&ch->head); ref != 0;) {
        struct cache_ver *v = &c->ver[ref - 1];

        ASSERT(atomic_load(&v->state) == VER_LINKED);
        ASSERT(atomic_load(&v->page) == idx);
        if (n == 0) {
            ASSERT(v->superseded == 0);
            ASSERT(!retired[ref - 1]);
        } else {
            ASSERT(atomic_load(&v->lsn) < above);
            ASSERT(v->superseded > atomic_load(&v->lsn));
            ASSERT(v->superseded <= above);
            ASSERT(retired[ref - 1]);
        }
        above = atomic_load(&v->lsn);
        n++;
        ref = atomic_load(&v->older);
    }
    return n;
}

void
fake_check(struct fake *f)
{
    struct cache *c = fake_cache(f, 0);
    struct cache_shared *sh = c->sh;
    uint8_t *seen = calloc(sh->n_all, 1);
    uint32_t n_linked = 0, n_states[5] = { 0 }, n_chains = 0, n_want = 0;

    for (uint32_t i = 0; i < FAKE_DBS; i++) {
        count_list(c, &c->db[i].retired, VER_LINKED, seen, atomic_load(&c->db[i].n_retired));
        count_list(c, &c->db[i].held, VER_LINKED, seen, atomic_load(&c->db[i].n_held));
        n_want += atomic_load(&c->db[i].n_chains);
    }
    for (uint32_t i = 0; i < sh->n_buckets; i++) {
        ASSERT(atomic_load(&c->bucket[i].lock.word) == 0);
        for (uint32_t ref = atomic_load(&c->bucket[i].head); ref != 0;
             ref = atomic_load(&c->chain[ref - 1].next)) {
            uint32_t n = check_chain(c, ref - 1, seen);

            ASSERT(n > 0 || atomic_load(&c->chain[ref - 1].io) != 0);
            n_linked += n;
            n_chains++;
        }
    }
    ASSERT(n_chains == n_want);
    for (uint32_t i = 0; i < sh->n_all; i++)
        n_states[atomic_load(&c->ver[i].state)]++;
    ASSERT(n_states[VER_LINKED] == n_linked);
    ASSERT(n_states[VER_DEAD] == 0);
    ASSERT(n_states[VER_LIMBO] == atomic_load(&sh->n_limbo));
    ASSERT(n_states[VER_FREE] ==
           atomic_load(&sh->n_free) + sh->n_overflow - atomic_load(&sh->over_in_use));
    memset(seen, 0, sh->n_all);
    count_list(c, &sh->limbo, VER_LIMBO, seen, atomic_load(&sh->n_limbo));
    free(seen);
}

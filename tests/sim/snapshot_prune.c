/* Taking a snapshot (SNAP-2) against pruning (EVICT-1), exhaustively: every interleaving of one
 * reader, one pruner and a rising horizon, with and without the store buffer of x86 (TSO). The
 * pruner's decision is the real cache_snaps_need(). The rules must hold in every state; each wrong
 * variant must be caught, with the trace that loses a version.
 *
 * One page, made by commits 0 … N; the snapshot S needs version S. Prints one line per variant;
 * exit 1 if any answer is not the one expected. `-v` prints the traces. */
#include <stdio.h>
#include <string.h>

#include "cache/cache_snapshot.h"

#define N       3
#define NONE    7 /* of a value 0 … N */
#define TAKING  6
#define BUF_MAX 6
#define HASH    (1u << 18)

enum reader_at { R_LOAD, R_STORE, R_AGAIN, R_STORE2, R_USE, R_DONE };
enum pruner_at { P_FIRST, P_SECOND, P_PRUNE };
enum variant { V_NAIVE, V_REREAD, V_LOOP, V_TAKING };

struct state {
    uint8_t h;     /* horizon */
    uint8_t kept;  /* bit per version */
    uint8_t slot;  /* the entry, in memory */
    uint8_t n_buf; /* the reader's store buffer */
    uint8_t buf[BUF_MAX];
    uint8_t reader; /* enum reader_at */
    uint8_t s;      /* the reader's register */
    uint8_t pruner; /* enum pruner_at */
    uint8_t cap;    /* the pruner's registers */
    uint8_t seen;
    uint8_t pad;
};
static_assert(sizeof(struct state) == 16, "hashed as two words");

struct rule {
    const char *name;
    enum variant variant;
    bool tso;
    bool no_fence;
    bool scan_first;
    bool by_oldest; /* prune by the oldest snapshot alone */
    uint8_t own;
    bool must_fail;
};

static const struct rule rules[] = {
    { .name = "load, store", .variant = V_NAIVE, .must_fail = true },
    { .name = "load, store; by oldest", .variant = V_NAIVE, .by_oldest = true, .must_fail = true },
    { .name = "read again once", .variant = V_REREAD, .must_fail = true },
    { .name = "read again once; by oldest", .variant = V_REREAD, .by_oldest = true },
    { .name = "SNAP-2", .variant = V_LOOP },
    { .name = "SNAP-2, own above H", .variant = V_LOOP, .own = 2 },
    { .name = "SNAP-2, scan before cap", .variant = V_LOOP, .scan_first = true, .must_fail = true },
    { .name = "announced first", .variant = V_TAKING },
    { .name = "announced first, own above H", .variant = V_TAKING, .own = 2 },
    { .name = "SNAP-2, TSO", .variant = V_LOOP, .tso = true },
    { .name = "SNAP-2, TSO, own above H", .variant = V_LOOP, .tso = true, .own = 2 },
    { .name = "SNAP-2, TSO, no fence",
      .variant = V_LOOP,
      .tso = true,
      .no_fence = true,
      .must_fail = true },
    { .name = "announced first, TSO, no fence",
      .variant = V_TAKING,
      .tso = true,
      .no_fence = true,
      .must_fail = true },
    { .name = "announced first, TSO", .variant = V_TAKING, .tso = true },
};

struct node {
    struct state st;
    uint32_t from;
    const char *step;
    bool is_used;
};

struct search {
    const struct rule *rule;
    struct node *node; /* [HASH], open addressing */
    uint32_t *queue;   /* indices of nodes, in order */
    uint32_t n_nodes;  /* = end of the queue */
    uint32_t from;     /* node being expanded */
    struct state st;   /* its state */
};

static uint32_t
find_slot(const struct search *x, const struct state *st)
{
    uint64_t w[2];
    uint64_t h;

    memcpy(w, st, sizeof w);
    h = (w[0] * UINT64_C(0x9E3779B97F4A7C15)) ^ (w[1] * UINT64_C(0xC2B2AE3D27D4EB4F));
    h ^= h >> 31;
    for (uint32_t i = (uint32_t) (h % HASH);; i = (i + 1) % HASH)
        if (!x->node[i].is_used || memcmp(&x->node[i].st, st, sizeof *st) == 0)
            return i;
}

static void
reach(struct search *x, const char *step, struct state st)
{
    uint32_t i = find_slot(x, &st);

    if (x->node[i].is_used)
        return;
    ASSERT(x->n_nodes < HASH / 2);
    x->node[i] = (struct node){ .st = st, .from = x->from, .step = step, .is_used = true };
    x->queue[x->n_nodes++] = i;
}

/* ---- the reader ---- */

/* The reader stores v into its entry and goes on. */
static void
reader_store(struct search *x, const char *step, uint8_t v, enum reader_at next)
{
    struct state st = x->st;

    if (x->rule->tso) {
        ASSERT(st.n_buf < BUF_MAX);
        st.buf[st.n_buf++] = v;
    } else {
        st.slot = v;
    }
    st.reader = (uint8_t) next;
    reach(x, step, st);
}

static void
reader_go(struct search *x, const char *step, uint8_t s, enum reader_at next)
{
    struct state st = x->st;

    st.s = s;
    st.reader = (uint8_t) next;
    reach(x, step, st);
}

static void
reader_moves_once(struct search *x, uint8_t vis, bool drained)
{
    const struct state *st = &x->st;

    switch ((enum reader_at) st->reader) {
    case R_LOAD:
        reader_go(x, "reader loads H", vis, R_STORE);
        break;
    case R_STORE:
        reader_store(x, "reader stores", st->s, x->rule->variant == V_NAIVE ? R_USE : R_AGAIN);
        break;
    case R_AGAIN:
        if (!drained)
            break;
        if (x->rule->variant == V_REREAD)
            reader_go(x, "reader loads H again", vis, R_STORE2);
        else if (vis == st->s)
            reader_go(x, "reader finds H unmoved", st->s, R_USE);
        else
            reader_go(x, "reader finds H moved", vis, R_STORE);
        break;
    case R_STORE2:
        reader_store(x, "reader stores again", st->s, R_USE);
        break;
    case R_USE:
    case R_DONE:
        break;
    }
}

/* Variant: a mark first, then the value; the pruner skips marked entries. */
static void
reader_moves_taking(struct search *x, uint8_t vis, bool drained)
{
    const struct state *st = &x->st;

    if (st->reader == R_LOAD)
        reader_store(x, "reader announces", TAKING, R_STORE);
    else if (st->reader == R_STORE && drained)
        reader_go(x, "reader loads H", vis, R_AGAIN);
    else if (st->reader == R_AGAIN)
        reader_store(x, "reader stores", st->s, R_USE);
}

/* False: the version that the reader needs is gone. */
static bool
reader_moves(struct search *x)
{
    const struct state *st = &x->st;
    bool drained = st->n_buf == 0 || x->rule->no_fence;
    uint8_t vis = MAX(st->h, x->rule->own);

    if (x->rule->variant == V_TAKING)
        reader_moves_taking(x, vis, drained);
    else
        reader_moves_once(x, vis, drained);
    if (st->reader == R_USE) {
        if (!(st->kept & BIT(st->s)))
            return false;
        reader_go(x, "reader reads", st->s, R_DONE);
    }
    if (st->reader == R_DONE && st->n_buf == 0) {
        struct state next = *st;

        next.slot = NONE;
        next.reader = R_LOAD;
        next.s = NONE;
        reach(x, "reader releases", next);
    }
    return true;
}

/* ---- the pruner ---- */

static bool
is_needed(const struct rule *rule, const struct state *st, uint8_t a, uint8_t b)
{
    /* LSN 0 is no snapshot: versions are 1 … N + 1 for the real function */
    struct cache_snaps snaps = { .cap = st->cap + 1u };

    if (st->seen != NONE) {
        snaps.n = 1;
        snaps.at[0] = st->seen + 1u;
    }
    if (rule->by_oldest)
        return b > (st->seen != NONE ? MIN(st->cap, st->seen) : st->cap);
    return cache_snaps_need(&snaps, a + 1u, b + 1u);
}

static void
prune(struct search *x)
{
    struct state st = x->st;
    int a = -1;

    for (int b = 0; b <= N; b++) {
        if (!(x->st.kept & BIT(b)))
            continue;
        if (a >= 0 && !is_needed(x->rule, &x->st, (uint8_t) a, (uint8_t) b))
            st.kept &= (uint8_t) ~BIT(a);
        a = b;
    }
    st.pruner = P_FIRST;
    st.cap = NONE;
    st.seen = NONE;
    reach(x, "pruner prunes", st);
}

static void
pruner_moves(struct search *x)
{
    struct state st = x->st;
    bool loads_cap = (st.pruner == P_FIRST) != x->rule->scan_first;

    switch ((enum pruner_at) st.pruner) {
    case P_FIRST:
    case P_SECOND:
        if (loads_cap)
            st.cap = st.h;
        else
            st.seen = st.slot;
        st.pruner++;
        reach(x, loads_cap ? "pruner loads cap" : "pruner scans", st);
        break;
    case P_PRUNE:
        if (st.seen != TAKING) {
            prune(x);
            break;
        }
        st.pruner = P_FIRST;
        st.cap = NONE;
        st.seen = NONE;
        reach(x, "pruner skips", st);
        break;
    }
}

/* ---- the search ---- */

/* Everything that can happen next; false: the invariant is broken here. */
static bool
expand(struct search *x)
{
    struct state st = x->st;

    if (st.h < N) {
        st.h++;
        reach(x, "H rises", st);
        st.h--;
    }
    if (st.n_buf > 0) {
        st.slot = st.buf[0];
        memmove(st.buf, st.buf + 1, BUF_MAX - 1);
        st.buf[BUF_MAX - 1] = 0;
        st.n_buf--;
        reach(x, "buffer drains", st);
    }
    if (!reader_moves(x))
        return false;
    pruner_moves(x);
    return true;
}

static void
print_trace(const struct search *x, uint32_t at)
{
    if (x->node[at].step == NULL)
        return;
    print_trace(x, x->node[at].from);
    printf("    %s (H %u)\n", x->node[at].step, x->node[at].st.h);
}

/* True if no state breaks the invariant. */
static bool
holds(const struct rule *rule, bool verbose, uint32_t *ret_n)
{
    struct search x = { .rule = rule };
    bool ok = true;

    x.node = calloc(HASH, sizeof *x.node);
    x.queue = calloc(HASH, sizeof *x.queue);
    ASSERT(x.node != NULL && x.queue != NULL);
    reach(&x, NULL,
          (struct state){
              .kept = (1 << (N + 1)) - 1, .slot = NONE, .s = NONE, .cap = NONE, .seen = NONE });
    for (uint32_t i = 0; ok && i < x.n_nodes; i++) {
        x.from = x.queue[i];
        x.st = x.node[x.from].st;
        ok = expand(&x);
    }
    if (!ok && verbose)
        print_trace(&x, x.from);
    *ret_n = x.n_nodes;
    free(x.node);
    free(x.queue);
    return ok;
}

int
main(int argc, char **argv)
{
    bool verbose = argc > 1 && strcmp(argv[1], "-v") == 0;
    int wrong = 0;

    for (size_t i = 0; i < ELEMENTSOF(rules); i++) {
        uint32_t n;
        bool ok = holds(&rules[i], verbose, &n);

        printf("%-32s %6u states  %s%s\n", rules[i].name, n, ok ? "holds" : "FAIL",
               ok == rules[i].must_fail ? "  <- not as expected" : "");
        wrong += ok == rules[i].must_fail;
    }
    return wrong != 0;
}

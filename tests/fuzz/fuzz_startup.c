/* What an unauthenticated client can send: start-up packets, then messages, from memory through
 * connection, decoder and phase table. Run: CC=clang meson setup build-fuzz -Dfuzz=true
 * -Db_sanitize=address -Db_lundef=false, then build-fuzz/tests/fuzz/fuzz_startup
 * tests/fuzz/corpus_startup */
#include <errno.h>

#include "base/buf.h"
#include "pgwire/pgwire_conn.h"
#include "pgwire/pgwire_fsm.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static ssize_t
fuzz_recv(void *arg, void *p, size_t n)
{
    struct cur *c = arg;
    size_t take = MIN(n, c->left);
    const uint8_t *from = cur_take(c, take);

    if (take > 0)
        memcpy(p, from, take);
    return (ssize_t) take;
}

static ssize_t
fuzz_send(void *arg, const void *p, size_t n)
{
    (void) arg;
    (void) p;
    return (ssize_t) n;
}

static int
fuzz_wait(void *arg, bool for_write, struct err *e)
{
    (void) arg;
    (void) e;
    (void) for_write;
    return 0;
}

static const struct pgwire_io fuzz_io = { fuzz_recv, fuzz_send, fuzz_wait };

static int
decode(const struct pgwire_msg *m, struct err *e)
{
    struct pgwire_parse parse;
    struct pgwire_bind bind;
    const uint8_t *v;
    const char *s;
    uint32_t max;
    char what;
    int r = 0;

    switch (pgwire_event_of_type(m->type)) {
    case PGWIRE_ON_QUERY:
        return pgwire_get_query(m, &s, e);
    case PGWIRE_ON_PARSE:
        return pgwire_get_parse(m, &parse, e);
    case PGWIRE_ON_BIND:
        r = pgwire_get_bind(m, &bind, e);
        while (r == 0 && bind.params.n > 0)
            (void) pgwire_next_value(&bind.params, &v);
        return r;
    case PGWIRE_ON_DESCRIBE:
    case PGWIRE_ON_CLOSE:
        return pgwire_get_named(m, &what, &s, e);
    case PGWIRE_ON_EXECUTE:
        return pgwire_get_execute(m, &s, &max, e);
    default:
        return pgwire_get_empty(m, e);
    }
}

static enum pgwire_state
start(struct pgwire_conn *c, struct err *e)
{
    static struct pgwire_startup s;
    enum pgwire_state state = PGWIRE_START;

    while (state < PGWIRE_AUTH) {
        const uint8_t *p;
        size_t n;

        if (pgwire_read_startup(c, &p, &n, e) != 0 || pgwire_get_startup(p, n, &s, e) < 0)
            return PGWIRE_CLOSED;
        if (s.kind == PGWIRE_PACKET_STARTUP && s.n_unknown > 0)
            pgwire_put_negotiate(&c->out, s.unknown, s.n_unknown);
        state = pgwire_step(state, pgwire_event_of_packet(s.kind)).next;
    }
    return state == PGWIRE_AUTH ? pgwire_step(state, PGWIRE_ON_AUTHENTICATED).next : state;
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    struct cur in = cur_init(p, n);
    struct err e = ERR_INIT;
    struct pgwire_conn c;
    struct pgwire_msg m;
    enum pgwire_state state;

    pgwire_conn_init(&c, &fuzz_io, &in);
    state = start(&c, &e);
    while (state != PGWIRE_CLOSED && pgwire_read_message(&c, &m, &e) == 0) {
        err_clear(&e);
        state = pgwire_step(state, pgwire_event_of_type(m.type)).next;
        if (decode(&m, &e) < 0) {
            pgwire_put_error(&c.out, "ERROR", &e);
            state = pgwire_step(state, PGWIRE_ON_FAILED).next;
        }
    }
    (void) pgwire_flush(&c, &e);
    pgwire_conn_done(&c);
    return 0;
}

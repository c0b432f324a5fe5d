/* pgwire/pgwire_msg, pgwire_conn: messages byte for byte, limits, and input that lies. */
#include "support/test.h"

#include <errno.h>
#include <string.h>

#include "base/rng.h"
#include "pgwire/pgwire_conn.h"

/* ---- start-up packets ---- */

/* clang-format off */
#define BYTES(s) (s), sizeof(s) - 1
static const struct {
    const char *bytes; /* behind the length word */
    size_t n;
    int r;
    enum pgwire_packet kind;
    const char *user, *database;
} startups[] = {
    { BYTES("\x00\x03\x00\x00user\0ann\0\0"), 0, PGWIRE_PACKET_STARTUP, "ann", "ann" },
    { BYTES("\x00\x03\x00\x00user\0ann\0database\0db\0application_name\0psql\0\0"), 0, PGWIRE_PACKET_STARTUP, "ann", "db" },
    { BYTES("\x00\x03\x00\x00user\0ann\0database\0\0\0"), 0, PGWIRE_PACKET_STARTUP, "ann", "ann" },
    { BYTES("\x00\x03\x00\x02user\0ann\0_pq_.x\0y\0\0"), 0, PGWIRE_PACKET_STARTUP, "ann", "ann" },
    { BYTES("\x04\xd2\x16\x2f"), 0, PGWIRE_PACKET_SSL, NULL, NULL },
    { BYTES("\x04\xd2\x16\x30"), 0, PGWIRE_PACKET_GSS, NULL, NULL },
    { BYTES("\x04\xd2\x16\x2e\x00\x00\x30\x39\xde\xad\xbe\xef"), 0, PGWIRE_PACKET_CANCEL, NULL, NULL },
    { BYTES("\x04\xd2\x16\x2e\x00\x00\x30\x39"), -ERR_PROTOCOL_VIOLATION, 0, NULL, NULL },
    { BYTES("\x04\xd2\x16\x2f\x00"), -ERR_PROTOCOL_VIOLATION, 0, NULL, NULL },
    { BYTES("\x00\x02\x00\x00user\0ann\0\0"), -ERR_FEATURE_NOT_SUPPORTED, 0, NULL, NULL },
    { BYTES("\x00\x03\x00\x00\0"), -ERR_INVALID_AUTHORIZATION_SPECIFICATION, 0, NULL, NULL },
    { BYTES("\x00\x03\x00\x00user\0\0\0"), -ERR_INVALID_AUTHORIZATION_SPECIFICATION, 0, NULL, NULL },
    { BYTES("\x00\x03\x00\x00user\0ann\0"), -ERR_PROTOCOL_VIOLATION, 0, NULL, NULL },
    { BYTES("\x00\x03\x00\x00user\0ann"), -ERR_PROTOCOL_VIOLATION, 0, NULL, NULL },
    { BYTES("\x00\x03\x00\x00user\0ann\0\0x"), -ERR_PROTOCOL_VIOLATION, 0, NULL, NULL },
    { BYTES("\x00\x03\x00\x00user\0"), -ERR_PROTOCOL_VIOLATION, 0, NULL, NULL },
    { BYTES("\x00\x03\x00\x00user\0ann\0replication\0maybe\0\0"), -ERR_INVALID_PARAMETER_VALUE, 0, NULL, NULL },
    { BYTES("\x00\x03"), -ERR_PROTOCOL_VIOLATION, 0, NULL, NULL },
    { BYTES(""), -ERR_PROTOCOL_VIOLATION, 0, NULL, NULL },
};
/* clang-format on */

static void
each_start_up_packet_is_understood_or_refused(void **state)
{
    static struct pgwire_startup s;

    (void) state;
    for (size_t i = 0; i < ELEMENTSOF(startups); i++) {
        struct err e = ERR_INIT;
        int r = pgwire_get_startup(startups[i].bytes, startups[i].n, &s, &e);

        if (r != startups[i].r)
            fail_msg("packet %zu: %d %s", i, r, e.message);
        if (r < 0)
            continue;
        assert_int_equal(s.kind, startups[i].kind);
        if (startups[i].user == NULL)
            continue;
        assert_string_equal(s.user, startups[i].user);
        assert_string_equal(s.database, startups[i].database);
    }
    assert_ok(pgwire_get_startup(startups[1].bytes, startups[1].n, &s, NULL), &(struct err){ 0 });
    assert_int_equal(s.n_params, 1);
    assert_string_equal(s.params[0].name, "application_name");
    assert_string_equal(s.params[0].value, "psql");
    assert_int_equal(pgwire_get_startup(startups[3].bytes, startups[3].n, &s, NULL), 0);
    assert_int_equal(s.minor, 2);
    assert_int_equal(s.n_unknown, 1);
    assert_int_equal(pgwire_get_startup(startups[6].bytes, startups[6].n, &s, NULL), 0);
    assert_int_equal(s.pid, 12345);
    assert_int_equal(s.key, 0xDEADBEEF);
}

static void
a_start_up_packet_has_a_bounded_number_of_parameters(void **state)
{
    static struct pgwire_startup s;
    char p[2048] = "\0\3\0\0user\0u";
    size_t n = 11;

    (void) state;
    for (int i = 0; i < PGWIRE_PARAMS_MAX + 1; i++) {
        memcpy(p + n, "a\0b", 4);
        n += 4;
    }
    p[n++] = '\0';
    assert_int_equal(pgwire_get_startup(p, n, &s, NULL), -ERR_PROTOCOL_VIOLATION);
}

/* ---- messages of a client ---- */

static struct pgwire_msg
msg(char type, const void *body, size_t n)
{
    return (struct pgwire_msg){ .type = type, .body = body, .n = n };
}

static void
parse_bind_and_execute_decode(void **state)
{
    static const char parse[] = "s1\0select ?\0\0\2\0\0\0\x17\0\0\0\x19";
    static const char bind[] = "p\0s1\0\0\1\0\1\0\3\0\0\0\2ab\xFF\xFF\xFF\xFF\0\0\0\0\0\1\0\0";
    struct pgwire_msg m = msg('P', parse, sizeof parse - 1);
    struct pgwire_parse p;
    struct pgwire_bind b;
    struct err e = ERR_INIT;
    const uint8_t *v;
    const char *s;
    uint32_t max;
    char what;

    (void) state;
    assert_ok(pgwire_get_parse(&m, &p, &e), &e);
    assert_string_equal(p.name, "s1");
    assert_string_equal(p.text, "select ?");
    assert_int_equal(p.types.n, 2);
    assert_int_equal(pgwire_list_u32(&p.types, 1), 25);
    m = msg('B', bind, sizeof bind - 1);
    assert_ok(pgwire_get_bind(&m, &b, &e), &e);
    assert_string_equal(b.portal, "p");
    assert_int_equal(pgwire_list_i16(&b.formats, 0), 1);
    assert_int_equal(b.params.n, 3);
    assert_int_equal(pgwire_next_value(&b.params, &v), 2);
    assert_memory_equal(v, "ab", 2);
    assert_int_equal(pgwire_next_value(&b.params, &v), -1);
    assert_null(v);
    assert_int_equal(pgwire_next_value(&b.params, &v), 0);
    assert_non_null(v);
    assert_int_equal(b.result_formats.n, 1);
    m = msg('E', "p\0\0\0\0\7", 6);
    assert_ok(pgwire_get_execute(&m, &s, &max, &e), &e);
    assert_int_equal(max, 7);
    m = msg('D', "Sx\0", 3);
    assert_ok(pgwire_get_named(&m, &what, &s, &e), &e);
    assert_int_equal(what, 'S');
    assert_string_equal(s, "x");
}

static void
every_cut_of_a_message_is_a_violation(void **state)
{
    static const char parse[] = "s\0q\0\0\1\0\0\0\x17";
    static const char bind[] = "p\0s\0\0\1\0\1\0\1\0\0\0\1a\0\0";
    struct pgwire_parse p;
    struct pgwire_bind b;
    const char *s;
    char *cut;

    (void) state;
    for (size_t n = 0; n < sizeof bind + 1; n++) {
        cut = calloc(1, n + 1);
        assert_non_null(cut);
        memcpy(cut, bind, MIN(n, sizeof bind - 1));
        struct pgwire_msg m = msg('B', cut, n);
        assert_int_equal(pgwire_get_bind(&m, &b, NULL) == 0, n == sizeof bind - 1);
        if (n < sizeof parse) {
            memcpy(cut, parse, n);
            m = msg('P', cut, n);
            assert_int_equal(pgwire_get_parse(&m, &p, NULL) == 0, n == sizeof parse - 1);
        }
        free(cut);
    }
    struct pgwire_msg m = msg('Q', "select 1", 8); /* no NUL */
    assert_int_equal(pgwire_get_query(&m, &s, NULL), -ERR_PROTOCOL_VIOLATION);
    m = msg('Q', "a\0b\0", 4);
    assert_int_equal(pgwire_get_query(&m, &s, NULL), -ERR_PROTOCOL_VIOLATION);
    m = msg('S', "x", 1);
    assert_int_equal(pgwire_get_empty(&m, NULL), -ERR_PROTOCOL_VIOLATION);
    m = msg('C', "Xn\0", 3);
    assert_int_equal(pgwire_get_named(&m, &(char){ 0 }, &s, NULL), -ERR_PROTOCOL_VIOLATION);
}

/* ---- messages of the server ---- */

static void
is_bytes(const struct pgwire_out *o, const char *want, size_t n)
{
    assert_false(o->failed);
    assert_int_equal(o->n, n);
    assert_memory_equal(o->p, want, n);
}

static void
the_greeting_is_byte_exact(void **state)
{
    struct pgwire_out o = { 0 };

    (void) state;
    pgwire_put_auth_ok(&o);
    pgwire_put_parameter(&o, "TimeZone", "UTC");
    pgwire_put_backend_key(&o, 258, 0xAABBCCDD);
    pgwire_put_ready(&o, 'I');
    is_bytes(&o, BYTES("R\0\0\0\x08\0\0\0\0"
                       "S\0\0\0\x11TimeZone\0UTC\0"
                       "K\0\0\0\x0c\0\0\1\2\xAA\xBB\xCC\xDD"
                       "Z\0\0\0\x05I"));
    pgwire_out_done(&o);
}

static void
a_result_is_byte_exact(void **state)
{
    const struct pgwire_column c = { "id", 16384, 1, 23, 4, -1, 0 };
    struct pgwire_out o = { 0 };

    (void) state;
    pgwire_begin_columns(&o, 1);
    pgwire_put_column(&o, &c);
    pgwire_end(&o);
    pgwire_begin_row(&o, 2);
    pgwire_put_value(&o, "42", 2);
    pgwire_put_value(&o, NULL, -1);
    pgwire_end(&o);
    pgwire_put_complete(&o, "SELECT 1");
    pgwire_put_bare(&o, PGWIRE_EMPTY_QUERY);
    pgwire_put_param_types(&o, (const uint32_t[]){ 25 }, 1);
    pgwire_put_negotiate(&o, (const char *const[]){ "_pq_.x" }, 1);
    is_bytes(&o, BYTES("T\0\0\0\x1b\0\1id\0\0\0\x40\0\0\1\0\0\0\x17\0\4\xFF\xFF\xFF\xFF\0\0"
                       "D\0\0\0\x10\0\2\0\0\0\x02"
                       "42\xFF\xFF\xFF\xFF"
                       "C\0\0\0\x0dSELECT 1\0"
                       "I\0\0\0\4"
                       "t\0\0\0\x0a\0\1\0\0\0\x19"
                       "v\0\0\0\x13\0\0\0\0\0\0\0\1_pq_.x\0"));
    pgwire_out_done(&o);
}

static void
errors_carry_their_fields_and_only_valid_utf8(void **state)
{
    struct pgwire_out o = { 0 };
    struct err e = ERR_INIT;
    char p[128];

    (void) state;
    (void) ERR(&e, UNDEFINED_TABLE, "no such table: \xC3\xA9\xC3");
    err_detail(&e, "D.");
    err_hint(&e, "H.");
    e.position = 15;
    pgwire_put_error(&o, "ERROR", &e);
    is_bytes(&o, BYTES("E\0\0\0\x3aSERROR\0VERROR\0C42P01\0Mno such table: \xC3\xA9?\0DD.\0HH.\0"
                       "P15\0\0"));
    pgwire_out_done(&o);
    e = ERR_INIT;
    (void) err_set_errno(&e, ENOSPC, "x");
    pgwire_put_error(&o, "WARNING", &e);
    assert_int_equal(o.p[0], 'N');
    assert_non_null(memmem(o.p, o.n, "C53100", 7));
    assert_int_equal(pgwire_build_notice(p, sizeof p, "WARNING", &e), o.n);
    assert_memory_equal(p, o.p, o.n);
    assert_int_equal(pgwire_build_notice(p, 10, "WARNING", &e), 0);
    pgwire_out_done(&o);
}

static void
an_open_message_can_be_taken_back(void **state)
{
    struct pgwire_out o = { 0 };

    (void) state;
    pgwire_put_ready(&o, 'I');
    pgwire_begin_row(&o, 1);
    pgwire_put_value(&o, "abc", 3);
    pgwire_put_bytes(&o, "", SIZE_MAX); /* more than fits */
    assert_true(o.failed);
    pgwire_undo(&o);
    pgwire_put_ready(&o, 'E');
    is_bytes(&o, BYTES("Z\0\0\0\x05IZ\0\0\0\x05"
                       "E"));
    pgwire_out_done(&o);
}

/* ---- the connection ---- */

/* Memory as a socket: gives `chunk` bytes a call, -EAGAIN between them, and takes as many. */
struct mem {
    const uint8_t *in;
    size_t n, at, chunk;
    uint8_t sent[4096];
    size_t n_sent;
    bool is_ready, closes;
    int interrupt; /* < 0: what wait() answers */
    unsigned waits;
};

static ssize_t
mem_recv(void *arg, void *p, size_t n)
{
    struct mem *m = arg;
    size_t take = MIN(MIN(n, m->chunk), m->n - m->at);

    if (!m->is_ready)
        return -EAGAIN;
    if (m->at == m->n)
        return m->closes ? 0 : -EAGAIN;
    m->is_ready = m->chunk > 1000;
    memcpy(p, m->in + m->at, take);
    m->at += take;
    return (ssize_t) take;
}

static ssize_t
mem_send(void *arg, const void *p, size_t n)
{
    struct mem *m = arg;

    if (!m->is_ready)
        return -EAGAIN;
    m->is_ready = false;
    n = MIN(n, m->chunk);
    if (m->n_sent + n > sizeof m->sent)
        return -EPIPE;
    memcpy(m->sent + m->n_sent, p, n);
    m->n_sent += n;
    return (ssize_t) n;
}

static int
mem_wait(void *arg, bool for_write, struct err *e)
{
    struct mem *m = arg;

    (void) for_write;
    m->waits++;
    m->is_ready = true;
    if (m->interrupt < 0 && m->waits % 2 == 1)
        return err_set(e, m->interrupt, "interrupted");
    if (m->at == m->n && !for_write)
        m->closes = true;
    return 0;
}

static const struct pgwire_io mem_io = { mem_recv, mem_send, mem_wait };

static void
messages_arrive_whole_however_they_are_cut(void **state)
{
    static const char in[] = "\0\0\0\x10\0\3\0\0user\0a\0\0Q\0\0\0\x0dselect 1\0S\0\0\0\4X\0\0\0\4";

    (void) state;
    for (size_t chunk = 1; chunk < sizeof in; chunk++) {
        struct mem m = { .in = (const uint8_t *) in, .n = sizeof in - 1, .chunk = chunk };
        struct pgwire_conn c;
        struct pgwire_msg got;
        struct err e = ERR_INIT;
        const uint8_t *p;
        const char *text;
        size_t n;

        pgwire_conn_init(&c, &mem_io, &m);
        assert_ok(pgwire_read_startup(&c, &p, &n, &e), &e);
        assert_int_equal(n, 12);
        assert_ok(pgwire_read_message(&c, &got, &e), &e);
        assert_ok(pgwire_get_query(&got, &text, &e), &e);
        assert_string_equal(text, "select 1");
        assert_ok(pgwire_read_message(&c, &got, &e), &e);
        assert_int_equal(got.type, 'S');
        assert_int_equal(pgwire_read_message(&c, &got, &e), 0);
        assert_int_equal(got.type, 'X');
        assert_int_equal(pgwire_read_message(&c, &got, &e), PGWIRE_EOF);
        pgwire_conn_done(&c);
    }
}

static void
an_interrupted_read_goes_on_where_it_was(void **state)
{
    static const char in[] = "Q\0\0\0\6x\0";
    struct mem m = { .in = (const uint8_t *) in, .n = sizeof in - 1, .chunk = 3 };
    struct pgwire_conn c;
    struct pgwire_msg got;
    unsigned n = 0;
    int r;

    (void) state;
    pgwire_conn_init(&c, &mem_io, &m);
    m.interrupt = -ERR_QUERY_CANCELED;
    while ((r = pgwire_read_message(&c, &got, NULL)) == -ERR_QUERY_CANCELED)
        n++;
    assert_int_equal(r, 0);
    assert_true(n >= 3);
    assert_memory_equal(got.body, "x", 2);
    pgwire_conn_done(&c);
}

static void
what_is_written_is_sent_whole_and_in_order(void **state)
{
    struct mem m = { .chunk = 3 };
    struct pgwire_conn c;
    struct err e = ERR_INIT;

    (void) state;
    pgwire_conn_init(&c, &mem_io, &m);
    pgwire_put_ready(&c.out, 'I');
    assert_ok(pgwire_relieve(&c, &e), &e);
    assert_int_equal(m.n_sent, 0); /* too little to bother */
    pgwire_put_ready(&c.out, 'T');
    assert_ok(pgwire_flush(&c, &e), &e);
    assert_int_equal(m.n_sent, 12);
    assert_memory_equal(m.sent, "Z\0\0\0\x05IZ\0\0\0\x05T", 12);
    m.n_sent = sizeof m.sent;
    pgwire_put_ready(&c.out, 'T');
    assert_int_equal(pgwire_flush(&c, &e), -ERR_CONNECTION_FAILURE);
    pgwire_conn_done(&c);
}

/* clang-format off */
static const struct {
    const char *bytes;
    size_t n;
    bool is_startup;
    int r;
} wild[] = {
    { BYTES(""), true, PGWIRE_EOF },
    { BYTES(""), false, PGWIRE_EOF },
    { BYTES("\0"), true, -ERR_CONNECTION_FAILURE },
    { BYTES("\0\0\0\7"), true, -ERR_PROTOCOL_VIOLATION },
    { BYTES("\0\0\0\0"), true, -ERR_PROTOCOL_VIOLATION },
    { BYTES("\xFF\xFF\xFF\xFF"), true, -ERR_PROTOCOL_VIOLATION },
    { BYTES("\x80\0\0\0"), true, -ERR_PROTOCOL_VIOLATION },
    { BYTES("\0\0\x27\x11"), true, -ERR_PROTOCOL_VIOLATION },
    { BYTES("GET / HTTP/1.1\r\n\r\n"), true, -ERR_PROTOCOL_VIOLATION },
    { BYTES("\x16\x03\x01\x02\x00"), true, -ERR_PROTOCOL_VIOLATION },
    { BYTES("\0\0\x27\x10"), true, -ERR_CONNECTION_FAILURE },
    { BYTES("Q\0\0\0\3"), false, -ERR_PROTOCOL_VIOLATION },
    { BYTES("Q\x3F\xFF\xFF\xFFx"), false, -ERR_CONNECTION_FAILURE }, /* 1 GB claimed, one byte sent */
    { BYTES("Q\x40\0\0\0"), false, -ERR_PROTOCOL_VIOLATION },
    { BYTES("S\0\0\x27\x11"), false, -ERR_PROTOCOL_VIOLATION },
    { BYTES("Q\0\0\0"), false, -ERR_CONNECTION_FAILURE },
    { BYTES("~\0\0\0\4"), false, -ERR_PROTOCOL_VIOLATION },
    { BYTES("\0\0\0\0\4"), false, -ERR_PROTOCOL_VIOLATION },
};
/* clang-format on */

static void
wild_lengths_are_refused_and_never_believed(void **state)
{
    (void) state;
    for (size_t i = 0; i < ELEMENTSOF(wild); i++) {
        struct mem m = { .in = (const uint8_t *) wild[i].bytes, .n = wild[i].n, .chunk = 4096 };
        struct pgwire_conn c;
        struct pgwire_msg got;
        const uint8_t *p;
        size_t n;
        int r;

        pgwire_conn_init(&c, &mem_io, &m);
        if (wild[i].is_startup)
            r = pgwire_read_startup(&c, &p, &n, NULL);
        else
            r = pgwire_read_message(&c, &got, NULL);
        if (r != wild[i].r)
            fail_msg("row %zu: %d", i, r);
        assert_true(c.in_cap <= PGWIRE_IN_BYTES);
        pgwire_conn_done(&c);
    }
}

static void
a_large_message_is_read_and_its_memory_given_back(void **state)
{
    size_t body = 300000;
    uint8_t *in = calloc(1, 5 + body + 5);
    struct mem m = { .in = in, .n = 5 + body + 5, .chunk = 5000 };
    struct pgwire_conn c;
    struct pgwire_msg got;
    struct err e = ERR_INIT;

    (void) state;
    assert_non_null(in);
    in[0] = 'Q';
    put_be32(in + 1, (uint32_t) body + 4);
    memset(in + 5, 'x', body - 1);
    in[5 + body] = 'S';
    put_be32(in + 5 + body + 1, 4);
    pgwire_conn_init(&c, &mem_io, &m);
    assert_ok(pgwire_read_message(&c, &got, &e), &e);
    assert_int_equal(got.n, body);
    assert_int_equal(got.body[body - 2], 'x');
    assert_true(c.in_cap < 2 * body + PGWIRE_IN_BYTES);
    assert_ok(pgwire_read_message(&c, &got, &e), &e);
    assert_int_equal(got.type, 'S');
    assert_int_equal(c.in_cap, PGWIRE_IN_BYTES);
    pgwire_conn_done(&c);
    free(in);
}

/* Whatever is read is decoded; nothing may be read outside the bytes (ASan watches). */
static void
decode(const struct pgwire_msg *m)
{
    struct pgwire_parse parse;
    struct pgwire_bind bind;
    const uint8_t *v;
    const char *s;
    uint32_t max;
    char what;

    (void) pgwire_get_query(m, &s, NULL);
    (void) pgwire_get_named(m, &what, &s, NULL);
    (void) pgwire_get_execute(m, &s, &max, NULL);
    if (pgwire_get_parse(m, &parse, NULL) == 0) {
        for (uint32_t i = 0; i < parse.types.n; i++)
            (void) pgwire_list_u32(&parse.types, i);
    }
    if (pgwire_get_bind(m, &bind, NULL) == 0) {
        while (bind.params.n > 0)
            (void) pgwire_next_value(&bind.params, &v);
    }
}

static void
random_bytes_never_crash_the_decoders(void **state)
{
    static struct pgwire_startup s;
    static const char alphabet[] = "\0\0\0\0\1\2\3QPBDECSHX\xFFuser_pq_.";
    struct rng rng;

    (void) state;
    rng_init(&rng, 11);
    for (int i = 0; i < 20000; i++) {
        size_t n = rng_below(&rng, 64);
        uint8_t *p = malloc(n + 1);
        struct pgwire_msg m = { .type = 'Q', .body = p, .n = n };

        assert_non_null(p);
        for (size_t k = 0; k < n; k++)
            p[k] = (uint8_t) alphabet[rng_below(&rng, sizeof alphabet - 1)];
        p = realloc(p, MAX(n, (size_t) 1)); /* exact, so that ASan sees a byte too far */
        assert_non_null(p);
        m.body = p;
        decode(&m);
        if (n > 4 && i % 2 == 0)
            put_be32(p, 196608); /* so that pairs are reached */
        (void) pgwire_get_startup(p, n, &s, NULL);
        free(p);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_start_up_packet_is_understood_or_refused),
        cmocka_unit_test(a_start_up_packet_has_a_bounded_number_of_parameters),
        cmocka_unit_test(parse_bind_and_execute_decode),
        cmocka_unit_test(every_cut_of_a_message_is_a_violation),
        cmocka_unit_test(the_greeting_is_byte_exact),
        cmocka_unit_test(a_result_is_byte_exact),
        cmocka_unit_test(errors_carry_their_fields_and_only_valid_utf8),
        cmocka_unit_test(an_open_message_can_be_taken_back),
        cmocka_unit_test(messages_arrive_whole_however_they_are_cut),
        cmocka_unit_test(an_interrupted_read_goes_on_where_it_was),
        cmocka_unit_test(what_is_written_is_sent_whole_and_in_order),
        cmocka_unit_test(wild_lengths_are_refused_and_never_believed),
        cmocka_unit_test(a_large_message_is_read_and_its_memory_given_back),
        cmocka_unit_test(random_bytes_never_crash_the_decoders),
    };

    return cmocka_run_group_tests_name("pgwire_msg", tests, NULL, NULL);
}

/* proc/backend*: a client's end of a socket pair, a made-up session, and what goes over the wire.
 */
#include "sql/sql_stmt.h"
#include "support/test.h"

#include <errno.h>
#include <setjmp.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "proc/backend.h"
#include "proc/segment.h"

/* ---- the rest of the process, made up ---- */

static struct {
    jmp_buf end;
    enum child_class how;
    int signal_fd;
    uint32_t signals; /* given at the next look */
    struct slot slots[3];
    char status;
    bool is_writing, saw_cancelled, has_closed;
    char log[4096]; /* calls of the session */
    struct session_sink *sink;
} w;

static void
note(const char *what, const char *text)
{
    size_t n = strlen(w.log);

    (void) snprintf(w.log + n, sizeof w.log - n, "%s(%s) ", what, text);
}

NORETURN void
child_exit(enum child_class how)
{
    w.how = how;
    longjmp(w.end, 1);
}

int
child_signal_fd(void)
{
    return w.signal_fd;
}

uint32_t
child_take_signals(void)
{
    uint32_t bits = w.signals;
    eventfd_t n;

    (void) eventfd_read(w.signal_fd, &n);
    w.signals = 0;
    return bits;
}

int
child_reload(const struct child_start *start, struct err *e)
{
    (void) e;
    return conf_put(start->conf, CONF_lock_timeout, "7s", CONF_FROM_FILE, NULL);
}

void
child_set_quit_handler(void (*handler)(int))
{
    (void) handler;
}

enum quit_reason
child_quit_reason(void)
{
    return QUIT_UNKNOWN;
}

unsigned
segment_pool(const struct segment *seg, enum child_kind kind, int *ret_first_slot)
{
    (void) seg;
    (void) kind;
    *ret_first_slot = 0;
    return ELEMENTSOF(w.slots);
}

struct segment_page *
segment_page(const struct segment *seg)
{
    (void) seg;
    return NULL; /* never asked: there is no segment */
}

void
segment_tell(const struct segment *seg, uint32_t messages)
{
    (void) seg;
    (void) messages;
}

struct slot *
segment_slot(const struct segment *seg, int slot_idx)
{
    (void) seg;
    return &w.slots[slot_idx];
}

/* ---- a session that does what its statements say ---- */

static struct backend b;
static struct session *const some_session = (struct session *) &w;

static int
send_rows(const struct session_sink *sink, const char *text)
{
    const struct session_column c = { "x", 25, -1, -1, 0 };
    struct session_value v = { text, (int32_t) strlen(text) };
    int r = sink->columns(sink->arg, &c, 1);

    if (r == 0)
        r = sink->row(sink->arg, &v, 1);
    return r == 0 ? sink->complete(sink->arg, "SELECT 1") : r;
}

static int
send_much(const struct session_sink *sink)
{
    static char big[60000];
    struct session_value v = { big, sizeof big };
    int r = 0;

    memset(big, 'x', sizeof big);
    for (int i = 0; i < 1000 && r == 0; i++) {
        r = sink->row(sink->arg, &v, 1);
        if (i == 20) /* nobody reads: this is where we would wait */
            atomic_fetch_or_explicit(&w.slots[0].request, REQ_SNAPSHOT, memory_order_relaxed);
    }
    return r;
}

int
session_execute(struct session *s, const char *text, const struct session_sink *sink, struct err *e)
{
    struct err notice = ERR_INIT;

    (void) s;
    note("Q", text);
    if (strcmp(text, "") == 0)
        return sink->empty(sink->arg);
    if (strcmp(text, "much") == 0)
        return send_much(sink);
    if (strcmp(text, "begin") == 0)
        w.status = 'T';
    if (strcmp(text, "write") == 0)
        w.is_writing = true;
    if (strcmp(text, "set") == 0)
        (void) conf_session_set(&b.conf, "application_name", "new", false, NULL);
    if (strcmp(text, "die") == 0)
        return ERR(e, ADMIN_SHUTDOWN, "terminating connection due to administrator command");
    if (strcmp(text, "warn") == 0) {
        (void) ERR(&notice, WARNING, "careful");
        (void) sink->notice(sink->arg, "WARNING", &notice);
        (void) sink->notice(sink->arg, "DEBUG", &notice);
    }
    if (strcmp(text, "bad") == 0) {
        (void) ERR(e, SYNTAX_ERROR, "syntax error");
        e->position = 1;
        return -ERR_SYNTAX_ERROR;
    }
    return send_rows(sink, text);
}

char
session_status(const struct session *s)
{
    (void) s;
    return w.status;
}

bool
session_is_writing(const struct session *s)
{
    (void) s;
    return w.is_writing;
}

usec_t
session_xact_start(const struct session *s)
{
    (void) s;
    return 0;
}

void
session_on_snapshot_cancelled(struct session *s)
{
    (void) s;
    w.saw_cancelled = true;
}

void
session_fail(struct session *s)
{
    (void) s;
}

void
session_leave(struct session *s)
{
    w.has_closed = s != NULL;
}

int
session_parse(struct session *s, const char *name, const char *text, const oid_t *types,
              uint32_t n_types, struct err *e)
{
    (void) s;
    (void) name;
    note("P", text);
    if (n_types > 0)
        note("type", types[0] == 23 ? "int4" : "?");
    return strcmp(text, "bad") == 0 ? ERR(e, SYNTAX_ERROR, "syntax error") : 0;
}

int
session_bind(struct session *s, const struct session_bind *bind, struct err *e)
{
    (void) s;
    (void) e;
    assert_int_equal(bind->n_params, 1);
    assert_int_equal(bind->params[0].n, 2);
    note("B", bind->name);
    return 0;
}

int
session_describe_statement(struct session *s, const char *name, const oid_t **ret_types,
                           uint32_t *ret_n, const struct session_sink *sink, struct err *e)
{
    static const oid_t types[] = { 23 };

    (void) s;
    (void) e;
    (void) name;
    *ret_types = types;
    *ret_n = 1;
    return sink->columns(sink->arg, NULL, 0);
}

int
session_describe_portal(struct session *s, const char *portal, const struct session_sink *sink,
                        struct err *e)
{
    const struct session_column c = { "x", 25, -1, -1, 0 };

    (void) s;
    (void) e;
    (void) portal;
    return sink->columns(sink->arg, &c, 1);
}

const char *
session_prepared_text(const struct session *s, const char *name)
{
    (void) s;
    (void) name;
    return "SELECT 1";
}

const char *
session_portal_text(const struct session *s, const char *portal)
{
    (void) s;
    (void) portal;
    return "SELECT 1";
}

enum sql_class
sql_stmt_class(const char *text, size_t n)
{
    (void) text;
    (void) n;
    return SQL_CLASS_OTHER;
}

int
session_execute_portal(struct session *s, const char *portal, uint32_t max_rows,
                       const struct session_sink *sink, struct err *e)
{
    (void) s;
    (void) e;
    note("E", portal);
    return max_rows > 0 ? SESSION_SUSPENDED : sink->complete(sink->arg, "INSERT 0 1");
}

void
session_close_statement(struct session *s, const char *name)
{
    (void) s;
    note("C", name);
}

void
session_close_portal(struct session *s, const char *portal)
{
    (void) s;
    (void) portal;
}

int
session_sync(struct session *s, bool failed, struct err *e)
{
    (void) s;
    (void) e;
    note("S", failed ? "failed" : "");
    return 0;
}

/* ---- driving it ---- */

static struct conf base;
static struct child_start start;
static int client;

static int
setup(void **state)
{
    int fds[2];

    (void) state;
    memset(&w, 0, sizeof w);
    w.status = 'I';
    w.signal_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    log_init("test", LOG_LEVEL_PANIC);
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0 || conf_init(&base, NULL) < 0)
        return -1;
    client = fds[0];
    start = (struct child_start){ .kind = CHILD_BACKEND, .client_fd = fds[1], .conf = &base };
    backend_init(&b, &start, &w.slots[0]);
    return 0;
}

static int
teardown(void **state)
{
    (void) state;
    if (b.has_conf) /* the end of the process does this for real */
        conf_session_done(&b.conf);
    pgwire_conn_done(&b.conn);
    log_set_statement(NULL);
    free(b.statement);
    free(b.scratch);
    (void) close(client);
    (void) close(w.signal_fd);
    conf_done(&base);
    return 0;
}

/* As if logged in; conf_put() into `base` before it, if settings matter. */
static void
log_in(void)
{
    assert_int_equal(conf_session_init(&b.conf, &base, false, NULL), 0);
    (void) conf_session_set(&b.conf, "log_min_messages", "panic", false, NULL);
    while (conf_session_next_report(&b.conf) >= 0)
        ;
    log_set_min(LOG_LEVEL_PANIC);
    b.conf.cur.v.log_min_messages = LOG_LEVEL_PANIC;
    b.has_conf = true;
    b.session = some_session;
    b.state = PGWIRE_IDLE;
}

static void
say(const void *p, size_t n)
{
    assert_int_equal(write(client, p, n), n);
}
#define SAY(s) say((s), sizeof(s) - 1)

/* The types of all messages that came, in order; the bytes in `got`. */
static uint8_t got[1 << 20];
static size_t n_got;

static const char *
answers(void)
{
    static char types[4096];
    size_t n = 0;
    ssize_t r;

    n_got = 0;
    while ((r = recv(client, got + n_got, sizeof got - n_got, MSG_DONTWAIT)) > 0)
        n_got += (size_t) r;
    for (size_t at = 0; at + 5 <= n_got; at += 1 + get_be32(got + at + 1))
        types[n++] = (char) got[at];
    types[n] = '\0';
    return types;
}

static bool
has_text(const char *text)
{
    return memmem(got, n_got, text, strlen(text)) != NULL;
}

static enum child_class
run_loop(void)
{
    if (setjmp(w.end) == 0)
        backend_loop(&b);
    return w.how;
}

static enum child_class
run_startup(struct pgwire_startup *s)
{
    w.how = CHILD_TARGET; /* not left */
    if (setjmp(w.end) == 0)
        backend_read_startup(&b, s);
    return w.how;
}

#define QUERY(text, len) "Q\0\0\0" len text "\0"
#define LEAVE            "X\0\0\0\4"

static void
each_query_is_answered_by_one_ready(void **state)
{
    (void) state;
    log_in();
    b.ready_due = true;
    SAY(QUERY("abc", "\x08") QUERY("", "\x05") QUERY("bad", "\x08") QUERY("begin", "\x0a")
            QUERY("warn", "\x09") QUERY("set", "\x08") LEAVE);
    assert_int_equal(run_loop(), CHILD_OK);
    assert_string_equal(answers(), "ZTDCZIZEZTDCZNTDCZTDCSZ");
    assert_true(has_text("abc"));
    assert_true(has_text("C42601"));
    assert_true(has_text("P1"));
    assert_true(has_text("application_name\0new"));
    assert_true(w.has_closed);
    assert_string_equal(w.slots[0].application_name, "new");
    assert_string_equal(w.slots[0].query, "set");
    assert_int_equal(w.slots[0].activity, ACTIVITY_IDLE_IN_TRANSACTION);
}

static void
a_pipeline_is_answered_in_order_and_skips_to_sync_after_an_error(void **state)
{
    (void) state;
    log_in();
    SAY("P\0\0\0\x0e"
        "s\0q\0\0\1\0\0\0\x17"
        "B\0\0\0\x13\0s\0\0\0\0\1\0\0\0\2ab\0\0");
    SAY("D\0\0\0\7Ss\0"
        "D\0\0\0\6P\0"
        "E\0\0\0\x09\0\0\0\0\0"
        "E\0\0\0\x09\0\0\0\0\1"
        "C\0\0\0\7Ss\0"
        "S\0\0\0\4");
    SAY("P\0\0\0\x0b\0bad\0\0\0"
        "E\0\0\0\x09\0\0\0\0\0" QUERY("abc", "\x08") "S\0\0\0\4" QUERY("abc", "\x08") LEAVE);
    assert_int_equal(run_loop(), CHILD_OK);
    assert_string_equal(answers(), "12tnTCs3ZEZTDCZ");
    assert_string_equal(w.log, "P(q) type(int4) B(s) E() E() C(s) S() P(bad) S(failed) Q(abc) ");
}

static void
malformed_messages_are_errors_and_wrong_ones_the_end(void **state)
{
    (void) state;
    log_in();
    SAY("Q\0\0\0\7abc" QUERY("\xC3(", "\7") "F\0\0\0\4" LEAVE);
    assert_int_equal(run_loop(), CHILD_OK);
    assert_string_equal(answers(), "EZEZEZ");
    assert_true(has_text("C08P01"));
    assert_true(has_text("C22021"));
    assert_true(has_text("C0A000"));
    assert_string_equal(w.log, "");
}

static void
a_password_message_in_a_session_is_a_violation(void **state)
{
    (void) state;
    log_in();
    SAY("p\0\0\0\5x");
    assert_int_equal(run_loop(), CHILD_FATAL);
    assert_string_equal(answers(), "E");
    assert_true(has_text("VFATAL"));
    assert_true(has_text("C08P01"));
}

static void
a_client_that_goes_is_no_failure(void **state)
{
    (void) state;
    log_in();
    b.ready_due = true;
    assert_int_equal(shutdown(client, SHUT_WR), 0);
    assert_int_equal(run_loop(), CHILD_OK);
    assert_true(w.has_closed);
}

static void
terminate_is_told_to_the_client(void **state)
{
    (void) state;
    log_in();
    b.ready_due = true;
    w.signals = REQ_TERMINATE;
    assert_int_equal(eventfd_write(w.signal_fd, 1), 0);
    assert_int_equal(run_loop(), CHILD_FATAL);
    assert_string_equal(answers(), "ZE");
    assert_true(has_text("C57P01"));
}

static void
terminate_inside_a_statement_ends_it_and_the_session(void **state)
{
    (void) state;
    log_in();
    SAY(QUERY("die", "\x08"));
    assert_int_equal(run_loop(), CHILD_FATAL);
    assert_string_equal(answers(), "E");
    assert_true(has_text("VFATAL"));
}

static void
silence_ends_by_the_patience_that_applies(void **state)
{
    static const struct {
        const char *setting, *say, *code;
        size_t n;
    } rows[] = {
        { "idle_session_timeout", QUERY("abc", "\x08"), "C57P05", 9 },
        { "idle_in_transaction_session_timeout", QUERY("begin", "\x0a"), "C25P03", 11 },
        { "idle_in_write_transaction_timeout", QUERY("write", "\x0a"), "C25P03", 11 },
    };

    for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
        if (i > 0) {
            assert_int_equal(teardown(state), 0);
            assert_int_equal(setup(state), 0);
        }
        assert_int_equal(
            conf_put(&base, (enum conf_id) conf_find(rows[i].setting), "2ms", CONF_FROM_FILE, NULL),
            0);
        log_in();
        say(rows[i].say, rows[i].n);
        assert_int_equal(run_loop(), CHILD_FATAL);
        assert_string_equal(answers(), "TDCZE");
        assert_true(has_text(rows[i].code));
        assert_true(has_text("VFATAL"));
    }
}

static void
requests_are_acted_on_while_the_client_is_silent(void **state)
{
    (void) state;
    assert_int_equal(conf_put(&base, CONF_idle_session_timeout, "2ms", CONF_FROM_FILE, NULL), 0);
    log_in();
    w.slots[0].request = REQ_CANCEL | REQ_RELOAD | REQ_SNAPSHOT;
    assert_int_equal(run_loop(), CHILD_FATAL);
    assert_int_equal(w.slots[0].request, 0);
    assert_true(w.saw_cancelled);
    assert_true(base.v.lock_timeout == 7000000);
}

static void
a_client_that_does_not_read_cannot_keep_a_snapshot_or_a_lock(void **state)
{
    (void) state;
    assert_int_equal(
        conf_put(&base, CONF_idle_in_write_transaction_timeout, "2ms", CONF_FROM_FILE, NULL), 0);
    log_in();
    SAY(QUERY("much", "\x09") QUERY("write", "\x0a"));
    w.is_writing = true;
    assert_int_equal(run_loop(), CHILD_FATAL);
    assert_true(w.has_closed);
}

/* A session that holds a writer lock, with so long a look at its client's socket. */
static void
log_in_as_writer(const char *spin)
{
    assert_int_equal(conf_put(&base, CONF_writer_lock_spin, spin, CONF_FROM_FILE, NULL), 0);
    log_in();
    w.is_writing = true;
    b.looks_missed = 3;
}

static void
a_writer_looks_for_a_quick_client_before_it_sleeps(void **state)
{
    (void) state;
    log_in_as_writer("1ms");
    SAY(QUERY("abc", "\x08") LEAVE);
    assert_int_equal(run_loop(), CHILD_OK);
    assert_string_equal(answers(), "TDCZ");
    assert_int_equal(b.looks_missed, 0);
}

static void
only_a_writer_looks_and_only_if_told_to(void **state)
{
    (void) state;
    for (int i = 0; i < 2; i++) {
        if (i > 0) {
            assert_int_equal(teardown(state), 0);
            assert_int_equal(setup(state), 0);
        }
        log_in_as_writer(i == 0 ? "0" : "1ms");
        w.is_writing = i == 0;
        SAY(LEAVE);
        assert_int_equal(run_loop(), CHILD_OK);
        assert_int_equal(b.looks_missed, 3);
    }
}

static void
a_writer_whose_client_is_slow_looks_less_and_its_patience_still_ends(void **state)
{
    (void) state;
    assert_int_equal(
        conf_put(&base, CONF_idle_in_write_transaction_timeout, "2ms", CONF_FROM_FILE, NULL), 0);
    log_in_as_writer("1ms");
    assert_int_equal(run_loop(), CHILD_FATAL);
    assert_true(strcmp(answers(), "E") == 0 && has_text("C25P03"));
    assert_int_equal(b.looks_missed, 4);
    assert_int_equal(b.looks_left_out, 16);
}

static void
a_writer_that_has_missed_sleeps_at_once_for_a_while(void **state)
{
    (void) state;
    log_in_as_writer("1ms");
    b.looks_left_out = 1;
    SAY(QUERY("abc", "\x08") LEAVE);
    assert_int_equal(run_loop(), CHILD_OK);
    assert_int_equal(b.looks_missed, 3);
    assert_int_equal(b.looks_left_out, 0);
}

static void
a_writer_that_looks_hears_terminate(void **state)
{
    (void) state;
    log_in_as_writer("1ms");
    w.signals = REQ_TERMINATE;
    assert_int_equal(eventfd_write(w.signal_fd, 1), 0);
    assert_int_equal(run_loop(), CHILD_FATAL);
    assert_true(strcmp(answers(), "E") == 0 && has_text("C57P01"));
    assert_int_equal(b.looks_missed, 0); /* it was heard in a look */
}

/* ---- start-up ---- */

static void
encryption_is_refused_once_each_then_the_packet_is_taken(void **state)
{
    static struct pgwire_startup s;

    (void) state;
    /* the answers are awaited: each request is sent when the last one is answered */
    SAY("\0\0\0\x08\x04\xd2\x16\x2f");
    if (setjmp(w.end) == 0) {
        b.deadline = 1;
        assert_int_equal(shutdown(client, SHUT_WR), 0);
        backend_read_startup(&b, &s);
    }
    assert_int_equal(w.how, CHILD_OK); /* it went after the N */
    assert_int_equal(recv(client, got, sizeof got, 0), 1);
    assert_int_equal(got[0], 'N');
}

static void
bytes_behind_an_encryption_request_are_an_attack(void **state)
{
    static struct pgwire_startup s;

    (void) state;
    SAY("\0\0\0\x08\x04\xd2\x16\x2f\0\0\0\x11\0\3\0\0user\0a\0\0");
    assert_int_equal(run_startup(&s), CHILD_FATAL);
    assert_string_equal(answers(), "E");
    assert_true(has_text("C08P01"));
}

static void
a_start_up_packet_is_handed_on(void **state)
{
    static struct pgwire_startup s;

    (void) state;
    SAY("\0\0\0\x10\0\3\0\0user\0a\0\0");
    assert_int_equal(run_startup(&s), CHILD_TARGET);
    assert_string_equal(s.user, "a");
    assert_int_equal(b.state, PGWIRE_AUTH);
    assert_int_equal(b.patience, PATIENCE_AUTH);
}

static void
junk_and_silence_get_no_answer(void **state)
{
    static struct pgwire_startup s;

    (void) state;
    SAY("GET / HTTP/1.1\r\n");
    assert_int_equal(run_startup(&s), CHILD_OK);
    assert_string_equal(answers(), "");
    assert_int_equal(teardown(state), 0);
    assert_int_equal(setup(state), 0);
    base.v.authentication_timeout = 1000;
    assert_int_equal(run_startup(&s), CHILD_OK);
    assert_string_equal(answers(), "");
}

static void
an_old_protocol_is_told_so(void **state)
{
    static struct pgwire_startup s;

    (void) state;
    SAY("\0\0\0\x0b\0\2\0\0a\0\0");
    assert_int_equal(run_startup(&s), CHILD_FATAL);
    (void) answers(); /* one text of the old form: 'E', words, line feed, NUL (AC090) */
    assert_true(n_got > 10 && memcmp(got, "EFATAL:  ", 9) == 0);
    assert_int_equal(got[n_got - 2], '\n');
    assert_int_equal(got[n_got - 1], 0);
    assert_true(has_text("unsupported frontend protocol 2.0"));
    assert_false(has_text("C0A000"));
}

static void
a_cancel_request_reaches_only_who_has_the_key(void **state)
{
    static struct pgwire_startup s;

    (void) state;
    for (int i = 1; i < 3; i++) {
        w.slots[i].state = SLOT_ATTACHED;
        w.slots[i].pid = i == 1 ? getpid() : 99999999;
        w.slots[i].cancel_key = 0xAABBCCDD;
    }
    backend_cancel(&b, 12345, 0xAABBCCDD);
    backend_cancel(&b, 99999999, 0xAABBCCDE);
    assert_int_equal(w.slots[1].request | w.slots[2].request, 0);
    char p[16] = "\0\0\0\x10\x04\xd2\x16\x2e";
    put_be32(p + 8, 99999999);
    put_be32(p + 12, 0xAABBCCDD);
    say(p, sizeof p);
    assert_int_equal(run_startup(&s), CHILD_OK);
    assert_int_equal(w.slots[1].request, 0);
    assert_int_equal(w.slots[2].request, REQ_CANCEL);
    assert_string_equal(answers(), "");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
        TEST(each_query_is_answered_by_one_ready),
        TEST(a_pipeline_is_answered_in_order_and_skips_to_sync_after_an_error),
        TEST(malformed_messages_are_errors_and_wrong_ones_the_end),
        TEST(a_password_message_in_a_session_is_a_violation),
        TEST(a_client_that_goes_is_no_failure),
        TEST(terminate_is_told_to_the_client),
        TEST(terminate_inside_a_statement_ends_it_and_the_session),
        TEST(silence_ends_by_the_patience_that_applies),
        TEST(requests_are_acted_on_while_the_client_is_silent),
        TEST(a_client_that_does_not_read_cannot_keep_a_snapshot_or_a_lock),
        TEST(a_writer_looks_for_a_quick_client_before_it_sleeps),
        TEST(only_a_writer_looks_and_only_if_told_to),
        TEST(a_writer_whose_client_is_slow_looks_less_and_its_patience_still_ends),
        TEST(a_writer_that_has_missed_sleeps_at_once_for_a_while),
        TEST(a_writer_that_looks_hears_terminate),
        TEST(encryption_is_refused_once_each_then_the_packet_is_taken),
        TEST(bytes_behind_an_encryption_request_are_an_attack),
        TEST(a_start_up_packet_is_handed_on),
        TEST(junk_and_silence_get_no_answer),
        TEST(an_old_protocol_is_told_so),
        TEST(a_cancel_request_reaches_only_who_has_the_key),
    };

    return cmocka_run_group_tests_name("backend", tests, NULL, NULL);
}

/* pgwire/pgwire_hba: reading and matching of pg_hba.conf. */
#include "support/test.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>

#include "base/rng.h"
#include "pgwire/pgwire_hba.h"
#include "support/tmpdir.h"

static struct pgwire_hba_addr
addr(const char *text)
{
    struct sockaddr_in6 in6 = { .sin6_family = AF_INET6 };
    struct sockaddr_in in = { .sin_family = AF_INET };
    struct sockaddr_un un = { .sun_family = AF_UNIX };

    if (inet_pton(AF_INET, text, &in.sin_addr) == 1)
        return pgwire_hba_addr((const struct sockaddr *) &in);
    if (inet_pton(AF_INET6, text, &in6.sin6_addr) == 1)
        return pgwire_hba_addr((const struct sockaddr *) &in6);
    return pgwire_hba_addr((const struct sockaddr *) &un);
}

enum { T = PGWIRE_HBA_TRUST, P = PGWIRE_HBA_PEER, R = PGWIRE_HBA_REJECT, NO = 9 };

/* clang-format off */
static const struct {
    const char *text, *from, *role, *database;
    int method;
} matches[] = {
    { "local all all peer", "local", "ann", "db", P },
    { "local all all peer", "127.0.0.1", "ann", "db", NO },
    { "host all all 127.0.0.1/32 trust", "127.0.0.1", "ann", "db", T },
    { "host all all 127.0.0.1/32 trust", "127.0.0.2", "ann", "db", NO },
    { "host all all 127.0.0.1/32 trust", "local", "ann", "db", NO },
    { "host all all 127.0.0.1/32 trust", "::ffff:127.0.0.1", "ann", "db", T },
    { "host all all 10.0.0.0/8 trust", "10.9.8.7", "ann", "db", T },
    { "host all all 10.0.0.0 255.0.0.0 trust", "10.9.8.7", "ann", "db", T },
    { "host all all 10.0.0.0 255.0.0.0 trust", "11.9.8.7", "ann", "db", NO },
    { "host all all 10.1.2.3/12 trust", "10.15.0.1", "ann", "db", T },
    { "host all all 10.1.2.3/12 trust", "10.16.0.1", "ann", "db", NO },
    { "host all all 0.0.0.0/0 trust", "1.2.3.4", "ann", "db", T },
    { "host all all 0.0.0.0/0 trust", "::1", "ann", "db", NO },
    { "host all all ::1/128 trust", "::1", "ann", "db", T },
    { "host all all 2001:db8::/33 trust", "2001:db8:7fff::1", "ann", "db", T },
    { "host all all 2001:db8::/33 trust", "2001:db8:8000::1", "ann", "db", NO },
    { "host all all all trust", "2001:db8::1", "ann", "db", T },
    { "host all all samehost trust", "127.1.2.3", "ann", "db", T },
    { "host all all samehost trust", "192.0.2.1", "ann", "db", T }, /* our own end, below */
    { "host all all samehost trust", "192.0.2.2", "ann", "db", NO },
    { "host all all localhost trust", "::1", "ann", "db", T },
    { "host all all localhost trust", "192.0.2.1", "ann", "db", NO },
    { "hostnossl all all all trust", "1.2.3.4", "ann", "db", T },
    { "local db all trust", "local", "ann", "db", T },
    { "local db all trust", "local", "ann", "db2", NO },
    { "local a,db , c all trust", "local", "ann", "db", T },
    { "local sameuser all trust", "local", "ann", "ann", T },
    { "local sameuser all trust", "local", "ann", "sameuser", NO },
    { "local \"sameuser\" all trust", "local", "ann", "sameuser", T },
    { "local \"all\" all trust", "local", "ann", "db", NO },
    { "local all bob,ann trust", "local", "ann", "db", T },
    { "local all bob trust", "local", "ann", "db", NO },
    { "local all \"a b\" trust", "local", "a b", "db", T },
    { "local replication all trust", "local", "ann", "replication", NO },
    { "# c\n\nlocal all bob reject # no\nlocal all all trust\n", "local", "bob", "db", R },
    { "# c\n\nlocal all bob reject # no\nlocal all all trust\n", "local", "ann", "db", T },
    { "local\tall\tall\ttrust\r\n", "local", "ann", "db", T },
};
/* clang-format on */

static int
match(const char *text, struct pgwire_hba_client *c, struct err *e)
{
    struct pgwire_hba hba;
    enum pgwire_hba_method m = PGWIRE_HBA_REJECT;
    int line = 0, r;

    assert_ok(pgwire_hba_parse("hba", text, strlen(text), &hba, NULL, NULL, e), e);
    r = pgwire_hba_match(&hba, c, &m, &line, e);
    pgwire_hba_done(&hba);
    if (r < 0)
        return strstr(e->message, "rejects") != NULL ? R : NO;
    assert_true(line > 0);
    return (int) m;
}

static void
the_first_rule_that_fits_decides(void **state)
{
    (void) state;
    for (size_t i = 0; i < ELEMENTSOF(matches); i++) {
        struct err e = ERR_INIT;
        struct pgwire_hba_client c = { .addr = addr(matches[i].from),
                                       .server = addr("192.0.2.1"),
                                       .role = matches[i].role,
                                       .database = matches[i].database };
        int m = match(matches[i].text, &c, &e);

        if (m != matches[i].method)
            fail_msg("%s from %s: %d", matches[i].text, matches[i].from, m);
    }
}

static void
replication_needs_a_rule_of_its_own(void **state)
{
    struct pgwire_hba_client c = { .role = "ann", .database = "ann", .is_replication = true };
    struct err e = ERR_INIT;

    (void) state;
    assert_int_equal(match("local all all trust", &c, &e), NO);
    assert_string_equal(e.message, "no pg_hba.conf entry for replication connection from host "
                                   "\"[local]\", user \"ann\", no encryption");
    e = ERR_INIT;
    assert_int_equal(match("local replication all trust", &c, &e), T);
}

static void
refusals_say_who_and_from_where(void **state)
{
    struct pgwire_hba_client c = { .addr = addr("127.0.0.1"), .role = "ann", .database = "db" };
    struct err e = ERR_INIT;

    (void) state;
    assert_int_equal(match("local all all trust", &c, &e), NO);
    assert_int_equal(e.code, -ERR_INVALID_AUTHORIZATION_SPECIFICATION);
    assert_string_equal(e.message, "no pg_hba.conf entry for host \"127.0.0.1\", user \"ann\", "
                                   "database \"db\", no encryption");
    e = ERR_INIT;
    assert_int_equal(match("host all all all reject", &c, &e), R);
    assert_string_equal(e.message, "pg_hba.conf rejects connection for host \"127.0.0.1\", user "
                                   "\"ann\", database \"db\", no encryption");
}

/* clang-format off */
static const struct {
    const char *text, *message;
} faults[] = {
    { "", "hba:1: the file contains no entries" },
    { "# only words", "hba:1: the file contains no entries" },
    { "local all all trust\nhost all all all scram-sha-256", "hba:2: authentication method \"scram-sha-256\" is not supported yet" },
    { "host all all all md5", "hba:1: authentication method \"md5\" is not supported yet" },
    { "hostssl all all all trust", "hba:1: connection type \"hostssl\" is not supported yet" },
    { "remote all all all trust", "hba:1: invalid connection type \"remote\"" },
    { "local all all open", "hba:1: invalid authentication method \"open\"" },
    { "host all all all peer", "hba:1: peer authentication is only supported on local sockets" },
    { "local all all peer map=x", "hba:1: authentication option \"map=x\" is not supported yet" },
    { "local", "hba:1: end-of-line before database specification" },
    { "local all", "hba:1: end-of-line before role specification" },
    { "local all all", "hba:1: end-of-line before authentication method" },
    { "host all all", "hba:1: end-of-line before IP address specification" },
    { "host all all 1.2.3.4", "hba:1: end-of-line before netmask specification" },
    { "host all all 1.2.3.4 trust", "hba:1: invalid IP mask \"trust\"" },
    { "host all all 1.2.3.4/33 trust", "hba:1: invalid CIDR mask in address \"1.2.3.4/33\"" },
    { "host all all 1.2.3.4/x trust", "hba:1: invalid CIDR mask in address \"1.2.3.4/x\"" },
    { "host all all 1.2.3.400/8 trust", "hba:1: invalid IP address \"1.2.3.400\"" },
    { "host all all ::1/129 trust", "hba:1: invalid CIDR mask in address \"::1/129\"" },
    { "host all all 1.2.3.4 ::1 trust", "hba:1: IP address and mask do not match" },
    { "host all all db.example.org trust", "hba:1: host name \"db.example.org\" is not supported yet" },
    { "host all all samenet trust", "hba:1: address \"samenet\" is not supported yet" },
    { "local all +admins trust", "hba:1: role \"+admins\" is not supported yet" },
    { "local @file all trust", "hba:1: database \"@file\" is not supported yet" },
    { "local samerole all trust", "hba:1: database \"samerole\" is not supported yet" },
    { "local \"all all trust", "hba:1: unterminated quoted word" },
    { "local,host all all trust", "hba:1: multiple values specified for connection type" },
    { "local a, all trust", "hba:1: end-of-line before authentication method" },
};
/* clang-format on */

static void
every_fault_names_its_line_and_nothing_is_taken(void **state)
{
    (void) state;
    for (size_t i = 0; i < ELEMENTSOF(faults); i++) {
        struct pgwire_hba hba = { 0 };
        struct err e = ERR_INIT;

        assert_int_equal(
            pgwire_hba_parse("hba", faults[i].text, strlen(faults[i].text), &hba, NULL, NULL, &e),
            -ERR_CONFIG_FILE_ERROR);
        assert_string_equal(e.message, faults[i].message);
        assert_null(hba.rules);
    }
}

static void
count(void *arg, int line, const struct err *fault)
{
    unsigned *sum = arg;

    assert_true(fault->code < 0);
    *sum += (unsigned) line;
}

static void
all_faults_are_told(void **state)
{
    static const char text[] = "local all all trust\nx\nlocal all all md5\n\nhost all\n";
    struct pgwire_hba hba = { 0 };
    unsigned sum = 0;

    (void) state;
    assert_int_equal(pgwire_hba_parse("hba", text, sizeof text - 1, &hba, count, &sum, NULL),
                     -ERR_CONFIG_FILE_ERROR);
    assert_int_equal(sum, 2 + 3 + 5);
    assert_int_equal(pgwire_hba_load("/nonexistent/hba", &hba, NULL, NULL, NULL), -ENOENT);
    assert_int_equal(pgwire_hba_load("/dev/null", &hba, NULL, NULL, NULL), -ERR_CONFIG_FILE_ERROR);
}

static const char *
column(const struct pgwire_hba *hba, size_t i, enum pgwire_hba_column c)
{
    static char text[200];
    const char *p = pgwire_hba_show(hba, i, c, text, sizeof text);

    return p != NULL ? p : "-";
}

static void
what_is_right_is_shown_beside_what_is_wrong(void **state)
{
    static const char text[] = "local all \"a b\",c peer\nx\nhostnossl db all 10.0.0.0/9 reject\n"
                               "host all all all trust\nhost all all samehost trust\n"
                               "host all all localhost trust\n";
    static const char *const shown[][PGWIRE_HBA_COLUMNS] = {
        { "local", "{all}", "{a b,c}", "-", "-", "peer" },
        { "hostnossl", "{db}", "{all}", "10.0.0.0", "255.128.0.0", "reject" },
        { "host", "{all}", "{all}", "all", "-", "trust" },
        { "host", "{all}", "{all}", "samehost", "-", "trust" },
        { "host", "{all}", "{all}", "localhost", "-", "trust" },
    };
    static const int lines[] = { 1, 3, 4, 5, 6 };
    struct pgwire_hba hba = { 0 };
    struct tmpdir tmp;
    char path[100];
    unsigned sum = 0;

    (void) state;
    tmpdir_make(&tmp);
    assert_int_equal(io_write_file_durably(&tmp.io, ".", "hba", text, sizeof text - 1, NULL), 0);
    (void) snprintf(path, sizeof path, "%s/hba", tmp.path);
    assert_int_equal(pgwire_hba_load_good(path, &hba, count, &sum, NULL), -ERR_CONFIG_FILE_ERROR);
    assert_int_equal(sum, 2);
    assert_int_equal(hba.n, ELEMENTSOF(shown));
    for (size_t i = 0; i < hba.n; i++) {
        assert_int_equal(pgwire_hba_line(&hba, i), lines[i]);
        for (enum pgwire_hba_column c = 0; c < PGWIRE_HBA_COLUMNS; c++)
            assert_string_equal(column(&hba, i, c), shown[i][c]);
    }
    pgwire_hba_done(&hba);
    tmpdir_remove(&tmp);
}

static void
random_text_never_crashes_the_reader(void **state)
{
    static const char *const words[] = { "local", "host", "all",     " ", ",", "\"",
                                         "\n",    "#",    "1.2.3.4", "/", "8", "::1",
                                         "trust", "peer", "\t",      "@", "\\" };
    struct rng rng;

    (void) state;
    rng_init(&rng, 5);
    for (int i = 0; i < 5000; i++) {
        struct pgwire_hba hba = { 0 };
        char text[256];
        size_t n = 0;

        for (uint64_t k = rng_below(&rng, 20); k > 0; k--) {
            const char *w = words[rng_below(&rng, ELEMENTSOF(words))];

            memcpy(text + n, w, strlen(w));
            n += strlen(w);
        }
        if (pgwire_hba_parse("hba", text, n, &hba, NULL, NULL, NULL) == 0)
            pgwire_hba_done(&hba);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_rule_that_fits_decides),
        cmocka_unit_test(replication_needs_a_rule_of_its_own),
        cmocka_unit_test(refusals_say_who_and_from_where),
        cmocka_unit_test(every_fault_names_its_line_and_nothing_is_taken),
        cmocka_unit_test(all_faults_are_told),
        cmocka_unit_test(what_is_right_is_shown_beside_what_is_wrong),
        cmocka_unit_test(random_text_never_crashes_the_reader),
    };

    return cmocka_run_group_tests_name("pgwire_hba", tests, NULL, NULL);
}

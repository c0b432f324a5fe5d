/* The service on a real socket: framing, order, half-close, limits, last words. */
#include "support/test.h"

#include "base/clock.h"
#include "control/control.h"
#include "support/control_fake.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define PING "{\"method\":\"org.pinion.Control.Ping\"}"

struct rig {
    sd_event *ev;
    struct control_fake fake;
    struct control_view view;
    struct control *control;
    char dir[512];
    char path[600];
};

static struct rig rig;

static int
start(void **state)
{
    struct err e = ERR_INIT;
    char top[] = "/tmp/pinion-test-XXXXXX";

    (void) state;
    memset(&rig, 0, sizeof rig);
    assert_non_null(mkdtemp(top));
    /* Longer than any socket address. */
    (void) snprintf(rig.dir, sizeof rig.dir, "%s/%0200d", top, 0);
    assert_int_equal(mkdir(rig.dir, 0700), 0);
    (void) snprintf(rig.path, sizeof rig.path, "%s/control", rig.dir);
    control_fake_init(&rig.fake);
    rig.view = control_fake_view(&rig.fake);
    assert_true(sd_event_new(&rig.ev) >= 0);
    assert_ok(
        control_new(rig.ev, &(struct control_place){ rig.path, -1 }, &rig.view, &rig.control, &e),
        &e);
    return 0;
}

static int
stop(void **state)
{
    (void) state;
    rig.control = control_free(rig.control);
    (void) sd_event_unref(rig.ev);
    assert_int_equal(access(rig.path, F_OK), -1);
    assert_int_equal(rmdir(rig.dir), 0);
    *strrchr(rig.dir, '/') = '\0';
    assert_int_equal(rmdir(rig.dir), 0);
    return 0;
}

/* Let the loop run until nothing is left to do now. */
static void
turn(void)
{
    for (int i = 0; i < 200 && sd_event_run(rig.ev, 0) > 0; i++)
        ;
}

static int
dial_only(void)
{
    struct sockaddr_un addr = { .sun_family = AF_UNIX };
    int dir_fd = open(rig.dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    (void) snprintf(addr.sun_path, sizeof addr.sun_path, "/proc/self/fd/%d/control", dir_fd);
    assert_int_equal(connect(fd, (struct sockaddr *) &addr, sizeof addr), 0);
    (void) close(dir_fd);
    return fd;
}

static int
dial(void)
{
    int fd = dial_only();

    turn();
    return fd;
}

static void
say(int fd, const char *text, size_t n)
{
    assert_int_equal(send(fd, text, n, MSG_NOSIGNAL), (ssize_t) n);
    turn();
}

/* Everything that has come, NULs shown as '|'. "-" = connection closed behind it. */
static const char *
hear(int fd)
{
    static char text[4000000];
    size_t n = 0;
    ssize_t got;

    turn();
    while ((got = recv(fd, text + n, sizeof text - n - 2, MSG_DONTWAIT)) > 0) {
        n += (size_t) got;
        turn();
    }
    for (size_t i = 0; i < n; i++)
        text[i] = text[i] == '\0' ? '|' : text[i];
    if (got == 0 || (got < 0 && errno != EAGAIN))
        text[n++] = '-';
    text[n] = '\0';
    return text;
}

static void
expect_heard(int fd, const char *want)
{
    const char *got = hear(fd);

    if (strstr(got, want) == NULL)
        fail_msg("heard \"%s\", want \"%s\"", got, want);
}

static int
count(const char *text, const char *what)
{
    int n = 0;

    for (const char *p = text; (p = strstr(p, what)) != NULL; p++)
        n++;
    return n;
}

static void
a_message_may_come_in_pieces_and_several_at_once(void **state)
{
    int fd = dial();

    (void) state;
    say(fd, PING, 10);
    assert_string_equal(hear(fd), "");
    say(fd, &PING[10], sizeof PING - 10);
    expect_heard(fd, "{\"parameters\":{\"monotonicUSec\":");
    say(fd, PING "\0{\"method\":\"a.b\"}\0" PING, 2 * sizeof PING + sizeof "{\"method\":\"a.b\"}");
    const char *got = hear(fd);
    assert_int_equal(count(got, "|"), 3);
    assert_true(strstr(got, "InterfaceNotFound") > strstr(got, "monotonicUSec"));
    (void) close(fd);
}

static void
a_half_closed_peer_gets_its_answer_even_without_the_last_nul(void **state)
{
    int fd = dial();

    (void) state;
    assert_int_equal(send(fd, PING, sizeof PING - 1, 0), sizeof PING - 1);
    assert_int_equal(shutdown(fd, SHUT_WR), 0);
    const char *got = hear(fd);
    assert_non_null(strstr(got, "monotonicUSec"));
    assert_int_equal(got[strlen(got) - 1], '-');
    (void) close(fd);
}

static void
rubbish_and_too_long_messages_end_the_connection(void **state)
{
    static char big[CONTROL_MESSAGE_MAX + 100];
    int fd = dial();

    (void) state;
    say(fd, "GET / HTTP/1.1\r\n\r\n", sizeof "GET / HTTP/1.1\r\n\r\n");
    assert_string_equal(hear(fd), "-");
    (void) close(fd);

    fd = dial();
    memset(big, ' ', sizeof big);
    (void) send(fd, big, sizeof big, MSG_NOSIGNAL);
    assert_string_equal(hear(fd), "-");
    (void) close(fd);

    fd = dial(); /* exactly as long as allowed */
    memcpy(big, PING, sizeof PING - 1);
    big[CONTROL_MESSAGE_MAX] = '\0';
    say(fd, big, CONTROL_MESSAGE_MAX + 1);
    expect_heard(fd, "monotonicUSec");
    (void) close(fd);
}

static void
the_seventeenth_connection_of_one_user_is_refused_at_once(void **state)
{
    int fds[CONTROL_CLIENTS_PER_UID + 1];

    (void) state;
    for (size_t i = 0; i < ELEMENTSOF(fds); i++)
        fds[i] = dial();
    assert_string_equal(hear(fds[CONTROL_CLIENTS_PER_UID]), "-");
    say(fds[0], PING, sizeof PING);
    expect_heard(fds[0], "monotonicUSec");
    (void) close(fds[1]);
    (void) close(fds[CONTROL_CLIENTS_PER_UID]);
    turn();
    fds[1] = dial(); /* a place was freed */
    say(fds[1], PING, sizeof PING);
    expect_heard(fds[1], "monotonicUSec");
    for (size_t i = 0; i < CONTROL_CLIENTS_PER_UID; i++)
        (void) close(fds[i]);
}

static void
a_peer_that_reads_nothing_does_not_cost_more_than_its_queue(void **state)
{
    static const char call[] = "{\"method\":\"org.varlink.service.GetInterfaceDescription\","
                               "\"parameters\":{\"interface\":\"org.pinion.Control\"}}";
    int fd = dial();
    int sent = 0;

    (void) state;
    while (send(fd, call, sizeof call, MSG_NOSIGNAL | MSG_DONTWAIT) == sizeof call &&
           sent < 20000) {
        sent++;
        turn();
    }
    assert_in_range(sent, 10, 19999); /* it stopped reading us */
    int other = dial();
    say(other, PING, sizeof PING);
    expect_heard(other, "monotonicUSec"); /* and others do not notice */
    const char *got = hear(fd);
    assert_true(count(got, "|") > 10);
    (void) close(other);
    (void) close(fd);
}

static void
a_list_of_ten_thousand_sessions_is_one_reply(void **state)
{
    static const char call[] = "{\"method\":\"org.pinion.Control.ListProcesses\"}";
    int fd = dial();
    const char *got;

    (void) state;
    rig.fake.n_sessions = 10000;
    say(fd, call, sizeof call);
    say(fd, PING, sizeof PING); /* waits until most of it is read */
    got = hear(fd);
    assert_int_equal(count(got, "\"pid\":102,"), 10001);
    assert_non_null(strstr(got, "]}}|{\"parameters\":{\"monotonicUSec\":"));
    (void) close(fd);
}

static void
a_busy_connection_keeps_order_and_the_end_tells_whoever_waits(void **state)
{
    static const char call[] =
        "{\"method\":\"org.pinion.Control.Stop\",\"parameters\":{\"mode\":\"smart\"}}";
    static const char watch[] = "{\"method\":\"org.pinion.Control.WatchStatus\",\"more\":true}";
    int fd = dial(), watcher = dial();

    (void) state;
    say(watcher, watch, sizeof watch);
    expect_heard(watcher, "\"sequence\":0");
    say(fd, call, sizeof call);
    say(fd, PING, sizeof PING);
    assert_string_equal(hear(fd), ""); /* the call runs; the next one waits */
    assert_int_equal(rig.fake.n_stops, 1);
    rig.fake.status.state = CONTROL_STOPPING;
    rig.fake.status.pm_state = "PM_SHUTDOWN";
    control_changed(rig.control);
    expect_heard(watcher, "\"sequence\":1");
    control_finish(rig.control, true, 100000);
    expect_heard(fd, "{\"parameters\":{\"completed\":true,\"clean\":true}}|");
    expect_heard(watcher, "OperationFailed");
    assert_int_equal(access(rig.path, F_OK), -1);
    (void) close(fd);
    (void) close(watcher);
}

static void
without_descriptors_it_waits_instead_of_spinning(void **state)
{
    struct rlimit old, none;
    int fd = dial_only();

    (void) state;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
    none = old;
    none.rlim_cur = 3;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    int n = 0;
    while (n < 100 && sd_event_run(rig.ev, 0) > 0)
        n++;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
    assert_in_range(n, 1, 10);
    control_changed(rig.control); /* or a second later */
    say(fd, PING, sizeof PING);
    expect_heard(fd, "monotonicUSec");
    (void) close(fd);
}

static void
a_socket_that_a_server_listens_on_is_refused_a_dead_ones_is_replaced(void **state)
{
    struct err e = ERR_INIT;
    struct control *second = NULL;
    char other[700];
    struct stat st;

    (void) state;
    assert_int_equal(
        control_new(rig.ev, &(struct control_place){ rig.path, -1 }, &rig.view, &second, &e),
        -EADDRINUSE);
    int fd = dial(); /* it is still the first one's */
    say(fd, PING, sizeof PING);
    expect_heard(fd, "monotonicUSec");
    (void) close(fd);
    err_clear(&e);
    (void) snprintf(other, sizeof other, "%s.kept", rig.path);
    assert_int_equal(link(rig.path, other), 0); /* as if it had died: the name stays */
    rig.control = control_free(rig.control);
    assert_int_equal(rename(other, rig.path), 0);
    assert_ok(
        control_new(rig.ev, &(struct control_place){ rig.path, -1 }, &rig.view, &rig.control, &e),
        &e);
    assert_int_equal(stat(rig.path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0666);
    fd = dial();
    say(fd, PING, sizeof PING);
    expect_heard(fd, "monotonicUSec");
    (void) close(fd);
}

static void
a_name_that_is_a_strangers_by_now_is_left(void **state)
{
    struct err e = ERR_INIT;

    (void) state;
    assert_int_equal(unlink(rig.path), 0);
    int stranger = open(rig.path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    rig.control = control_free(rig.control);
    assert_int_equal(access(rig.path, F_OK), 0);
    (void) close(stranger);
    assert_ok(
        control_new(rig.ev, &(struct control_place){ rig.path, -1 }, &rig.view, &rig.control, &e),
        &e);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_message_may_come_in_pieces_and_several_at_once, start,
                                        stop),
        cmocka_unit_test_setup_teardown(
            a_half_closed_peer_gets_its_answer_even_without_the_last_nul, start, stop),
        cmocka_unit_test_setup_teardown(rubbish_and_too_long_messages_end_the_connection, start,
                                        stop),
        cmocka_unit_test_setup_teardown(the_seventeenth_connection_of_one_user_is_refused_at_once,
                                        start, stop),
        cmocka_unit_test_setup_teardown(a_peer_that_reads_nothing_does_not_cost_more_than_its_queue,
                                        start, stop),
        cmocka_unit_test_setup_teardown(a_list_of_ten_thousand_sessions_is_one_reply, start, stop),
        cmocka_unit_test_setup_teardown(
            a_busy_connection_keeps_order_and_the_end_tells_whoever_waits, start, stop),
        cmocka_unit_test_setup_teardown(without_descriptors_it_waits_instead_of_spinning, start,
                                        stop),
        cmocka_unit_test_setup_teardown(
            a_socket_that_a_server_listens_on_is_refused_a_dead_ones_is_replaced, start, stop),
        cmocka_unit_test_setup_teardown(a_name_that_is_a_strangers_by_now_is_left, start, stop),
    };

    return cmocka_run_group_tests_name("control", tests, NULL, NULL);
}

/* proc/backend_tcp: what the kernel is told about a client's connection. */
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proc/backend.h"
#include "support/test.h"

static int
tcp_option(int fd, int option)
{
    int value = -1;
    socklen_t n = sizeof value;

    assert_int_equal(getsockopt(fd, IPPROTO_TCP, option, &value, &n), 0);
    return value;
}

/* Applied to the connection, given back to the system at 0, and no call for a Unix socket. */
static void
the_kernel_is_told_how_long_a_silent_peer_is_waited_for(void **state)
{
    struct backend b = { .fd = -1 };
    struct conf_values system = { .tcp_keepalives_idle = 0 };
    struct conf_values v = system;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int idle = tcp_option(fd, TCP_KEEPIDLE);

    (void) state;
    v.tcp_keepalives_idle = 100 * (int64_t) USEC_PER_SEC;
    v.tcp_keepalives_interval = 7 * (int64_t) USEC_PER_SEC;
    v.tcp_keepalives_count = 3;
    v.tcp_user_timeout = 1234 * (int64_t) USEC_PER_MSEC;
    backend_set_tcp(&b, &v);
    assert_int_equal(b.tcp_set[0], 0); /* a Unix socket */
    b.fd = fd;
    b.peer.family = AF_INET;
    backend_set_tcp(&b, &v);
    assert_int_equal(tcp_option(fd, TCP_KEEPIDLE), 100);
    assert_int_equal(tcp_option(fd, TCP_KEEPINTVL), 7);
    assert_int_equal(tcp_option(fd, TCP_KEEPCNT), 3);
    assert_int_equal(tcp_option(fd, TCP_USER_TIMEOUT), 1234);
    v.tcp_keepalives_idle = 200 * (int64_t) USEC_PER_SEC;
    backend_set_tcp(&b, &v);
    assert_int_equal(tcp_option(fd, TCP_KEEPIDLE), 200);
    backend_set_tcp(&b, &system);
    assert_int_equal(tcp_option(fd, TCP_KEEPIDLE), idle);
    assert_int_equal(tcp_option(fd, TCP_USER_TIMEOUT), 0);
    (void) close(fd);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_kernel_is_told_how_long_a_silent_peer_is_waited_for),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

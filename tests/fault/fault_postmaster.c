/* The postmaster with real forks: stops, crashes, escalation, lost lock file. Its children are made
 * up: they talk over their sockets and slots as the real ones do, and misbehave on request. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "pm/pm.h"
#include "pm/pm_control.h"
#include "proc/child.h"
#include "shm/self.h"
#include "shm/wait.h"
#include "support/idle_mains.h"
#include "support/test.h"
#include "support/tmpdir.h"

#define DEADLINE_USEC (60 * USEC_PER_SEC)

/* How the children behave; set before the postmaster is forked. */
static struct {
    int startup_exit;               /* with this code, when recovery "ends" */
    bool startup_hangs;             /* never ends by itself */
    bool startup_crash_once;        /* the first one after a crash kills itself */
    bool checkpointer_dies;         /* instead of writing the shutdown checkpoint */
    bool first_checkpointer_stands; /* shows no progress */
    const char *arg;                /* one more -c argument */
    int patience_msec;
    unsigned fork_after, fork_times; /* that many forks succeed, then so many fail */
} play;

/* ---- made-up mains ---- */
static bool is_standing; /* this child shows no progress */

static void
sleep_until_request(struct self *self, uint32_t bits)
{
    for (;;) {
        struct pollfd p = { .fd = child_signal_fd(), .events = POLLIN };

        (void) poll(&p, 1, 100);
        if (!is_standing)
            beat_step(&self->slot->beat);
        child_poll(NULL);
        if ((atomic_load_explicit(&self->slot->request, memory_order_acquire) & bits) != 0)
            return;
    }
}

static struct self
self_of(const struct child_start *start)
{
    struct self self;

    self_init(&self, (uint32_t) start->slot_idx, segment_slot(start->segment, start->slot_idx));
    self.poll = child_poll;
    return self;
}

NORETURN void
startup_main(const struct child_start *start)
{
    struct self self = self_of(start);

    segment_tell(start->segment, MSG_REDO_STARTED);
    if (start->after_crash && play.startup_crash_once && access("crashed-once", F_OK) < 0) {
        (void) close(open("crashed-once", O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
        (void) kill(getppid(), SIGUSR1); /* kept harmless */
        child_exit(CHILD_PANIC);
    }
    if (play.startup_hangs) {
        sleep_until_request(&self, REQ_TERMINATE);
        child_exit(CHILD_FATAL);
    }
    child_exit((enum child_class) play.startup_exit);
}

NORETURN void
checkpointer_main(const struct child_start *start)
{
    struct self self = self_of(start);

    is_standing = play.first_checkpointer_stands && access("stood-once", F_OK) < 0;
    (void) close(open("stood-once", O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    sleep_until_request(&self, REQ_FINISH);
    if (play.checkpointer_dies)
        (void) raise(SIGKILL);
    (void) close(open("checkpoint-written", O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    segment_tell(start->segment, MSG_WAL_IS_SHUT);
    sleep_until_request(&self, REQ_STOP);
    child_exit(CHILD_OK);
}

NORETURN void
bgwriter_main(const struct child_start *start)
{
    struct self self = self_of(start);

    sleep_until_request(&self, REQ_STOP);
    child_exit(CHILD_OK);
}

/* One letter per command: what a client can make a backend do. */
NORETURN void
backend_main(const struct child_start *start)
{
    struct slot *slot = segment_slot(start->segment, start->slot_idx);
    char c;

    atomic_store_explicit(&slot->activity, ACTIVITY_IDLE, memory_order_relaxed); /* logged in */
    for (;;) {
        struct pollfd p[2] = { { .fd = start->client_fd, .events = POLLIN },
                               { .fd = child_signal_fd(), .events = POLLIN } };

        (void) poll(p, 2, -1);
        if ((p[1].revents & POLLIN) != 0)
            child_poll(NULL);
        if ((atomic_load_explicit(&slot->request, memory_order_relaxed) & REQ_TERMINATE) != 0)
            child_exit(CHILD_FATAL);
        if (p[0].revents == 0)
            continue;
        if (read(start->client_fd, &c, 1) <= 0)
            child_exit(CHILD_OK);
        if ((c == 'p' && dprintf(start->client_fd, "ready\n") < 0) || (c == 'k' && raise(SIGKILL)))
            child_exit(CHILD_FATAL);
        if (c == 'r') { /* the startup process has been reaped long since */
            segment_tell(start->segment, MSG_REDO_STARTED);
            (void) dprintf(start->client_fd, "told\n");
        }
        if (c == 'x')
            _exit(0); /* politely, but without giving the slot back */
        if (c == 'h') {
            child_set_quit_handler(SIG_IGN);
            (void) dprintf(start->client_fd, "hanging\n");
            for (;;)
                (void) pause();
        }
    }
}

NORETURN void
dead_end_main(const struct child_start *start)
{
    struct err e = ERR_INIT;

    (void) child_verdict_err(start->verdict, &e);
    (void) dprintf(start->client_fd, "%s\n", e.message);
    child_exit(CHILD_OK);
}

/* ---- the postmaster in a fork of the test ---- */
struct world {
    struct tmpdir tmp;
    const char *dir;
    pid_t pid;
    int states; /* read end: one line per state */
    char seen[4096];
    size_t n_seen;
};

static int
make_bare(const struct conf *conf, const char *dir, struct segment **ret, struct err *e)
{
    (void) dir;
    return segment_create_bare((unsigned) conf->v.max_connections, ret, e);
}

static void
observe(void *arg, struct pm *pm, enum pm_saw what)
{
    static unsigned n_restarts;
    struct pm_status st;

    pm_control_status(pm, &st);
    if (st.crash_restarts !=
        n_restarts) /* the states of a crash may be over before we are called */
        (void) dprintf(*(int *) arg, "RESTART/%u\n", st.crash_restarts);
    n_restarts = st.crash_restarts;
    if (what == PM_SAW_STATE)
        (void) dprintf(*(int *) arg, "%s/%s\n", st.pm_state, st.state_word);
    if (what == PM_SAW_EXIT)
        (void) dprintf(*(int *) arg, "EXIT/%s\n", pm_control_is_clean(pm) ? "clean" : "unclean");
}

static void
serve(const char *dir, int out)
{
    const char *args[] = { "listen_addresses=",
                           "max_connections=5",
                           "superuser_reserved_connections=1",
                           "restart_after_crash=on",
                           NULL,
                           NULL };
    char patience[64];
    struct conf_issues issues = { 0 };
    struct conf conf = { 0 };
    struct err e = ERR_INIT;
    struct pm *pm = NULL;
    struct pm_params params = { .conf = &conf,
                                .where = { .data_dir = dir, .conf_dir = dir },
                                .conf_args = args,
                                .n_conf_args = play.arg != NULL ? 6 : 5,
                                .make_segment = make_bare };
    int r;

    (void) snprintf(patience, sizeof patience, "fast_shutdown_patience=%d", play.patience_msec);
    args[4] = patience;
    if (play.fork_times > 0)
        fault_arm(FAULT_PM_FORK, play.fork_after, play.fork_times, FAULT_DO_ERROR, EAGAIN);
    log_init("postmaster", LOG_LEVEL_PANIC);
    args[5] = play.arg;
    r = conf_load(&params.where, args, params.n_conf_args, &conf, &issues, &e);
    conf.v.log_min_messages = LOG_LEVEL_PANIC;
    if (r == 0)
        r = pm_new(&params, &pm, &e);
    if (r < 0) {
        (void) dprintf(out, "REFUSED/%s\n", e.message);
        _exit(pm_exit_code(r));
    }
    pm_control_observe(pm, observe, &out);
    r = pm_run(pm);
    pm_free(pm);
    conf_done(&conf);
    _exit(r);
}

static void
write_text(const char *dir, const char *name, const char *text)
{
    char path[4200];
    FILE *f;

    (void) snprintf(path, sizeof path, "%s/%s", dir, name);
    f = fopen(path, "we");
    assert_non_null(f);
    (void) fputs(text, f);
    (void) fclose(f);
}

static void
start(struct world *w)
{
    int fds[2];

    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    w->pid = fork();
    assert_true(w->pid >= 0);
    if (w->pid == 0) {
        (void) close(fds[0]);
        serve(w->dir, fds[1]);
    }
    (void) close(fds[1]);
    w->states = fds[0];
    w->n_seen = 0;
    w->seen[0] = '\0';
}

/* False: the postmaster has closed its end. */
static bool
see_more(struct world *w)
{
    ssize_t n = read(w->states, w->seen + w->n_seen, sizeof w->seen - 1 - w->n_seen);

    w->n_seen += n > 0 ? (size_t) n : 0;
    w->seen[w->n_seen] = '\0';
    return n > 0;
}

/* Wait until the states written so far contain `text`; then forget all up to it. */
static void
expect(struct world *w, const char *text)
{
    usec_t deadline = clock_mono_usec() + DEADLINE_USEC;
    char *at;

    while ((at = strstr(w->seen, text)) == NULL) {
        struct pollfd p = { .fd = w->states, .events = POLLIN };

        if (clock_mono_usec() > deadline || poll(&p, 1, 60000) <= 0)
            fail_msg("waited for %s, saw %s", text, w->seen);
        if (!see_more(w))
            fail_msg("waited for %s, the postmaster is gone after %s", text, w->seen);
    }
    at += strlen(text);
    w->n_seen -= (size_t) (at - w->seen);
    memmove(w->seen, at, w->n_seen + 1);
}

static int
wait_exit(struct world *w)
{
    int status;

    assert_int_equal(waitpid(w->pid, &status, 0), w->pid);
    w->pid = 0;
    (void) close(w->states);
    w->states = -1;
    if (!WIFEXITED(status))
        fail_msg("postmaster ended by signal %d", WTERMSIG(status));
    return WEXITSTATUS(status);
}

static bool
exists(const struct world *w, const char *name)
{
    char path[4200];

    (void) snprintf(path, sizeof path, "%s/%s", w->dir, name);
    return access(path, F_OK) == 0;
}

static int
connect_client(const struct world *w)
{
    struct sockaddr_un sa = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    (void) snprintf(sa.sun_path, sizeof sa.sun_path, "%.90s/.s.PGSQL.5454", w->dir);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *) &sa, sizeof sa), 0);
    return fd;
}

/* Send a command, read one answer (until newline or end). */
static const char *
ask(int fd, char command)
{
    static char text[200];
    size_t n = 0;

    if (command != 0)
        assert_int_equal(write(fd, &command, 1), 1);
    while (n < sizeof text - 1 && read(fd, text + n, 1) == 1 && text[n] != '\n')
        n++;
    text[n] = '\0';
    return text;
}

static int
setup(void **state)
{
    static struct world w;

    memset(&w, 0, sizeof w);
    memset(&play, 0, sizeof play);
    tmpdir_make(&w.tmp);
    w.dir = w.tmp.path;
    w.states = -1;
    assert_int_equal(chmod(w.dir, 0700), 0);
    write_text(w.dir, "PG_VERSION", "15\n");
    write_text(w.dir, "pinion.conf", "");
    *state = &w;
    return 0;
}

static int
teardown(void **state)
{
    struct world *w = *state;

    if (w->pid > 0) {
        (void) kill(w->pid, SIGKILL);
        (void) waitpid(w->pid, NULL, 0);
    }
    if (w->states >= 0)
        (void) close(w->states);
    tmpdir_remove(&w->tmp);
    return 0;
}

static void
start_ready(struct world *w)
{
    start(w);
    expect(w, "PM_RUN/ready");
}

/* It writes `last` of all and exits with `code`. */
static void
ends(struct world *w, const char *last, int code)
{
    expect(w, last);
    assert_int_equal(wait_exit(w), code);
}

static void
stop(struct world *w)
{
    (void) kill(w->pid, SIGINT);
    assert_int_equal(wait_exit(w), 0);
}

/* A new client; `command` 0: it only listens. */
static int
connect_and_ask(const struct world *w, char command, const char *want)
{
    int fd = connect_client(w);

    assert_string_equal(ask(fd, command), want);
    return fd;
}

static void
it_starts_serves_and_stops_fast_with_a_checkpoint(void **state)
{
    struct world *w = *state;
    int client;

    start_ready(w);
    assert_true(exists(w, "postmaster.pid"));
    client = connect_and_ask(w, 'p', "ready");
    (void) kill(w->pid, SIGINT);
    ends(w, "EXIT/clean", 0);
    assert_true(exists(w, "checkpoint-written"));
    assert_false(exists(w, "postmaster.pid"));
    assert_false(exists(w, ".s.PGSQL.5454"));
    assert_false(exists(w, ".s.PGSQL.5454.lock"));
    (void) close(client);
}

static void
a_smart_stop_waits_for_the_last_client_and_refuses_new_ones(void **state)
{
    struct world *w = *state;
    int client;

    start_ready(w);
    client = connect_and_ask(w, 'p', "ready");
    (void) kill(w->pid, SIGTERM);
    expect(w, "PM_RUN/draining");
    (void) close(connect_and_ask(w, 0, "the database system is shutting down"));
    assert_string_equal(ask(client, 'p'), "ready");
    (void) close(client);
    ends(w, "EXIT/clean", 0);
}

static void
an_immediate_stop_writes_no_checkpoint_and_exits_0(void **state)
{
    struct world *w = *state;

    start_ready(w);
    (void) kill(w->pid, SIGQUIT);
    ends(w, "EXIT/unclean", 0);
    assert_false(exists(w, "checkpoint-written"));
}

static void
a_killed_backend_restarts_all_and_service_resumes(void **state)
{
    struct world *w = *state;
    int a;
    int b;

    start_ready(w);
    a = connect_client(w);
    b = connect_client(w);
    assert_string_equal(ask(a, 'p'), "ready");
    assert_string_equal(ask(b, 'p'), "ready");
    assert_string_equal(ask(a, 'k'), "");
    assert_string_equal(ask(b, 0), ""); /* thrown out as well */
    expect(w, "RESTART/1");
    expect(w, "PM_RUN/ready");
    (void) close(a);
    (void) close(b);
    a = connect_and_ask(w, 'p', "ready");
    stop(w);
    (void) close(a);
}

static void
a_child_that_exits_0_without_giving_its_slot_back_is_a_crash(void **state)
{
    struct world *w = *state;
    int a;

    start_ready(w);
    a = connect_and_ask(w, 'x', "");
    expect(w, "RESTART/1");
    expect(w, "PM_RUN/ready");
    (void) close(a);
    stop(w);
}

static void
a_late_word_of_recovery_changes_nothing(void **state)
{
    struct world *w = *state;
    int a;

    start_ready(w);
    a = connect_and_ask(w, 'r', "told");
    (void) close(connect_and_ask(w, 'p', "ready"));
    (void) kill(w->pid, SIGINT);
    while (see_more(w)) /* every state it has been in since */
        assert_null(strstr(w->seen, "PM_RECOVERY"));
    assert_int_equal(wait_exit(w), 0);
    (void) close(a);
}

static void
a_child_that_ignores_quit_is_killed_after_5_s(void **state)
{
    struct world *w = *state;
    usec_t began;
    int a;

    start_ready(w);
    a = connect_and_ask(w, 'h', "hanging");
    began = clock_mono_usec();
    (void) kill(w->pid, SIGQUIT);
    ends(w, "EXIT/unclean", 0);
    assert_true(clock_mono_usec() - began >= 4 * USEC_PER_SEC);
    (void) close(a);
}

static void
a_fast_stop_that_takes_longer_than_its_patience_becomes_immediate(void **state)
{
    struct world *w = *state;
    int a;

    play.patience_msec = 50;
    start_ready(w);
    a = connect_and_ask(w, 'h', "hanging");
    (void) kill(w->pid, SIGINT);
    ends(w, "EXIT/unclean", 0);
    (void) close(a);
}

static void
a_failing_startup_process_ends_the_server_with_1(void **state)
{
    struct world *w = *state;

    play.startup_exit = 1;
    start(w);
    ends(w, "EXIT/unclean", 1);
}

static void
a_recovery_target_that_says_stop_ends_it_with_0(void **state)
{
    struct world *w = *state;

    play.startup_exit = 3;
    start(w);
    ends(w, "EXIT", 0);
}

static void
a_stop_during_recovery_ends_it(void **state)
{
    static const int signals[] = { SIGTERM, SIGINT, SIGQUIT };
    static const char *const words[] = { "the database system is not yet accepting connections",
                                         "the database system is not accepting connections" };
    struct world *w = *state;

    for (size_t i = 0; i < ELEMENTSOF(signals); i++) {
        play.startup_hangs = true;
        play.arg = i % 2 == 0 ? "hot_standby=on" : "hot_standby=off";
        start(w);
        expect(w, "PM_RECOVERY/recovering");
        (void) close(connect_and_ask(w, 0, words[i % 2])); /* AC077, AC078 */
        (void) kill(w->pid, signals[i]);
        ends(w, "EXIT", 0);
    }
}

static void
a_checkpointer_that_dies_in_its_last_checkpoint_makes_it_an_abnormal_end(void **state)
{
    struct world *w = *state;

    play.checkpointer_dies = true;
    start_ready(w);
    (void) kill(w->pid, SIGINT);
    ends(w, "EXIT/unclean", 1);
}

static void
too_many_clients_are_told_so(void **state)
{
    struct world *w = *state;
    int fds[10];

    start_ready(w);
    for (size_t i = 0; i < ELEMENTSOF(fds); i++) { /* twice max_connections */
        fds[i] = connect_client(w);
        assert_string_equal(ask(fds[i], 'p'), "ready");
    }
    (void) close(connect_and_ask(w, 0, "sorry, too many clients already"));
    for (size_t i = 0; i < ELEMENTSOF(fds); i++)
        (void) close(fds[i]);
    stop(w);
}

static void
a_second_server_is_refused_and_leaves_the_first_alone(void **state)
{
    struct world *w = *state;
    struct world second = { .dir = w->dir };

    start_ready(w);
    start(&second);
    ends(&second, "REFUSED/lock file", 75);
    (void) close(connect_and_ask(w, 'p', "ready"));
    stop(w);
}

static void
a_killed_postmaster_takes_its_children_along_and_the_next_one_starts(void **state)
{
    struct world *w = *state;
    usec_t deadline = clock_mono_usec() + DEADLINE_USEC;
    int client;
    int status;

    start_ready(w);
    client = connect_and_ask(w, 'p', "ready");
    (void) kill(w->pid, SIGKILL);
    assert_int_equal(waitpid(w->pid, &status, 0), w->pid);
    w->pid = 0;
    assert_string_equal(ask(client, 0), "");
    (void) close(client);
    (void) close(w->states);
    assert_true(exists(w, "postmaster.pid"));
    for (bool is_refused = true; is_refused;) { /* until the last child has let go of the lock */
        struct pollfd p;

        start(w);
        p = (struct pollfd){ .fd = w->states, .events = POLLIN };
        (void) poll(&p, 1, 60000);
        (void) see_more(w); /* expect() goes on from here */
        is_refused = strncmp(w->seen, "REFUSED", 7) == 0 && clock_mono_usec() < deadline;
        if (is_refused)
            (void) wait_exit(w);
    }
    expect(w, "PM_RUN/ready");
    stop(w);
}

static void
a_removed_lock_file_stops_the_server_at_once(void **state)
{
    struct world *w = *state;
    char path[4200];

    start_ready(w);
    (void) snprintf(path, sizeof path, "%s/postmaster.pid", w->dir);
    assert_int_equal(unlink(path), 0);
    write_text(w->dir, "postmaster.pid", "1\n");
    ends(w, "EXIT/unclean", 0);
    assert_true(exists(w, "postmaster.pid")); /* PM-7: a stranger's file stays */
}

static void
a_crash_of_the_startup_process_after_a_crash_ends_the_server(void **state)
{
    struct world *w = *state;
    int a;

    play.startup_crash_once = true;
    start_ready(w);
    a = connect_and_ask(w, 'k', "");
    ends(w, "EXIT/unclean", 1);
    (void) close(a);
}

static void
a_checkpointer_that_stands_still_is_ended_and_all_start_anew(void **state)
{
    struct world *w = *state;

    play.first_checkpointer_stands = true;
    play.arg = "progress_timeout=1";
    start(w);
    expect(w, "RESTART/1"); /* on a slow machine before it was ever ready */
    expect(w, "PM_RUN/ready");
    stop(w);
}

static void
a_socket_path_that_is_too_long_is_refused_by_the_name_of_its_setting(void **state)
{
    struct world *w = *state;

    play.arg =
        "unix_socket_directories=/tmp/"
        "a-long-name-a-long-name-a-long-name-a-long-name-a-long-name-a-long-name-a-long-name-"
        "a-long-name";
    start(w);
    ends(w, "REFUSED/command line: Unix socket path", 78);
    assert_false(exists(w, "postmaster.pid"));
}

#ifdef PINION_FAULTS
static void
a_startup_process_that_cannot_be_forked_ends_the_server(void **state)
{
    struct world *w = *state;

    play.fork_times = 1;
    start(w);
    ends(w, "EXIT/unclean", 1);
}

static void
a_client_hears_that_no_process_could_be_forked_for_it(void **state)
{
    struct world *w = *state;

    play.arg = "autovacuum=off";
    play.fork_after = 4; /* startup, checkpointer, bgwriter, walwriter */
    play.fork_times = 1;
    start_ready(w);
    (void) close(connect_and_ask(w, 0,
                                 "Ecould not fork new process for connection: Resource "
                                 "temporarily unavailable"));
    (void) close(connect_and_ask(w, 'p', "ready"));
    stop(w);
}

/* Fork n fails, for each n of a start, a crash cycle and a stop: it ends, with a code of the
 * contract. */
static void
whichever_fork_fails_it_comes_to_an_end(void **state)
{
    struct world *w = *state;

    for (unsigned n = 0; n < 12; n++) {
        int code;

        play.fork_after = n;
        play.fork_times = 3;
        start(w);
        while (strstr(w->seen, "PM_RUN/ready") == NULL && strstr(w->seen, "EXIT") == NULL &&
               see_more(w))
            ;
        if (strstr(w->seen, "PM_RUN/ready") != NULL) {
            int client = connect_client(w);

            (void) send(client, "k", 1, MSG_NOSIGNAL); /* a crash, unless there was no backend */
            (void) ask(client, 0);
            (void) close(client);
            (void) kill(w->pid, SIGINT);
        }
        code = wait_exit(w);
        if (code != 0 && code != 1)
            fail_msg("fork %u failed: exit code %d", n + 1, code);
    }
}
#endif

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(it_starts_serves_and_stops_fast_with_a_checkpoint),
        TEST(a_smart_stop_waits_for_the_last_client_and_refuses_new_ones),
        TEST(an_immediate_stop_writes_no_checkpoint_and_exits_0),
        TEST(a_killed_backend_restarts_all_and_service_resumes),
        TEST(a_child_that_exits_0_without_giving_its_slot_back_is_a_crash),
        TEST(a_late_word_of_recovery_changes_nothing),
        TEST(a_child_that_ignores_quit_is_killed_after_5_s),
        TEST(a_fast_stop_that_takes_longer_than_its_patience_becomes_immediate),
        TEST(a_failing_startup_process_ends_the_server_with_1),
        TEST(a_recovery_target_that_says_stop_ends_it_with_0),
        TEST(a_stop_during_recovery_ends_it),
        TEST(a_checkpointer_that_dies_in_its_last_checkpoint_makes_it_an_abnormal_end),
        TEST(too_many_clients_are_told_so),
        TEST(a_second_server_is_refused_and_leaves_the_first_alone),
        TEST(a_killed_postmaster_takes_its_children_along_and_the_next_one_starts),
        TEST(a_removed_lock_file_stops_the_server_at_once),
        TEST(a_crash_of_the_startup_process_after_a_crash_ends_the_server),
        TEST(a_checkpointer_that_stands_still_is_ended_and_all_start_anew),
        TEST(a_socket_path_that_is_too_long_is_refused_by_the_name_of_its_setting),
#ifdef PINION_FAULTS
        TEST(a_startup_process_that_cannot_be_forked_ends_the_server),
        TEST(a_client_hears_that_no_process_could_be_forked_for_it),
        TEST(whichever_fork_fails_it_comes_to_an_end),
#endif
    };

    return cmocka_run_group_tests_name("postmaster", tests, NULL, NULL);
}

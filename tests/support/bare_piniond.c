/* A program that pinionctl and systemd take for piniond: the real postmaster and control socket
 * over made-up children.
 *
 *   bare_piniond init -D DIR                 makes DIR with configuration files
 *   bare_piniond -D DIR | --instance NAME    serves; "recovers" for $BARE_RECOVER_MSEC (default 0),
 * step by step
 *
 * Runs in: tests of control, ctl and units that need a postmaster but no database. Owns: nothing.
 * Source: none. */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "control/control_pm.h"
#include "pm/pm.h"
#include "proc/child.h"
#include "shm/self.h"
#include "support/idle_mains.h"

/* ---- made-up children ---- */
static void
doze(int msec)
{
    struct pollfd p = { .fd = child_signal_fd(), .events = POLLIN };

    (void) poll(&p, 1, msec);
    child_poll(NULL);
}

static struct slot *
slot_of(const struct child_start *start)
{
    return segment_slot(start->segment, start->slot_idx);
}

static bool
was_asked(const struct child_start *start, uint32_t bits)
{
    return (atomic_load_explicit(&slot_of(start)->request, memory_order_acquire) & bits) != 0;
}

static struct self
begin(const struct child_start *start)
{
    struct self self;

    self_init(&self, (uint32_t) start->slot_idx, slot_of(start));
    self.poll = child_poll;
    return self;
}

static void
set64(_Atomic uint64_t *word, uint64_t v)
{
    atomic_store_explicit(word, v, memory_order_relaxed);
}

NORETURN void
startup_main(const struct child_start *start)
{
    struct shm_status *st = segment_status(start->segment);
    const char *text = getenv("BARE_RECOVER_MSEC"); /* NOLINT(concurrency-mt-unsafe): one thread */
    unsigned long msec = text == NULL ? 0 : strtoul(text, NULL, 10);
    struct self self = begin(start);

    (void) self;
    startup_pass_begin(&st->startup, STARTUP_REDO);
    set64(&st->redo_from_lsn, 0x1000000);
    set64(&st->redo_end_lsn, 0x1000000 + msec * 1000);
    atomic_store_explicit(&st->in_recovery, 1, memory_order_relaxed);
    atomic_store_explicit(&st->tli, 1, memory_order_relaxed);
    atomic_store_explicit(&st->ready, 1, memory_order_release);
    segment_tell(start->segment, MSG_REDO_STARTED);
    for (unsigned long done = 0; done < msec; done += 20) {
        doze(20);
        set64(&st->redo_lsn, 0x1000000 + done * 1000);
        segment_tell(start->segment, MSG_PROGRESS);
        if (was_asked(start, REQ_STOP | REQ_TERMINATE))
            child_exit(CHILD_FATAL);
    }
    atomic_store_explicit(&st->in_recovery, 0, memory_order_relaxed);
    set64(&st->flush_lsn, 0x3000000);
    set64(&st->insert_lsn, 0x3000028);
    child_exit(CHILD_OK);
}

static void
make_checkpoint(const struct child_start *start)
{
    struct segment_page *page = segment_page(start->segment);
    struct shm_status *st = segment_status(start->segment);

    if (atomic_exchange_explicit(&page->checkpoint_asked, 0, memory_order_acquire) == 0)
        return;
    uint64_t n = atomic_fetch_add_explicit(&page->checkpoint_started, 1, memory_order_relaxed) + 1;
    segment_tell(start->segment, MSG_CHECKPOINT);
    doze(30);
    set64(&st->checkpoint_time_usec, clock_real_usec());
    set64(&st->checkpoint_lsn, 0x3000148);
    atomic_store_explicit(&page->checkpoint_done, n, memory_order_release);
    segment_tell(start->segment, MSG_CHECKPOINT);
}

NORETURN void
checkpointer_main(const struct child_start *start)
{
    struct self self = begin(start);

    (void) self;
    while (!was_asked(start, REQ_FINISH)) {
        doze(20);
        make_checkpoint(start);
    }
    atomic_store_explicit(&segment_page(start->segment)->has_shutdown_checkpoint, 1,
                          memory_order_relaxed);
    segment_tell(start->segment, MSG_WAL_IS_SHUT);
    while (!was_asked(start, REQ_STOP))
        doze(20);
    child_exit(CHILD_OK);
}

NORETURN void
bgwriter_main(const struct child_start *start)
{
    struct self self = begin(start);

    (void) self;
    while (!was_asked(start, REQ_STOP))
        doze(1000);
    child_exit(CHILD_OK);
}

/* A client that says nothing and stays. */
NORETURN void
backend_main(const struct child_start *start)
{
    char c = '!';

    /* A session: a smart stop waits for it. */
    atomic_store_explicit(&slot_of(start)->activity, ACTIVITY_IDLE, memory_order_relaxed);
    (void) send(start->client_fd, &c, 1, MSG_NOSIGNAL);
    while (!was_asked(start, REQ_TERMINATE)) {
        doze(20);
        if (recv(start->client_fd, &c, 1, MSG_DONTWAIT) == 0)
            child_exit(CHILD_OK);
    }
    child_exit(CHILD_FATAL);
}

NORETURN void
dead_end_main(const struct child_start *start)
{
    (void) start;
    child_exit(CHILD_OK);
}

/* ---- the program ---- */
static int
make_bare(const struct conf *conf, const char *dir, struct segment **ret, struct err *e)
{
    (void) dir;
    return segment_create_bare((unsigned) conf->v.max_connections, ret, e);
}

static int
refuse(int r, const struct err *e)
{
    log_err(LOG_LEVEL_FATAL, "", e);
    return pm_exit_code(r);
}

static int
serve(const char *data_dir, const char *conf_dir, const char *instance)
{
    static const char *args[] = { "listen_addresses=" };
    CLEANUP(conf_issues_done) struct conf_issues issues = { 0 };
    CLEANUP(conf_done) struct conf conf = { 0 };
    struct err e = ERR_INIT;
    struct pm *pm = NULL;
    struct control_pm *control = NULL;
    struct pm_params params = { .conf = &conf,
                                .where = { .data_dir = data_dir, .conf_dir = conf_dir },
                                .conf_args = args,
                                .n_conf_args = 1,
                                .make_segment = make_bare };
    struct control_pm_params control_params = { .instance = instance };

    /* NOLINTNEXTLINE(concurrency-mt-unsafe): one thread */
    params.where.runtime_dir = getenv("RUNTIME_DIRECTORY");
    int r = fault_arm_from_env(&e);

    if (r == 0)
        r = conf_load(&params.where, args, 1, &conf, &issues, &e);
    if (r < 0)
        return refuse(r, &e);
    control_params.path = conf.v.control_socket;
    if ((r = pm_new(&params, &pm, &e)) < 0 ||
        (r = control_pm_new(pm, pm_loop(pm), &control_params, &control, &e)) < 0) {
        pm_free(pm);
        return refuse(r, &e);
    }
    r = pm_run(pm);
    (void) control_pm_free(control);
    pm_free(pm);
    return r;
}

static int
make(const char *dir)
{
    static const char *const names[] = { "pinion.conf", "pg_hba.conf", "pg_ident.conf",
                                         "PG_VERSION" };
    char path[4200];

    (void) mkdir(dir, 0700);
    for (size_t i = 0; i < ELEMENTSOF(names); i++) {
        (void) snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
        if (fd < 0 || (strcmp(names[i], "PG_VERSION") == 0 && write(fd, "15\n", 3) != 3))
            return 73;
        (void) close(fd);
    }
    return 0;
}

int
main(int argc, char **argv)
{
    static char dir[4096], conf_dir[256];

    log_init("postmaster", LOG_LEVEL_LOG);
    if (argc == 4 && strcmp(argv[1], "init") == 0)
        return make(argv[3]);
    if (argc == 3 && strcmp(argv[1], "-D") == 0 && realpath(argv[2], dir) != NULL)
        return serve(dir, dir, NULL);
    if (argc == 3 && strcmp(argv[1], "--instance") == 0) {
        (void) snprintf(dir, sizeof dir, "%s/%.100s", PINION_STATEDIR, argv[2]);
        (void) snprintf(conf_dir, sizeof conf_dir, "%s/%.100s", PINION_SYSCONFDIR, argv[2]);
        return serve(dir, conf_dir, argv[2]);
    }
    return 64;
}

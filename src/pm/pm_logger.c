/* The log collector, as the postmaster sees it: pipe, redirection, rotation, the last word.
 *
 * Runs in: postmaster. Owns: the pipe. stderr of all is its blocking end, for whoever just writes;
 * our own entries take a second, non-blocking one, so that no process hangs on a collector that
 * does not read. Source: postmaster.md 1.9, 4 K15-K17; PostgreSQL's syslogger. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fdlist.h"
#include "base/log.h"
#include "conf/conf_log.h"
#include "pm/pm_int.h"

#define ROTATE_FILE   "logrotate" /* as pg_ctl logrotate makes it */
#define PIPE_BYTES    (1024 * 1024)
#define PATIENCE_USEC (100 * USEC_PER_MSEC) /* of the postmaster, who must not wait */
#define FINISH_USEC   (5 * USEC_PER_SEC)

void
pm_logger_init(struct pm *pm)
{
    pm->logger = (struct pm_logger){
        .read_fd = -1, .write_fd = -1, .log_fd = -1, .ack_fd = -1, .origin_fd = -1
    };
}

/* Both ends, and a second one to write to that never blocks. */
static int
make_pipe(struct pm_logger *l, struct err *e)
{
    char path[40];
    int fds[2];

    if (pipe2(fds, O_CLOEXEC) < 0)
        return ERR_ERRNO(e, "could not create pipe for the log");
    l->read_fd = fds[0];
    l->write_fd = fds[1];
    if (fcntl(l->read_fd, F_SETFL, O_NONBLOCK) < 0) /* or orders would wait for text */
        return ERR_ERRNO(e, "could not set up pipe for the log");
    (void) fcntl(l->write_fd, F_SETPIPE_SZ, PIPE_BYTES); /* a wish */
    (void) snprintf(path, sizeof path, "/proc/self/fd/%d", l->write_fd);
    l->log_fd = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
    if (l->log_fd < 0)
        l->log_fd = fcntl(l->write_fd, F_DUPFD_CLOEXEC, 3);
    l->ack_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    l->origin_fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
    if (l->origin_fd < 0) /* started without a standard error */
        l->origin_fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
    if (l->log_fd < 0 || l->ack_fd < 0 || l->origin_fd < 0)
        return ERR_ERRNO(e, "could not create descriptors for the log");
    fd_inherit(l->log_fd, "log collector");
    return 0;
}

void
pm_logger_check(const struct pm *pm)
{
    if (!pm->conf->v.logging_collector &&
        (conf_log_formats(&pm->conf->v) & ~BIT(LOG_FORMAT_STDERR)) != 0)
        log_msg(LOG_LEVEL_WARNING,
                "log_destination is \"%s\", but without logging_collector the log is text on "
                "standard error",
                pm->conf->v.log_destination);
}

int
pm_logger_start(struct pm *pm, struct err *e)
{
    struct err why = ERR_INIT;
    int r;

    (void) unlink(ROTATE_FILE);
    pm_logger_check(pm);
    if (!pm->conf->v.logging_collector) {
        (void) unlink("current_logfiles");
        return 0;
    }
    r = make_pipe(&pm->logger, e);
    if (r < 0)
        return r;
    r = pm_launch(pm, CHILD_SYSLOGGER, &why);
    if (r < 0) { /* K15: without, and again in a while */
        (void) backoff_fail(&pm->backoff[CHILD_SYSLOGGER], clock_mono_usec(), r);
        log_err(LOG_LEVEL_LOG, "", &why);
    }
    return 0;
}

void
pm_logger_runs(struct pm *pm)
{
    struct pm_logger *l = &pm->logger;
    struct err e = ERR_INIT;

    if (l->is_redirected)
        return;
    e.code = -ERR_SUCCESS;
    (void) snprintf(e.message, sizeof e.message,
                    "redirecting log output to logging collector process");
    err_hint(&e, "Future log output will appear in directory \"%s\".", pm->conf->v.log_directory);
    log_err(LOG_LEVEL_LOG, "", &e);
    if (dup2(l->write_fd, STDOUT_FILENO) < 0 || dup2(l->write_fd, STDERR_FILENO) < 0)
        return; /* impossible for open descriptors; the log stays where it is */
    closep(&l->write_fd);
    l->write_fd = -1;
    l->is_redirected = true;
    log_to_collector(l->log_fd, PATIENCE_USEC);
}

void
pm_logger_in_child(struct pm *pm, struct child_start *start)
{
    struct pm_logger *l = &pm->logger;

    segment_free(start->segment);
    start->segment = NULL;
    (void) dup2(l->origin_fd, STDOUT_FILENO);
    (void) dup2(l->origin_fd, STDERR_FILENO);
    log_to_collector(-1, 0);
    log_forget_journal();
    fdlist_forget();
    fd_inherit(l->read_fd, "log pipe");
    fd_inherit(l->ack_fd, "log answer");
    if (start->conf_fd >= 0)
        fd_inherit(start->conf_fd, "settings");
}

void
pm_logger_died(const struct pm_child *c, pid_t pid, const siginfo_t *si)
{
    const char *what = child_policies[c->kind].description;

    if (si->si_code == CLD_EXITED)
        log_event(LOG_LEVEL_LOG, LOG_EVENT_LOGGER_DIED, NULL,
                  "%s (PID %d) exited with exit code %d", what, (int) pid, si->si_status);
    else
        log_event(LOG_LEVEL_LOG, LOG_EVENT_LOGGER_DIED, NULL,
                  "%s (PID %d) was terminated by signal %d: %s", what, (int) pid, si->si_status,
                  strsignal(si->si_status));
}

void
pm_logger_look(struct pm *pm)
{
    struct pm_child *c = &pm->children[pm->pool[CHILD_SYSLOGGER].first];

    if (unlink(ROTATE_FILE) == 0 && c->pid != 0)
        pm_child_signal(c, SIGUSR1);
}

/* What was written is in the files, or FINISH_USEC are over. */
static void
flush(struct pm *pm)
{
    struct pollfd pfd = { .fd = pm->logger.ack_fd, .events = POLLIN };

    if (!pm->logger.is_redirected || pm_child_count(pm, CHILD_SYSLOGGER) == 0)
        return;
    if (!log_ask_flush())
        return;
    (void) poll(&pfd, 1, (int) (FINISH_USEC / USEC_PER_MSEC));
}

void
pm_logger_fail(struct pm *pm, const struct err *e)
{
    struct pm_logger *l = &pm->logger;

    if (!l->is_redirected)
        return;
    log_err(LOG_LEVEL_FATAL, "", e);
    flush(pm);
    l->is_redirected = false;
    log_to_collector(-1, 0);
    (void) dup2(l->origin_fd, STDOUT_FILENO);
    (void) dup2(l->origin_fd, STDERR_FILENO);
}

void
pm_logger_finish(struct pm *pm)
{
    struct pm_logger *l = &pm->logger;
    int *const fds[] = { &l->read_fd, &l->write_fd, &l->ack_fd, &l->origin_fd };

    flush(pm);
    for (size_t i = 0; i < ELEMENTSOF(fds); i++)
        closep(fds[i]);
    /* log_fd and stderr end with the process: the collector leaves after us. */
}

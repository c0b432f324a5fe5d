/* The log collector: reads the pipe that is stderr of all the others, writes files, rotates them.
 *
 * Runs in: itself, before all other children and after all of them: it ends at the end of the pipe,
 * when the last writer has gone, whatever it is told. Detached: it maps no shared memory, so its
 * death is nobody else's; the pipe is the postmaster's, so the next one goes on where it ended.
 * HUP: settings; USR1: another file. Owns: the log files. Source: postmaster.md 1.1 to 1.9, 4
 * K15-K17; PostgreSQL's syslogger. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log_pipe.h"
#include "proc/child.h"
#include "proc/logfile.h"
#include "shm/slot.h"

static struct {
    const struct child_start *start;
    struct logfile_set files;
    struct log_pipe pipe;
    char *in; /* as large as the pipe: what is read ends where a write ended */
    size_t in_cap;
} me;

static void
on_text(void *arg, enum log_format format, bool is_entry, const char *p, size_t n)
{
    (void) arg;
    logfile_write(&me.files, format, is_entry, p, n);
}

/* The postmaster wants to leave: what it said before is written. */
static void
on_asked(void *arg)
{
    uint64_t one = 1;
    ssize_t n = write(me.start->log_ack_fd, &one, sizeof one);

    (void) arg;
    (void) n; /* full: it has been told */
}

static void
take_orders(void)
{
    uint32_t bits = child_take_signals();

    if ((bits & REQ_RELOAD) != 0 && child_reload(me.start, NULL) == 0)
        logfile_reload(&me.files, clock_real_usec());
    if ((bits & REQ_WORK) != 0)
        logfile_rotate(&me.files, LOGFILE_ASKED, clock_real_usec());
}

/* Wait for text, an order, or the time of the next file. */
static void
wait_for_work(void)
{
    struct pollfd fds[] = { { .fd = me.start->log_read_fd, .events = POLLIN },
                            { .fd = child_signal_fd(), .events = POLLIN } };
    usec_t due = logfile_due(&me.files);
    usec_t now = clock_real_usec();
    int ms = -1;

    if (due != 0) /* not longer than an hour: the clock may be set */
        ms = due <= now ? 0 : (int) (MIN((due - now) / USEC_PER_MSEC, (usec_t) 3600000) + 1);
    (void) poll(fds, ELEMENTSOF(fds), ms);
    if ((fds[1].revents & POLLIN) != 0)
        take_orders();
}

/* What is there; false: nobody is left who could write. */
static bool
take_text(void)
{
    ssize_t n = read(me.start->log_read_fd, me.in, me.in_cap);

    if (n > 0)
        log_pipe_take(&me.pipe, me.in, (size_t) n);
    return n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR));
}

NORETURN void
syslogger_main(const struct child_start *start)
{
    int size = fcntl(start->log_read_fd, F_GETPIPE_SZ);

    me.start = start;
    me.in_cap = size > 0 ? (size_t) size : 65536;
    me.in = malloc(me.in_cap);
    if (me.in == NULL) {
        log_msg(LOG_LEVEL_FATAL, "out of memory");
        child_exit(CHILD_FATAL);
    }
    me.pipe.emit = on_text;
    me.pipe.asked = on_asked;
    logfile_begin(&me.files, &start->conf->v);
    logfile_rotate(&me.files, LOGFILE_START, clock_real_usec());
    do {
        wait_for_work();
        logfile_turn(&me.files, clock_real_usec());
    } while (take_text());
    log_pipe_done(&me.pipe);
    logfile_end(&me.files);
    child_exit(CHILD_OK);
}

/* Running a command of the settings. Runs in: archiver, startup. Owns: nothing between calls.
 * Source: postmaster.md 1.4 (groups), 5.4, 5.11; which statuses are no answer is PostgreSQL's. */
#include "proc/command.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proc/child.h"

#define LOOK_EVERY_MSEC 100 /* as in every wait (shm/wait.c): the postmaster sees that we live */

/* ---- the text ---- */

static const char *
find_arg(char letter, const struct command_arg *args, size_t n)
{
    if (letter == '%')
        return "%";
    for (size_t i = 0; i < n; i++)
        if (args[i].letter == letter)
            return args[i].text;
    return NULL;
}

int
command_expand(const char *text, const struct command_arg *args, size_t n_args,
               char ret[COMMAND_BYTES], struct err *e)
{
    size_t at = 0;

    for (const char *p = text; *p != '\0'; p++) {
        char one[2] = { *p, '\0' };
        const char *piece = *p == '%' ? find_arg(p[1], args, n_args) : NULL;
        size_t n;

        if (piece != NULL)
            p++;
        else
            piece = one;
        n = strlen(piece);
        if (at + n >= COMMAND_BYTES)
            return ERR(e, PROGRAM_LIMIT_EXCEEDED, "the command \"%.100s…\" is too long", text);
        memcpy(ret + at, piece, n);
        at += n;
    }
    ret[at] = '\0';
    return 0;
}

/* ---- running it ---- */

/* In the fork. Nothing of ours is used any more; descriptors close themselves. */
NORETURN static void
become_shell(const char *text, pid_t parent)
{
    sigset_t none;

    (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(127);
    for (int i = 1; i < NSIG; i++)
        (void) signal(i, SIG_DFL);
    (void) sigemptyset(&none);
    (void) sigprocmask(SIG_SETMASK, &none, NULL);
    (void) execl("/bin/sh", "sh", "-c", text, (char *) NULL);
    _exit(127);
}

/* Until it is gone; returns waitpid()'s status. */
static int
wait_for(pid_t pid, int pid_fd, command_poll_fn poll_fn, void *arg)
{
    bool is_told = false;
    int status = 0;

    for (;;) {
        struct pollfd p[2] = { { .fd = pid_fd, .events = POLLIN },
                               { .fd = child_signal_fd(), .events = POLLIN } };

        if (poll(p, 2, LOOK_EVERY_MSEC) > 0 && p[0].revents != 0)
            break;
        if (poll_fn(arg) && !is_told) {
            is_told = true;
            (void) kill(0, SIGTERM); /* ours is blocked, and known */
        }
    }
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    return status;
}

int
command_run(const char *text, command_poll_fn poll_fn, void *arg, int *ret, struct err *e)
{
    CLEANUP(closep) int pid_fd = -1;
    pid_t self = getpid();
    pid_t pid;

    (void) fflush(NULL);
    pid = fork();
    if (pid == 0)
        become_shell(text, self);
    if (pid < 0)
        return ERR_ERRNO(e, "could not fork a shell");
    pid_fd = pidfd_open(pid, 0);
    if (pid_fd < 0) {
        int r = ERR_ERRNO(e, "could not watch a shell");

        (void) kill(pid, SIGKILL);
        (void) waitpid(pid, NULL, 0);
        return r;
    }
    *ret = wait_for(pid, pid_fd, poll_fn, arg);
    return 0;
}

/* ---- what it said ---- */

bool
command_succeeded(int status)
{
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

bool
command_was_killed(int status, bool also_not_found)
{
    return WIFSIGNALED(status) || WEXITSTATUS(status) > (also_not_found ? 125 : 128);
}

const char *
command_status_text(int status, char *p, size_t n)
{
    if (WIFSIGNALED(status))
        (void) snprintf(p, n, "was terminated by signal %d: %s", WTERMSIG(status),
                        strsignal(WTERMSIG(status)));
    else
        (void) snprintf(p, n, "failed with exit code %d", WEXITSTATUS(status));
    return p;
}

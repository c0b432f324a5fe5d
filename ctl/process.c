/* Other programs.
 * Runs in: pinionctl. Owns: nothing. Source: design 11 "command lines". */
#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

int
process_find_server(char *to, size_t cap, struct problem *p)
{
    const char *env = getenv("PINIOND"); /* NOLINT(concurrency-mt-unsafe): one thread */
    char self[PATH_MAX - 64];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);

    if (env != NULL && env[0] != '\0') {
        (void) snprintf(to, cap, "%s", env);
        return 0;
    }
    if (n > 0) {
        self[n] = '\0';
        char *slash = strrchr(self, '/');
        *slash = '\0'; /* build/ctl */
        (void) snprintf(to, cap, "%s/../src/piniond", self);
        if (access(to, X_OK) == 0)
            return 0;
    }
    (void) snprintf(to, cap, "%s/piniond", PINION_SBINDIR);
    if (access(to, X_OK) == 0)
        return 0;
    fail(p, CTL_FAILED, "could not find piniond");
    hint(p, "Set PINIOND to its path.");
    return CTL_FAILED;
}

int
process_open(pid_t pid)
{
    return pid <= 0 ? -1 : (int) syscall(SYS_pidfd_open, pid, 0);
}

bool
process_wait(int pidfd, uint64_t deadline_usec)
{
    struct pollfd pfd = { .fd = pidfd, .events = POLLIN };

    for (;;) {
        uint64_t now = now_mono_usec();
        uint64_t left = now >= deadline_usec ? 0 : (deadline_usec - now) / 1000 + 1;
        int r = poll(&pfd, 1, left > INT_MAX ? INT_MAX : (int) left);
        if (r > 0)
            return true;
        if (r == 0 || util_interrupted)
            return false;
    }
}

static void
become_server(const char *const *argv, const char *log_file)
{
    sigset_t none;
    int in = open("/dev/null", O_RDWR);
    int log = log_file == NULL ? -1 : open(log_file, O_WRONLY | O_CREAT | O_APPEND, 0600);

    (void) setsid();
    (void) sigemptyset(&none);
    (void) sigprocmask(SIG_SETMASK, &none, NULL);
    (void) signal(SIGINT, SIG_DFL);
    if (in < 0 || (log_file != NULL && log < 0)) {
        (void) fprintf(stderr, "pinionctl: error: could not open \"%s\": %m\n", log_file);
        _exit(CTL_FAILED);
    }
    (void) dup2(in, STDIN_FILENO);
    (void) dup2(log >= 0 ? log : in, STDOUT_FILENO);
    if (log >= 0)
        (void) dup2(log, STDERR_FILENO);
    (void) syscall(SYS_close_range, 3U, ~0U, 0U);
    (void) execv(argv[0], (char *const *) argv);
    (void) fprintf(stderr, "pinionctl: error: could not run \"%s\": %m\n", argv[0]);
    _exit(CTL_FAILED);
}

int
process_spawn_server(const char *const *argv, const char *log_file, pid_t *ret_pid, int *ret_pidfd,
                     struct problem *p)
{
    (void) fflush(NULL);
    *ret_pid = fork();
    if (*ret_pid < 0)
        return fail(p, CTL_FAILED, "could not fork: %m");
    if (*ret_pid == 0)
        become_server(argv, log_file);
    *ret_pidfd = process_open(*ret_pid);
    if (*ret_pidfd < 0)
        return fail(p, CTL_FAILED, "could not watch the server: %m");
    return 0;
}

static void
become(const char *const *argv, int out_fd, uid_t uid, gid_t gid)
{
    if (out_fd >= 0)
        (void) dup2(out_fd, STDOUT_FILENO);
    if (uid != (uid_t) -1 &&
        (setgroups(0, NULL) < 0 || setgid(gid) < 0 || setuid(uid) < 0 || chdir("/") < 0)) {
        (void) fprintf(stderr, "pinionctl: error: could not become user %u: %m\n", (unsigned) uid);
        _exit(127);
    }
    if (out_fd >= 0)
        (void) prctl(PR_SET_PDEATHSIG, SIGTERM); /* nobody is left who reads it */
    (void) execvp(argv[0], (char *const *) argv);
    _exit(127);
}

/* Fork and exec; *ret_fd (or NULL) is the end of its standard output to read from. */
static pid_t
start(const char *const *argv, int *ret_fd, uid_t uid, gid_t gid)
{
    int fds[2] = { -1, -1 };

    if (ret_fd != NULL && pipe2(fds, O_CLOEXEC) < 0)
        return -1;
    (void) fflush(NULL);
    pid_t pid = fork();
    if (pid == 0)
        become(argv, fds[1], uid, gid);
    closep(&fds[1]);
    if (pid < 0)
        closep(&fds[0]);
    if (ret_fd != NULL)
        *ret_fd = fds[0];
    return pid;
}

/* Exit status, 128 + signal, or -1: it could not be run. */
static int
wait_for(pid_t pid)
{
    int status;

    while (waitpid(pid, &status, 0) < 0) {
        if (errno != EINTR)
            return -1;
    }
    if (WIFSIGNALED(status))
        return 128 + WTERMSIG(status);
    return WEXITSTATUS(status) == 127 ? -1 : WEXITSTATUS(status);
}

static void
read_output(int fd, char *output, size_t cap)
{
    size_t n = 0;
    char rest[256];

    for (;;) {
        bool room = n + 1 < cap;
        ssize_t got = read(fd, room ? output + n : rest, room ? cap - n - 1 : sizeof rest);
        if (got <= 0)
            break;
        n += room ? (size_t) got : 0;
    }
    output[n] = '\0';
}

int
process_run(const char *const *argv, char *output, size_t cap, uid_t uid, gid_t gid)
{
    CLEANUP(closep) int fd = -1;
    pid_t pid = start(argv, output != NULL ? &fd : NULL, uid, gid);

    if (pid < 0)
        return -1;
    if (output != NULL)
        read_output(fd, output, cap);
    closep(&fd);
    return wait_for(pid);
}

int
process_run_lines(const char *const *argv, uid_t uid, gid_t gid, process_line_fn fn, void *arg)
{
    int fd = -1;
    pid_t pid = start(argv, &fd, uid, gid);
    FILE *in = pid < 0 ? NULL : fdopen(fd, "r");
    CLEANUP(freep) char *line = NULL;
    size_t cap = 0;
    ssize_t n;

    if (pid < 0)
        return -1;
    while (in != NULL) {
        errno = 0;
        n = getline(&line, &cap, in);
        if (n < 0 && errno != EINTR)
            break;
        clearerr(in);
        if (util_interrupted) {
            (void) kill(pid, SIGTERM);
        } else if (n > 0) {
            line[n - 1] = line[n - 1] == '\n' ? '\0' : line[n - 1];
            fn(arg, line);
        }
    }
    if (in != NULL)
        (void) fclose(in); /* and fd with it */
    else
        closep(&fd);
    return wait_for(pid);
}

const char *
process_property(const char *answer, const char *key, char *to, size_t cap)
{
    size_t n = strlen(key);

    to[0] = '\0';
    for (const char *line = answer; *line != '\0';) {
        size_t len = strcspn(line, "\n");
        if (strncmp(line, key, n) == 0 && line[n] == '=')
            (void) snprintf(to, cap, "%.*s", (int) (len - n - 1), line + n + 1);
        line += len + (line[len] == '\n');
    }
    return to;
}

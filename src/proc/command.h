/* Commands of the settings, run by the shell: archive_command and those of recovery. */
#pragma once

#include "base/err.h"

#define COMMAND_BYTES 4096

/* One thing that stands behind a percent sign. */
struct command_arg {
    char letter; /* 'f' */
    const char *text;
};

/* `text` with %<letter> replaced and %% as one percent sign; what is not listed stays as it is.
 * -ERR_PROGRAM_LIMIT_EXCEEDED when it does not fit. Pure. */
int command_expand(const char *text, const struct command_arg *args, size_t n_args,
                   char ret[COMMAND_BYTES], struct err *e);

/* Called about once a second and after each signal while the command runs; true: end it (SIGTERM to
 * our process group, of which it is). */
typedef bool (*command_poll_fn)(void *arg);
/* Run it by /bin/sh and wait. *ret is what waitpid() says. < 0: it could not be started. The
 * command has default signals, our standard descriptors and our process group, and dies with us. */
int command_run(const char *text, command_poll_fn poll_fn, void *arg, int *ret, struct err *e);

/* It, or the shell, was ended by a signal; or the shell says so, or (`also_not_found`) that there
 * is no such command: it is no answer. */
bool command_was_killed(int status, bool also_not_found);
bool command_succeeded(int status);
/* "failed with exit code 1", "was terminated by signal 9: Killed". Returns p. */
const char *command_status_text(int status, char *p, size_t n);

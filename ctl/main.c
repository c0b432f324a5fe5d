/* pinionctl: operate a Pinion server over its control socket.
 * Runs in: its own process. Owns: standard output, the exit code. Source: systemd-ops part 4. */
#include <fcntl.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "args.h"
#include "complete.h"
#include "out.h"

const struct out *out = &out_text;
struct out_options out_options;

static bool
wants_color(const char *when)
{
    /* NOLINTBEGIN(concurrency-mt-unsafe): one thread */
    const char *term = getenv("TERM");

    if (when != NULL && strcmp(when, "auto") != 0)
        return strcmp(when, "always") == 0;
    return getenv("NO_COLOR") == NULL && isatty(STDOUT_FILENO) && term != NULL &&
           strcmp(term, "dumb") != 0;
    /* NOLINTEND */
}

/* Or the first socket would take the place of one that is closed, and the server read what we
 * print. */
static void
fill_standard_descriptors(void)
{
    int fd;

    do /* programs that we run need them: NOLINTNEXTLINE(android-cloexec-open) */
        fd = open("/dev/null", O_RDWR);
    while (fd >= 0 && fd <= STDERR_FILENO);
    closep(&fd);
}

/* An answer of which half is missing is none. */
static int
finish_output(int r)
{
    struct problem p = { 0 };

    if (fflush(stdout) == 0 && ferror(stdout) == 0)
        return r;
    fail(&p, CTL_FAILED, "could not write to standard output");
    out_text.failure(&p);
    return r == CTL_OK ? CTL_FAILED : r;
}

int
main(int argc, char **argv)
{
    struct args a;
    struct problem p = { 0 };

    fill_standard_descriptors();
    if (argc > 1 && strcmp(argv[1], "__complete") == 0)
        return complete_print(argc - 2, argv + 2);
    (void) setlocale(LC_TIME, "");
    int r = args_parse(argc, argv, &a, &p);
    if (args_has(&a, OPTION_JSON))
        out = &out_json;
    out_options.quiet = args_has(&a, OPTION_QUIET);
    out_options.color = wants_color(a.value[OPTION_COLOR]);
    if (r == 0 && args_has(&a, OPTION_HELP)) {
        args_help(a.verb);
        return finish_output(CTL_OK);
    }
    if (r == 0 && args_has(&a, OPTION_VERSION)) {
        (void) printf("pinionctl (Pinion) %s\n", PINION_VERSION);
        return finish_output(CTL_OK);
    }
    if (r == 0)
        r = a.verb->run(&a, &p);
    if (p.exit != 0)
        out->failure(&p);
    return finish_output(r);
}

/* piniond: arguments, then the postmaster, or `piniond init`, or `piniond verify`.
 *
 * Runs in: the first process. Owns: the settings. Source: design 11 (command lines, modes, exit
 * codes). */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/log.h"
#include "base/title.h"
#include "conf/conf_log.h"
#include "control/control_pm.h"
#include "pm/pm.h"
#include "proc/access.h"
#include "proc/init.h"
#include "proc/prepare.h"
#include "proc/verify.h"

#define EXIT_USAGE   64
#define ARGS_MAX     128
#define FILES_WANTED (4096 + 512) /* FILE-8 */

/* At most 80 columns. */
/* clang-format off */
static const char usage_text[] =
    "piniond is the Pinion server.\n"
    "\n"
    "Usage:\n"
    "  piniond -D DIR [OPTION]...            serve the data directory DIR\n"
    "  piniond --instance NAME [OPTION]...   serve /var/lib/pinion/NAME; its settings\n"
    "                                        are in /etc/pinion/NAME\n"
    "  piniond init -D DIR [OPTION]...       make a new data directory\n"
    "  piniond verify -D DIR [OPTION]...     check a data directory, in use or not\n"
    "\n"
    "Options:\n"
    "  -c NAME=VALUE      set a setting, over the files\n"
    "  -p PORT            the same as -c port=PORT\n"
    "  -C NAME            print the value of a setting, then exit\n"
    "      --check        check the settings and pg_hba.conf, tell all that is wrong,\n"
    "                     then exit\n"
    "      --help         this text\n"
    "      --version      version of this program\n"
    "\n";

static const char usage_init_text[] =
    "Options of init:\n"
    "  -U, --username=NAME      name of the superuser (default: you)\n"
    "  -X, --waldir=DIR         absolute directory of the log; pg_wal is a link to it\n"
    "      --wal-segsize=MB     size of a log segment, 1 to 1024 (default: 16)\n"
    "      --auth-local=METHOD  for Unix sockets: peer (default), trust or reject\n"
    "      --auth-host=METHOD   for TCP: reject (default) or trust\n"
    "  -E, --encoding=UTF8      the only encoding\n"
    "      --locale=C           the only locale\n";

static const char usage_end_text[] =
    "\n"
    "Options of verify, which prints lines for programs (people: pinionctl verify):\n"
    "  -U, --username=NAME      superuser to ask a running server as (default: you)\n"
    "\n"
    "Exit codes of verify: 0 no problem, 1 problems found, 4 no data directory, 5 no\n"
    "problem found but not everything could be checked, 77 permission denied.\n"
    "\n"
    "Exit codes: 0 stopped as asked, 1 ended abnormally, 64 usage, 65 damaged data,\n"
    "66 no data directory, 69 address in use, 70 internal error, 71 out of memory,\n"
    "processes or files, 72 the system lacks something, 73 cannot create, 74 I/O\n"
    "error or disk full, 75 directory in use, 77 owner or root, 78 settings.\n";
/* clang-format on */

struct options {
    const char *data_dir; /* as given */
    const char *instance;
    const char *print; /* -C */
    bool check;
    const char *args[ARGS_MAX];
    size_t n_args;
    char port[32];
};

static int
usage(const char *what)
{
    if (what != NULL) /* getopt has not said it */
        (void) fprintf(stderr, "piniond: %s\n", what);
    (void) fprintf(stderr, "Try \"piniond --help\" for more information.\n");
    return EXIT_USAGE;
}

static int
help(void)
{
    (void) printf("%s%s%s", usage_text, usage_init_text, usage_end_text);
    return 0;
}

static int
help_init(void)
{
    (void) printf(
        "Usage: pinionctl init -D DIR [OPTION]...\n\n"
        "Make a new data directory: configuration, an empty database \"postgres\", a log.\n\n%s",
        usage_init_text);
    return 0;
}

static int
version(void)
{
    (void) puts("piniond (Pinion) " PINION_VERSION);
    return 0;
}

static bool is_tool; /* init: a person waits for it, no log is kept */

/* The one place where a refusal to start is told. */
static int
refuse(int r, const struct err *e)
{
    if (is_tool) {
        (void) fprintf(stderr, "piniond: error: %s\n", e->message);
        if (e->detail[0] != '\0')
            (void) fprintf(stderr, "  detail: %s\n", e->detail);
        if (e->hint[0] != '\0')
            (void) fprintf(stderr, "  hint: %s\n", e->hint);
        return pm_exit_code(r);
    }
    log_err_event(LOG_LEVEL_FATAL, LOG_EVENT_REFUSED, NULL, "", e);
    pm_notify_refused(e);
    return pm_exit_code(r);
}

static int
refuse_root(const char *what)
{
    struct err e = ERR_INIT;

    if (geteuid() != 0)
        return 0;
    (void) ERR(&e, INSUFFICIENT_PRIVILEGE, "%s as root is not permitted", what);
    err_hint(&e,
             "Use an unprivileged user: su -s /bin/sh USER -c 'piniond …', or a unit with User=.");
    return refuse(-ERR_INSUFFICIENT_PRIVILEGE, &e);
}

/* ---- init ---- */
enum {
    OPT_SEGSIZE = 256,
    OPT_AUTH_LOCAL,
    OPT_AUTH_HOST,
    OPT_LOCALE,
    OPT_HELP,
    OPT_VERSION,
    OPT_INSTANCE,
    OPT_CHECK
};

static const struct option init_options[] = {
    { "pgdata", required_argument, NULL, 'D' },
    { "datadir", required_argument, NULL, 'D' },
    { "username", required_argument, NULL, 'U' },
    { "waldir", required_argument, NULL, 'X' },
    { "wal-segsize", required_argument, NULL, OPT_SEGSIZE },
    { "auth-local", required_argument, NULL, OPT_AUTH_LOCAL },
    { "auth-host", required_argument, NULL, OPT_AUTH_HOST },
    { "encoding", required_argument, NULL, 'E' },
    { "locale", required_argument, NULL, OPT_LOCALE },
    { "help", no_argument, NULL, OPT_HELP },
    { NULL, 0, NULL, 0 },
};

static int
refuse_value(const char *what, const char *value)
{
    struct err e = ERR_INIT;

    return refuse(ERR(&e, INVALID_PARAMETER_VALUE, "%s \"%s\" is not supported", what, value), &e);
}

/* < 0: go on; else an exit code. */
static int
take_init_option(int c, struct init_params *p)
{
    switch (c) {
    case 'D':
        p->data_dir = optarg;
        break;
    case 'U':
        p->superuser = optarg;
        break;
    case 'X':
        p->wal_dir = optarg;
        break;
    case OPT_SEGSIZE:
        if (strlen(optarg) > 4 || strspn(optarg, "0123456789") != strlen(optarg))
            return refuse_value("segment size", optarg);
        p->wal_segsize_mb = (unsigned) strtoul(optarg, NULL, 10);
        break;
    case OPT_AUTH_LOCAL:
        p->auth_local = optarg;
        break;
    case OPT_AUTH_HOST:
        p->auth_host = optarg;
        break;
    case 'E':
        if (strcasecmp(optarg, "UTF8") != 0 && strcasecmp(optarg, "UTF-8") != 0)
            return refuse_value("encoding", optarg);
        break;
    case OPT_LOCALE:
        if (strcmp(optarg, "C") != 0)
            return refuse_value("locale", optarg);
        break;
    case OPT_HELP:
        return help_init();
    default: /* getopt's characters, not an enum of ours */
        return usage(NULL);
    }
    return -1;
}

static int
init(int argc, char **argv)
{
    struct init_params p = { .wal_segsize_mb = 16, .auth_local = "peer", .auth_host = "reject" };
    struct err e = ERR_INIT;
    int r;
    int c;

    is_tool = true;
    while ((c = getopt_long(argc, argv, "D:U:E:X:", init_options, NULL)) !=
           -1) { /* NOLINT: one thread */
        r = take_init_option(c, &p);
        if (r >= 0)
            return r;
    }
    if (optind < argc || p.data_dir == NULL)
        return usage(optind < argc ? "too many arguments" : "init needs -D DIR");
    r = refuse_root("making a data directory");
    if (r != 0)
        return r;
    r = init_cluster(&p, &e);
    if (r < 0)
        return r == -ERR_DUPLICATE_FILE ? (refuse(r, &e), 73) : refuse(r, &e);
    (void) printf("Made data directory \"%s\".\nStart it: pinionctl start -D %s\n", p.data_dir,
                  p.data_dir);
    return 0;
}

/* ---- verify ---- */
static const struct option verify_options[] = {
    { "pgdata", required_argument, NULL, 'D' },
    { "datadir", required_argument, NULL, 'D' },
    { "username", required_argument, NULL, 'U' },
    { "help", no_argument, NULL, OPT_HELP },
    { NULL, 0, NULL, 0 },
};

/* < 0: go on; else an exit code. */
static int
take_verify_option(int c, struct verify_params *p)
{
    switch (c) {
    case 'D':
        p->data_dir = optarg;
        break;
    case 'U':
        p->user = optarg;
        break;
    case OPT_HELP:
        return help();
    default: /* getopt's characters, not an enum of ours */
        return usage(NULL);
    }
    return -1;
}

static int
verify(int argc, char **argv)
{
    struct verify_params p = { .data_dir = NULL };
    int r;
    int c;

    while ((c = getopt_long(argc, argv, "D:U:", verify_options, NULL)) != -1) { /* NOLINT */
        r = take_verify_option(c, &p);
        if (r >= 0)
            return r;
    }
    if (optind < argc || p.data_dir == NULL)
        return usage(optind < argc ? "too many arguments" : "verify needs -D DIR");
    return (int) verify_cluster(&p);
}

/* ---- serving ---- */
static const struct option serve_options[] = {
    { "instance", required_argument, NULL, OPT_INSTANCE },
    { "check", no_argument, NULL, OPT_CHECK },
    { "help", no_argument, NULL, OPT_HELP },
    { "version", no_argument, NULL, OPT_VERSION },
    { NULL, 0, NULL, 0 },
};

static int
add_arg(struct options *o, const char *arg)
{
    if (o->n_args >= ARGS_MAX)
        return usage("too many -c options");
    o->args[o->n_args++] = arg;
    return -1;
}

static int
take_option(int c, struct options *o)
{
    switch (c) {
    case 'D':
        o->data_dir = optarg;
        break;
    case 'c':
        return add_arg(o, optarg);
    case 'p':
        (void) snprintf(o->port, sizeof o->port, "port=%s", optarg);
        return add_arg(o, o->port);
    case 'C':
        o->print = optarg;
        break;
    case OPT_INSTANCE:
        o->instance = optarg;
        break;
    case OPT_CHECK:
        o->check = true;
        break;
    case OPT_HELP:
        return help();
    case OPT_VERSION:
        return version();
    default: /* getopt's characters, not an enum of ours */
        return usage(NULL);
    }
    return -1;
}

static bool
is_name(const char *name)
{
    return name[0] != '\0' && name[0] != '.' && strchr(name, '/') == NULL;
}

/* Where everything is: -D mode or instance mode. 0, or an exit code. */
static int
find_places(const struct options *o, struct conf_where *w)
{
    static char data[PATH_MAX], dir[PATH_MAX], run[PATH_MAX];

    /* NOLINTBEGIN(concurrency-mt-unsafe): one thread */
    *w = (struct conf_where){ .runtime_dir = getenv("RUNTIME_DIRECTORY"),
                              .credentials_dir = getenv("CREDENTIALS_DIRECTORY") };
    /* NOLINTEND(concurrency-mt-unsafe) */
    if (o->instance != NULL) {
        if (!is_name(o->instance))
            return usage("bad instance name");
        (void) snprintf(data, sizeof data, "%s/%s", PINION_STATEDIR, o->instance);
        (void) snprintf(dir, sizeof dir, "%s/%s", PINION_SYSCONFDIR, o->instance);
        (void) snprintf(run, sizeof run, "%s/%s", PINION_RUNDIR, o->instance);
        w->conf_dir = dir;
        if (w->runtime_dir == NULL || w->runtime_dir[0] == '\0')
            w->runtime_dir = run;
    }
    if (o->data_dir != NULL && realpath(o->data_dir, data) == NULL) {
        struct err e = ERR_INIT;

        return refuse(ERR(&e, UNDEFINED_FILE, "data directory \"%s\" does not exist", o->data_dir),
                      &e);
    }
    w->data_dir = data;
    if (w->conf_dir == NULL)
        w->conf_dir = data;
    return 0;
}

/* Before its files are read: what is wrong with the directory is not the fault of a setting. */
static int
check_dir(const char *data_dir)
{
    struct err e = ERR_INIT;
    int r = pm_check_dir(data_dir, &e);

    return r < 0 ? refuse(r, &e) : 0;
}

/* The rules of access are looked at even if the settings are wrong: all is told at once. */
static int
load(const struct options *o, const struct conf_where *w, struct conf *ret)
{
    CLEANUP(conf_issues_done) struct conf_issues issues = { 0 };
    struct err e = ERR_INIT;
    int r = conf_load(w, o->args, o->n_args, ret, &issues, &e);

    if (r == 0)
        return 0;
    if (o->print == NULL && issues.hba_file != NULL)
        (void) access_check(issues.hba_file, &issues, NULL);
    if (issues.n > 1)
        conf_issues_log(&issues);
    return refuse(r == -ENOMEM ? r : -ERR_CONFIG_FILE_ERROR, &e);
}

static int
load_rules(const struct conf *conf, struct err *e)
{
    CLEANUP(conf_issues_done) struct conf_issues issues = { 0 };

    if (access_load(conf->v.hba_file, &issues, e) == 0)
        return 0;
    if (issues.n > 1)
        conf_issues_log(&issues);
    return -ERR_CONFIG_FILE_ERROR;
}

/* --check: all that is wrong with the files, to standard output. */
static int
check_files(const struct options *o, const struct conf_where *w)
{
    CLEANUP(conf_issues_done) struct conf_issues issues = { 0 };
    CLEANUP(conf_done) struct conf conf = { 0 };
    struct err e = ERR_INIT;
    char text[700];
    int r = conf_load(w, o->args, o->n_args, &conf, &issues, &e);
    const char *hba = r == 0 ? conf.v.hba_file : issues.hba_file;

    if (hba != NULL && access_check(hba, &issues, &e) < 0)
        r = -ERR_CONFIG_FILE_ERROR;
    for (size_t i = 0; i < issues.n; i++) {
        (void) puts(conf_issue_text(&issues.items[i], text, sizeof text));
        if (issues.items[i].err.hint[0] != '\0')
            (void) printf("  hint: %s\n", issues.items[i].err.hint);
    }
    if (r < 0 && issues.n == 0)
        (void) printf("%s\n", e.message);
    if (r == 0)
        (void) printf("%s and %s are fine\n", conf.v.config_file, conf.v.hba_file);
    return r == 0 ? 0 : pm_exit_code(r == -ENOMEM ? r : -ERR_CONFIG_FILE_ERROR);
}

static int
print_setting(const struct options *o, const struct conf *conf)
{
    char value[PATH_MAX];
    int id = conf_find(o->print);

    if (id < 0) {
        struct err e = ERR_INIT;

        (void) conf_find_or_say(o->print, &e);
        return refuse(-ERR_CONFIG_FILE_ERROR, &e);
    }
    (void) puts(conf_show(conf, (enum conf_id) id, value, sizeof value));
    return 0;
}

static void
raise_file_limit(void)
{
    struct rlimit lim;

    if (getrlimit(RLIMIT_NOFILE, &lim) < 0)
        return;
    lim.rlim_cur = lim.rlim_max;
    (void) setrlimit(RLIMIT_NOFILE, &lim);
    if (lim.rlim_cur < FILES_WANTED)
        log_msg(LOG_LEVEL_WARNING,
                "only %llu files may be open at once; %d are needed for as many databases as there "
                "can be",
                (unsigned long long) lim.rlim_cur, FILES_WANTED);
}

/* postmaster.opts: how the server was started, for people. */
static void
write_opts(int argc, char **argv)
{
    CLEANUP(closep)
    int fd = open("postmaster.opts", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);

    for (int i = 0; fd >= 0 && i < argc; i++)
        if (dprintf(fd, i == 0 ? "%s" : " \"%s\"", argv[i]) < 0)
            return;
    if (fd >= 0 && dprintf(fd, "\n") < 0)
        return;
}

static int
serve_with_control(struct pm *pm, const struct options *o, const struct conf *conf)
{
    struct control_pm_params params = { .path = conf->v.control_socket, .instance = o->instance };
    struct control_pm *control = NULL;
    struct err e = ERR_INIT;
    int r = control_pm_new(pm, pm_loop(pm), &params, &control, &e);

    if (r < 0) {
        pm_fail(pm, &e);
        return refuse(r, &e);
    }
    r = pm_run(pm);
    (void) control_pm_free(control);
    return r;
}

static int
serve(const struct options *o, const struct conf_where *w, struct conf *conf, int argc, char **argv)
{
    struct pm_params params = { .conf = conf,
                                .where = *w,
                                .conf_args = o->args,
                                .n_conf_args = o->n_args,
                                .make_segment = segment_create };
    struct err e = ERR_INIT;
    struct pm *pm;
    int r = fault_arm_from_env(&e);

    raise_file_limit();
    if (r == 0)
        r = load_rules(conf, &e);
    if (r == 0)
        r = prepare_children(conf, &e);
    if (r == 0)
        r = pm_new(&params, &pm, &e);
    if (r < 0)
        return refuse(r, &e);
    write_opts(argc, argv);
    r = serve_with_control(pm, o, conf);
    pm_free(pm);
    return r;
}

static int
run(int argc, char **argv)
{
    struct options o = { .n_args = 0 };
    CLEANUP(conf_done) struct conf conf = { 0 };
    struct conf_where where;
    int r;
    int c;

    while ((c = getopt_long(argc, argv, "+D:c:p:C:", serve_options, NULL)) != -1) { /* NOLINT */
        r = take_option(c, &o);
        if (r >= 0)
            return r;
    }
    if (optind < argc)
        return usage("too many arguments");
    if ((o.data_dir == NULL) == (o.instance == NULL))
        return usage("give either -D DIR or --instance NAME");
    r = find_places(&o, &where);
    if (r == 0 && o.check)
        return check_files(&o, &where);
    if (r == 0 && o.print == NULL)
        r = refuse_root("running the server");
    if (r == 0 && o.print == NULL)
        r = check_dir(where.data_dir);
    if (r == 0)
        r = load(&o, &where, &conf);
    if (r != 0)
        return r;
    if (o.print != NULL)
        return print_setting(&o, &conf);
    log_init("postmaster", (enum log_level) conf.v.log_min_messages);
    log_set_instance(o.instance != NULL ? o.instance : where.data_dir);
    conf_log_apply(&conf.v);
    return serve(&o, &where, &conf, argc, argv);
}

/* Descriptors 0 to 2 exist: else the first files that we open would be "standard error", and the
 * log, and what commands print, would be written into them. */
static void
keep_standard_descriptors(void)
{
    int fd;

    do
        fd = open("/dev/null", O_RDWR); /* inherited by commands, as those that were there */
    while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd >= 0)
        (void) close(fd);
}

int
main(int argc, char **argv)
{
    keep_standard_descriptors();
    argv = title_init(argc, argv);
    log_init("postmaster", LOG_LEVEL_WARNING);
    if (argc > 1 && strcmp(argv[1], "init") == 0)
        return init(argc - 1, argv + 1);
    if (argc > 1 && strcmp(argv[1], "verify") == 0)
        return verify(argc - 1, argv + 1);
    return run(argc, argv);
}

/* report: what a bug report needs, in one archive, without secrets.
 * Runs in: pinionctl. Owns: the directory it collects in. Source: systemd-ops 4.4. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "cmd.h"
#include "fields.h"
#include "logfile.h"
#include "out.h"
#include "process.h"

#define REPLY_USEC (10 * USEC_PER_SEC)
#define LOG_BYTES  (512 * 1024) /* of the end of the log are looked through */

struct report {
    char top[300]; /* made by mkdtemp */
    char name[96]; /* of the directory in it, and in the archive */
    char dir[400];
    json_t *files; /* names written */
    int error;     /* errno of the first that could not be, 0 = none */
};

static FILE *
begin(struct report *r, const char *name)
{
    char path[500];

    (void) snprintf(path, sizeof path, "%s/%s", r->dir, name);
    FILE *f = fopen(path, "we");
    if (f != NULL)
        (void) json_array_append_new(r->files, json_string(name));
    else if (r->error == 0)
        r->error = errno;
    return f;
}

static void
finish(struct report *r, FILE *f)
{
    bool is_bad = ferror(f) != 0;

    if ((fclose(f) != 0 || is_bad) && r->error == 0)
        r->error = errno != 0 ? errno : EIO;
}

static void
write_json(struct report *r, const char *name, const json_t *o)
{
    FILE *f = o == NULL ? NULL : begin(r, name);

    if (f == NULL)
        return;
    out_print_json(f, o, JSON_INDENT(2) | JSON_SORT_KEYS);
    (void) fputc('\n', f);
    finish(r, f);
}

/* ---- what is left out ---- */

/* Commands may hold passwords; that there is one is all that is told. */
static void
hide_commands(const json_t *reply)
{
    size_t i;
    json_t *o;

    json_array_foreach(json_object_get(reply, "settings"), i, o)
    {
        const char *name = json_string_value(json_object_get(o, "name"));
        const char *value = json_string_value(json_object_get(o, "value"));

        if (name != NULL && value != NULL && value[0] != '\0' && strstr(name, "_command") != NULL)
            (void) json_object_set_new(o, "value", json_string("(set, not shown)"));
    }
}

static void
hide_names(const json_t *reply)
{
    static const char *const keys[] = { "database", "user", "client" };
    size_t i;
    json_t *o;

    json_array_foreach(json_object_get(reply, "processes"), i, o)
    {
        for (size_t k = 0; k < ELEMENTSOF(keys); k++) {
            if (json_object_get(o, keys[k]) != NULL)
                (void) json_object_set_new(o, keys[k], json_string("(not shown)"));
        }
    }
}

/* Words of entries that name somebody, or show what was said. */
static bool
is_telling(const char *line)
{
    static const char *const words[] = {
        "statement:",  "execute ",      "duration:",     "parameters:", "user=",
        "user \"",     "role \"",       "database \"",   "password",    "connection ",
        "_command \"", "command was: ", "the command \""
    };

    for (size_t i = 0; i < ELEMENTSOF(words); i++) {
        if (strstr(line, words[i]) != NULL)
            return true;
    }
    return false;
}

/* Where the level of an entry of the server itself begins; NULL: it is of another kind. An error of
 * a session names values, a statement has them all. */
static const char *
level_of(const char *line)
{
    static const struct {
        const char *word;
        bool is_good;
    } levels[] = { { "LOG:  ", true },        { "WARNING:  ", true }, { "FATAL:  ", true },
                   { "PANIC:  ", true },      { "HINT:  ", true },    { "ERROR:  ", false },
                   { "STATEMENT:  ", false }, { "DETAIL:  ", false }, { "NOTICE:  ", false },
                   { "INFO:  ", false },      { "DEBUG:  ", false } };
    const char *first = NULL;
    bool is_good = false;

    for (size_t i = 0; i < ELEMENTSOF(levels); i++) {
        const char *at = strstr(line, levels[i].word);

        if (at == NULL || (first != NULL && at > first))
            continue;
        first = at;
        is_good = levels[i].is_good;
    }
    return is_good ? first : NULL;
}

/* ---- the log ---- */
/* Of what log_line_prefix puts before an entry only time and number of the process stay. What
 * follows an entry on lines of its own goes with it. */
static void
filter_log(FILE *in, FILE *to)
{
    CLEANUP(freep) char *line = NULL;
    size_t cap = 0;
    bool was_harmless = false;

    while (getline(&line, &cap, in) > 0) {
        bool is_more = line[0] == '\t' || strstr(line, ":  ") == NULL;
        const char *level = is_more ? line : level_of(line);

        was_harmless =
            !is_telling(line) && (is_more ? was_harmless && line[0] == '\t' : level != NULL);
        if (!was_harmless)
            continue;
        size_t n = is_more ? 0 : strspn(line, "0123456789-:. []UTC");
        size_t most = (size_t) (level - line);

        (void) fprintf(to, "%.*s", (int) (n < most ? n : most), line);
        (void) fputs(level, to);
    }
}

/* Lines that go on with an entry are indented; of those only advice stays. */
static void
on_journal(void *arg, char *line)
{
    FILE *to = arg;

    if (!is_telling(line) && (line[0] != ' ' || strstr(line, "HINT:  ") != NULL))
        (void) fprintf(to, "%s\n", line);
}

/* Entries of the server's own processes, not those of sessions. */
static void
read_journal(const char *unit, FILE *to)
{
    static const char *const processes[] = {
        "PINION_PROCESS=postmaster",
/* clang-format off */
#define CHILD_KIND(id, role, ...) "PINION_PROCESS=" role,
#include "tbl/child_kinds.def"
#undef CHILD_KIND
        /* clang-format on */
    };
    const char *argv[ELEMENTSOF(processes) + 10] = {
        "journalctl", "-u", unit, "-n", "2000", "--no-pager", "-o", "short-iso"
    };
    size_t n = 8;

    for (size_t i = 0; i < ELEMENTSOF(processes); i++) {
        if (strcmp(processes[i], "PINION_PROCESS=backend") != 0 &&
            strcmp(processes[i], "PINION_PROCESS=dead-end") != 0)
            argv[n++] = processes[i];
    }
    (void) process_run_lines(argv, (uid_t) -1, 0, on_journal, to);
}

/* The end of the log, if that is a file. */
static FILE *
open_log(const struct target *t)
{
    char path[8400], rest[4096];
    struct stat st;
    FILE *f = logfile_find(t, "stderr", path, sizeof path) ? open_file(path) : NULL;

    if (f == NULL)
        return NULL;
    if (fstat(fileno(f), &st) == 0 && st.st_size > LOG_BYTES) {
        (void) fseek(f, st.st_size - LOG_BYTES, SEEK_SET);
        (void) fgets(rest, sizeof rest, f); /* of the line that is cut */
    }
    return f;
}

/* false: none is known. */
static bool
add_log(struct report *r, const struct target *t)
{
    FILE *in = open_log(t);

    if (in != NULL) {
        FILE *to = begin(r, "server.log");
        if (to != NULL) {
            filter_log(in, to);
            finish(r, to);
        }
        (void) fclose(in);
        return true;
    }
    FILE *to = t->unit[0] != '\0' && has_systemd() ? begin(r, "journal.txt") : NULL;
    if (to == NULL)
        return false;
    read_journal(t->unit, to);
    finish(r, to);
    return true;
}

/* ---- the rest ---- */
static void
add_machine(struct report *r)
{
    struct utsname u;
    char line[512];
    FILE *f = begin(r, "machine.txt");
    FILE *os = fopen("/etc/os-release", "re");

    if (f != NULL) {
        (void) fprintf(f, "pinionctl %s\n", PINION_VERSION);
        if (uname(&u) == 0)
            (void) fprintf(f, "%s %s %s %s\n", u.sysname, u.release, u.version, u.machine);
        (void) fprintf(f, "%ld processors, %ld MiB memory\n", sysconf(_SC_NPROCESSORS_ONLN),
                       sysconf(_SC_PHYS_PAGES) / 1024 * sysconf(_SC_PAGESIZE) / 1024);
        while (os != NULL && fgets(line, sizeof line, os) != NULL)
            (void) fputs(line, f);
        finish(r, f);
    }
    if (os != NULL)
        (void) fclose(os);
}

/* What the server answers; in any state, and without it nothing. It also knows best who it is. */
static void
add_replies(struct report *r, struct target *t)
{
    static const struct {
        const char *method, *file;
        void (*hide)(const json_t *reply);
    } rows[] = {
        { "GetStatus", "status.json", NULL },
        { "ListProcesses", "processes.json", hide_names },
        { "ListSettings", "settings.json", hide_commands },
        { "CheckConfig", "check-config.json", NULL },
    };
    struct client c = { 0 };
    struct problem ignored;

    for (size_t i = 0; i < ELEMENTSOF(rows) && client_open(&c, t->socket, &ignored) == 0; i++) {
        json_auto_t *reply = NULL;

        if (client_call(&c, rows[i].method, NULL, now_mono_usec() + REPLY_USEC, &reply, &ignored) ==
            0) {
            if (rows[i].hide != NULL)
                rows[i].hide(reply);
            write_json(r, rows[i].file, reply);
            if (i == 0)
                t->pid = (pid_t) json_integer_value(
                    json_object_get(json_object_get(reply, "status"), "mainPid"));
        }
        client_close(&c);
    }
}

/* Reasons are people's words; they stay, as do the names of settings. */
static void
add_history(struct report *r, const struct target *t)
{
    struct client c = { 0 };
    struct problem ignored;
    json_auto_t *reply = NULL;

    if (client_open(&c, t->socket, &ignored) != 0 ||
        client_call(&c, "ListHistory", NULL, now_mono_usec() + REPLY_USEC, &reply, &ignored) != 0) {
        json_decref(reply);
        reply = NULL;
        if (t->datadir[0] != '\0')
            (void) history_read_file(t->datadir, &reply, &ignored);
    }
    client_close(&c);
    write_json(r, "history.json", reply);
}

/* The file is made by us, not found: one that is there may be a link, or somebody else's. */
static int
pack(const struct report *r, const char *file, struct problem *p)
{
    const char *argv[] = { "tar", "--force-local", "-czf", file, "-C", r->top, r->name, NULL };

    errno = r->error;
    if (r->error != 0) {
        fail(p, CTL_FAILED, "could not write the report's files in \"%s\": %m", r->dir);
        hint(p, "Set TMPDIR to a directory with some megabytes of room.");
        return CTL_FAILED;
    }
    CLEANUP(closep) int fd = open(file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return fail(p, CTL_FAILED, "could not create \"%s\": %m", file);
    int status = process_run(argv, NULL, 0, (uid_t) -1, 0);
    if (status == 0 && !util_interrupted)
        return 0;
    (void) unlink(file);
    if (util_interrupted)
        return fail(p, CTL_INTERRUPTED, "interrupted; nothing is left");
    return fail(p, CTL_FAILED, "could not write \"%s\": tar ended with status %d", file, status);
}

static void
remove_all(const struct report *r)
{
    char path[500];
    size_t i;
    json_t *o;

    json_array_foreach(r->files, i, o)
    {
        (void) snprintf(path, sizeof path, "%s/%s", r->dir, json_string_value(o));
        (void) unlink(path);
    }
    (void) rmdir(r->dir);
    (void) rmdir(r->top);
}

static int
begin_report(struct report *r, const struct target *t, struct problem *p)
{
    const char *tmp = getenv("TMPDIR"); /* NOLINT(concurrency-mt-unsafe): one thread */
    bool is_usable = tmp != NULL && tmp[0] == '/' && strlen(tmp) < sizeof r->top - 40;
    time_t now = time(NULL);
    struct tm tm;
    char stamp[32] = "";

    if (gmtime_r(&now, &tm) != NULL)
        (void) strftime(stamp, sizeof stamp, "%Y%m%dT%H%M%SZ", &tm);
    *r = (struct report){ .files = json_array() };
    (void) snprintf(r->top, sizeof r->top, "%s/pinion-report-XXXXXX", is_usable ? tmp : "/tmp");
    (void) snprintf(r->name, sizeof r->name, "pinion-report-%.40s-%s", t->name, stamp);
    if (mkdtemp(r->top) == NULL) {
        json_decref(r->files);
        return fail(p, CTL_FAILED, "could not create directory \"%s\": %m", r->top);
    }
    (void) snprintf(r->dir, sizeof r->dir, "%s/%s", r->top, r->name);
    if (mkdir(r->dir, 0700) == 0)
        return 0;
    fail(p, CTL_FAILED, "could not create directory \"%s\": %m", r->dir);
    (void) rmdir(r->top);
    json_decref(r->files);
    return CTL_FAILED;
}

int
cmd_report(const struct args *a, struct problem *p)
{
    struct report r;
    struct target t;
    json_auto_t *checks = NULL;
    char file[256], message[1024];
    int code = target_find(a, &t, p);

    util_catch_interrupt(); /* what was collected does not stay in /tmp */
    if (code != 0 || (code = begin_report(&r, &t, p)) != 0)
        return code;
    (void) snprintf(file, sizeof file, "%s.tar.gz", r.name);
    const char *to = args_has(a, OPTION_OUTPUT) ? a->value[OPTION_OUTPUT] : file;
    add_machine(&r);
    add_replies(&r, &t);
    bool has_log = add_log(&r, &t);
    add_history(&r, &t);
    (void) doctor_examine(&t, &checks);
    write_json(&r, "doctor.json", checks);
    code = pack(&r, to, p);
    remove_all(&r);
    json_auto_t *reply = json_pack("{s:o, s:O}", "file", fields_text(to), "contents", r.files);
    (void) snprintf(message, sizeof message,
                    "wrote %s, %zu files; look through it before you send it", to,
                    json_array_size(r.files));
    json_decref(r.files);
    if (code == 0)
        out->result(&t, message, reply);
    if (code == 0 && !has_log)
        out->remark("no log in it: of a server that does not run it is not known where that went");
    return code;
}

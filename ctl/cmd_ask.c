/* Small questions and orders: show, cancel, terminate, cancel-stop, logs, introspect, completion.
 * Runs in: pinionctl. Owns: nothing. Source: systemd-ops 4.4; `show` without a name after
 * postgresql's \dconfig: what is not as built. */
#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client.h"
#include "cmd.h"
#include "logfile.h"
#include "out.h"

#define REPLY_USEC (10 * USEC_PER_SEC) /* the postmaster answers from its loop */

/* One call to the server that the arguments mean. */
static int
ask(const struct args *a, struct target *t, const char *method, json_t *parameters, json_t **ret,
    struct problem *p)
{
    struct client c = { 0 };
    int r = target_find(a, t, p);

    if (r == 0)
        r = target_open(t, &c, p);
    if (r != 0)
        json_decref(parameters);
    else
        r = client_call(&c, method, parameters, now_mono_usec() + REPLY_USEC, ret, p);
    client_close(&c);
    return r;
}

/* Is it as built, and nothing waits? */
static bool
is_dull(const json_t *setting)
{
    const char *source = json_string_value(json_object_get(setting, "source"));

    return source != NULL && strcmp(source, "default") == 0 &&
           !json_is_true(json_object_get(setting, "pendingRestart"));
}

int
cmd_show(const struct args *a, struct problem *p)
{
    const char *name = a->n_rest > 0 ? a->rest[0] : NULL;
    json_auto_t *reply = NULL;
    struct target t;

    if (name != NULL && args_has(a, OPTION_ALL))
        return fail(p, CTL_USAGE, "\"show\" takes a name or --all, not both");
    int r = ask(a, &t, "ListSettings", name != NULL ? json_pack("{s:s}", "name", name) : NULL,
                &reply, p);
    if (r != 0)
        return r;
    json_t *settings = json_object_get(reply, "settings");
    for (size_t i = json_array_size(settings); i-- > 0;) {
        if (name == NULL && !args_has(a, OPTION_ALL) && is_dull(json_array_get(settings, i)))
            (void) json_array_remove(settings, i);
    }
    out->settings(reply, name != NULL);
    return CTL_OK;
}

/* ---- processes ---- */
static int
tell_process(const struct args *a, const char *action, const char *done, struct problem *p)
{
    json_auto_t *reply = NULL;
    char message[128], *end;
    struct target t;

    errno = 0;
    long pid = strtol(a->rest[0], &end, 10);
    if (end == a->rest[0] || *end != '\0' || errno != 0 || pid <= 0)
        return fail(p, CTL_USAGE, "\"%s\" is not the number of a process", a->rest[0]);
    int r = ask(a, &t, "SignalProcess",
                json_pack("{s:I, s:s}", "pid", (json_int_t) pid, "action", action), &reply, p);
    if (r == CTL_FAILED && p->hint[0] == '\0')
        hint(p, "'pinionctl ps' lists the processes; backends and autovacuum workers can be told.");
    if (r != 0)
        return r;
    (void) snprintf(message, sizeof message, "process %ld was told to %s", pid, done);
    out->result(&t, message, reply);
    return CTL_OK;
}

int
cmd_cancel(const struct args *a, struct problem *p)
{
    return tell_process(a, "cancel", "cancel its statement", p);
}

int
cmd_terminate(const struct args *a, struct problem *p)
{
    return tell_process(a, "terminate", "end its session", p);
}

int
cmd_cancel_stop(const struct args *a, struct problem *p)
{
    json_auto_t *reply = NULL;
    struct target t;
    int r = ask(a, &t, "CancelStop", NULL, &reply, p);

    if (r == 0)
        out->result(&t, "the stop is canceled", reply);
    return r;
}

int
cmd_rotate_log(const struct args *a, struct problem *p)
{
    json_auto_t *reply = NULL;
    struct target t;
    int r = ask(a, &t, "RotateLog", NULL, &reply, p);

    if (r == 0)
        out->result(&t, "another log file is begun", reply);
    return r;
}

/* The client's own is printed in any case. */
int
cmd_version(const struct args *a, struct problem *p)
{
    json_auto_t *reply = NULL;
    json_auto_t *both = json_pack("{s:s}", "client", PINION_VERSION);
    struct target t;
    int r = ask(a, &t, "org.varlink.service.GetInfo", NULL, &reply, p);
    const json_t *version = r == 0 ? json_object_get(reply, "version") : NULL;

    if (version != NULL)
        (void) json_object_set(both, "server", (json_t *) version);
    memset(p, 0, sizeof *p); /* no server is no failure */
    if (args_has(a, OPTION_JSON)) {
        out->reply(both);
        return CTL_OK;
    }
    (void) printf("pinionctl (Pinion) %s\n", PINION_VERSION);
    if (version != NULL)
        (void) printf("server  (Pinion) %s\n", json_string_value(version));
    return CTL_OK;
}

/* ---- texts ---- */
struct matches {
    const char *words[16];
    size_t n;
    char bytes[5][256];
};

/* All that an instance says: as journalctl -u, and by the name it gives itself. Of a process that
 * ends right behind its last words journald may come too late to see which unit it was of. */
static void
journal_matches(const struct target *t, struct matches *m)
{
    struct passwd user;
    char names[4096];
    struct passwd *found = NULL;

    (void) snprintf(m->bytes[0], sizeof m->bytes[0], "_SYSTEMD_UNIT=%s", t->unit);
    (void) snprintf(m->bytes[1], sizeof m->bytes[1], "UNIT=%s", t->unit);
    (void) snprintf(m->bytes[2], sizeof m->bytes[2], "COREDUMP_UNIT=%s", t->unit);
    const char *const as_unit[] = { m->bytes[0], "+",         m->bytes[1], "_PID=1",
                                    "+",         m->bytes[2], "_UID=0" };
    memcpy(m->words, as_unit, sizeof as_unit);
    m->n = ELEMENTSOF(as_unit);
    (void) getpwnam_r(SERVICE_USER, &user, names, sizeof names, &found);
    if (found == NULL)
        return;
    (void) snprintf(m->bytes[3], sizeof m->bytes[3], "SYSLOG_IDENTIFIER=pinion@%s", t->instance);
    (void) snprintf(m->bytes[4], sizeof m->bytes[4], "_UID=%u", (unsigned) user.pw_uid);
    m->words[m->n++] = "+";
    m->words[m->n++] = m->bytes[3];
    m->words[m->n++] = m->bytes[4];
}

/* Becomes tail. */
static int
show_file(const struct args *a, const struct target *t, struct problem *p)
{
    bool is_json = args_has(a, OPTION_JSON);
    char path[8400], count[32] = "+1";
    const char *argv[] = {
        "tail", "-n", count, path, args_has(a, OPTION_FOLLOW) ? "-f" : NULL, NULL
    };

    if (args_has(a, OPTION_LINES))
        (void) snprintf(count, sizeof count, "%s", a->value[OPTION_LINES]);
    if (!logfile_find(t, is_json ? "jsonlog" : "stderr", path, sizeof path)) {
        if (access(t->datadir, X_OK) < 0 && errno == EACCES) {
            fail(p, CTL_PERMISSION, "could not look into \"%s\": %m", t->datadir);
            hint(p, "Run this as root or as the server's user.");
            return CTL_PERMISSION;
        }
        fail(p, CTL_FAILED, "could not find a log file of this server%s",
             is_json ? " in JSON" : "");
        hint(p, is_json
                    ? "It needs logging_collector, and jsonlog in log_destination."
                    : "It is where the server's output went (start -l FILE), or in log_directory "
                      "with logging_collector.");
        return CTL_FAILED;
    }
    (void) execvp(argv[0], (char *const *) argv);
    return fail(p, CTL_FAILED, "could not run tail: %m");
}

/* Where no service manager runs an instance writes to a file as well, if to anything. */
static bool
is_in_file(const struct args *a, const struct target *t)
{
    char path[8400];

    return !has_systemd() &&
           logfile_find(t, args_has(a, OPTION_JSON) ? "jsonlog" : "stderr", path, sizeof path);
}

/* Becomes journalctl, which has a pager, colors and its own way with Ctrl-C. */
int
cmd_logs(const struct args *a, struct problem *p)
{
    struct target t;
    int r = target_find(a, &t, p);

    if (r != 0)
        return r;
    if (t.unit[0] == '\0' || is_in_file(a, &t))
        return show_file(a, &t, p);
    struct matches m;
    const char *argv[32] = { "journalctl", "-o", args_has(a, OPTION_JSON) ? "json" : "short-iso",
                             "-n", args_has(a, OPTION_LINES) ? a->value[OPTION_LINES] : "all" };
    size_t n = 5;
    if (args_has(a, OPTION_FOLLOW))
        argv[n++] = "-f";
    journal_matches(&t, &m);
    for (size_t i = 0; i < m.n; i++)
        argv[n++] = m.words[i];
    argv[n] = NULL;
    (void) execvp(argv[0], (char *const *) argv);
    return fail(p, CTL_FAILED, "could not run journalctl: %m");
}

int
cmd_introspect(const struct args *a, struct problem *p)
{
    const char *interface = a->n_rest > 0 ? a->rest[0] : "org.pinion.Control";
    json_auto_t *reply = NULL;
    struct target t;
    int r = ask(a, &t, "org.varlink.service.GetInterfaceDescription",
                json_pack("{s:s}", "interface", interface), &reply, p);

    if (r != 0)
        return r;
    const char *text = json_string_value(json_object_get(reply, "description"));
    if (text == NULL)
        return fail(p, CTL_FAILED, "the server's reply has no description");
    if (args_has(a, OPTION_JSON))
        out->reply(reply);
    else
        (void) fputs(text, stdout);
    return CTL_OK;
}

int
cmd_completion(const struct args *a, struct problem *p)
{
    bool is_zsh = strcmp(a->rest[0], "zsh") == 0;

    if (!is_zsh && strcmp(a->rest[0], "bash") != 0) {
        fail(p, CTL_USAGE, "no completion for \"%s\"", a->rest[0]);
        hint(p, "One of: bash zsh.");
        return CTL_USAGE;
    }
    if (is_zsh)
        (void) puts("autoload -U +X bashcompinit && bashcompinit");
    (void) puts(
        "COMP_WORDBREAKS=${COMP_WORDBREAKS//=}\n"
        "_pinionctl() {\n"
        "    local IFS=$'\\n'\n"
        "    COMPREPLY=($(pinionctl __complete \"${COMP_WORDS[@]:1:COMP_CWORD}\" 2>/dev/null))\n"
        "    [[ ${COMPREPLY[0]} == *= ]] && compopt -o nospace 2>/dev/null\n"
        "    return 0\n"
        "}\n"
        "complete -o default -F _pinionctl pinionctl");
    return CTL_OK;
}

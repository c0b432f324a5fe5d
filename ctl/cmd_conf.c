/* Commands about the configuration files: reload, check-config.
 * Runs in: pinionctl. Owns: nothing. Source: systemd-ops 4.4, 4.5. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client.h"
#include "cmd.h"
#include "out.h"
#include "process.h"

#define REPLY_USEC (60 * USEC_PER_SEC)

/* "\n    LABEL a, b" behind what stands in `to`, unless the list is empty. */
static void
add_names(char *to, size_t cap, const char *label, const json_t *names)
{
    size_t n = strlen(to), i;
    json_t *name;

    json_array_foreach(names, i, name)
    {
        (void) snprintf(to + n, cap - n, "%s%s%s", i == 0 ? "\n    " : ", ", i == 0 ? label : "",
                        json_string_value(name));
        n = strlen(to);
    }
}

int
cmd_reload(const struct args *a, struct problem *p)
{
    struct target t;
    struct client c = { 0 };
    json_auto_t *reply = NULL;
    char message[4096];
    int r = target_find(a, &t, p);

    if (r == 0)
        r = target_open(&t, &c, p);
    if (r == 0)
        r = client_call(&c, "Reload", NULL, now_mono_usec() + REPLY_USEC, &reply, p);
    client_close(&c);
    if (r == CTL_CONFIG) {
        p->hint[0] = '\0';
        hint(p, "Correct the files, look with 'pinionctl check-config', then reload again.");
    }
    if (r != 0)
        return r;
    const json_t *changed = json_object_get(reply, "changed");
    const json_t *pending = json_object_get(reply, "pendingRestart");
    size_t n_pending = json_array_size(pending);
    (void) snprintf(message, sizeof message,
                    "configuration %lld active, %zu changed, %zu wait%s for a restart",
                    (long long) json_integer_value(json_object_get(reply, "generation")),
                    json_array_size(changed), n_pending, n_pending == 1 ? "s" : "");
    add_names(message, sizeof message, "Changed          ", changed);
    add_names(message, sizeof message, "Needs a restart  ", pending);
    out->result(&t, message, reply);
    return CTL_OK;
}

/* ---- check-config ---- */

/* Where the message begins in "FILE:LINE: message" or "command line: message"; the line, or 0. */
static char *
split_place(char *text, long *ret_line)
{
    *ret_line = 0;
    for (char *colon = strchr(text, ':'); colon != NULL; colon = strchr(colon + 1, ':')) {
        char *end;

        *ret_line = strtol(colon + 1, &end, 10);
        if (end > colon + 1 && end[0] == ':' && end[1] == ' ') {
            *colon = '\0';
            return end + 2;
        }
        *ret_line = 0;
        if (colon[1] == ' ') {
            *colon = '\0';
            return colon + 2;
        }
    }
    return NULL;
}

/* A line of `piniond --check` as a ConfigProblem, or the hint of the one before. */
static void
on_line(void *arg, char *line)
{
    json_t *problems = arg;
    json_t *last = json_array_get(problems, json_array_size(problems) - 1);
    long number;

    if (strncmp(line, "  hint: ", 8) == 0) {
        if (last != NULL)
            (void) json_object_set_new(last, "hint", json_string(line + 8));
        return;
    }
    char *message = split_place(line, &number);
    json_t *o =
        json_pack("{s:s, s:s}", "severity", "error", "message", message != NULL ? message : line);
    if (message != NULL && strcmp(line, "command line") != 0)
        (void) json_object_set_new(o, "file", json_string(line));
    if (number > 0)
        (void) json_object_set_new(o, "line", json_integer(number));
    (void) json_array_append_new(problems, o);
}

/* Of a server that does not run: as the owner of the data directory, as who it would read them. */
int
conf_check_stopped(const struct target *t, json_t **ret, struct problem *p)
{
    bool is_instance = t->instance[0] != '\0';
    char server[4096];
    const char *argv[] = { server, is_instance ? "--instance" : "-D",
                           is_instance ? t->instance : t->datadir, "--check", NULL };
    json_auto_t *problems = json_array();
    struct stat owner;
    int r, status;

    if (t->datadir[0] == '\0')
        return fail(p, CTL_USAGE, "\"check-config\" needs -D or -i: the server does not run");
    if (stat(t->datadir, &owner) < 0)
        return fail(p, errno == EACCES ? CTL_PERMISSION : CTL_NO_INSTANCE,
                    "could not open data directory \"%s\": %m", t->datadir);
    if (geteuid() != 0 && geteuid() != owner.st_uid) {
        fail(p, CTL_PERMISSION, "the server does not run, and its files are not yours to read");
        hint(p, "Run this as root or as the server's user.");
        return CTL_PERMISSION;
    }
    if ((r = process_find_server(server, sizeof server, p)) != 0)
        return r;
    if (geteuid() == 0 && owner.st_uid != 0)
        status = process_run_lines(argv, owner.st_uid, owner.st_gid, on_line, problems);
    else
        status = process_run_lines(argv, (uid_t) -1, 0, on_line, problems);
    if (status != 0 && status != CTL_CONFIG)
        return fail(p, CTL_FAILED, "'%s --check' ended with status %d", server, status);
    if (status == 0)
        (void) json_array_clear(problems); /* it said that all is fine */
    *ret = json_pack("{s:b, s:O}", "valid", status == 0, "problems", problems);
    return 0;
}

static int
tell(const struct args *a, const struct target *t, json_t *reply, struct problem *p)
{
    bool is_valid = json_is_true(json_object_get(reply, "valid"));
    const json_t *problems = json_object_get(reply, "problems");
    char message[8192] = "the configuration files are fine";
    size_t i;
    json_t *o;

    if (args_has(a, OPTION_JSON)) {
        out->reply(reply);
        return is_valid ? CTL_OK : CTL_CONFIG;
    }
    if (!is_valid) {
        size_t n = json_array_size(problems);

        fail(p, CTL_CONFIG, "%zu problem%s in the configuration files", n, n == 1 ? "" : "s");
        json_array_foreach(problems, i, o) client_add_problem(p, o);
        return CTL_CONFIG;
    }
    json_array_foreach(problems, i, o)
    {
        size_t n = strlen(message);

        (void) snprintf(message + n, sizeof message - n, "\n    %s",
                        json_string_value(json_object_get(o, "message")));
    }
    out->result(t, message, reply);
    return CTL_OK;
}

int
conf_refuse_errors(const struct target *t, struct problem *p)
{
    struct client c = { 0 };
    struct problem ignored;
    json_auto_t *reply = NULL;
    int r = client_open(&c, t->socket, &ignored);
    size_t i;
    json_t *o;

    if (r == 0)
        r = client_call(&c, "CheckConfig", NULL, now_mono_usec() + REPLY_USEC, &reply, &ignored);
    client_close(&c);
    if (r != 0 || !json_is_false(json_object_get(reply, "valid")))
        return 0;
    fail(p, CTL_CONFIG,
         "the server would not start again, and goes on: its configuration has errors");
    json_array_foreach(json_object_get(reply, "problems"), i, o) client_add_problem(p, o);
    hint(p, "Correct the files, look with 'pinionctl check-config'; or stop it, then start it.");
    return CTL_CONFIG;
}

int
cmd_check_config(const struct args *a, struct problem *p)
{
    struct target t;
    struct client c = { 0 };
    json_auto_t *reply = NULL;
    int r = target_find(a, &t, p);

    if (r != 0)
        return r;
    r = client_open(&c, t.socket, p);
    if (r == 0) {
        r = client_call(&c, "CheckConfig", NULL, now_mono_usec() + REPLY_USEC, &reply, p);
        client_close(&c);
    } else if (r == CTL_NOT_RUNNING) {
        memset(p, 0, sizeof *p);
        r = conf_check_stopped(&t, &reply, p);
    }
    return r != 0 ? r : tell(a, &t, reply, p);
}

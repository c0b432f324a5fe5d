/* history: what happened to the server; from itself, or from its file if it does not run.
 * Runs in: pinionctl. Owns: nothing. Source: systemd-ops 4.4; the file: src/pm/pm_history.h. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cmd.h"
#include "fields.h"
#include "out.h"

#define REPLY_USEC (10 * USEC_PER_SEC)
#define ENTRIES    200 /* as the server keeps */

static const struct field fields[] = {
/* clang-format off */
#define HISTORY_FIELD(id, key, is_number) { key, is_number },
#include "tbl/history_fields.def"
#undef HISTORY_FIELD
    /* clang-format on */
};

static bool
is_cluster(const char *datadir)
{
    char path[4200];

    (void) snprintf(path, sizeof path, "%s/PG_VERSION", datadir);
    return access(path, F_OK) == 0;
}

int
history_read_file(const char *datadir, json_t **ret, struct problem *p)
{
    char path[4200];
    CLEANUP(freep) char *line = NULL;
    json_t *entries = json_array();
    size_t cap = 0;
    ssize_t n;

    (void) snprintf(path, sizeof path, "%s/pinion_history", datadir);
    FILE *f = open_file(path);
    int e = errno;
    if (f == NULL && e == ENOENT && is_cluster(datadir)) {
        *ret = json_pack("{s:o}", "entries", entries); /* it never ran */
        return 0;
    }
    errno = e;
    if (f == NULL) {
        json_decref(entries);
        fail(p,
             errno == EACCES   ? CTL_PERMISSION
             : errno == ENOENT ? CTL_NO_INSTANCE
                               : CTL_FAILED,
             "could not open \"%s\": %m", path);
        if (errno == EACCES)
            hint(p, "The server does not run, and its files are for root and its own user.");
        return p->exit;
    }
    while ((n = getline(&line, &cap, f)) > 0) {
        line[n - 1] = line[n - 1] == '\n' ? '\0' : line[n - 1];
        json_t *o = fields_read(line, fields, ELEMENTSOF(fields));
        if (json_integer_value(json_object_get(o, "timeUSec")) > 0 &&
            json_object_get(o, "event") != NULL)
            (void) json_array_append(entries, o);
        json_decref(o);
        if (json_array_size(entries) > ENTRIES)
            (void) json_array_remove(entries, 0);
    }
    (void) fclose(f);
    *ret = json_pack("{s:o}", "entries", entries);
    return 0;
}

static int
ask_server(const struct target *t, json_t **ret, struct problem *p)
{
    struct client c = { 0 };
    int r = client_open(&c, t->socket, p);

    if (r == 0)
        r = client_call(&c, "ListHistory", NULL, now_mono_usec() + REPLY_USEC, ret, p);
    client_close(&c);
    return r;
}

int
cmd_history(const struct args *a, struct problem *p)
{
    json_auto_t *reply = NULL;
    struct target t;
    int r = target_find(a, &t, p);

    if (r == 0)
        r = ask_server(&t, &reply, p);
    if (r == CTL_NOT_RUNNING && t.datadir[0] != '\0') {
        memset(p, 0, sizeof *p);
        r = history_read_file(t.datadir, &reply, p);
    }
    if (r != 0)
        return r;
    if (args_has(a, OPTION_LINES)) {
        json_t *entries = json_object_get(reply, "entries");
        size_t want = strtoul(a->value[OPTION_LINES], NULL, 10);

        while (json_array_size(entries) > want)
            (void) json_array_remove(entries, 0);
    }
    out->history(reply);
    return CTL_OK;
}

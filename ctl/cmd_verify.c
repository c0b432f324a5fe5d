/* verify: runs `piniond verify`, whose lines (piniond(8), src/proc/verify_report.c) become one
 * report. Runs in: pinionctl. Owns: the report. Source: systemd-ops 4.2. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client.h"
#include "cmd.h"
#include "fields.h"
#include "out.h"
#include "process.h"

#define PROBLEMS_MAX 1000u /* kept; the others are counted */

struct verify {
    json_t *report;  /* owned: what --json prints */
    json_t *pending; /* owned: problems whose part has not ended */
    json_t *error;   /* owned: why it could not go on, or NULL */
    uint64_t n_problems;
};

static const struct field fields[] = {
/* clang-format off */
#define VERIFY_FIELD(id, key, is_number) { key, is_number },
#include "tbl/verify_fields.def"
#undef VERIFY_FIELD
    /* clang-format on */
};

/* ---- the report ---- */

static const char *
text_of(const json_t *o, const char *key)
{
    const char *text = json_string_value(json_object_get(o, key));

    return text == NULL ? "" : text;
}

/* The pending problems of a part that has ended; of a database, those of its file. */
static json_t *
take_pending(struct verify *v, const char *kind, const json_t *part)
{
    json_t *taken = json_array();
    const char *file = text_of(part, "file");

    for (size_t i = 0; i < json_array_size(v->pending);) {
        json_t *o = json_array_get(v->pending, i);

        if (strcmp(text_of(o, "part"), kind) != 0 ||
            (file[0] != '\0' && strcmp(text_of(o, "file"), file) != 0)) {
            i++;
            continue;
        }
        (void) json_array_append(taken, o);
        (void) json_array_remove(v->pending, i);
    }
    return taken;
}

static void
on_part(struct verify *v, const char *kind, json_t *part)
{
    json_auto_t *problems = take_pending(v, kind, part);

    if (strcmp(kind, "database") == 0)
        (void) json_array_append(json_object_get(v->report, "databases"), part);
    else
        (void) json_object_set(v->report, kind, part);
    out->verified(kind, part, problems);
}

static void
on_problem(struct verify *v, json_t *problem)
{
    json_t *kept = json_object_get(v->report, "problems");

    v->n_problems++;
    if (json_array_size(kept) >= PROBLEMS_MAX)
        return;
    (void) json_array_append(kept, problem);
    (void) json_array_append(v->pending, problem);
}

static void
on_end(struct verify *v, json_t *end)
{
    (void) json_object_set_new(v->report, "problemCount", json_integer((json_int_t) v->n_problems));
    (void) json_object_set(v->report, "result", json_object_get(end, "result"));
    out->report(v->report, v->pending);
}

/* A kind that is not known here is a newer server's. */
static void
on_line(void *arg, char *line)
{
    struct verify *v = arg;
    const char *kind = strsep(&line, "\t");
    json_auto_t *o = fields_read(line, fields, ELEMENTSOF(fields));

    if (strcmp(kind, "cluster") == 0)
        (void) json_object_update(v->report, o);
    else if (strcmp(kind, "progress") == 0)
        out->verifying(o);
    else if (strcmp(kind, "problem") == 0)
        on_problem(v, o);
    else if (strcmp(kind, "unchecked") == 0)
        (void) json_array_append(json_object_get(v->report, "unchecked"),
                                 json_object_get(o, "message"));
    else if (strcmp(kind, "control") == 0 || strcmp(kind, "wal") == 0 ||
             strcmp(kind, "database") == 0)
        on_part(v, kind, o);
    else if (strcmp(kind, "end") == 0)
        on_end(v, o);
    else if (strcmp(kind, "error") == 0)
        v->error = json_incref(o);
}

static void
verify_done(struct verify *v)
{
    json_decref(v->report);
    json_decref(v->pending);
    json_decref(v->error);
}

/* ---- the command ---- */

static int
find_datadir(const struct args *a, struct target *t, struct stat *ret_st, struct problem *p)
{
    int r = target_find(a, t, p);

    if (r != 0)
        return r;
    if (t->datadir[0] == '\0')
        return fail(p, CTL_USAGE, "\"verify\" needs -D or -i: it reads the files");
    if (stat(t->datadir, ret_st) < 0)
        return fail(p, errno == EACCES ? CTL_PERMISSION : CTL_NO_INSTANCE,
                    "could not open data directory \"%s\": %m", t->datadir);
    return 0;
}

/* What became of `piniond verify`. */
static int
judge(const struct verify *v, const char *server, int status, struct problem *p)
{
    if (util_interrupted)
        return fail(p, CTL_INTERRUPTED, "interrupted");
    if (status < 0)
        return fail(p, CTL_FAILED, "could not run \"%s\"", server);
    if (v->error != NULL) {
        fail(p, status, "%s", text_of(v->error, "message"));
        (void) snprintf(p->detail, sizeof p->detail, "%s", text_of(v->error, "detail"));
        hint(p, "%s", text_of(v->error, "hint"));
        return status;
    }
    if (json_object_get(v->report, "result") == NULL)
        return fail(p, CTL_FAILED, "\"%s verify\" ended with status %d before it was done", server,
                    status);
    return status;
}

int
cmd_verify(const struct args *a, struct problem *p)
{
    CLEANUP(verify_done) struct verify v = { .pending = json_array() };
    struct target t;
    struct stat owner;
    char server[4096];
    const char *argv[] = { server, "verify", "-D", t.datadir, NULL, NULL, NULL };
    int r = find_datadir(a, &t, &owner, p);
    int status;

    if (r != 0 || (r = process_find_server(server, sizeof server, p)) != 0)
        return r;
    if (args_has(a, OPTION_USER)) {
        argv[4] = "-U";
        argv[5] = a->value[OPTION_USER];
    }
    v.report = json_pack("{s:[], s:[], s:[]}", "databases", "problems", "unchecked");
    util_catch_interrupt();
    /* As the owner of the files, whom the server knows too (peer). */
    if (geteuid() == 0 && owner.st_uid != 0)
        status = process_run_lines(argv, owner.st_uid, owner.st_gid, on_line, &v);
    else
        status = process_run_lines(argv, (uid_t) -1, 0, on_line, &v);
    return judge(&v, server, status, p);
}

/* JSON output: the replies' own parameters, one object; watches and progress one object per line.
 * Runs in: pinionctl. Owns: the list that `status --all` collects. Source: design 11,
 * systemd-ops 4.2. */
#include <stdio.h>
#include <string.h>

#include "client.h"
#include "fields.h"
#include "out.h"

static json_t *list; /* between list_begin and list_end */

/* U+007F to U+009F may stand in JSON as they are, and jansson writes them so. They are only in
 * strings: an escape can take their place. */
void
out_print_json(FILE *to, const json_t *o, size_t flags)
{
    CLEANUP(freep) char *text = json_dumps(o, flags | JSON_REAL_PRECISION(6));

    for (const char *p = text; p != NULL && *p != '\0';) {
        size_t n = strcspn(p, "\x7f\xc2");
        bool is_c1 = p[n] == '\xc2' && (unsigned char) p[n + 1] < 0xa0; /* U+0080 to U+009F */

        (void) fwrite(p, 1, n, to);
        p += n;
        if (is_c1 || *p == '\x7f')
            (void) fprintf(to, "\\u%04x", (unsigned) (unsigned char) p[is_c1]);
        else if (*p != '\0')
            (void) fputc(*p, to);
        p += *p == '\0' ? 0 : 1 + is_c1;
    }
}

static void
print(const json_t *o)
{
    out_print_json(stdout, o, JSON_COMPACT);
    (void) fputc('\n', stdout);
    (void) fflush(stdout);
}

/* {"status":…}, or only the status as a member of the list. Takes status. */
static void
print_status(json_t *status)
{
    if (list != NULL) {
        (void) json_array_append_new(list, status);
        return;
    }
    json_auto_t *o = json_pack("{s:o}", "status", status);
    print(o);
}

static void
json_out_status(const struct target *t, const json_t *status)
{
    (void) t;
    print_status(json_deep_copy(status));
}

static void
set_text(json_t *o, const char *key, const char *text)
{
    if (text[0] != '\0')
        (void) json_object_set_new(o, key, fields_text(text));
}

static void
json_out_stopped(const struct target *t, const struct out_stopped *s)
{
    json_t *status = json_pack("{s:s}", "state", s->is_active ? "unreachable" : "stopped");

    set_text(status, "instance", t->instance[0] != '\0' ? t->instance : t->name);
    set_text(status, "unit", t->unit);
    set_text(status, "lastExit", s->last_exit);
    set_text(status, "statusText", s->status_text);
    print_status(status);
}

static void
json_out_reply(const json_t *parameters)
{
    print(parameters);
}

static void
json_out_settings(const json_t *parameters, bool is_one)
{
    (void) is_one;
    print(parameters);
}

static void
json_out_verifying(const json_t *progress)
{
    (void) progress;
}

static void
json_out_verified(const char *kind, const json_t *part, const json_t *problems)
{
    (void) kind;
    (void) part;
    (void) problems; /* it is all in the report */
}

static void
json_out_report(const json_t *report, const json_t *problems)
{
    (void) problems;
    print(report);
}

static void
json_out_progress(const struct target *t, const char *message, const json_t *parameters)
{
    (void) t;
    (void) message;
    if (parameters != NULL && !out_options.quiet)
        print(parameters);
}

static void
json_out_remark(const char *text)
{
    (void) text;
}

static void
json_out_result(const struct target *t, const char *message, const json_t *parameters)
{
    (void) t;
    (void) message;
    if (parameters != NULL)
        print(parameters);
    else
        (void) puts("{}");
}

static void
json_out_failure(const struct problem *p)
{
    CLEANUP(json_decrefp)
    json_t *error = json_pack("{s:i}", "exit", p->exit);

    set_text(error, "message", p->message);
    set_text(error, "name", p->name);
    set_text(error, "detail", p->detail);
    set_text(error, "hint", p->hint);
    json_auto_t *o = json_pack("{s:O}", "error", error);
    print(o);
}

static void
json_out_list_begin(void)
{
    list = json_array();
}

static void
json_out_list_end(void)
{
    json_auto_t *o = json_pack("{s:o}", "instances", list);

    list = NULL;
    print(o);
}

const struct out out_json = {
    .status = json_out_status,
    .stopped = json_out_stopped,
    .processes = json_out_reply,
    .history = json_out_reply,
    .doctor = json_out_reply,
    .instances = json_out_reply,
    .settings = json_out_settings,
    .watch = json_out_reply,
    .progress = json_out_progress,
    .remark = json_out_remark,
    .result = json_out_result,
    .verifying = json_out_verifying,
    .verified = json_out_verified,
    .report = json_out_report,
    .reply = json_out_reply,
    .failure = json_out_failure,
    .list_begin = json_out_list_begin,
    .list_end = json_out_list_end,
};

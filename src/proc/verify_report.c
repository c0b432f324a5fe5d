/* What `piniond verify` says. Runs in: `piniond verify`. Owns: standard output, the list of
 * problems. Source: systemd-ops 4.2 (output, progress). */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "proc/verify_int.h"

#define PROBLEMS_MAX   1000u
#define PROGRESS_EVERY (USEC_PER_SEC / 4)

void
report_escape(char *to, size_t cap, const char *text)
{
    size_t n = 0;

    for (const unsigned char *p = (const unsigned char *) text; *p != '\0' && n + 7 < cap; p++) {
        if (*p == '"' || *p == '\\')
            n += (size_t) snprintf(to + n, cap - n, "\\%c", *p);
        else if (*p < 0x20)
            n += (size_t) snprintf(to + n, cap - n, "\\u%04x", *p);
        else
            to[n++] = (char) *p;
    }
    to[n] = '\0';
}

static void
clear_progress(struct report *r)
{
    if (r->has_progress)
        (void) fputs("\r\033[K", stderr);
    r->has_progress = false;
}

void
report_progress(struct report *r, const char *what, uint64_t done, uint64_t all)
{
    usec_t now;

    if (!r->on_terminal)
        return;
    now = clock_mono_usec();
    if (now < r->progress_at)
        return;
    r->progress_at = now + PROGRESS_EVERY;
    if (all > 0)
        (void) fprintf(stderr, "\r\033[K%s: %u %%", what, (unsigned) (done * 100 / all));
    else
        (void) fprintf(stderr, "\r\033[K%s", what);
    r->has_progress = true;
}

void
report_begin(struct report *r, const char *data_dir, const char *server)
{
    char dir[2048];

    r->on_terminal = !r->is_quiet && isatty(STDERR_FILENO) != 0;
    if (!r->is_json)
        return;
    report_escape(dir, sizeof dir, data_dir);
    (void) printf("{\"directory\":\"%s\",\"server\":\"%s\"", dir, server);
}

static void
print_problem(const struct verify_problem *p)
{
    char where[160] = "";

    if (p->database[0] != '\0')
        (void) snprintf(where, sizeof where, "database \"%s\", ", p->database);
    (void) printf("  %s%s", where, p->file);
    if (p->page != 0)
        (void) printf(", page %u", p->page);
    (void) printf(": %s\n", p->message);
    if (p->detail[0] != '\0')
        (void) printf("    %s\n", p->detail);
}

static void
part_as_text(struct report *r, const char *name, const char *text)
{
    bool is_bad = r->n_problems > r->n_of_part;

    if (!r->is_quiet || is_bad)
        (void) printf("%-16s %-8s %s\n", name, is_bad ? "DAMAGED" : "ok", text);
    while (r->n_shown < r->n_kept)
        print_problem(&r->problems[r->n_shown++]);
    r->n_of_part = r->n_problems;
}

void
report_part(struct report *r, const char *name, const char *text, const char *json)
{
    clear_progress(r);
    if (r->is_json)
        (void) printf(",\"%s\":{%s}", name, json);
    else
        part_as_text(r, name, text);
}

void
report_database(struct report *r, const char *name, const char *text, const char *json)
{
    clear_progress(r);
    if (r->is_json)
        (void) printf("%s{%s}", r->n_rows++ == 0 ? ",\"databases\":[" : ",", json);
    else
        part_as_text(r, name, text);
}

void
report_problem(struct report *r, const struct verify_problem *p)
{
    r->n_problems++;
    if (r->n_kept == PROBLEMS_MAX)
        return;
    if (r->n_kept % 16 == 0) {
        struct verify_problem *grown = realloc(r->problems, (r->n_kept + 16) * sizeof *grown);

        if (grown == NULL)
            return; /* counted all the same */
        r->problems = grown;
    }
    r->problems[r->n_kept++] = *p;
}

void
report_unchecked(struct report *r, const char *fmt, ...)
{
    char **grown = realloc(r->unchecked, (r->n_unchecked + 1) * sizeof *grown);
    char *text = NULL;
    va_list ap;

    va_start(ap, fmt);
    if (grown != NULL)
        r->unchecked = grown;
    if (grown != NULL && vasprintf(&text, fmt, ap) >= 0)
        r->unchecked[r->n_unchecked++] = text;
    va_end(ap);
}

/* ---- the end ---- */

static void
problem_as_json(const struct verify_problem *p, bool is_first)
{
    char text[1200];

    (void) printf("%s{\"part\":\"%s\"", is_first ? "" : ",", p->part);
    if (p->database[0] != '\0') {
        report_escape(text, sizeof text, p->database);
        (void) printf(",\"database\":\"%s\"", text);
    }
    (void) printf(",\"file\":\"%s\"", p->file);
    if (p->page != 0)
        (void) printf(",\"page\":%u", p->page);
    report_escape(text, sizeof text, p->message);
    (void) printf(",\"message\":\"%s\"", text);
    if (p->detail[0] != '\0') {
        report_escape(text, sizeof text, p->detail);
        (void) printf(",\"detail\":\"%s\"", text);
    }
    (void) putchar('}');
}

static void
end_as_json(const struct report *r, enum verify_result result)
{
    char text[1200];

    (void) printf("%s,\"problems\":[", r->n_rows > 0 ? "]" : ",\"databases\":[]");
    for (uint32_t i = 0; i < r->n_kept; i++)
        problem_as_json(&r->problems[i], i == 0);
    (void) printf("],\"problemCount\":%llu,\"unchecked\":[", (unsigned long long) r->n_problems);
    for (uint32_t i = 0; i < r->n_unchecked; i++) {
        report_escape(text, sizeof text, r->unchecked[i]);
        (void) printf("%s\"%s\"", i == 0 ? "" : ",", text);
    }
    (void) printf("],\"result\":\"%s\"}\n", result == VERIFY_GOOD      ? "ok"
                                            : result == VERIFY_DAMAGED ? "damaged"
                                                                       : "incomplete");
}

static void
end_as_text(const struct report *r, enum verify_result result)
{
    for (uint32_t i = 0; i < r->n_unchecked; i++)
        (void) printf("not checked: %s\n", r->unchecked[i]);
    if (r->n_problems > r->n_kept)
        (void) printf("%llu more problems are not shown\n",
                      (unsigned long long) (r->n_problems - r->n_kept));
    if (result == VERIFY_DAMAGED)
        (void) printf("%llu problem%s found\n", (unsigned long long) r->n_problems,
                      r->n_problems == 1 ? "" : "s");
    else if (result == VERIFY_INCOMPLETE)
        (void) puts("no problem found, but not everything could be checked");
    else if (!r->is_quiet)
        (void) puts("no problem found");
}

enum verify_result
report_end(struct report *r)
{
    enum verify_result result = r->n_problems > 0    ? VERIFY_DAMAGED
                                : r->n_unchecked > 0 ? VERIFY_INCOMPLETE
                                                     : VERIFY_GOOD;

    clear_progress(r);
    if (r->is_json)
        end_as_json(r, result);
    else
        end_as_text(r, result);
    (void) fflush(stdout);
    return result;
}

void
report_done(struct report *r)
{
    for (uint32_t i = 0; i < r->n_unchecked; i++)
        free(r->unchecked[i]);
    free(r->unchecked);
    free(r->problems);
}

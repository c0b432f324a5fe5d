/* What `piniond verify` says: a line for each fact, as it is found. Programs read it; pinionctl
 * makes text or JSON of it.
 *
 * A line is a word for its kind, then fields "key=value" (tbl/verify_fields.def) with a tab before
 * each; in a value a tab, a new line and a backslash are "\t", "\n" and "\\". The last line is
 * "end" or "error". What each kind has is said in piniond(8).
 *
 * The startup process hears of what is found through a sink instead.
 *
 * Runs in: `piniond verify`, startup. Owns: standard output, the counts. Source: none. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "proc/verify_int.h"

#define PROGRESS_EVERY (USEC_PER_SEC / 4)

/* clang-format off */
static const char *const keys[] = {
#define VERIFY_FIELD(id, key, is_number) key,
#include "tbl/verify_fields.def"
#undef VERIFY_FIELD
};
/* clang-format on */

void
report_line(const char *kind)
{
    (void) fputs(kind, stdout);
}

void
report_text(enum verify_field field, const char *value)
{
    (void) printf("\t%s=", keys[field]);
    for (const char *p = value; *p != '\0'; p++) {
        const char *short_name = *p == '\t' ? "\\t" : *p == '\n' ? "\\n" : "\\\\";

        if (*p == '\t' || *p == '\n' || *p == '\\')
            (void) fputs(short_name, stdout);
        else
            (void) putchar(*p);
    }
}

void
report_number(enum verify_field field, uint64_t value)
{
    (void) printf("\t%s=%llu", keys[field], (unsigned long long) value);
}

void
report_lsn(enum verify_field field, lsn_t lsn)
{
    (void) printf("\t%s=" LSN_FMT, keys[field], LSN_ARGS(lsn));
}

void
report_line_end(void)
{
    (void) putchar('\n');
    (void) fflush(stdout); /* whoever reads shows it as it comes */
}

/* A field that is left out when there is nothing to say. */
static void
text_if_any(enum verify_field field, const char *value)
{
    if (value[0] != '\0')
        report_text(field, value);
}

int
report_pages(struct report *r, const char *what, uint32_t n, uint64_t done, uint64_t all)
{
    if (r->sink != NULL)
        return r->sink->pages(r->sink->arg, n);
    report_progress(r, what, done, all);
    return 0;
}

void
report_progress(struct report *r, const char *what, uint64_t done, uint64_t all)
{
    usec_t now = clock_mono_usec();

    if (now < r->progress_at)
        return;
    r->progress_at = now + PROGRESS_EVERY;
    report_line("progress");
    report_text(VERIFY_WHAT, what);
    if (all > 0) {
        report_number(VERIFY_DONE, done);
        report_number(VERIFY_ALL, all);
    }
    report_line_end();
}

void
report_problem(struct report *r, const struct verify_problem *p)
{
    r->n_problems++;
    if (r->sink != NULL) {
        r->sink->problem(r->sink->arg, p);
        return;
    }
    report_line("problem");
    report_text(VERIFY_PART, p->part);
    text_if_any(VERIFY_DATABASE, p->database);
    report_text(VERIFY_FILE, p->file);
    if (p->page != 0)
        report_number(VERIFY_PAGE, p->page);
    report_text(VERIFY_MESSAGE, p->message);
    text_if_any(VERIFY_DETAIL, p->detail);
    report_line_end();
}

void
report_unchecked(struct report *r, const char *fmt, ...)
{
    char text[1200];
    va_list ap;

    va_start(ap, fmt);
    (void) vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    r->n_unchecked++;
    if (r->sink != NULL) {
        r->sink->unchecked(r->sink->arg, text);
        return;
    }
    report_line("unchecked");
    report_text(VERIFY_MESSAGE, text);
    report_line_end();
}

enum verify_exit
report_end(const struct report *r)
{
    enum verify_exit exit = r->n_problems > 0    ? VERIFY_EXIT_DAMAGED
                            : r->n_unchecked > 0 ? VERIFY_EXIT_INCOMPLETE
                                                 : VERIFY_EXIT_GOOD;

    report_line("end");
    report_text(VERIFY_RESULT, exit == VERIFY_EXIT_GOOD      ? "ok"
                               : exit == VERIFY_EXIT_DAMAGED ? "damaged"
                                                             : "incomplete");
    report_line_end();
    return exit;
}

enum verify_exit
report_error(int r, const struct err *e)
{
    report_line("error");
    report_text(VERIFY_MESSAGE, e->message);
    text_if_any(VERIFY_DETAIL, e->detail);
    text_if_any(VERIFY_HINT, e->hint);
    report_line_end();
    return r == -ENOENT || r == -ENOTDIR ? VERIFY_EXIT_NO_DIRECTORY
           : r == -EACCES                ? VERIFY_EXIT_NOT_PERMITTED
                                         : VERIFY_EXIT_FAILED;
}

/* Text output.
 * Runs in: pinionctl. Owns: nothing. Source: systemd-ops 4.2, 4.5. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "out.h"

static const struct {
    const char *name, *glyph;
    int exit;
} states[] = {
/* clang-format off */
#define CONTROL_STATE(id, name, glyph, exit) { name, glyph, exit },
#include "tbl/control_states.def"
#undef CONTROL_STATE
    /* clang-format on */
};

/* A terminal obeys it, or a row ends where the next is made up. */
static bool
is_control(const unsigned char *p)
{
    bool is_c1 = p[0] == 0xc2 && p[1] >= 0x80 && p[1] < 0xa0; /* U+0080 to U+009F */

    return *p < ' ' || *p == 0x7f || is_c1;
}

/* Of names that SQL clients chose: '?' for what is no text, in place. */
static void
tame(char *text)
{
    for (; *text != '\0'; text++) {
        if (!is_control((const unsigned char *) text))
            continue;
        if ((unsigned char) *text == 0xc2)
            *text++ = '?';
        *text = '?';
    }
}

const char *
out_word(json_t *string)
{
    const char *s = json_string_value(string);
    size_t at = 0;

    while (s != NULL && s[at] != '\0' && !is_control((const unsigned char *) s + at))
        at++;
    if (s == NULL || s[at] == '\0')
        return s == NULL ? "" : s;
    CLEANUP(freep) char *copy = strdup(s);
    if (copy == NULL)
        return "?";
    tame(copy);
    (void) json_string_set_nocheck(string, copy);
    return json_string_value(string);
}

const char *
out_text_of(const json_t *o, const char *key)
{
    return out_word(json_object_get(o, key));
}

uint64_t
out_number_of(const json_t *o, const char *key)
{
    return (uint64_t) json_integer_value(json_object_get(o, key));
}

/* The dot in front, green if it serves. */
static void
print_glyph(const char *state)
{
    const char *glyph = "○";
    int code = -1;

    for (size_t i = 0; i < ELEMENTSOF(states); i++) {
        if (strcmp(states[i].name, state) == 0) {
            glyph = states[i].glyph;
            code = states[i].exit;
        }
    }
    if (out_options.color)
        (void) printf("\033[%sm%s\033[0m", code == 0 ? "32" : code > 0 ? "33" : "31", glyph);
    else
        (void) printf("%s", glyph);
}

static void
print_row(const char *label, const char *text)
{
    if (text[0] != '\0')
        (void) printf("    %-10s %s\n", label, text);
}

/* "main  ready (primary)  PM_RUN" and, on the right, the version or what it means. */
static void
print_first_line(const struct target *t, const json_t *s)
{
    const char *instance = out_text_of(s, "instance"), *state = out_text_of(s, "state");
    const char *phase = out_text_of(json_object_get(s, "progress"), "phase");
    bool is_ready = strcmp(state, "ready") == 0 || strcmp(state, "standby") == 0;
    const char *paren = phase[0] != '\0' && !is_ready ? phase : out_text_of(s, "role");
    char left[256], right[64];

    (void) snprintf(left, sizeof left, "%s  %s%s%s%s  %s", instance[0] != '\0' ? instance : t->name,
                    state, paren[0] != '\0' ? " (" : "", paren, paren[0] != '\0' ? ")" : "",
                    out_text_of(s, "pmState"));
    if (is_ready)
        (void) snprintf(right, sizeof right, "Pinion %s", out_text_of(s, "version"));
    else
        (void) snprintf(right, sizeof right, "not accepting connections");
    print_glyph(state);
    (void) printf(" %-54s  %s\n", left, right);
}

static void
print_since(const json_t *s)
{
    char time[64], ago[32], up[32], row[192];
    uint64_t now = now_real_usec(), since = out_number_of(s, "stateSinceUSec");
    uint64_t started = out_number_of(s, "startedUSec");

    if (since == 0)
        return;
    format_time(time, sizeof time, since);
    format_duration(ago, sizeof ago, now > since ? now - since : 0);
    format_duration(up, sizeof up, now > started ? now - started : 0);
    (void) snprintf(row, sizeof row, "%s, %s ago (up %s)", time, ago, up);
    print_row("Since", row);
}

static void
print_progress_row(const json_t *s)
{
    const json_t *p = json_object_get(s, "progress");
    const json_t *percent = json_object_get(p, "percent");
    char row[512], bar[24];

    if (p == NULL)
        return;
    if (percent == NULL) {
        print_row("Progress", out_text_of(p, "message"));
        return;
    }
    double value = json_number_value(percent);
    out_bar(bar, 20, value);
    (void) snprintf(row, sizeof row, "[%s] %3d %%   %s", bar, (int) value,
                    out_text_of(p, "message"));
    print_row("Progress", row);
}

static void
join(char *to, size_t cap, const json_t *names)
{
    size_t i;
    json_t *o;

    to[0] = '\0';
    json_array_foreach(names, i, o)
    {
        size_t n = strlen(to);
        (void) snprintf(to + n, cap - n, "%s%s", n > 0 ? "  " : "", out_word(o));
    }
}

static void
print_data(const json_t *s)
{
    const json_t *c = json_object_get(s, "lastCheckpoint");
    char row[512], ago[32];
    uint64_t ended = out_number_of(c, "startedUSec") + out_number_of(c, "durationUSec");
    uint64_t now = now_real_usec();

    format_duration(ago, sizeof ago, now > ended ? now - ended : 0);
    const char *dir = out_text_of(s, "dataDirectory");

    (void) snprintf(row, sizeof row, "%s%s%s%s%s", dir, dir[0] != '\0' && c != NULL ? "  " : "",
                    c != NULL ? "last checkpoint " : "", c != NULL ? ago : "",
                    c != NULL ? " ago" : "");
    print_row("Data", row);
}

static void
print_log(const json_t *s)
{
    char row[256];
    const char *flush = out_text_of(s, "flushLsn"), *replay = out_text_of(s, "replayLsn");

    if (flush[0] == '\0' && replay[0] == '\0')
        return;
    (void) snprintf(
        row, sizeof row, "%s%s%s%s  timeline %" PRIu64, flush[0] != '\0' ? "durable to " : "",
        flush, replay[0] != '\0' ? "  replayed to " : "", replay, out_number_of(s, "timeline"));
    print_row("Log", row);
}

/* One row per file system; two that are one and the same still differ in what did not fit. */
static void
print_storage(const json_t *s)
{
    size_t i;
    json_t *o;
    uint64_t now = now_real_usec();

    json_array_foreach(json_object_get(s, "storage"), i, o)
    {
        char row[256], left[32], all[32], ago[32];
        uint64_t since = out_number_of(o, "fullSinceUSec");

        format_bytes(left, sizeof left, out_number_of(o, "freeBytes"));
        format_bytes(all, sizeof all, out_number_of(o, "totalBytes"));
        format_duration(ago, sizeof ago, now > since ? now - since : 0);
        (void) snprintf(row, sizeof row, "%s: %s of %s free%s%s", out_text_of(o, "name"), left, all,
                        json_is_true(json_object_get(o, "full"))  ? "  FULL for "
                        : json_is_true(json_object_get(o, "low")) ? "  LOW"
                                                                  : "",
                        since != 0 ? ago : "");
        print_row("Storage", row);
    }
}

static void
print_cache(const json_t *s)
{
    const json_t *o = json_object_get(s, "cache");
    char row[256], left[32], used[32], limit[32], peak[32];

    if (o == NULL)
        return;
    format_bytes(left, sizeof left, out_number_of(o, "bytesLeft"));
    format_bytes(used, sizeof used, out_number_of(o, "overflowUsedBytes"));
    format_bytes(limit, sizeof limit, out_number_of(o, "overflowLimitBytes"));
    format_bytes(peak, sizeof peak, out_number_of(o, "overflowPeakBytes"));
    (void) snprintf(row, sizeof row,
                    "%s left  %" PRIu64 " old versions  overflow %s of %s, at most %s", left,
                    out_number_of(o, "versions"), used, limit, peak);
    print_row("Cache", row);
}

static void
print_config(const json_t *s)
{
    char row[700], pending[256], ago[32];
    const json_t *waiting = json_object_get(s, "pendingRestart");
    uint64_t generation = out_number_of(s, "configGeneration");
    uint64_t loaded = out_number_of(s, "configLoadedUSec"), now = now_real_usec();
    size_t n = json_array_size(waiting);

    if (generation == 0)
        return;
    format_duration(ago, sizeof ago, now > loaded ? now - loaded : 0);
    (void) snprintf(row, sizeof row, "generation %" PRIu64 "%s%s%s%s", generation,
                    loaded != 0 ? ", loaded " : "", loaded != 0 ? ago : "",
                    loaded != 0 ? " ago" : "",
                    json_is_false(json_object_get(s, "configValid"))
                        ? "; the files have errors (pinionctl check-config)"
                        : "");
    print_row("Config", row);
    if (n == 0)
        return;
    join(pending, sizeof pending, waiting);
    (void) snprintf(row, sizeof row, "%zu setting%s for a restart: %s", n,
                    n == 1 ? " waits" : "s wait", pending);
    print_row("", row);
}

static void
text_status(const struct target *t, const json_t *s)
{
    char row[1024];
    uint64_t crashes = out_number_of(s, "crashRestarts");
    uint64_t refused = out_number_of(s, "refusedDatabases");

    print_first_line(t, s);
    if (out_options.quiet)
        return;
    print_since(s);
    print_progress_row(s);
    (void) snprintf(row, sizeof row, "%s%smain pid %" PRIu64, out_text_of(s, "unit"),
                    out_text_of(s, "unit")[0] != '\0' ? ", " : "", out_number_of(s, "mainPid"));
    print_row(out_text_of(s, "unit")[0] != '\0' ? "Unit" : "Process", row);
    join(row, sizeof row, json_object_get(s, "listen"));
    print_row("Listen", row);
    if (json_object_get(s, "connections") != NULL) {
        (void) snprintf(row, sizeof row, "%" PRIu64 " of %" PRIu64, out_number_of(s, "connections"),
                        out_number_of(s, "connectionsMax"));
        print_row("Sessions", row);
    }
    print_data(s);
    print_log(s);
    print_storage(s);
    print_cache(s);
    print_config(s);
    if (refused > 0) {
        (void) snprintf(row, sizeof row, "%" PRIu64 " database%s refused: see the log", refused,
                        refused == 1 ? "" : "s");
        print_row("Damaged", row);
    }
    if (crashes > 0) {
        (void) snprintf(row, sizeof row, "%" PRIu64 " internal restart%s (pinionctl history)",
                        crashes, crashes == 1 ? "" : "s");
        print_row("Crashes", row);
    }
}

static void
text_stopped(const struct target *t, const struct out_stopped *s)
{
    print_glyph("");
    (void) printf(" %s  %s%s%s\n", t->name,
                  s->is_active ? "runs, but its control socket does not answer" : "stopped",
                  s->since[0] != '\0' ? " since " : "", s->since);
    if (out_options.quiet)
        return;
    print_row("Last exit", s->last_exit);
    print_row("Last word", s->status_text);
    if (s->advice[0] != '\0')
        (void) printf("    hint: %s\n", s->advice);
}

static const char *
dash(const char *text)
{
    return text[0] == '\0' ? "-" : text;
}

static void
text_processes(const json_t *parameters)
{
    size_t i;
    json_t *o;
    uint64_t now = now_real_usec();

    (void) printf("%7s %-19s %-20s %12s %8s  %-12s %-12s %s\n", "PID", "ROLE", "STATE", "AGE",
                  "BEAT", "DATABASE", "USER", "CLIENT");
    json_array_foreach(json_object_get(parameters, "processes"), i, o)
    {
        char age[32], beat[32] = "-";
        uint64_t started = out_number_of(o, "startedUSec");
        format_duration(age, sizeof age, now > started ? now - started : 0);
        if (json_object_get(o, "heartbeatAgeUSec") != NULL)
            format_duration(beat, sizeof beat, out_number_of(o, "heartbeatAgeUSec"));
        (void) printf("%7" PRIu64 " %-19s %-20s %12s %8s  %-12s %-12s %s\n",
                      out_number_of(o, "pid"), out_text_of(o, "role"),
                      dash(out_text_of(o, "state")), age, beat, dash(out_text_of(o, "database")),
                      dash(out_text_of(o, "user")), dash(out_text_of(o, "client")));
    }
}

/* "/etc/pinion/main/pinion.conf:12", or where else it comes from. */
static void
say_source(char *to, size_t cap, const json_t *o)
{
    if (out_text_of(o, "file")[0] != '\0')
        (void) snprintf(to, cap, "%s:%" PRIu64, out_text_of(o, "file"), out_number_of(o, "line"));
    else
        (void) snprintf(to, cap, "%s", out_text_of(o, "source"));
}

static const char *
value_of(const json_t *o)
{
    json_t *value = json_object_get(o, "value");
    const char *text = out_word(value);

    return !json_is_string(value) ? "(not shown to you)" : text[0] == '\0' ? "''" : text;
}

static void
print_setting(const json_t *o)
{
    static const struct {
        const char *context, *words;
    } changes[] = {
        { "internal", "cannot be changed" },
        { "postmaster", "in the files, with a restart" },
        { "sighup", "in the files, with a reload" },
        { "superuser", "in the files, or by SET of a superuser" },
        { "user", "in the files, or by SET of anybody" },
    };
    const char *context = out_text_of(o, "context");
    char source[4200];

    (void) printf("%s = %s\n", out_text_of(o, "name"), value_of(o));
    say_source(source, sizeof source, o);
    print_row("Source", source);
    print_row("Default", out_text_of(o, "initial"));
    for (size_t i = 0; i < ELEMENTSOF(changes); i++) {
        if (strcmp(changes[i].context, context) == 0)
            context = changes[i].words;
    }
    print_row("Change", context);
    if (json_is_true(json_object_get(o, "pendingRestart")))
        print_row("Pending", "the files hold another value, which a restart applies");
    print_row("Meaning", out_text_of(o, "description"));
}

static void
text_settings(const json_t *parameters, bool is_one)
{
    const json_t *list = json_object_get(parameters, "settings");
    size_t i;
    json_t *o;

    if (is_one) {
        print_setting(json_array_get(list, 0));
        return;
    }
    (void) printf("%-34s %-24s %s\n", "NAME", "VALUE", "SOURCE");
    json_array_foreach(list, i, o)
    {
        char source[4200];

        say_source(source, sizeof source, o);
        (void) printf("%-34s %-24s %s%s\n", out_text_of(o, "name"), value_of(o), source,
                      json_is_true(json_object_get(o, "pendingRestart")) ? ", waits for a restart"
                                                                         : "");
    }
}

static void
text_watch(const json_t *parameters)
{
    const json_t *s = json_object_get(parameters, "status");
    char time[64];

    format_time(time, sizeof time, now_real_usec());
    (void) printf("%s  %-16s %-16s %s\n", time, out_text_of(s, "state"), out_text_of(s, "pmState"),
                  out_text_of(json_object_get(s, "progress"), "message"));
    (void) fflush(stdout);
}

static void
text_remark(const char *text)
{
    if (out_options.quiet)
        return;
    out_close_line();
    (void) printf("(%s)\n", text);
    (void) fflush(stdout);
}

static void
text_result(const struct target *t, const char *message, const json_t *parameters)
{
    (void) parameters;
    out_close_line();
    if (!out_options.quiet && message != NULL)
        (void) printf("%s: %s\n", t->name, message);
}

/* ---- history, doctor, list ---- */

static void
text_history(const json_t *parameters)
{
    size_t i;
    json_t *o;

    (void) printf("%-27s  %-13s  %s\n", "TIME", "EVENT", "WHAT");
    json_array_foreach(json_object_get(parameters, "entries"), i, o)
    {
        const char *by = out_text_of(o, "by"), *reason = out_text_of(o, "reason");
        char time[64];

        format_time(time, sizeof time, out_number_of(o, "timeUSec"));
        (void) printf("%-27s  %-13s  %s%s%s%s%s\n", time, out_text_of(o, "event"),
                      out_text_of(o, "message"), by[0] != '\0' ? ", by " : "", by,
                      reason[0] != '\0' ? ": " : "", reason);
    }
}

static void
text_doctor(const json_t *parameters)
{
    static const struct {
        const char *level, *word, *color;
    } levels[] = { { "ok", "ok", "32" },
                   { "note", "note", "0" },
                   { "warning", "WARN", "33" },
                   { "bad", "BAD", "31" } };
    unsigned n[ELEMENTSOF(levels)] = { 0 };
    size_t i;
    json_t *o;

    json_array_foreach(json_object_get(parameters, "checks"), i, o)
    {
        size_t k = 0;

        while (k + 1 < ELEMENTSOF(levels) && strcmp(levels[k].level, out_text_of(o, "level")) != 0)
            k++;
        n[k]++;
        if (out_options.quiet && k < 2)
            continue;
        (void) printf(out_options.color ? "\033[%sm%-5s\033[0m" : "%.0s%-5s", levels[k].color,
                      levels[k].word);
        (void) printf(" %-14s %s\n", out_text_of(o, "check"), out_text_of(o, "finding"));
        if (out_text_of(o, "why")[0] != '\0')
            (void) printf("      why: %s\n", out_text_of(o, "why"));
        if (out_text_of(o, "advice")[0] != '\0')
            (void) printf("      do:  %s\n", out_text_of(o, "advice"));
    }
    if (!out_options.quiet)
        (void) printf("%u checks: %u fine, %u to note, %u warning%s, %u bad\n",
                      n[0] + n[1] + n[2] + n[3], n[0], n[1], n[2], n[2] == 1 ? "" : "s", n[3]);
}

static void
text_instances(const json_t *parameters)
{
    size_t i;
    json_t *o;

    (void) printf("%-16s %-16s %9s  %-32s %s\n", "NAME", "STATE", "SESSIONS", "DATA", "LISTEN");
    json_array_foreach(json_object_get(parameters, "instances"), i, o)
    {
        char listen[512], sessions[32] = "-";

        join(listen, sizeof listen, json_object_get(o, "listen"));
        if (json_object_get(o, "connections") != NULL)
            (void) snprintf(sessions, sizeof sessions, "%" PRIu64, out_number_of(o, "connections"));
        (void) printf("%-16s %-16s %9s  %-32s %s\n", out_text_of(o, "instance"),
                      out_text_of(o, "state"), sessions, dash(out_text_of(o, "dataDirectory")),
                      dash(listen));
    }
}

/* Each line of a text (or NULL) behind `indent`. */
static void
print_lines(FILE *to, const char *indent, const char *text)
{
    CLEANUP(freep) char *copy = text == NULL || text[0] == '\0' ? NULL : strdup(text);
    char *rest = copy, *line;

    while ((line = strsep(&rest, "\n")) != NULL) {
        tame(line);
        if (line[0] != '\0')
            (void) fprintf(to, "%s%s\n", indent, line);
    }
}

/* ---- verify ---- */

static void
print_problems(const json_t *problems)
{
    size_t i;
    json_t *o;

    json_array_foreach(problems, i, o)
    {
        (void) printf("  ");
        if (out_text_of(o, "database")[0] != '\0')
            (void) printf("database \"%s\", ", out_text_of(o, "database"));
        (void) printf("%s", out_text_of(o, "file"));
        if (out_number_of(o, "page") != 0)
            (void) printf(", page %" PRIu64, out_number_of(o, "page"));
        (void) printf(": %s\n", out_text_of(o, "message"));
        print_lines(stdout, "    ", json_string_value(json_object_get(o, "detail")));
    }
}

static void
say_control(char *to, size_t cap, const json_t *o)
{
    if (out_number_of(o, "usableCopies") == 0)
        (void) snprintf(to, cap, "no usable copy");
    else
        (void) snprintf(to, cap, "usable copies %" PRIu64 ", %s, checkpoint %s, redo %s",
                        out_number_of(o, "usableCopies"), out_text_of(o, "clusterState"),
                        out_text_of(o, "checkpoint"), out_text_of(o, "redo"));
}

static void
say_log(char *to, size_t cap, const json_t *o)
{
    uint64_t segments = out_number_of(o, "segments"), records = out_number_of(o, "records");

    (void) snprintf(to, cap, "%" PRIu64 " segment%s, %" PRIu64 " record%s from %s to %s", segments,
                    segments == 1 ? "" : "s", records, records == 1 ? "" : "s",
                    out_text_of(o, "from"), out_text_of(o, "to"));
}

static void
say_database(char *to, size_t cap, const json_t *o)
{
    uint64_t pages = out_number_of(o, "pages");

    (void) snprintf(to, cap, "%s: %" PRIu64 " page%s, %" PRIu64 " damaged, structure %s",
                    out_text_of(o, "file"), pages, pages == 1 ? "" : "s",
                    out_number_of(o, "damaged"), out_text_of(o, "structure"));
}

static void
text_verified(const char *kind, const json_t *part, const json_t *problems)
{
    const char *name = out_text_of(part, "name");
    bool is_bad = json_array_size(problems) > 0 || out_number_of(part, "damaged") > 0 ||
                  strcmp(out_text_of(part, "structure"), "damaged") == 0;
    char row[512];

    out_close_line();
    if (name[0] != '\0')
        say_database(row, sizeof row, part);
    else if (strcmp(kind, "control") == 0)
        say_control(row, sizeof row, part);
    else
        say_log(row, sizeof row, part);
    if (!out_options.quiet || is_bad)
        (void) printf("%-16s %-8s %s\n", name[0] != '\0' ? name : kind, is_bad ? "DAMAGED" : "ok",
                      row);
    print_problems(problems);
    (void) fflush(stdout);
}

static void
text_report(const json_t *report, const json_t *problems)
{
    uint64_t n = out_number_of(report, "problemCount");
    uint64_t shown = json_array_size(json_object_get(report, "problems"));
    const char *result = out_text_of(report, "result");
    size_t i;
    json_t *o;

    out_close_line();
    print_problems(problems);
    json_array_foreach(json_object_get(report, "unchecked"), i, o)
    {
        (void) printf("not checked: %s\n", out_word(o));
    }
    if (n > shown)
        (void) printf("%" PRIu64 " more problems are not shown\n", n - shown);
    if (strcmp(result, "damaged") == 0)
        (void) printf("%" PRIu64 " problem%s found\n", n, n == 1 ? "" : "s");
    else if (strcmp(result, "incomplete") == 0)
        (void) puts("no problem found, but not everything could be checked");
    else if (!out_options.quiet)
        (void) puts("no problem found");
}

/* ---- anything ---- */

static void
text_reply(const json_t *parameters)
{
    out_print_json(stdout, parameters, JSON_INDENT(2));
    (void) putchar('\n');
    (void) fflush(stdout);
}

static void
text_failure(const struct problem *p)
{
    out_close_line();
    (void) fflush(stdout);
    print_lines(stderr, "pinionctl: error: ", p->message);
    print_lines(stderr, "  ", p->detail);
    print_lines(stderr, "  hint: ", p->hint);
}

static void
text_list(void)
{
}

const struct out out_text = {
    .status = text_status,
    .stopped = text_stopped,
    .processes = text_processes,
    .history = text_history,
    .doctor = text_doctor,
    .instances = text_instances,
    .settings = text_settings,
    .watch = text_watch,
    .progress = out_text_progress,
    .remark = text_remark,
    .result = text_result,
    .verifying = out_text_verifying,
    .verified = text_verified,
    .report = text_report,
    .reply = text_reply,
    .failure = text_failure,
    .list_begin = text_list,
    .list_end = text_list,
};

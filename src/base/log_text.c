/* Entries as text, in three formats. Runs in: every process. Owns: nothing. Source: PostgreSQL 15's
 * documentation (runtime-config-logging: escapes, columns of csvlog, keys of jsonlog). */
#include "base/log_text.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/utf8.h"

static const char *const level_names[LOG_LEVELS] = {
    [LOG_LEVEL_DEBUG] = "DEBUG",     [LOG_LEVEL_INFO] = "INFO",   [LOG_LEVEL_NOTICE] = "NOTICE",
    [LOG_LEVEL_WARNING] = "WARNING", [LOG_LEVEL_ERROR] = "ERROR", [LOG_LEVEL_LOG] = "LOG",
    [LOG_LEVEL_FATAL] = "FATAL",     [LOG_LEVEL_PANIC] = "PANIC",
};

const char log_prefix_escapes[] = "abcdehilmnpqrstu%";

const char *
log_level_name(enum log_level level)
{
    return level_names[level];
}

const char *
log_backend_type(const char *role)
{
    static const struct {
        const char *role, *type;
    } rows[] = {
        { "backend", "client backend" },
        { "bgwriter", "background writer" },
        { "syslogger", "logger" },
    };

    for (size_t i = 0; i < ELEMENTSOF(rows); i++)
        if (strcmp(rows[i].role, role) == 0)
            return rows[i].type;
    return role;
}

const char *
log_time_text(usec_t real, bool ms, char *p, size_t cap)
{
    time_t sec = (time_t) (real / USEC_PER_SEC);
    struct tm tm;
    size_t n;

    (void) gmtime_r(&sec, &tm);
    n = strftime(p, cap, "%F %T", &tm);
    if (ms)
        n += (size_t) snprintf(p + n, cap - n, ".%03u", (unsigned) (real % USEC_PER_SEC / 1000));
    (void) snprintf(p + n, cap - n, " UTC");
    return p;
}

/* ---- out ---- */
static void
put(struct log_out *o, const char *p, size_t n)
{
    while (n > 0 && !o->has_failed) {
        size_t fits = MIN(n, sizeof o->p - o->n);

        memcpy(o->p + o->n, p, fits);
        o->n += fits;
        p += fits;
        n -= fits;
        if (o->n < sizeof o->p)
            continue;
        o->has_failed = !o->send(o, false);
        o->is_first = false;
        o->n = LOG_OUT_HEAD;
    }
}

static void
put_text(struct log_out *o, const char *text)
{
    put(o, text, strlen(text));
}

static void PRINTF(2, 3) put_fmt(struct log_out *o, const char *fmt, ...)
{
    char text[160];
    va_list ap;

    va_start(ap, fmt);
    (void) vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    put_text(o, text);
}

static bool
is_some(const char *text)
{
    return text != NULL && text[0] != '\0';
}

/* ---- pieces of all formats ---- */
static const char *
session_id(const struct log_who *who, char *p, size_t cap)
{
    (void) snprintf(p, cap, "%" PRIx64 ".%x", (uint64_t) (who->started_usec / USEC_PER_SEC),
                    (unsigned) who->pid);
    return p;
}

/* The first word of what runs, as a tag; "idle" between two statements. */
static const char *
command_tag(const struct log_who *who, char *p, size_t cap)
{
    const char *s = who->statement;
    size_t n = 0;

    if (!who->is_client)
        return "";
    if (s == NULL)
        return is_some(who->user) ? "idle" : "";
    s += strspn(s, " \t\r\n;(");
    while (isalpha((unsigned char) s[n]) && n + 1 < cap) {
        p[n] = (char) toupper((unsigned char) s[n]);
        n++;
    }
    p[n] = '\0';
    return p;
}

static const char *
remote(const struct log_who *who, char sep[2], char *p, size_t cap)
{
    if (who->port == 0 || !is_some(who->host))
        return is_some(who->host) ? who->host : "";
    (void) snprintf(p, cap, "%s%s%d%s", who->host, sep[0] == '(' ? "(" : ":", who->port,
                    sep[0] == '(' ? ")" : "");
    return p;
}

/* ---- log_line_prefix ---- */

/* The value of one escape in `p`, or elsewhere. */
static const char *
prefix_time(char escape, const struct log_entry *en, const struct log_who *who, char *p, size_t cap)
{
    if (escape == 'n') {
        (void) snprintf(p, cap, "%" PRIu64 ".%03u", (uint64_t) (en->now / USEC_PER_SEC),
                        (unsigned) (en->now % USEC_PER_SEC / 1000));
        return p;
    }
    if (escape == 's')
        return log_time_text(who->started_usec, false, p, cap);
    return log_time_text(en->now, escape == 'm', p, cap);
}

static const char *
prefix_name(const char *name, const struct log_who *who)
{
    return who->is_client ? (is_some(name) ? name : "[unknown]") : "";
}

static const char *
prefix_value(char escape, const struct log_entry *en, const struct log_who *who, char *p,
             size_t cap)
{
    switch (escape) {
    case 'a':
        return prefix_name(who->application, who);
    case 'u':
        return prefix_name(who->user, who);
    case 'd':
        return prefix_name(who->database, who);
    case 'r':
        return remote(who, (char[2]){ "(" }, p, cap);
    case 'h':
        return is_some(who->host) ? who->host : "";
    case 'b':
        return log_backend_type(who->role);
    case 'p':
        (void) snprintf(p, cap, "%d", who->pid);
        return p;
    case 'i':
        return command_tag(who, p, cap);
    case 'e':
        return en->sqlstate;
    case 'c':
        return session_id(who, p, cap);
    case 'l':
        (void) snprintf(p, cap, "%" PRIu64, en->line);
        return p;
    case 't':
    case 'm':
    case 'n':
    case 's':
        return prefix_time(escape, en, who, p, cap);
    default: /* a character of the user, not an enum of ours: nothing, as in PostgreSQL */
        return "";
    }
}

static void
put_padded(struct log_out *o, const char *value, int width)
{
    size_t n = strlen(value);
    size_t want = (size_t) (width < 0 ? -width : width);
    size_t pad = want > n ? want - n : 0;

    if (width < 0)
        put(o, value, n);
    for (; pad > 0; pad--)
        put(o, " ", 1);
    if (width >= 0)
        put(o, value, n);
}

void
log_text_prefix(struct log_out *o, const char *prefix, const struct log_entry *en,
                const struct log_who *who)
{
    char value[160];

    for (const char *p = prefix; *p != '\0'; p++) {
        char *end;
        long width = 0;

        if (*p != '%') {
            put(o, p, 1);
            continue;
        }
        if (p[1] == '-' || isdigit((unsigned char) p[1])) {
            width = strtol(p + 1, &end, 10);
            width = MAX(MIN(width, 100L), -100L);
            p = end - 1;
        }
        p++;
        if (*p == '\0')
            return;
        if (*p == '%')
            put(o, "%", 1);
        else if (*p == 'q' && !who->is_client)
            return;
        else if (*p != 'q')
            put_padded(o, prefix_value(*p, en, who, value, sizeof value), (int) width);
    }
}

/* ---- stderr ---- */

/* Lines after the first are indented, so that nobody can make up an entry. */
static void
put_tabbed(struct log_out *o, const char *text)
{
    for (;;) {
        size_t n = strcspn(text, "\n");

        put(o, text, n);
        if (text[n] == '\0')
            return;
        put(o, "\n\t", 2);
        text += n + 1;
    }
}

static void
put_line(struct log_out *o, const char *label, const char *text)
{
    put_text(o, label);
    put_text(o, ":  ");
    put_tabbed(o, text);
    put(o, "\n", 1);
}

static void
write_stderr(struct log_out *o, const struct log_entry *en, const struct log_who *who,
             const char *prefix, enum log_verbosity verbosity)
{
    const struct {
        const char *label, *text;
    } more[] = { { "DETAIL", verbosity == LOG_TERSE ? "" : en->detail },
                 { "HINT", verbosity == LOG_TERSE ? "" : en->hint },
                 { "STATEMENT", en->statement } };

    log_text_prefix(o, prefix, en, who);
    put_fmt(o, "%s:  ", log_level_name(en->level));
    if (verbosity == LOG_VERBOSE)
        put_fmt(o, "%s: ", en->sqlstate);
    put_tabbed(o, en->message);
    put_tabbed(o, en->tail != NULL ? en->tail : "");
    if (en->position > 0)
        put_fmt(o, " at character %d", en->position);
    put(o, "\n", 1);
    for (size_t i = 0; i < ELEMENTSOF(more); i++) {
        if (!is_some(more[i].text))
            continue;
        log_text_prefix(o, prefix, en, who);
        put_line(o, more[i].label, more[i].text);
    }
}

/* ---- csvlog ---- */
static void
csv_doubled(struct log_out *o, const char *text)
{
    for (const char *p = text; *p != '\0'; p++) {
        if (*p == '"')
            put(o, "\"", 1);
        put(o, p, 1);
    }
}

/* A column, quoted if there is anything, and the comma behind it. */
static void
csv_text(struct log_out *o, const char *text)
{
    if (is_some(text)) {
        put(o, "\"", 1);
        csv_doubled(o, text);
        put(o, "\"", 1);
    }
    put(o, ",", 1);
}

static void
csv_message(struct log_out *o, const struct log_entry *en)
{
    put(o, "\"", 1);
    csv_doubled(o, en->message);
    csv_doubled(o, en->tail != NULL ? en->tail : "");
    put(o, "\",", 2);
}

static void
csv_who(struct log_out *o, const struct log_entry *en, const struct log_who *who)
{
    char text[160];

    put_fmt(o, "%s,", log_time_text(en->now, true, text, sizeof text));
    csv_text(o, who->user);
    csv_text(o, who->database);
    put_fmt(o, "%d,", who->pid);
    csv_text(o, remote(who, (char[2]){ ":" }, text, sizeof text));
    put_fmt(o, "%s,", session_id(who, text, sizeof text));
    put_fmt(o, "%" PRIu64 ",", en->line);
    csv_text(o, command_tag(who, text, sizeof text));
    put_fmt(o, "%s,", log_time_text(who->started_usec, false, text, sizeof text));
    put_text(o, ",0,"); /* virtual transaction: none of ours; transaction */
}

static void
write_csv(struct log_out *o, const struct log_entry *en, const struct log_who *who)
{
    csv_who(o, en, who);
    put_fmt(o, "%s,%s,", log_level_name(en->level), en->sqlstate);
    csv_message(o, en);
    csv_text(o, en->detail);
    csv_text(o, en->hint);
    put_text(o, ",,,"); /* internal query, its position, context */
    csv_text(o, en->statement);
    if (en->statement != NULL && en->position > 0)
        put_fmt(o, "%d", en->position);
    put_text(o, ",,"); /* and location */
    csv_text(o, who->application);
    csv_text(o, log_backend_type(who->role));
    put_text(o, ",0\n"); /* leader, query id */
}

/* ---- jsonlog ---- */
static void
json_escaped(struct log_out *o, const char *text)
{
    static const char short_for[] = {
        ['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n', ['\f'] = 'f', ['\r'] = 'r', ['"'] = '"'
    };

    for (size_t left = strlen(text); left > 0;) {
        unsigned char c = (unsigned char) *text;
        size_t n = utf8_length(text, left);

        if (n == 0) /* a client's bytes, or a character that was cut */
            put_text(o, UTF8_REPLACEMENT);
        else if (c == '\\')
            put(o, "\\\\", 2);
        else if (c < sizeof short_for && short_for[c] != 0)
            put(o, (char[]){ '\\', short_for[c] }, 2);
        else if (c < ' ' || c == 0x7f)
            put_fmt(o, "\\u%04x", c);
        else
            put(o, text, n);
        n = MAX(n, (size_t) 1);
        text += n;
        left -= n;
    }
}

/* A key of text; none where there is no text, as in PostgreSQL. */
static void
json_text(struct log_out *o, const char *key, const char *text)
{
    if (!is_some(text))
        return;
    put_fmt(o, ",\"%s\":\"", key);
    json_escaped(o, text);
    put(o, "\"", 1);
}

static void
json_number(struct log_out *o, const char *key, uint64_t n)
{
    put_fmt(o, ",\"%s\":%" PRIu64, key, n);
}

static void
json_who(struct log_out *o, const struct log_entry *en, const struct log_who *who)
{
    char text[160];

    put_fmt(o, "{\"timestamp\":\"%s\"", log_time_text(en->now, true, text, sizeof text));
    json_text(o, "user", who->user);
    json_text(o, "dbname", who->database);
    json_number(o, "pid", (uint64_t) who->pid);
    json_text(o, "remote_host", who->host);
    if (who->port > 0)
        json_number(o, "remote_port", (uint64_t) who->port);
    json_text(o, "session_id", session_id(who, text, sizeof text));
    json_number(o, "line_num", en->line);
    json_text(o, "ps", command_tag(who, text, sizeof text));
    json_text(o, "session_start", log_time_text(who->started_usec, false, text, sizeof text));
    json_number(o, "txid", 0);
}

static void
write_json(struct log_out *o, const struct log_entry *en, const struct log_who *who)
{
    json_who(o, en, who);
    json_text(o, "error_severity", log_level_name(en->level));
    if (strcmp(en->sqlstate, "00000") != 0)
        json_text(o, "state_code", en->sqlstate);
    put_text(o, ",\"message\":\"");
    json_escaped(o, en->message);
    json_escaped(o, en->tail != NULL ? en->tail : "");
    put(o, "\"", 1);
    json_text(o, "detail", en->detail);
    json_text(o, "hint", en->hint);
    json_text(o, "statement", en->statement);
    if (en->statement != NULL && en->position > 0)
        json_number(o, "cursor_position", (uint64_t) en->position);
    json_text(o, "application_name", who->application);
    json_text(o, "backend_type", log_backend_type(who->role));
    json_number(o, "query_id", 0);
    put_text(o, "}\n");
}

void
log_text_write(struct log_out *o, const struct log_entry *en, const struct log_who *who,
               const char *prefix, enum log_verbosity verbosity)
{
    o->n = LOG_OUT_HEAD;
    o->is_first = true;
    o->has_failed = false;
    switch (o->format) {
    case LOG_FORMAT_STDERR:
        write_stderr(o, en, who, prefix, verbosity);
        break;
    case LOG_FORMAT_CSV:
        write_csv(o, en, who);
        break;
    case LOG_FORMAT_JSON:
        write_json(o, en, who);
        break;
    case LOG_FORMATS:
        break;
    }
    if (!o->has_failed)
        (void) o->send(o, true);
}

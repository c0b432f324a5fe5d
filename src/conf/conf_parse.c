/* Configuration text to rows. Trusts nothing: sizes, counts and include depth are bounded, only
 * regular files are read.
 *
 * Runs in: postmaster (start, reload), backend (start-up options, SET values). Owns: nothing
 * between calls. Source: the syntax of PostgreSQL's configuration files, as documented for users.
 */
#include "conf/conf_parse.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct parse {
    struct conf_rows *rows;
    struct conf_issues *issues;
    const char *path; /* file being read */
    unsigned depth;
    bool is_auto;               /* no includes */
    const struct parse *parent; /* the file that includes it, or NULL */
    dev_t dev;
    ino_t ino;
};

static int parse_file(struct parse *ps, const char *path, bool missing_ok, int from_line);

void
conf_rows_done(struct conf_rows *rows)
{
    for (size_t i = 0; i < rows->n; i++) {
        free(rows->rows[i].name);
        free(rows->rows[i].value);
        free(rows->rows[i].file);
    }
    free(rows->rows);
    *rows = (struct conf_rows){ 0 };
}

void
conf_issues_done(struct conf_issues *issues)
{
    for (size_t i = 0; i < issues->n; i++)
        free(issues->items[i].file);
    free(issues->items);
    free(issues->hba_file);
    *issues = (struct conf_issues){ 0 };
}

void
conf_issues_add(struct conf_issues *issues, const char *file, int line, const char *name,
                const struct err *err)
{
    struct conf_issue *items, *it;

    if (issues->n >= CONF_ISSUES_MAX) {
        issues->n_dropped++;
        return;
    }
    items = reallocarray(issues->items, issues->n + 1, sizeof *items);
    if (items == NULL) {
        issues->n_dropped++;
        return;
    }
    issues->items = items;
    it = &items[issues->n++];
    *it = (struct conf_issue){ .line = line, .err = *err };
    it->file = file != NULL ? strdup(file) : NULL;
    (void) snprintf(it->name, sizeof it->name, "%s", name);
}

const char *
conf_issue_text(const struct conf_issue *issue, char *p, size_t cap)
{
    if (issue->file == NULL)
        (void) snprintf(p, cap, "command line: %s", issue->err.message);
    else if (issue->line > 0)
        (void) snprintf(p, cap, "%s:%d: %s", issue->file, issue->line, issue->err.message);
    else
        (void) snprintf(p, cap, "%s: %s", issue->file, issue->err.message);
    return p;
}

/* Append one row. Returns 0, -ENOMEM, or -ERR_PROGRAM_LIMIT_EXCEEDED when there are too many. */
static int
rows_add(struct conf_rows *rows, const char *name, const char *value, const char *file, int line)
{
    struct conf_row *p, row = { .line = line };

    if (rows->n >= CONF_ROWS_MAX)
        return -ERR_PROGRAM_LIMIT_EXCEEDED;
    p = reallocarray(rows->rows, rows->n + 1, sizeof *p);
    if (p == NULL)
        return -ENOMEM;
    rows->rows = p;
    row.name = strdup(name);
    row.value = strdup(value);
    row.file = file != NULL ? strdup(file) : NULL;
    p[rows->n++] = row; /* counted even if half-built, so that conf_rows_done() frees it */
    if (row.name == NULL || row.value == NULL || (file != NULL && row.file == NULL))
        return -ENOMEM;
    return 0;
}

static bool
is_name_char(int c, bool first)
{
    return isalpha(c) || c == '_' || (!first && (isdigit(c) || c == '$' || c == '.'));
}

/* Take a name off *pp. Returns false if there is none or it is too long. */
static bool
take_name(const char **pp, const char *end, char *name)
{
    const char *p = *pp;
    size_t n = 0;

    while (p < end && is_name_char((unsigned char) *p, n == 0)) {
        if (n >= CONF_NAME_BYTES_MAX)
            return false;
        name[n++] = *p++;
    }
    name[n] = '\0';
    *pp = p;
    return n > 0;
}

/* One backslash escape; *pp stands behind the backslash. Returns the character. */
static char
take_escape(const char **pp, const char *end)
{
    const char *p = *pp;
    unsigned octal = 0;
    int n = 0;
    char c;

    while (n < 3 && p < end && *p >= '0' && *p <= '7') {
        octal = octal * 8 + (unsigned) (*p++ - '0');
        n++;
    }
    if (n == 0) {
        c = *p++;
        switch (c) {
        case 'b':
            c = '\b';
            break;
        case 'f':
            c = '\f';
            break;
        case 'n':
            c = '\n';
            break;
        case 'r':
            c = '\r';
            break;
        case 't':
            c = '\t';
            break;
        default:
            break;
        }
    } else {
        c = (char) (octal & 0xFF);
    }
    *pp = p;
    return c;
}

/* A quoted value; *pp stands on the opening quote. Returns NULL or what is wrong. */
static const char *
take_quoted(const char **pp, const char *end, char *value)
{
    const char *p = *pp + 1;
    size_t n = 0;

    for (;;) {
        char c;

        if (p >= end)
            return "unterminated quoted value";
        c = *p++;
        if (c == '\'') {
            if (p >= end || *p != '\'')
                break;
            p++;
        } else if (c == '\\') {
            if (p >= end)
                return "unterminated quoted value";
            c = take_escape(&p, end);
        }
        if (c == '\0')
            return "value contains a zero byte";
        if (n >= CONF_VALUE_BYTES_MAX)
            return "value is too long";
        value[n++] = c;
    }
    value[n] = '\0';
    *pp = p;
    return NULL;
}

static const char *
take_plain(const char **pp, const char *end, char *value)
{
    const char *p = *pp;
    size_t n = 0;

    while (p < end && *p != '\0' && strchr(" \t#'=", *p) == NULL) {
        if (n >= CONF_VALUE_BYTES_MAX)
            return "value is too long";
        if ((unsigned char) *p < 0x80 && !isalnum((unsigned char) *p) &&
            strchr("_./:+-", *p) == NULL)
            return "syntax error: a value with other characters than letters, digits and "
                   "_ . / : + - needs single quotes";
        value[n++] = *p++;
    }
    value[n] = '\0';
    *pp = p;
    return n > 0 ? NULL : "syntax error: no value behind the name";
}

static void
skip_blanks(const char **pp, const char *end)
{
    while (*pp < end && (**pp == ' ' || **pp == '\t' || **pp == '\r'))
        (*pp)++;
}

/* Split one line. Returns 0 for nothing in it, 1 for name and value, -1 for a fault described in
 * *ret_fault. */
static int
split_line(const char *p, const char *end, char *name, char *value, const char **ret_fault)
{
    skip_blanks(&p, end);
    if (p == end || *p == '#')
        return 0;
    *ret_fault = "syntax error: a line begins with the name of a setting";
    name[0] = '\0';
    if (!take_name(&p, end, name)) {
        name[0] = '\0';
        return -1;
    }
    skip_blanks(&p, end);
    if (p < end && *p == '=')
        p++;
    skip_blanks(&p, end);
    while (end > p && end[-1] == '\r')
        end--;
    if (p < end && *p == '\'')
        *ret_fault = take_quoted(&p, end, value);
    else
        *ret_fault = take_plain(&p, end, value);
    if (*ret_fault != NULL)
        return -1;
    skip_blanks(&p, end);
    if (p < end && *p != '#') {
        *ret_fault = "syntax error: something follows the value";
        return -1;
    }
    return 1;
}

/* `name` relative to the folder of the file being read. Returns false if it does not fit. */
static bool
path_beside(const struct parse *ps, const char *name, char *ret, size_t cap)
{
    const char *slash = strrchr(ps->path, '/');
    int n;

    if (name[0] == '/' || slash == NULL)
        n = snprintf(ret, cap, "%s", name);
    else
        n = snprintf(ret, cap, "%.*s/%s", (int) (slash - ps->path), ps->path, name);
    return n >= 0 && (size_t) n < cap;
}

static void
issue(struct parse *ps, const char *path, int line, const char *name, struct err *e)
{
    conf_issues_add(ps->issues, path, line, name, e);
}

static int
compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *) a, *(char *const *) b);
}

static int
wanted_in_dir(const struct dirent *d)
{
    size_t n = strlen(d->d_name);

    return d->d_name[0] != '.' && n > 5 && strcmp(d->d_name + n - 5, ".conf") == 0;
}

struct names {
    char **p;
    size_t n;
};

static void
names_done(struct names *names)
{
    for (size_t i = 0; i < names->n; i++)
        free(names->p[i]);
    free(names->p);
}

static void
closedirp(DIR **dir)
{
    if (*dir != NULL)
        (void) closedir(*dir);
}

/* The *.conf of a folder in order of name. */
static int
list_dir(const char *path, struct names *ret, struct err *e)
{
    CLEANUP(closedirp) DIR *dir = opendir(path);
    const struct dirent *d;

    if (dir == NULL)
        return ERR_ERRNO(e, "could not open configuration directory \"%s\"", path);
    while ((d = readdir(dir)) != NULL) { /* NOLINT(concurrency-mt-unsafe): one stream, one thread */
        char **p;

        if (!wanted_in_dir(d))
            continue;
        if (ret->n >= CONF_DIR_FILES_MAX)
            return ERR(e, PROGRAM_LIMIT_EXCEEDED, "too many files in directory \"%s\"", path);
        p = reallocarray(ret->p, ret->n + 1, sizeof *p);
        if (p == NULL)
            return -ENOMEM;
        ret->p = p;
        p[ret->n] = strdup(d->d_name);
        if (p[ret->n++] == NULL)
            return -ENOMEM;
    }
    if (ret->n > 0)
        qsort(ret->p, ret->n, sizeof *ret->p, compare_names);
    return 0;
}

static int
include_dir(struct parse *ps, const char *path, int line)
{
    CLEANUP(names_done) struct names names = { 0 };
    struct err e = ERR_INIT;
    int r = list_dir(path, &names, &e);

    if (r == -ENOMEM)
        return r;
    if (r < 0)
        issue(ps, ps->path, line, "include_dir", &e);
    for (size_t i = 0; r >= 0 && i < names.n; i++) {
        char file[PATH_MAX];
        int n = snprintf(file, sizeof file, "%s/%s", path, names.p[i]);

        if (n >= 0 && (size_t) n < sizeof file)
            r = parse_file(ps, file, false, line);
    }
    return r == -ENOMEM ? r : 0;
}

/* Is it an include line? Then follow it. Returns 1 if it was one, 0 if not, < 0 out of memory. */
static int
follow_include(struct parse *ps, const char *name, const char *value, int line)
{
    bool is_dir = strcasecmp(name, "include_dir") == 0;
    bool missing_ok = strcasecmp(name, "include_if_exists") == 0;
    struct err e = ERR_INIT;
    char path[PATH_MAX];
    int r;

    if (!is_dir && !missing_ok && strcasecmp(name, "include") != 0)
        return 0;
    if (ps->is_auto) {
        (void) ERR(&e, CONFIG_FILE_ERROR, "%s is not allowed in this file", name);
        err_hint(&e, "Include files from pinion.conf; this file is written by ALTER SYSTEM.");
        issue(ps, ps->path, line, name, &e);
        return 1;
    }
    if (value[0] == '\0' || !path_beside(ps, value, path, sizeof path)) {
        (void) ERR(&e, CONFIG_FILE_ERROR, "invalid path in %s", name);
        issue(ps, ps->path, line, name, &e);
        return 1;
    }
    if (ps->depth >= CONF_DEPTH_MAX) {
        (void) ERR(&e, CONFIG_FILE_ERROR, "files include each other more than %d deep",
                   CONF_DEPTH_MAX);
        issue(ps, ps->path, line, name, &e);
        return 1;
    }
    r = is_dir ? include_dir(ps, path, line) : parse_file(ps, path, missing_ok, line);
    return r < 0 ? r : 1;
}

static int
parse_line(struct parse *ps, const char *p, const char *end, int line)
{
    char name[CONF_NAME_BYTES_MAX + 1], value[CONF_VALUE_BYTES_MAX + 1];
    struct err e = ERR_INIT;
    const char *fault = NULL;
    int r;

    if (memchr(p, '\0', (size_t) (end - p)) != NULL) {
        (void) ERR(&e, CONFIG_FILE_ERROR, "line contains a zero byte");
        issue(ps, ps->path, line, "", &e);
        return 0;
    }
    r = split_line(p, end, name, value, &fault);
    if (r < 0) {
        (void) ERR(&e, CONFIG_FILE_ERROR, "%s", fault);
        issue(ps, ps->path, line, name, &e);
        return 0;
    }
    if (r == 0)
        return 0;
    r = follow_include(ps, name, value, line);
    if (r != 0)
        return r < 0 ? r : 0;
    r = rows_add(ps->rows, name, value, ps->path, line);
    if (r == -ERR_PROGRAM_LIMIT_EXCEEDED) {
        (void) ERR(&e, PROGRAM_LIMIT_EXCEEDED, "more than %d settings", CONF_ROWS_MAX);
        issue(ps, ps->path, line, name, &e);
        return 0;
    }
    return r;
}

static int
parse_text(struct parse *ps, const char *text, size_t n)
{
    const char *p = text, *end = text + n;
    size_t dropped = ps->issues->n_dropped;

    for (int line = 1; p < end; line++) {
        const char *nl = memchr(p, '\n', (size_t) (end - p));
        int r = parse_line(ps, p, nl != NULL ? nl : end, line);

        if (r < 0)
            return r;
        if (ps->issues->n_dropped > dropped)
            return 0; /* not a configuration file at all */
        p = nl != NULL ? nl + 1 : end;
    }
    return 0;
}

/* The whole of a regular file, and which it is. Returns its length or < 0. *ret is owned by the
 * caller. */
static ssize_t
slurp(const char *path, char **ret, struct stat *st, struct err *e)
{
    CLEANUP(closep) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    CLEANUP(freep) char *text = NULL;
    size_t n = 0;

    if (fd < 0)
        return ERR_ERRNO(e, "could not open configuration file \"%s\"", path);
    if (fstat(fd, st) < 0)
        return ERR_ERRNO(e, "could not stat configuration file \"%s\"", path);
    if (!S_ISREG(st->st_mode))
        return ERR(e, CONFIG_FILE_ERROR, "configuration file \"%s\" is not a regular file", path);
    text = malloc(CONF_FILE_BYTES_MAX + 1);
    if (text == NULL)
        return -ENOMEM;
    while (n <= CONF_FILE_BYTES_MAX) {
        ssize_t r = read(fd, text + n, CONF_FILE_BYTES_MAX + 1 - n);

        if (r < 0 && errno == EINTR)
            continue;
        if (r < 0)
            return ERR_ERRNO(e, "could not read configuration file \"%s\"", path);
        if (r == 0)
            break;
        n += (size_t) r;
    }
    if (n > CONF_FILE_BYTES_MAX)
        return ERR(e, PROGRAM_LIMIT_EXCEEDED, "configuration file \"%s\" is larger than %d bytes",
                   path, CONF_FILE_BYTES_MAX);
    *ret = TAKE_PTR(text);
    return (ssize_t) n;
}

/* Is it one of those that are being read? */
static bool
is_open(const struct parse *ps, const struct stat *st)
{
    for (; ps != NULL; ps = ps->parent)
        if (ps->dev == st->st_dev && ps->ino == st->st_ino)
            return true;
    return false;
}

/* `from_line`: the include line of ps->path, or 0. */
static int
parse_file(struct parse *ps, const char *path, bool missing_ok, int from_line)
{
    CLEANUP(freep) char *text = NULL;
    struct err e = ERR_INIT;
    struct stat st = { .st_ino = 0 };
    ssize_t n = slurp(path, &text, &st, &e);
    struct parse sub = { .rows = ps->rows,
                         .issues = ps->issues,
                         .path = path,
                         .depth = ps->depth + 1,
                         .is_auto = ps->is_auto,
                         .parent = ps,
                         .dev = st.st_dev,
                         .ino = st.st_ino };

    if (n == -ENOMEM)
        return -ENOMEM;
    if (n == -ENOENT && missing_ok)
        return 0;
    if (n >= 0 && is_open(ps, &st))
        n = ERR(&e, CONFIG_FILE_ERROR, "configuration file \"%s\" includes itself", path);
    if (n < 0) {
        issue(ps, from_line > 0 ? ps->path : path, from_line, "", &e);
        return 0;
    }
    return parse_text(&sub, text, (size_t) n);
}

int
conf_parse_text(const char *path, const char *text, size_t n, struct conf_rows *rows,
                struct conf_issues *issues)
{
    struct parse ps = { .rows = rows, .issues = issues, .path = path };

    return parse_text(&ps, text, n);
}

int
conf_parse_file(const char *path, bool missing_ok, struct conf_rows *rows,
                struct conf_issues *issues)
{
    struct parse ps = { .rows = rows, .issues = issues, .path = path };

    return parse_file(&ps, path, missing_ok, 0);
}

int
conf_parse_auto_text(const char *path, const char *text, size_t n, struct conf_rows *rows,
                     struct conf_issues *issues)
{
    struct parse ps = { .rows = rows, .issues = issues, .path = path, .is_auto = true };

    return parse_text(&ps, text, n);
}

int
conf_parse_auto_file(const char *path, struct conf_rows *rows, struct conf_issues *issues)
{
    struct parse ps = { .rows = rows, .issues = issues, .path = path, .is_auto = true };

    return parse_file(&ps, path, true, 0);
}

/* Copy a setting's name, "-" as "_". Returns false if it is no name. */
static bool
copy_arg_name(const char *p, size_t n, char *name)
{
    if (n == 0 || n > CONF_NAME_BYTES_MAX)
        return false;
    for (size_t i = 0; i < n; i++) {
        name[i] = (char) (p[i] == '-' ? '_' : p[i]);
        if (!is_name_char((unsigned char) name[i], i == 0))
            return false;
    }
    name[n] = '\0';
    return true;
}

int
conf_parse_arg(const char *arg, struct conf_rows *rows, struct conf_issues *issues)
{
    const char *eq = strchr(arg, '=');
    char name[CONF_NAME_BYTES_MAX + 1] = "";
    struct err e = ERR_INIT;
    int r;

    if (eq == NULL || !copy_arg_name(arg, (size_t) (eq - arg), name)) {
        (void) ERR(&e, SYNTAX_ERROR, "-c \"%s\" is not name=value", arg);
        conf_issues_add(issues, NULL, 0, name, &e);
        return 0;
    }
    if (strlen(eq + 1) > CONF_VALUE_BYTES_MAX) {
        (void) ERR(&e, PROGRAM_LIMIT_EXCEEDED, "value of -c %s is too long", name);
        conf_issues_add(issues, NULL, 0, name, &e);
        return 0;
    }
    r = rows_add(rows, name, eq + 1, NULL, 0);
    if (r == -ERR_PROGRAM_LIMIT_EXCEEDED) {
        (void) ERR(&e, PROGRAM_LIMIT_EXCEEDED, "more than %d settings", CONF_ROWS_MAX);
        conf_issues_add(issues, NULL, 0, name, &e);
        return 0;
    }
    return r;
}

/* The next word of `options`, unescaped. Returns its length, 0 at the end, -1 if too long. */
static ssize_t
option_word(const char **pp, char *word, size_t cap)
{
    const char *p = *pp;
    size_t n = 0;

    while (isspace((unsigned char) *p))
        p++;
    for (; *p != '\0' && !isspace((unsigned char) *p); p++) {
        if (*p == '\\' && p[1] != '\0')
            p++;
        if (n + 1 >= cap)
            return -1;
        word[n++] = *p;
    }
    word[n] = '\0';
    *pp = p;
    return (ssize_t) n;
}

int
conf_parse_options(const char *options, struct conf_rows *rows, struct err *e)
{
    char word[CONF_NAME_BYTES_MAX + CONF_VALUE_BYTES_MAX + 8];
    char name[CONF_NAME_BYTES_MAX + 1];
    const char *p = options;

    for (;;) {
        ssize_t n = option_word(&p, word, sizeof word);
        const char *arg = word, *eq;
        int r;

        if (n == 0)
            return 0;
        if (n > 0 && strcmp(word, "-c") == 0)
            n = option_word(&p, word, sizeof word);
        else if (n > 0 && (strncmp(word, "-c", 2) == 0 || strncmp(word, "--", 2) == 0))
            arg = word + 2;
        else if (n > 0)
            return ERR(e, SYNTAX_ERROR, "invalid command-line argument for server process: %s",
                       word);
        if (n < 0)
            return ERR(e, PROGRAM_LIMIT_EXCEEDED, "start-up options are too long");
        eq = strchr(arg, '=');
        if (eq == NULL || !copy_arg_name(arg, (size_t) (eq - arg), name))
            return ERR(e, SYNTAX_ERROR, "start-up option \"%s\" requires a name and a value", arg);
        r = rows_add(rows, name, eq + 1, NULL, 0);
        if (r < 0)
            return ERR(e, PROGRAM_LIMIT_EXCEEDED, "too many start-up options");
    }
}

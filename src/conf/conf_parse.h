/* Configuration text to rows: PostgreSQL's file syntax, includes, -c arguments, values with units.
 * Knows no setting. */
#pragma once

#include "base/err.h"

enum {
    CONF_FILE_BYTES_MAX = 1 << 20, /* one file */
    CONF_ROWS_MAX = 4096,          /* all files of one load */
    CONF_DEPTH_MAX = 10,           /* include inside include */
    CONF_DIR_FILES_MAX = 256,      /* files of one include_dir */
    CONF_NAME_BYTES_MAX = 63,
    CONF_VALUE_BYTES_MAX = 8191,
    CONF_ISSUES_MAX = 100, /* kept; the rest is only counted */
};

/* One assignment, in the order of the text. */
struct conf_row {
    char *name;  /* owned */
    char *value; /* owned; quotes and escapes taken off */
    char *file;  /* owned; NULL: the command line */
    int line;    /* from 1; 0 without file */
};

struct conf_rows {
    struct conf_row *rows; /* owned */
    size_t n;
};

/* One thing that is wrong. */
struct conf_issue {
    char *file;                         /* owned; NULL: the command line */
    int line;                           /* from 1; 0: the file as a whole */
    char name[CONF_NAME_BYTES_MAX + 1]; /* the setting, or "" */
    bool is_cross;                      /* fine alone, wrong together with others */
    struct err err;
};

struct conf_issues {
    struct conf_issue *items; /* owned; at most CONF_ISSUES_MAX */
    size_t n;                 /* in items */
    size_t n_dropped;         /* beyond them */
    char *hba_file; /* owned; of a conf_load() that failed: the access rules that go with it */
};

/* Free what they own. */
void conf_rows_done(struct conf_rows *rows);
void conf_issues_done(struct conf_issues *issues);
/* Append; copies everything. `file` may be NULL. */
void conf_issues_add(struct conf_issues *issues, const char *file, int line, const char *name,
                     const struct err *err);
/* Each as a line of the log, with its hint. */
void conf_issues_log(const struct conf_issues *issues);
/* "FILE:LINE: message" (or "command line: message") of one issue, cut to cap. Returns p. */
const char *conf_issue_text(const struct conf_issue *issue, char *p, size_t cap);

/* Append what is in `text` (n bytes; need not end with NUL) as if it were the file `path`. Include
 * lines are followed relative to the folder of `path`. Everything wrong goes to `issues`, and
 * reading goes on with the next line. Returns 0, or < 0 only if memory ran out. Reads files; no
 * other effect. */
int conf_parse_text(const char *path, const char *text, size_t n, struct conf_rows *rows,
                    struct conf_issues *issues);
/* The same for a file. A missing file is an issue, unless `missing_ok`. */
int conf_parse_file(const char *path, bool missing_ok, struct conf_rows *rows,
                    struct conf_issues *issues);
/* The same for postgresql.auto.conf, which may be missing, and in which include lines are issues:
 * the server writes this file anew. */
int conf_parse_auto_text(const char *path, const char *text, size_t n, struct conf_rows *rows,
                         struct conf_issues *issues);
int conf_parse_auto_file(const char *path, struct conf_rows *rows, struct conf_issues *issues);
/* One "name=value" of a -c argument; "-" in the name reads as "_". */
int conf_parse_arg(const char *arg, struct conf_rows *rows, struct conf_issues *issues);
/* The `options` of a start-up packet: "-c name=value", "-cname=value", "--name=value" by white
 * space, "\" before a character takes it as it is. Returns 0 or -ERR_SYNTAX_ERROR /
 * -ERR_PROGRAM_LIMIT_EXCEEDED. */
int conf_parse_options(const char *options, struct conf_rows *rows, struct err *e);

/* Units of a setting: what a bare number means. */
enum conf_unit {
    CONF_UNIT_NONE,
    CONF_UNIT_B,
    CONF_UNIT_KB,
    CONF_UNIT_BLOCKS, /* 8 kB */
    CONF_UNIT_MB,
    CONF_UNIT_US,
    CONF_UNIT_MS,
    CONF_UNIT_S,
    CONF_UNIT_MIN,
    CONF_UNITS
};

/* Bytes or microseconds in one unit; 1 for NONE. */
int64_t conf_unit_factor(enum conf_unit unit);
/* "8kB", "ms", …; "" for NONE. */
const char *conf_unit_name(enum conf_unit unit);

/* "on", "off", "true", "no", "1", … and unique beginnings. Returns false if it is none of them. */
bool conf_parse_bool(const char *text, bool *ret);
/* A number with an optional unit suffix, rounded to a whole number of `unit`: *ret counts `unit`s.
 * Decimal (with fraction and exponent), octal (0…) or hexadecimal (0x…). Returns 0,
 * -ERR_INVALID_PARAMETER_VALUE with the words for what is wrong and a hint about units. */
int conf_parse_int(const char *text, enum conf_unit unit, int64_t *ret, struct err *e);
int conf_parse_real(const char *text, double *ret, struct err *e);
/* `count` units as SHOW prints it: "128MB", "5min", "0". Returns p. */
const char *conf_format_int(int64_t count, enum conf_unit unit, char *p, size_t cap);

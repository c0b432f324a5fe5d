/* Typed settings, made from tbl/settings.def. A conf is loaded whole or not at all.
 *
 * A process reads `conf->v.<setting>`: sizes are bytes, times are microseconds, enums an enum
 * conf_* below. */
#pragma once

#include "conf/conf_parse.h"

/* clang-format off */
enum conf_id {
#define SETTING(field, name, type, unit, context, flags, def, min, max, values, group, text) CONF_##field,
#include "tbl/settings.def"
#undef SETTING
    CONF_SETTINGS
};

#define CONF_CTYPE_BOOL bool
#define CONF_CTYPE_INT int64_t
#define CONF_CTYPE_REAL double
#define CONF_CTYPE_STRING char * /* owned by the conf, never NULL */
#define CONF_CTYPE_ENUM int
struct conf_values {
#define SETTING(field, name, type, unit, context, flags, def, min, max, values, group, text) CONF_CTYPE_##type field;
#include "tbl/settings.def"
#undef SETTING
};
/* clang-format on */

/* Values of the ENUM settings, in the order of their table rows. */
enum conf_synchronous_commit { CONF_COMMIT_OFF, CONF_COMMIT_LOCAL, CONF_COMMIT_ON };
enum conf_startup_verify { CONF_VERIFY_OFF, CONF_VERIFY_TOUCHED, CONF_VERIFY_FULL };
enum conf_archive_mode { CONF_ARCHIVE_OFF, CONF_ARCHIVE_ON };
enum conf_target_action { CONF_TARGET_PAUSE, CONF_TARGET_PROMOTE, CONF_TARGET_SHUTDOWN };
enum conf_isolation {
    CONF_READ_UNCOMMITTED, /* honoured as READ COMMITTED */
    CONF_READ_COMMITTED,
    CONF_REPEATABLE_READ,
    CONF_SERIALIZABLE
};

enum conf_type { CONF_TYPE_BOOL, CONF_TYPE_INT, CONF_TYPE_REAL, CONF_TYPE_STRING, CONF_TYPE_ENUM };

/* In rising order of freedom. */
enum conf_context {
    CONF_CONTEXT_INTERNAL,
    CONF_CONTEXT_POSTMASTER,
    CONF_CONTEXT_SIGHUP,
    CONF_CONTEXT_SUPERUSER,
    CONF_CONTEXT_USER
};

enum conf_flag {
    CONF_FLAG_REPORT = 1,  /* ParameterStatus */
    CONF_FLAG_COMPAT = 2,  /* accepted, no effect */
    CONF_FLAG_TXN = 4,     /* the session answers while a transaction is open */
    CONF_FLAG_OCTAL = 8,   /* printed as 0777 */
    CONF_FLAG_PRIVATE = 16 /* shown to superusers only */
};

enum conf_source {
    CONF_FROM_DEFAULT,
    CONF_FROM_FILE,
    CONF_FROM_ARGS,
    CONF_FROM_CLIENT,
    CONF_FROM_SESSION
};

/* One row of the table. */
struct conf_desc {
    const char *name;
    enum conf_type type;
    enum conf_unit unit;
    enum conf_context context;
    unsigned flags;      /* enum conf_flag */
    const char *initial; /* the default as text */
    double min, max;     /* in units */
    const char *values;  /* ENUM: by '|' */
    const char *group;
    const char *text;
};

/* Where a value was written, and what the files say beyond it. */
struct conf_origin {
    char *file;      /* owned; NULL: not from a file */
    int line;        /* from 1 */
    bool is_pending; /* the files hold another value, which a restart will apply */
};

struct conf {
    struct conf_values v;
    uint8_t source[CONF_SETTINGS]; /* enum conf_source */
    struct conf_origin *origins;   /* [CONF_SETTINGS], owned; NULL but in what conf_load() made */
};

/* A value outside a conf; which member counts is the type of its setting. */
union conf_value {
    bool b;
    int64_t i;
    double r;
    char *s; /* owned */
    int e;
};

/* The row of a setting; never NULL. */
const struct conf_desc *conf_desc(enum conf_id id);
/* The setting of that name, upper and lower case alike, or -1. */
int conf_find(const char *name);
/* The same; for an unknown name 42704 with a hint: why PostgreSQL's setting is not here, or which
 * name is near. */
int conf_find_or_say(const char *name, struct err *e);
/* The i-th setting in order of name, i < CONF_SETTINGS. */
enum conf_id conf_by_name(unsigned i);

/* All defaults. Returns 0 or -ENOMEM. */
int conf_init(struct conf *ret, struct err *e);
/* Deep copy, without the origins. Returns 0 or -ENOMEM. */
int conf_copy(struct conf *ret, const struct conf *from, struct err *e);
void conf_done(struct conf *conf);

/* Read `text` as the value of `id` and store it; no context check: for code that knows (defaults,
 * files, internal values). Returns 0, -ERR_INVALID_PARAMETER_VALUE or -ENOMEM; the old value stays
 * on failure. */
int conf_put(struct conf *conf, enum conf_id id, const char *text, enum conf_source source,
             struct err *e);
/* Is `text` a value? Nothing is stored. */
int conf_check(enum conf_id id, const char *text, struct err *e);
/* pg_settings' words: who may change it and when; where the value comes from. */
const char *conf_context_name(enum conf_context context);
const char *conf_source_name(enum conf_source source);
/* The value as SHOW prints it, cut to cap. Returns p. */
const char *conf_show(const struct conf *conf, enum conf_id id, char *p, size_t cap);
/* The same without a unit: numbers count the unit of the row, as pg_settings shows them. */
const char *conf_show_bare(const struct conf *conf, enum conf_id id, char *p, size_t cap);
bool conf_equal(const struct conf *a, const struct conf *b, enum conf_id id);
/* Exchange the stored value with *value: cannot fail. For a STRING, what goes in must be a heap
 * string. */
void conf_swap(struct conf *conf, enum conf_id id, union conf_value *value);
/* A deep copy of the stored value. Returns 0 or -ENOMEM. */
int conf_dup(const struct conf *conf, enum conf_id id, union conf_value *ret);
/* Free a value that conf_swap() or conf_dup() gave. */
void conf_value_done(enum conf_id id, union conf_value *value);

/* May files and arguments set it? 55P02. */
int conf_may_be_in_files(enum conf_id id, struct err *e);

/* Where files and sockets are. All borrowed. */
struct conf_where {
    const char *data_dir;        /* absolute, or "" to read no files (-C before init) */
    const char *conf_dir;        /* the folder of pinion.conf: data_dir, or /etc/pinion/NAME */
    const char *runtime_dir;     /* $RUNTIME_DIRECTORY, or NULL */
    const char *credentials_dir; /* $CREDENTIALS_DIRECTORY, or NULL */
    const char *auto_text;       /* NULL, or what is read instead of postgresql.auto.conf */
};

enum { CONF_PATH_BYTES = 4096 };

/* Defaults, then conf_dir/pinion.conf, then data_dir/postgresql.auto.conf (if there), then `args`
 * ("name=value", n_args of them), then the derived defaults (wal_buffers, sockets, hba_file).
 * Returns 0, or -ERR_CONFIG_FILE_ERROR with *all* that is wrong in `issues` and a summary in e;
 * *ret is set only on success. `issues` starts zeroed and is released by the caller. */
int conf_load(const struct conf_where *where, const char *const *args, size_t n_args,
              struct conf *ret, struct conf_issues *issues, struct err *e);

/* The files row by row, and what is wrong with them. */
struct conf_files {
    struct conf_rows rows;     /* in the order in which they are read */
    struct conf_issues issues; /* as conf_load() finds them */
    struct conf conf;          /* what they make; empty if there are issues */
};

/* Starts zeroed, released by conf_files_done(). Without -c arguments. Returns 0 or -ENOMEM. */
int conf_load_files(const struct conf_where *where, struct conf_files *ret);
void conf_files_done(struct conf_files *files);

/* What a reload would change. */
struct conf_diff {
    bool changed[CONF_SETTINGS]; /* takes effect now */
    bool restart[CONF_SETTINGS]; /* differs, but only a restart applies it */
    unsigned n_changed, n_restart;
};

/* Compare: pure. */
void conf_diff(const struct conf *cur, const struct conf *next, struct conf_diff *ret);
/* Take over from `next` what may change now; the rest of *cur stays, marked as pending in its
 * origins. Empties *next. */
void conf_apply(struct conf *cur, struct conf *next, const struct conf_diff *diff);

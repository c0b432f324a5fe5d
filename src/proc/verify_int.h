/* The inside of `piniond verify`, shared by verify*.c. */
#pragma once

#include "base/err.h"
#include "base/io.h"
#include "proc/verify.h"
#include "wal/wal_control.h"
#include "wal/wal_record.h"

/* ---- verify_report.c: what was found, a line each ---- */

/* clang-format off */
enum verify_field {
#define VERIFY_FIELD(id, key, is_number) VERIFY_##id,
#include "tbl/verify_fields.def"
#undef VERIFY_FIELD
    VERIFY_FIELDS
};
/* clang-format on */

struct verify_problem {
    char part[12];     /* "control", "wal", "database" */
    char database[64]; /* "" = none */
    char file[64];
    uint32_t page; /* 0 = none */
    char message[512];
    char detail[512]; /* expected and found */
};

/* Who hears of it instead of standard output: the startup process. */
struct report_sink {
    void (*problem)(void *arg, const struct verify_problem *p);
    void (*unchecked)(void *arg, const char *text);
    int (*pages)(void *arg, uint32_t n); /* so many more were looked at; < 0: stop */
    int (*busy)(void *arg);              /* a long statement goes on; < 0: stop it */
    void *arg;
};

struct report {
    const struct report_sink *sink; /* borrowed; NULL: lines on standard output */
    uint64_t n_problems;
    uint32_t n_unchecked;
    usec_t progress_at;
};

/* A line of one kind, its fields, its end. */
void report_line(const char *kind);
void report_text(enum verify_field field, const char *value);
void report_number(enum verify_field field, uint64_t value);
void report_lsn(enum verify_field field, lsn_t lsn);
void report_line_end(void);

void report_problem(struct report *r, const struct verify_problem *p);
/* Something could not be looked at; a clause such as "structure of …: why". */
void report_unchecked(struct report *r, const char *fmt, ...) PRINTF(2, 3);
/* At most four times per second; `all` 0: nobody knows. */
void report_progress(struct report *r, const char *what, uint64_t done, uint64_t all);
/* `n` pages more of a file; `done` of `all` with them. < 0: the sink wants no more. */
int report_pages(struct report *r, const char *what, uint32_t n, uint64_t done, uint64_t all);
/* The last line: the result, or why there is none (`r` as the function that failed returned it). */
enum verify_exit report_end(const struct report *r);
enum verify_exit report_error(int r, const struct err *e);

/* ---- verify_client.c: a connection to a running server ---- */

struct verify_client;
/* One row: `n` columns as text, NULL for NULL. */
typedef int (*verify_row_fn)(void *arg, uint32_t n, const char *const *values);
/* Connect to database postgres. < 0: e has the server's code and words. */
int verify_client_open(const char *socket_path, const char *user, struct verify_client **ret,
                       struct err *e);
void verify_client_close(struct verify_client *c); /* accepts NULL */
/* Ask and hand on the rows. A SIGINT or SIGTERM meanwhile cancels the question at the server, then
 * ends this process. */
int verify_client_query(struct verify_client *c, const char *sql, verify_row_fn fn, void *arg,
                        struct err *e);

/* ---- verify.c ---- */

enum verify_server { SERVER_STOPPED, SERVER_CRASHED, SERVER_RUNNING };

struct verify_db {
    oid_t oid;
    oid_t rel;
    char name[64];
};

/* A page with a wrong checksum in a cluster that was not shut down: recovery replaces it if the log
 * has an image of it. */
struct suspect {
    oid_t oid, rel;
    blk_t block;
    bool has_image;
    struct verify_problem problem;
};
#define SUSPECTS_MAX 1000u

struct verify {
    const struct verify_params *params;
    int dir_fd;
    struct io io;
    struct report report;
    enum verify_server server;
    struct wal_control control;
    lsn_t wal_end;   /* no page may be newer; 0 = not known */
    lsn_t max_lsn;   /* newest page seen in the file at hand … */
    blk_t max_block; /* … and which it is */
    struct verify_client *client;
    char no_client[600];   /* why there is none */
    struct verify_db *dbs; /* owned */
    uint32_t n_dbs;
    struct suspect *suspects; /* owned */
    uint32_t n_suspects;
};

bool verify_is_running(const struct verify *v);
/* The pause before something is read once more that a running server may be writing. Returns
 * whether that can help: false for a server that does not run. */
bool verify_pause(const struct verify *v);
/* The server's durable end of log. */
int verify_ask_end(struct verify *v, lsn_t *ret, struct err *e);

/* ---- verify_list.c: which databases ---- */

/* The catalogue if it can be asked, else what lies in base/. Fills v->dbs. */
int verify_list(struct verify *v);
/* By the catalogue's own file, which nobody writes. */
int verify_list_stopped(struct verify *v, struct err *e);

/* ---- verify_structure.c ---- */

/* "ok", "damaged", "unchecked", or NULL: the database is gone. */
const char *verify_structure(struct verify *v, const struct verify_db *db);

/* ---- verify_control.c ---- */
/* Both copies. Sets v->control if one of them can be used: else < 0, and it was reported. */
int verify_control(struct verify *v);

/* ---- verify_wal.c ---- */
/* From the segment of the redo point to the end. Sets v->wal_end; may turn SERVER_STOPPED into
 * SERVER_CRASHED. */
void verify_wal(struct verify *v);
/* Mark the suspects of which the log behind redo has an image. */
void verify_wal_images(struct verify *v);

/* ---- verify_pages.c ---- */
/* All pages of one file; reports. Returns how many are wrong, or < 0: the file is gone, or cannot
 * be read (reported). */
#define VERIFY_GONE (-1)
int64_t verify_pages(struct verify *v, const struct verify_db *db, uint32_t *ret_pages);

/* The files of the log collector: names, opening, rotation, and going on when a disk is full.
 *
 * Runs in: syslogger. One thread. Idea: PostgreSQL's syslogger. */
#pragma once

#include "base/log.h"
#include "conf/conf.h"

#define LOGFILE_CURRENT                                                      \
    "current_logfiles" /* in the data directory: which files are written now \
                        */

struct logfile {
    int fd; /* -1: not open */
    char path[CONF_PATH_BYTES];
    uint64_t n_bytes;
    bool is_cut;     /* the last byte written was no end of line */
    uint64_t n_lost; /* bytes, since it took the last */
};

struct logfile_set {
    const struct conf_values *v; /* borrowed; may change between two calls */
    struct logfile files[LOG_FORMATS];
    usec_t next_age;     /* real: when log_rotation_age is over; 0 = never */
    usec_t retry;        /* real: a file could not be opened; not before this */
    char last_name[256]; /* of the stderr file as opened last */
    bool was_opened;
};

/* ---- decisions (pure) ---- */

/* The name that `pattern` gives at `real`, in UTC; ".csv" or ".json" take the place of ".log" or
 * stand behind. Returns p; cut to cap. */
const char *logfile_name(const char *pattern, usec_t real, enum log_format format, char *p,
                         size_t cap);
/* The next multiple of `age` after `now`; 0 = never. */
usec_t logfile_next_age(usec_t now, usec_t age);

/* ---- the set ---- */

/* Nothing is open yet. */
void logfile_begin(struct logfile_set *s, const struct conf_values *v);
enum logfile_why {
    LOGFILE_START,
    LOGFILE_AGE,
    LOGFILE_SIZE,
    LOGFILE_ASKED, /* also when the name is the same: somebody may have moved the file away */
};
/* Open the files that `now` asks for and tell it in LOGFILE_CURRENT. What cannot be opened leaves
 * the old one in use, is said to stderr, and tried again in a while. */
void logfile_rotate(struct logfile_set *s, enum logfile_why why, usec_t now);
/* What is due at `now`: by age, by size, or a file to try again. */
void logfile_turn(struct logfile_set *s, usec_t now);
/* When logfile_turn() has to be asked again; 0 = never. */
usec_t logfile_due(const struct logfile_set *s);
/* Settings may have changed: other names or formats take effect at once. */
void logfile_reload(struct logfile_set *s, usec_t now);
/* n bytes for the file of `format`; `is_entry`: they begin a line. What the disk does not take is
 * counted and told in the log when it takes some again, and once on stderr. Without a file: stderr.
 */
void logfile_write(struct logfile_set *s, enum log_format format, bool is_entry, const char *p,
                   size_t n);
void logfile_end(struct logfile_set *s);

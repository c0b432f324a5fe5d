/* What has happened to the server: a line for each start, stop, crash, reload and promotion, with
 * time and cause, kept over restarts in a small file and the newest in memory. Runs in: postmaster.
 *
 * A line of the file is fields "key=value" by tabs (tbl/history_fields.def), with \t, \n and \\ in
 * values; whoever reads it passes over lines without timeUSec and event, and fields it does not
 * know. A line is one write() at its end. It is synced at a stop only: a cut of power may take the
 * last half minute of it, and the next start then says that the run before ended without a word. */
#pragma once

#include "base/err.h"
#include "base/types.h"

#define HISTORY_FILE       "pinion_history"
#define HISTORY_KEEP       200          /* entries in memory, and in a file that is cut */
#define HISTORY_FILE_MAX   (256 * 1024) /* bytes; a longer one is cut */
#define HISTORY_LINE_BYTES 640

/* clang-format off */
enum history_event {
#define HISTORY_EVENT(id, name) HISTORY_##id,
#include "tbl/history_events.def"
#undef HISTORY_EVENT
    HISTORY_EVENTS
};
/* clang-format on */

/* One entry; as a reader sees it, strings point into the copy it gave. */
struct history_entry {
    usec_t time_usec;  /* real */
    const char *event; /* a name of the table, or a newer server's */
    int pid;           /* of the postmaster */
    const char *message;
    const char *by;     /* who asked, or NULL */
    const char *reason; /* why, in the asker's words, or NULL */
    uint64_t timeline;  /* 0 = not said */
};

struct history {
    int fd; /* -1: none, entries are in memory only */
    const char *path;
    uint64_t n_bytes; /* of the file */
    bool has_failed;
    unsigned n, at; /* lines in use, where the next one goes */
    char lines[HISTORY_KEEP][HISTORY_LINE_BYTES];
};

/* Open or make the file (relative to the working directory; the name is borrowed until
 * history_close()), take its newest entries into memory;
 * a torn last line is ended, a long file is cut to what is kept. On < 0 (e set) entries go to
 * memory only. */
int history_open(struct history *h, const char *path, struct err *e);
/* `sync`: what was written is durable. */
void history_close(struct history *h, bool sync);

/* One more; what does not fit into a line is cut. A write that fails is told once in the log. */
void history_add(struct history *h, enum history_event event, const struct history_entry *what);

/* The `idx`-th kept entry, the oldest first. `copy` (HISTORY_LINE_BYTES) holds its strings. false
 * past the last. */
bool history_get(const struct history *h, unsigned idx, char *copy, struct history_entry *ret);
/* The newest, likewise. */
bool history_last(const struct history *h, char *copy, struct history_entry *ret);
const char *history_event_name(enum history_event event);

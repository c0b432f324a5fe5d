/* Entries for systemd's journal, with fields (systemd-ops.md 3.8). The only user of sd-journal. */
#pragma once

#include "base/log_text.h"

/* syslog's number of a level: PRIORITY. */
int log_journal_priority(enum log_level level);
/* Is stderr the journal's stream? */
bool log_journal_is_stderr(void);
/* After a fork, or anew: may this process use the native protocol? */
void log_journal_begin(void);
void log_journal_forget(void);

/* Send it. false: it could not be; the caller writes it to stderr. */
bool log_journal_send(const struct log_entry *en, const struct log_who *who, const char *instance,
                      enum log_event_id id, const char *const *fields);

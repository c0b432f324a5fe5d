/* Client access rules: pg_hba.conf. Reading is all or nothing; matching is pure. */
#pragma once

#include <netinet/in.h>

#include "base/err.h"

enum {
    PGWIRE_HBA_BYTES_MAX = 1 << 20,
    PGWIRE_HBA_RULES_MAX = 4096,
    PGWIRE_HBA_NAMES_MAX = 256, /* of one list */
    PGWIRE_HBA_FAULTS_MAX = 100,
};

enum pgwire_hba_method { PGWIRE_HBA_TRUST, PGWIRE_HBA_PEER, PGWIRE_HBA_REJECT };

/* An address with its family: IPv4 inside IPv6 is made plain IPv4 by pgwire_hba_addr(). */
struct pgwire_hba_addr {
    int family; /* AF_INET, AF_INET6; 0 = Unix socket */
    uint8_t bytes[16];
};

struct pgwire_hba_rule;

struct pgwire_hba {
    struct pgwire_hba_rule *rules; /* owned */
    size_t n;
};

/* Who asks. Strings borrowed. */
struct pgwire_hba_client {
    struct pgwire_hba_addr addr;   /* family 0: Unix socket */
    struct pgwire_hba_addr server; /* our end of the connection, for samehost */
    const char *role, *database;
    bool is_replication; /* physical replication: matches "replication" only */
};

/* One fault of the file, told to the reader's callback; `line` from 1. */
typedef void (*pgwire_hba_fault_fn)(void *arg, int line, const struct err *fault);

/* Parse n bytes of `text`. Every fault goes to fn (which may be NULL). Returns 0 with *ret to be
 * released, or -ERR_CONFIG_FILE_ERROR with the first fault, "PATH:LINE: …", in e and *ret
 * untouched; -ENOMEM. */
int pgwire_hba_parse(const char *path, const char *text, size_t n, struct pgwire_hba *ret,
                     pgwire_hba_fault_fn fn, void *arg, struct err *e);
/* The same for a file. */
int pgwire_hba_load(const char *path, struct pgwire_hba *ret, pgwire_hba_fault_fn fn, void *arg,
                    struct err *e);
/* The same, to be shown and not to be used: *ret has the rules that are right, also beside faults.
 */
int pgwire_hba_load_good(const char *path, struct pgwire_hba *ret, pgwire_hba_fault_fn fn,
                         void *arg, struct err *e);
void pgwire_hba_done(struct pgwire_hba *hba);

/* A rule as people read it: PostgreSQL's columns, lists as {a,b}. NULL: it has no such thing. */
enum pgwire_hba_column {
    PGWIRE_HBA_TYPE,
    PGWIRE_HBA_DATABASES,
    PGWIRE_HBA_ROLES,
    PGWIRE_HBA_ADDRESS,
    PGWIRE_HBA_NETMASK,
    PGWIRE_HBA_METHOD,
    PGWIRE_HBA_COLUMNS
};
int pgwire_hba_line(const struct pgwire_hba *hba, size_t i);
const char *pgwire_hba_show(const struct pgwire_hba *hba, size_t i, enum pgwire_hba_column column,
                            char *p, size_t cap);

/* The first rule that matches: 0 with *ret_method and its line, or
 * -ERR_INVALID_AUTHORIZATION_SPECIFICATION with the words for the client if none does or the rule
 * says reject. */
int pgwire_hba_match(const struct pgwire_hba *hba, const struct pgwire_hba_client *client,
                     enum pgwire_hba_method *ret_method, int *ret_line, struct err *e);

/* From a socket address; family 0 for Unix sockets and what is not known. */
struct pgwire_hba_addr pgwire_hba_addr(const struct sockaddr *sa);
/* "127.0.0.1", "::1", "[local]". Returns p. */
const char *pgwire_hba_addr_text(const struct pgwire_hba_addr *a, char *p, size_t cap);

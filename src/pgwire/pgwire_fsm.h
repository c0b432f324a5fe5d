/* What a client may say when, and what is then to be done. Pure: a table, no I/O. Source:
 * wal-format.md 6.2, 6.7, 6.8. */
#pragma once

#include "pgwire/pgwire_msg.h"

enum pgwire_state {
    PGWIRE_START,         /* nothing said yet */
    PGWIRE_START_SSL,     /* SSLRequest answered with N */
    PGWIRE_START_GSS,     /* GSSENCRequest answered with N */
    PGWIRE_START_SSL_GSS, /* both answered with N */
    PGWIRE_AUTH,          /* start-up packet taken, not yet let in */
    PGWIRE_IDLE,          /* ReadyForQuery sent, or a simple query runs */
    PGWIRE_EXTENDED, /* inside a pipeline: since the last Sync something was parsed, bound … */
    PGWIRE_SKIP,     /* an error was answered in it: everything is dropped until Sync */
    PGWIRE_CLOSED,   /* the end */
    PGWIRE_STATES
};

enum pgwire_event {
    PGWIRE_ON_STARTUP,
    PGWIRE_ON_SSL,
    PGWIRE_ON_GSS,
    PGWIRE_ON_CANCEL,
    PGWIRE_ON_EARLY,         /* bytes behind an encryption request, before it was answered */
    PGWIRE_ON_AUTHENTICATED, /* ours: access, role and database are fine */
    PGWIRE_ON_QUERY,
    PGWIRE_ON_PARSE,
    PGWIRE_ON_BIND,
    PGWIRE_ON_DESCRIBE,
    PGWIRE_ON_EXECUTE,
    PGWIRE_ON_CLOSE,
    PGWIRE_ON_SYNC,
    PGWIRE_ON_FLUSH,
    PGWIRE_ON_FUNCTION,
    PGWIRE_ON_COPY,     /* CopyData, CopyDone, CopyFail */
    PGWIRE_ON_PASSWORD, /* any 'p' */
    PGWIRE_ON_TERMINATE,
    PGWIRE_ON_FAILED, /* ours: the last order ended in an ERROR (also: its message was malformed) */
    PGWIRE_ON_FATAL,  /* ours: the session must end */
    PGWIRE_ON_EOF,    /* the client is gone */
    PGWIRE_EVENTS
};

enum pgwire_order {
    PGWIRE_DO_NOTHING,
    PGWIRE_DO_ANSWER_N,     /* the byte N: no encryption; read the next start-up packet */
    PGWIRE_DO_CANCEL,       /* pass the cancel request on, answer nothing, close */
    PGWIRE_DO_AUTHENTICATE, /* verdict, access rules, role, database */
    PGWIRE_DO_GREET,        /* AuthenticationOk, ParameterStatus, BackendKeyData, ReadyForQuery */
    PGWIRE_DO_QUERY,        /* run it; ReadyForQuery, whatever comes of it */
    PGWIRE_DO_PARSE,
    PGWIRE_DO_BIND,
    PGWIRE_DO_DESCRIBE,
    PGWIRE_DO_EXECUTE,
    PGWIRE_DO_CLOSE,
    PGWIRE_DO_FLUSH,
    PGWIRE_DO_SYNC,            /* end the implicit transaction; ReadyForQuery */
    PGWIRE_DO_SYNC_FAILED,     /* the same after an error: roll it back */
    PGWIRE_DO_REFUSE_FUNCTION, /* ERROR 0A000, ReadyForQuery */
    PGWIRE_DO_VIOLATION,       /* FATAL 08P01, close */
    PGWIRE_DO_LEAVE,           /* roll back, close without a word */
    PGWIRE_ORDERS
};

struct pgwire_step {
    enum pgwire_state next;
    enum pgwire_order order;
};

/* First rule that fits; what no rule allows is a violation that closes. */
struct pgwire_step pgwire_step(enum pgwire_state state, enum pgwire_event event);
/* The event of a message with this type byte, one that pgwire_length_max() knows. */
enum pgwire_event pgwire_event_of_type(char type);
enum pgwire_event pgwire_event_of_packet(enum pgwire_packet kind);
const char *pgwire_state_name(enum pgwire_state state);

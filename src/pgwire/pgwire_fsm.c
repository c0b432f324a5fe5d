/* The phases of a connection as a table: start-up, simple query, extended query with its skip to
 * Sync.
 *
 * Runs in: backend, dead-end child, tests. Owns: nothing. Source: wal-format.md 6.2, 6.7, 6.8;
 * postmaster.md 3.7. */
#include "pgwire/pgwire_fsm.h"

#define S(name)   ((unsigned) BIT(PGWIRE_##name))
#define ANY_START (S(START) | S(START_SSL) | S(START_GSS) | S(START_SSL_GSS))
#define LIVE      (S(IDLE) | S(EXTENDED))
#define SAME      PGWIRE_STATES

struct rule {
    unsigned states; /* set */
    enum pgwire_event event;
    enum pgwire_state next; /* SAME: stays */
    enum pgwire_order order;
};

/* clang-format off */
static const struct rule rules[] = {
    /* the ones that are looked for most come first */
    { LIVE,                      PGWIRE_ON_QUERY,         PGWIRE_IDLE,          PGWIRE_DO_QUERY },
    { LIVE,                      PGWIRE_ON_FUNCTION,      PGWIRE_IDLE,          PGWIRE_DO_REFUSE_FUNCTION },
    { LIVE,                      PGWIRE_ON_PARSE,         PGWIRE_EXTENDED,      PGWIRE_DO_PARSE },
    { LIVE,                      PGWIRE_ON_BIND,          PGWIRE_EXTENDED,      PGWIRE_DO_BIND },
    { LIVE,                      PGWIRE_ON_DESCRIBE,      PGWIRE_EXTENDED,      PGWIRE_DO_DESCRIBE },
    { LIVE,                      PGWIRE_ON_EXECUTE,       PGWIRE_EXTENDED,      PGWIRE_DO_EXECUTE },
    { LIVE,                      PGWIRE_ON_CLOSE,         PGWIRE_EXTENDED,      PGWIRE_DO_CLOSE },
    { LIVE,                      PGWIRE_ON_FLUSH,         SAME,                 PGWIRE_DO_FLUSH },
    { LIVE,                      PGWIRE_ON_SYNC,          PGWIRE_IDLE,          PGWIRE_DO_SYNC },
    /* what is left of a COPY that failed */
    { LIVE | S(SKIP),            PGWIRE_ON_COPY,          SAME,                 PGWIRE_DO_NOTHING },
    { S(IDLE),                   PGWIRE_ON_FAILED,        PGWIRE_IDLE,          PGWIRE_DO_NOTHING },
    { S(EXTENDED),               PGWIRE_ON_FAILED,        PGWIRE_SKIP,          PGWIRE_DO_NOTHING },

    /* each encryption may be asked for once */
    { S(START),                  PGWIRE_ON_SSL,           PGWIRE_START_SSL,     PGWIRE_DO_ANSWER_N },
    { S(START),                  PGWIRE_ON_GSS,           PGWIRE_START_GSS,     PGWIRE_DO_ANSWER_N },
    { S(START_GSS),              PGWIRE_ON_SSL,           PGWIRE_START_SSL_GSS, PGWIRE_DO_ANSWER_N },
    { S(START_SSL),              PGWIRE_ON_GSS,           PGWIRE_START_SSL_GSS, PGWIRE_DO_ANSWER_N },
    { ANY_START,                 PGWIRE_ON_CANCEL,        PGWIRE_CLOSED,        PGWIRE_DO_CANCEL },
    { ANY_START,                 PGWIRE_ON_STARTUP,       PGWIRE_AUTH,          PGWIRE_DO_AUTHENTICATE },
    { S(AUTH),                   PGWIRE_ON_AUTHENTICATED, PGWIRE_IDLE,          PGWIRE_DO_GREET },

    { S(SKIP),                   PGWIRE_ON_SYNC,          PGWIRE_IDLE,          PGWIRE_DO_SYNC_FAILED },
    { S(SKIP),                   PGWIRE_ON_QUERY,         SAME,                 PGWIRE_DO_NOTHING },
    { S(SKIP),                   PGWIRE_ON_FUNCTION,      SAME,                 PGWIRE_DO_NOTHING },
    { S(SKIP),                   PGWIRE_ON_PARSE,         SAME,                 PGWIRE_DO_NOTHING },
    { S(SKIP),                   PGWIRE_ON_BIND,          SAME,                 PGWIRE_DO_NOTHING },
    { S(SKIP),                   PGWIRE_ON_DESCRIBE,      SAME,                 PGWIRE_DO_NOTHING },
    { S(SKIP),                   PGWIRE_ON_EXECUTE,       SAME,                 PGWIRE_DO_NOTHING },
    { S(SKIP),                   PGWIRE_ON_CLOSE,         SAME,                 PGWIRE_DO_NOTHING },
    { S(SKIP),                   PGWIRE_ON_FLUSH,         SAME,                 PGWIRE_DO_NOTHING },

    { LIVE | S(SKIP) | S(AUTH),  PGWIRE_ON_TERMINATE,     PGWIRE_CLOSED,        PGWIRE_DO_LEAVE },
    { ~0u,                       PGWIRE_ON_EOF,           PGWIRE_CLOSED,        PGWIRE_DO_LEAVE },
    { ~0u,                       PGWIRE_ON_FATAL,         PGWIRE_CLOSED,        PGWIRE_DO_LEAVE },
};
/* clang-format on */

struct pgwire_step
pgwire_step(enum pgwire_state state, enum pgwire_event event)
{
    for (size_t i = 0; i < ELEMENTSOF(rules); i++) {
        const struct rule *r = &rules[i];

        if ((r->states & (unsigned) BIT(state)) != 0 && r->event == event)
            return (struct pgwire_step){ r->next == SAME ? state : r->next, r->order };
    }
    return (struct pgwire_step){ PGWIRE_CLOSED, PGWIRE_DO_VIOLATION };
}

enum pgwire_event
pgwire_event_of_type(char type)
{
    switch (type) {
    case 'Q':
        return PGWIRE_ON_QUERY;
    case 'P':
        return PGWIRE_ON_PARSE;
    case 'B':
        return PGWIRE_ON_BIND;
    case 'D':
        return PGWIRE_ON_DESCRIBE;
    case 'E':
        return PGWIRE_ON_EXECUTE;
    case 'C':
        return PGWIRE_ON_CLOSE;
    case 'S':
        return PGWIRE_ON_SYNC;
    case 'H':
        return PGWIRE_ON_FLUSH;
    case 'F':
        return PGWIRE_ON_FUNCTION;
    case 'X':
        return PGWIRE_ON_TERMINATE;
    case 'p':
        return PGWIRE_ON_PASSWORD;
    default:
        return PGWIRE_ON_COPY; /* d c f */
    }
}

enum pgwire_event
pgwire_event_of_packet(enum pgwire_packet kind)
{
    switch (kind) {
    case PGWIRE_PACKET_STARTUP:
        return PGWIRE_ON_STARTUP;
    case PGWIRE_PACKET_SSL:
        return PGWIRE_ON_SSL;
    case PGWIRE_PACKET_GSS:
        return PGWIRE_ON_GSS;
    case PGWIRE_PACKET_CANCEL:
        return PGWIRE_ON_CANCEL;
    }
    return PGWIRE_ON_FATAL;
}

const char *
pgwire_state_name(enum pgwire_state state)
{
    static const char *const names[] = {
        [PGWIRE_START] = "start",
        [PGWIRE_START_SSL] = "start, ssl refused",
        [PGWIRE_START_GSS] = "start, gss refused",
        [PGWIRE_START_SSL_GSS] = "start, ssl and gss refused",
        [PGWIRE_AUTH] = "authentication",
        [PGWIRE_IDLE] = "idle",
        [PGWIRE_EXTENDED] = "extended",
        [PGWIRE_SKIP] = "skip",
        [PGWIRE_CLOSED] = "closed",
    };

    static_assert(ELEMENTSOF(names) == PGWIRE_STATES, "a name for each state");
    return names[state];
}

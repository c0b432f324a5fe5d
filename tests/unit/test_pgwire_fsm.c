/* pgwire/pgwire_fsm: who may say what when. */
#include "support/test.h"

#include <string.h>

#include "base/rng.h"
#include "pgwire/pgwire_fsm.h"

/* A letter per event, in enum order. */
static const char letters[] = "usgkeaQPBDECSHFdpXf!.";

static enum pgwire_event
event_of(char c)
{
    const char *p = strchr(letters, c);

    assert_non_null(p);
    return (enum pgwire_event)(p - letters);
}

/* clang-format off */
static const struct {
    const char *events;
    enum pgwire_state state;  /* in the end */
    enum pgwire_order order;  /* the last one */
} runs[] = {
    { "u",            PGWIRE_AUTH,     PGWIRE_DO_AUTHENTICATE },
    { "ua",           PGWIRE_IDLE,     PGWIRE_DO_GREET },
    { "su",           PGWIRE_AUTH,     PGWIRE_DO_AUTHENTICATE },
    { "sgu",          PGWIRE_AUTH,     PGWIRE_DO_AUTHENTICATE },
    { "gs",           PGWIRE_START_SSL_GSS, PGWIRE_DO_ANSWER_N },
    { "ss",           PGWIRE_CLOSED,   PGWIRE_DO_VIOLATION },
    { "sgs",          PGWIRE_CLOSED,   PGWIRE_DO_VIOLATION },
    { "se",           PGWIRE_CLOSED,   PGWIRE_DO_VIOLATION },
    { "k",            PGWIRE_CLOSED,   PGWIRE_DO_CANCEL },
    { "sk",           PGWIRE_CLOSED,   PGWIRE_DO_CANCEL },
    { "Q",            PGWIRE_CLOSED,   PGWIRE_DO_VIOLATION },
    { "uQ",           PGWIRE_CLOSED,   PGWIRE_DO_VIOLATION },
    { "uu",           PGWIRE_CLOSED,   PGWIRE_DO_VIOLATION },
    { "up",           PGWIRE_CLOSED,   PGWIRE_DO_VIOLATION },
    { "uX",           PGWIRE_CLOSED,   PGWIRE_DO_LEAVE },
    { "uaQ",          PGWIRE_IDLE,     PGWIRE_DO_QUERY },
    { "uaQfQ",        PGWIRE_IDLE,     PGWIRE_DO_QUERY },
    { "uap",          PGWIRE_CLOSED,   PGWIRE_DO_VIOLATION },
    { "uau",          PGWIRE_CLOSED,   PGWIRE_DO_VIOLATION },
    { "uaX",          PGWIRE_CLOSED,   PGWIRE_DO_LEAVE },
    { "uaQ.",         PGWIRE_CLOSED,   PGWIRE_DO_LEAVE },
    { "uaP",          PGWIRE_EXTENDED, PGWIRE_DO_PARSE },
    { "uaPBDE",       PGWIRE_EXTENDED, PGWIRE_DO_EXECUTE },
    { "uaPBES",       PGWIRE_IDLE,     PGWIRE_DO_SYNC },
    { "uaPfB",        PGWIRE_SKIP,     PGWIRE_DO_NOTHING },
    { "uaPfBEQHFdC",  PGWIRE_SKIP,     PGWIRE_DO_NOTHING },
    { "uaPfBES",      PGWIRE_IDLE,     PGWIRE_DO_SYNC_FAILED },
    { "uaPfBESQ",     PGWIRE_IDLE,     PGWIRE_DO_QUERY },
    { "uaPfX",        PGWIRE_CLOSED,   PGWIRE_DO_LEAVE },
    { "uaPQ",         PGWIRE_IDLE,     PGWIRE_DO_QUERY },
    { "uaPH",         PGWIRE_EXTENDED, PGWIRE_DO_FLUSH },
    { "uaF",          PGWIRE_IDLE,     PGWIRE_DO_REFUSE_FUNCTION },
    { "uad",          PGWIRE_IDLE,     PGWIRE_DO_NOTHING },
    { "uaS",          PGWIRE_IDLE,     PGWIRE_DO_SYNC },
    { "uaPBE!",       PGWIRE_CLOSED,   PGWIRE_DO_LEAVE },
};
/* clang-format on */

static void
each_conversation_ends_as_the_protocol_says(void **state)
{
    (void) state;
    assert_int_equal(strlen(letters), PGWIRE_EVENTS);
    for (size_t i = 0; i < ELEMENTSOF(runs); i++) {
        struct pgwire_step s = { PGWIRE_START, PGWIRE_DO_NOTHING };

        for (const char *p = runs[i].events; *p != '\0'; p++)
            s = pgwire_step(s.next, event_of(*p));
        if (s.next != runs[i].state || s.order != runs[i].order)
            fail_msg("%s: %s, %d", runs[i].events, pgwire_state_name(s.next), (int) s.order);
    }
}

static void
nothing_is_run_before_the_greeting_and_nothing_after_the_end(void **state)
{
    (void) state;
    for (int st = 0; st < PGWIRE_STATES; st++) {
        for (int ev = 0; ev < PGWIRE_EVENTS; ev++) {
            struct pgwire_step s = pgwire_step((enum pgwire_state) st, (enum pgwire_event) ev);
            bool runs_sql = s.order >= PGWIRE_DO_QUERY && s.order <= PGWIRE_DO_SYNC_FAILED;

            assert_true(s.next < PGWIRE_STATES);
            if (st < PGWIRE_IDLE || st == PGWIRE_CLOSED)
                assert_false(runs_sql);
            if (st == PGWIRE_CLOSED)
                assert_int_equal(s.next, PGWIRE_CLOSED);
            if (s.order == PGWIRE_DO_VIOLATION || s.order == PGWIRE_DO_LEAVE)
                assert_int_equal(s.next, PGWIRE_CLOSED);
            if (s.order == PGWIRE_DO_GREET) {
                assert_int_equal(st, PGWIRE_AUTH);
                assert_int_equal(ev, PGWIRE_ON_AUTHENTICATED);
            }
            if (st == PGWIRE_SKIP && s.next != PGWIRE_CLOSED)
                assert_true(ev == PGWIRE_ON_SYNC || s.order == PGWIRE_DO_NOTHING);
        }
    }
}

static void
random_conversations_reach_every_state(void **state)
{
    bool seen[PGWIRE_STATES] = { false };
    enum pgwire_state st = PGWIRE_START;
    struct rng rng;

    (void) state;
    rng_init(&rng, 3);
    for (int i = 0; i < 1000000; i++) {
        st = pgwire_step(st, (enum pgwire_event) rng_below(&rng, PGWIRE_EVENTS)).next;
        seen[st] = true;
        if (st == PGWIRE_CLOSED)
            st = rng_below(&rng, 2) == 0 ? PGWIRE_START : PGWIRE_IDLE;
    }
    for (int i = 1; i < PGWIRE_STATES; i++)
        assert_true(seen[i]);
}

static void
every_type_byte_has_its_event(void **state)
{
    static const char types[] = "QPBDECSHFXpdcf";

    (void) state;
    for (int c = 0; c < 256; c++) {
        bool is_known = c != 0 && strchr(types, c) != NULL;

        assert_int_equal(pgwire_length_max((char) c) > 0, is_known);
        if (is_known && strchr("dcf", c) == NULL)
            assert_int_equal(letters[pgwire_event_of_type((char) c)], c);
    }
    assert_int_equal(pgwire_event_of_type('c'), PGWIRE_ON_COPY);
    assert_int_equal(pgwire_event_of_packet(PGWIRE_PACKET_CANCEL), PGWIRE_ON_CANCEL);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_conversation_ends_as_the_protocol_says),
        cmocka_unit_test(nothing_is_run_before_the_greeting_and_nothing_after_the_end),
        cmocka_unit_test(random_conversations_reach_every_state),
        cmocka_unit_test(every_type_byte_has_its_event),
    };

    return cmocka_run_group_tests_name("pgwire_fsm", tests, NULL, NULL);
}

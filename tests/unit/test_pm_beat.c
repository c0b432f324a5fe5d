/* Who stands still: pm_beat_judge() over the table of systemd-ops.md 3.7. Times in seconds. */
#include "pm/pm_beat.h"
#include "pm/pm_fsm.h"
#include "proc/mains.h"
#include "support/test.h"

/* The table of kinds names the mains; none is called here. */
#define CHILD_KIND(id, role, description, main_, max, runs, attaches, exit0, exit1, phase, life) \
    void main_(const struct child_start *start)                                                  \
    {                                                                                            \
        (void) start;                                                                            \
        abort();                                                                                 \
    }
#include "tbl/child_kinds.def"
#undef CHILD_KIND

#define NOW 1000

static const struct {
    const char *label;
    struct pm_beat_view v; /* in seconds */
    enum pm_beat_verdict want;
    unsigned want_silent;
} rows[] = {
    { "works", { .last_usec = 999, .moved_usec = 999, .is_critical = true }, BEAT_HEALTHY, 1 },
    { "idle for long",
      { .last_usec = 999, .moved_usec = 100, .is_idle = true, .is_critical = true },
      BEAT_HEALTHY,
      1 },
    { "idle and dead",
      { .last_usec = 970, .moved_usec = 970, .is_idle = true, .is_critical = true },
      BEAT_STUCK,
      30 },
    { "just young enough",
      { .last_usec = 971, .moved_usec = 971, .is_critical = true },
      BEAT_HEALTHY,
      29 },
    { "silent at work",
      { .last_usec = 970, .moved_usec = 970, .is_critical = true },
      BEAT_STUCK,
      30 },
    { "turns, gets nowhere",
      { .last_usec = 1000, .moved_usec = 940, .is_critical = true },
      BEAT_STUCK,
      60 },
    { "turns, is slow",
      { .last_usec = 1000, .moved_usec = 941, .is_critical = true },
      BEAT_HEALTHY,
      59 },
    { "waits for another",
      { .last_usec = 1000, .moved_usec = 701, .is_waiting = true, .is_critical = true },
      BEAT_HEALTHY,
      299 },
    { "waits for ever",
      { .last_usec = 1000, .moved_usec = 700, .is_waiting = true, .is_critical = true },
      BEAT_STUCK,
      300 },
    { "in a call",
      { .last_usec = 980,
        .moved_usec = 980,
        .call_usec = 980,
        .deadline_usec = 1280,
        .is_critical = true },
      BEAT_HEALTHY,
      20 },
    { "in a long call",
      { .last_usec = 860,
        .moved_usec = 860,
        .call_usec = 860,
        .deadline_usec = 1160,
        .is_critical = true },
      BEAT_STALLED,
      140 },
    { "its call is just over its time",
      { .last_usec = 690,
        .moved_usec = 690,
        .call_usec = 690,
        .deadline_usec = 990,
        .is_critical = true },
      BEAT_HEALTHY,
      310 },
    { "its call does not end",
      { .last_usec = 670,
        .moved_usec = 670,
        .call_usec = 670,
        .deadline_usec = 970,
        .is_critical = true },
      BEAT_STUCK,
      330 },
    { "nor could it be killed",
      { .last_usec = 670,
        .moved_usec = 670,
        .call_usec = 670,
        .deadline_usec = 970,
        .is_critical = true,
        .is_in_kernel = true },
      BEAT_STALLED,
      330 },
    { "in the kernel, undeclared",
      { .last_usec = 900, .moved_usec = 900, .is_critical = true, .is_in_kernel = true },
      BEAT_STALLED,
      100 },
    { "the first call of its life, long ago",
      { .last_usec = 999,
        .moved_usec = 999,
        .call_usec = 0,
        .deadline_usec = 3,
        .is_critical = true },
      BEAT_HEALTHY,
      1 },
    { "a helper has more time", { .last_usec = 701, .moved_usec = 701 }, BEAT_HEALTHY, 299 },
    { "a helper, too, has to end", { .last_usec = 700, .moved_usec = 700 }, BEAT_STUCK, 300 },
    { "told",
      { .last_usec = 960, .moved_usec = 960, .abort_usec = 996, .is_critical = true },
      BEAT_DYING,
      40 },
    { "told and still there",
      { .last_usec = 960, .moved_usec = 960, .abort_usec = 995, .is_critical = true },
      BEAT_STUBBORN,
      40 },
    { "killed and still there",
      { .last_usec = 900, .moved_usec = 900, .abort_usec = 965, .is_critical = true },
      BEAT_UNKILLABLE,
      100 },
    { "killed, in the kernel meanwhile",
      { .last_usec = 900,
        .moved_usec = 900,
        .abort_usec = 965,
        .is_critical = true,
        .is_in_kernel = true },
      BEAT_STUBBORN,
      100 },
    { "a clock ahead of ours",
      { .last_usec = 1001, .moved_usec = 1001, .is_critical = true },
      BEAT_HEALTHY,
      0 },
};

static struct pm_beat_view
in_usec(struct pm_beat_view v)
{
    v.last_usec *= USEC_PER_SEC;
    v.moved_usec *= USEC_PER_SEC;
    v.call_usec *= USEC_PER_SEC;
    v.deadline_usec *= USEC_PER_SEC;
    v.abort_usec *= USEC_PER_SEC;
    return v;
}

static void
who_shows_no_life_or_no_progress_is_found_and_nobody_else(void **state)
{
    const struct pm_beat_limits limits = { .silence = 30 * USEC_PER_SEC,
                                           .patience = 300 * USEC_PER_SEC };

    (void) state;
    for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
        struct pm_beat_view v = in_usec(rows[i].v);
        usec_t silent;
        enum pm_beat_verdict got = pm_beat_judge(&v, &limits, NOW * USEC_PER_SEC, &silent);

        if (got != rows[i].want || silent != rows[i].want_silent * USEC_PER_SEC)
            fail_msg("%s: verdict %d, want %d, silent for %llu s, want %u", rows[i].label,
                     (int) got, (int) rows[i].want, (unsigned long long) (silent / USEC_PER_SEC),
                     rows[i].want_silent);
    }
}

static void
without_a_limit_nobody_is_judged(void **state)
{
    const struct pm_beat_limits limits = { .patience = 300 * USEC_PER_SEC };
    const struct pm_beat_view v = { .is_critical = true };
    usec_t silent;

    (void) state;
    assert_int_equal(pm_beat_judge(&v, &limits, NOW * USEC_PER_SEC, &silent), BEAT_HEALTHY);
}

static void
who_waits_or_helps_is_never_judged_sooner_than_who_works(void **state)
{
    const struct pm_beat_limits limits = { .silence = 30 * USEC_PER_SEC,
                                           .patience = 1 * USEC_PER_SEC };
    struct pm_beat_view waits = {
        .last_usec = 1000, .moved_usec = 971, .is_waiting = true, .is_critical = true
    };
    struct pm_beat_view helps = { .last_usec = 971, .moved_usec = 971 };
    usec_t silent;

    (void) state;
    waits = in_usec(waits);
    helps = in_usec(helps);
    assert_int_equal(pm_beat_judge(&waits, &limits, NOW * USEC_PER_SEC, &silent), BEAT_HEALTHY);
    assert_int_equal(pm_beat_judge(&helps, &limits, NOW * USEC_PER_SEC, &silent), BEAT_HEALTHY);
    waits.moved_usec = helps.last_usec = 970 * USEC_PER_SEC;
    assert_int_equal(pm_beat_judge(&waits, &limits, NOW * USEC_PER_SEC, &silent), BEAT_STUCK);
    assert_int_equal(pm_beat_judge(&helps, &limits, NOW * USEC_PER_SEC, &silent), BEAT_STUCK);
}

static void
who_is_watched_has_a_slot_to_show_life_in(void **state)
{
    unsigned n_strict = 0;

    (void) state;
    for (enum child_kind k = 0; k < CHILD_KINDS; k++) {
        const struct child_policy *p = &child_policies[k];

        assert_true(p->life == LIFE_UNWATCHED || (p->is_attached && k != CHILD_AV_WORKER));
        n_strict += p->life == LIFE_STRICT;
    }
    assert_int_equal(n_strict, 5);
    assert_true(child_policies[CHILD_ARCHIVER].life == LIFE_STRICT);
    assert_true(child_policies[CHILD_BACKEND].life == LIFE_UNWATCHED);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_shows_no_life_or_no_progress_is_found_and_nobody_else),
        cmocka_unit_test(without_a_limit_nobody_is_judged),
        cmocka_unit_test(who_waits_or_helps_is_never_judged_sooner_than_who_works),
        cmocka_unit_test(who_is_watched_has_a_slot_to_show_life_in),
    };

    return cmocka_run_group_tests_name("pm_beat", tests, NULL, NULL);
}

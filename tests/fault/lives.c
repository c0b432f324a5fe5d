/* Runs that die somewhere: see lives.h. */
#include "fault/lives.h"

#include <errno.h>
#include <setjmp.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "support/test.h"

static jmp_buf out;

const char *__asan_default_options(void);
const char *
__asan_default_options(void)
{
    return "detect_leaks=0"; /* who jumps out of a crash leaves its memory behind */
}

static void
on_crash(enum fault_point p)
{
    (void) p;
    if (lives.is_armed)
        longjmp(out, 1);
}

static void
on_cut(void *arg)
{
    (void) arg;
    longjmp(out, 1);
}

static void
on_panic(const struct err *e)
{
    if (e != NULL)
        lives.why = *e;
    if (lives.is_armed)
        longjmp(out, 1);
    (void) fprintf(stderr, "unexpected PANIC: %s\n", lives.why.message);
    abort();
}

static void
begin(uint64_t seed)
{
    err_clear(&lives.why);
    lives.begin(seed);
    lives.is_armed = true;
}

static void
disarm(void)
{
    lives.is_armed = false;
    fault_reset();
    io_sim_cut_after(lives.sim, 0, NULL, NULL);
    io_sim_fail(lives.sim, SIM_OTHER, "", 0, 0, 0);
}

static unsigned
stride(void)
{
    const char *long_run = getenv("PINION_LONG"); /* set to nothing: not a long one, as in pytest */

    return (long_run != NULL && long_run[0] != '\0') || lives.stride == 0 ? 1 : lives.stride;
}

static void
with_faults(const char *what, enum fault_what effect, int error)
{
    static unsigned hit; /* static: setjmp */
    static bool fired;

#ifndef PINION_FAULTS
    skip();
#endif
    hit = 0;
    do {
        begin(hit + 1);
        fault_arm_any(hit, effect, error);
        fired = true;
        if (setjmp(out) == 0) {
            lives.run();
            fired = fault_fired();
            disarm();
            if (lives.survived != NULL)
                lives.survived(what, hit);
        }
        disarm();
        lives.end(what, hit);
        hit += stride();
    } while (fired);
    print_message("%s: %u hits, each %u. of them\n", what, hit - stride(), stride());
    assert_true(hit > lives.least);
}

/* Each I/O call of the run fails once, the next ones succeed. */
static void
with_io_errors(const char *what, int error, bool half)
{
    static unsigned call; /* static: setjmp */
    static bool fired;

    call = 0;
    do {
        begin(call + 1);
        io_sim_fail_any(lives.sim, call, error, half);
        if (setjmp(out) == 0) {
            lives.run();
            fired = io_sim_failed(lives.sim);
            disarm();
            if (lives.survived != NULL)
                lives.survived(what, call);
        } else {
            fired = true;
        }
        disarm();
        lives.end(what, call);
        call += stride();
    } while (fired);
    print_message("%s: %u calls, each %u. of them\n", what, call - stride(), stride());
    assert_true(call > lives.least_calls);
}

static void
every_io_call_fails_once(void **state)
{
    (void) state;
    with_io_errors("EIO at call", EIO, false);
}

static void
every_io_call_finds_the_disk_full_once(void **state)
{
    (void) state;
    with_io_errors("ENOSPC at call", ENOSPC, false);
}

static void
every_write_stops_half_way_once(void **state)
{
    (void) state;
    with_io_errors("half a write at call", ENOSPC, true);
}

/* ---- what a run passes ---- */

#define PHASES_MAX 16

static struct phase {
    const char *operation;
    unsigned least;
    uint64_t calls;
    unsigned hits;
} phases[PHASES_MAX];
static unsigned n_phases;
static struct phase *phase;
static uint64_t calls_before;
static unsigned hits_before;
static bool is_counting;

static void
close_phase(void)
{
    if (phase == NULL)
        return;
    phase->calls += io_sim_passed(lives.sim) - calls_before;
    phase->hits += fault_hits() - hits_before;
}

void
lives_phase(const char *operation, unsigned least)
{
    if (!is_counting)
        return;
    close_phase();
    for (phase = phases; phase < phases + n_phases; phase++)
        if (strcmp(phase->operation, operation) == 0)
            break;
    if (phase == phases + n_phases) {
        assert_true(n_phases < PHASES_MAX);
        *phase = (struct phase){ .operation = operation, .least = least };
        n_phases++;
    }
    calls_before = io_sim_passed(lives.sim);
    hits_before = fault_hits();
}

static void
each_operation_passes_what_is_counted_here(void **state)
{
    (void) state;
    begin(1);
    is_counting = true;
    lives_phase(lives.name, 0);
    lives.run();
    close_phase();
    is_counting = false;
    disarm();
    lives.end("no fault", 0);
    for (unsigned i = 0; i < n_phases; i++) {
        if (phases[i].calls == 0 && phases[i].least == 0)
            continue; /* every operation of this program has a name */
        print_message("%-26s %4u I/O calls, %4u fault points\n", phases[i].operation,
                      (unsigned) phases[i].calls, phases[i].hits);
        assert_true(phases[i].calls >= phases[i].least);
    }
}

static void
every_fault_point_as_an_error(void **state)
{
    (void) state;
    with_faults("EIO at hit", FAULT_DO_ERROR, EIO);
}

static void
every_fault_point_as_a_full_disk(void **state)
{
    (void) state;
    with_faults("ENOSPC at hit", FAULT_DO_ERROR, ENOSPC);
}

static void
every_fault_point_as_a_crash(void **state)
{
    (void) state;
    with_faults("crash at hit", FAULT_DO_CRASH, 0);
}

static void
a_power_cut_at_every_call_that_changes_the_disk(void **state)
{
    static unsigned call;
    static unsigned seed;
    static bool was_cut;

    (void) state;
    call = 1;
    seed = 0;
    do {
        begin(1000 * call + seed);
        was_cut = true;
        io_sim_cut_after(lives.sim, call, on_cut, NULL);
        if (setjmp(out) == 0) {
            lives.run();
            was_cut = false;
        }
        disarm();
        lives.end("power cut at call", call);
        if (++seed < lives.seeds)
            continue; /* the same place, other writes lost */
        seed = 0;
        call += stride();
    } while (was_cut);
    print_message("power cut: %u calls, each %u. of them, %u seeds each\n", call - stride() - 1,
                  stride(), lives.seeds);
    assert_true(call > lives.least);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_operation_passes_what_is_counted_here),
        cmocka_unit_test(every_io_call_fails_once),
        cmocka_unit_test(every_io_call_finds_the_disk_full_once),
        cmocka_unit_test(every_write_stops_half_way_once),
        cmocka_unit_test(every_fault_point_as_an_error),
        cmocka_unit_test(every_fault_point_as_a_full_disk),
        cmocka_unit_test(every_fault_point_as_a_crash),
        cmocka_unit_test(a_power_cut_at_every_call_that_changes_the_disk),
    };

    log_init(lives.name, LOG_LEVEL_PANIC);
    fault_crash_hook = on_crash;
    panic_hook = on_panic;
    return cmocka_run_group_tests_name(lives.name, tests, NULL, NULL);
}

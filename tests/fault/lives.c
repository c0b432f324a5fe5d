/* Runs that die somewhere: see lives.h. */
#include "fault/lives.h"

#include <setjmp.h>
#include <stdio.h>

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

void
lives_init(void)
{
    log_init(lives.name, LOG_LEVEL_PANIC);
    fault_crash_hook = on_crash;
    panic_hook = on_panic;
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
}

void
lives_with_faults(const char *what, enum fault_what effect, int error)
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
        hit++;
    } while (fired);
    print_message("%s: %u hits\n", what, hit - 1);
    assert_true(hit > lives.least);
}

void
lives_with_power_cuts(void)
{
    static unsigned call;
    static unsigned seed;
    static bool was_cut;

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
        call++;
    } while (was_cut);
    print_message("power cut: %u calls, %u seeds each\n", call - 2, lives.seeds);
    assert_true(call > lives.least);
}

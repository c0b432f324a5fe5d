/* Progress of startup and checkpoints. Runs in every process. Owns: nothing. Source: PostgreSQL's
 * backend_progress.c for what is worth telling; the passes are Greenplum's idea. */
#include "shm/progress.h"

#include "base/clock.h"
#include "base/macro.h"

/* clang-format off */
static const char *const pass_names[] = {
    [STARTUP_NOT_BEGUN] = "",
#define STARTUP_PASS(id, name, what) [STARTUP_##id] = (name),
#include "tbl/startup_passes.def"
#undef STARTUP_PASS
    [STARTUP_DONE] = "done",
};

static const char *const phase_names[] = {
    [CHECKPOINT_NONE] = "",
#define CHECKPOINT_PHASE(id, name) [CHECKPOINT_PHASE_##id] = (name),
#include "tbl/checkpoint_phases.def"
#undef CHECKPOINT_PHASE
};
/* clang-format on */

const char *
startup_pass_name(uint32_t pass)
{
    return pass < ELEMENTSOF(pass_names) ? pass_names[pass] : "";
}

const char *
checkpoint_phase_name(uint32_t phase)
{
    return phase < ELEMENTSOF(phase_names) ? phase_names[phase] : "";
}

void
startup_pass_begin(struct shm_startup *s, enum startup_pass pass)
{
    atomic_store_explicit(&s->began_usec[pass], clock_mono_usec(), memory_order_relaxed);
    atomic_store_explicit(&s->pass, pass, memory_order_relaxed);
}

usec_t
startup_pass_usec(const struct shm_startup *s, enum startup_pass pass, usec_t now)
{
    usec_t began = atomic_load_explicit(&s->began_usec[pass], memory_order_relaxed);

    for (uint32_t next = pass + 1; next < STARTUP_PASSES && began != 0; next++) {
        usec_t ended = atomic_load_explicit(&s->began_usec[next], memory_order_relaxed);

        if (ended != 0)
            return ended > began ? ended - began : 0;
    }
    return began != 0 && now > began ? now - began : 0;
}

/* What an end of a child means: child_classify() over the table of postmaster.md 1.3. */
#include <errno.h>
#include <signal.h>
#include <string.h>

#include "pm/pm_int.h"
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

#define EXITED(n) CLD_EXITED, n
#define KILLED(n) CLD_KILLED, n

static const struct {
    const char *label;
    enum child_kind kind;
    int code, status;
    bool is_slot_taken;
    enum exit_class want;
} rows[] = {
    { "startup is done", CHILD_STARTUP, EXITED(0), false, EXIT_STARTUP },
    { "startup failed", CHILD_STARTUP, EXITED(1), false, EXIT_STARTUP },
    { "startup reached its target", CHILD_STARTUP, EXITED(3), false, EXIT_STARTUP },
    { "startup panicked", CHILD_STARTUP, EXITED(2), true, EXIT_CRASH },
    { "startup was killed", CHILD_STARTUP, KILLED(9), true, EXIT_CRASH },
    { "checkpointer leaves", CHILD_CHECKPOINTER, EXITED(0), false, EXIT_CRASH },
    { "checkpointer failed", CHILD_CHECKPOINTER, EXITED(1), false, EXIT_CRASH },
    { "bgwriter leaves", CHILD_BGWRITER, EXITED(0), false, EXIT_RESTART },
    { "bgwriter failed", CHILD_BGWRITER, EXITED(1), false, EXIT_CRASH },
    { "walwriter leaves", CHILD_WALWRITER, EXITED(0), false, EXIT_RESTART },
    { "walwriter with 3", CHILD_WALWRITER, EXITED(3), false, EXIT_CRASH },
    { "background worker leaves", CHILD_BGWORKER, EXITED(0), false, EXIT_RETIRE },
    { "background worker failed", CHILD_BGWORKER, EXITED(1), false, EXIT_RESTART },
    { "background worker panicked", CHILD_BGWORKER, EXITED(2), false, EXIT_CRASH },
    { "background worker was killed", CHILD_BGWORKER, KILLED(9), false, EXIT_CRASH },
    { "backend leaves", CHILD_BACKEND, EXITED(0), false, EXIT_DONE },
    { "backend after FATAL", CHILD_BACKEND, EXITED(1), false, EXIT_DONE },
    { "backend keeps its slot", CHILD_BACKEND, EXITED(0), true, EXIT_CRASH },
    { "backend panicked", CHILD_BACKEND, EXITED(2), true, EXIT_CRASH },
    { "backend was killed", CHILD_BACKEND, KILLED(9), true, EXIT_CRASH },
    { "backend was killed at birth", CHILD_BACKEND, KILLED(9), false, EXIT_CRASH },
    { "dead end leaves", CHILD_DEAD_END, EXITED(1), false, EXIT_DONE },
    { "dead end was killed", CHILD_DEAD_END, KILLED(11), false, EXIT_DONE },
};

static void
only_a_slot_given_back_and_a_code_of_its_kind_is_harmless(void **state)
{
    (void) state;
    for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
        struct pm_child c = { .kind = rows[i].kind };
        siginfo_t si;
        enum exit_class got;

        memset(&si, 0, sizeof si);
        si.si_code = rows[i].code;
        si.si_status = rows[i].status;
        got = child_classify(&c, &si, rows[i].is_slot_taken);
        if (got != rows[i].want)
            fail_msg("%s: class %d, want %d", rows[i].label, (int) got, (int) rows[i].want);
    }
}

/* systemd-ops.md 3.9. What a start can fail with; tests/integration/test_15_exit_codes.py brings
 * most about. */
static void
every_refusal_has_its_exit_code(void **state)
{
    static const struct {
        int r, want;
    } codes[] = {
        { 0, 0 },
        { -ERR_FEATURE_NOT_SUPPORTED, 65 },
        { -ERR_DATA_CORRUPTED, 65 },
        { -ERR_UNDEFINED_FILE, 66 },
        { -EADDRINUSE, 69 },
        { -EADDRNOTAVAIL, 69 },
        { -ERR_INTERNAL_ERROR, 70 },
        { -ENOMEM, 71 },
        { -EMFILE, 71 },
        { -ENFILE, 71 },
        { -EAGAIN, 71 },
        { -ENOSYS, 72 },
        { -EROFS, 73 },
        { -ENOENT, 73 },
        { -ENOTDIR, 73 },
        { -ENOSPC, 74 },
        { -EIO, 74 },
        { -ERR_LOCK_FILE_EXISTS, 75 },
        { -EACCES, 77 },
        { -EPERM, 77 },
        { -ERR_INSUFFICIENT_PRIVILEGE, 77 },
        { -ERR_CONFIG_FILE_ERROR, 78 },
        { -ERR_INVALID_PARAMETER_VALUE, 78 },
        { -ERR_QUERY_CANCELED, 1 }, /* nothing that a start knows */
    };

    (void) state;
    for (size_t i = 0; i < ELEMENTSOF(codes); i++)
        if (pm_exit_code(codes[i].r) != codes[i].want)
            fail_msg("%d: exit %d, want %d", codes[i].r, pm_exit_code(codes[i].r), codes[i].want);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_a_slot_given_back_and_a_code_of_its_kind_is_harmless),
        cmocka_unit_test(every_refusal_has_its_exit_code),
    };

    return cmocka_run_group_tests_name("pm_child", tests, NULL, NULL);
}

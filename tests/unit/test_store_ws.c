/* The write set against a plain array. */
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/test.h"

#include "base/rng.h"
#include "base/spill.h"
#include "store/store_ws.h"

#define PAGES 700

static void
fill(uint8_t *p, uint32_t v)
{
    memset(p, (int) (v & 0xFF), PAGE_BYTES);
    memcpy(p, &v, sizeof v);
}

static void
check(struct store_ws *ws, const uint32_t *model)
{
    pgno_t max = 0;
    uint8_t want[PAGE_BYTES];

    for (pgno_t pgno = 1; pgno <= PAGES; pgno++) {
        const uint8_t *p = store_ws_find(ws, pgno);

        if (model[pgno] == 0) {
            assert_null(p);
            continue;
        }
        fill(want, model[pgno]);
        assert_non_null(p);
        assert_memory_equal(p, want, PAGE_BYTES);
        max = pgno;
    }
    assert_int_equal(ws->max, max);
}

static void
it_is_an_array_of_pages_whatever_is_written_cut_and_sorted(void **state)
{
    struct store_ws ws = { 0 };
    uint8_t page[PAGE_BYTES];
    struct rng rng;

    (void) state;
    rng_init(&rng, 3);
    for (uint32_t round = 0; round < 30; round++) {
        uint32_t model[PAGES + 1] = { 0 };
        uint32_t n = (uint32_t) rng_u64(&rng) % (round % 3 == 0 ? 600 : 20);

        for (uint32_t i = 1; i <= n; i++) {
            pgno_t pgno = 1 + (pgno_t) (rng_u64(&rng) % PAGES);

            fill(page, i);
            assert_int_equal(store_ws_put(&ws, pgno, page, NULL), 0);
            model[pgno] = i;
            if (rng_u64(&rng) % 64 == 0) {
                pgno_t cut = (pgno_t) (rng_u64(&rng) % PAGES);

                store_ws_truncate(&ws, cut);
                memset(&model[cut + 1], 0, (PAGES - cut) * sizeof *model);
            }
        }
        check(&ws, model);
        store_ws_sort(&ws);
        for (uint32_t i = 1; i < ws.n; i++)
            assert_true(ws.pages[i - 1].pgno < ws.pages[i].pgno);
        check(&ws, model);
        store_ws_clear(&ws);
        memset(model, 0, sizeof model);
        check(&ws, model);
    }
    store_ws_free(&ws);
}

static void
the_limit_is_an_error_and_what_was_staged_stays(void **state)
{
    struct store_ws ws = { .bytes_max = 3 * PAGE_BYTES };
    uint8_t page[PAGE_BYTES] = { 0 };
    struct err e = ERR_INIT;

    (void) state;
    for (pgno_t pgno = 1; pgno <= 3; pgno++)
        assert_int_equal(store_ws_put(&ws, pgno, page, &e), 0);
    assert_int_equal(store_ws_put(&ws, 2, page, &e), 0);
    assert_int_equal(store_ws_put(&ws, 4, page, &e), -ERR_OUT_OF_MEMORY);
    assert_string_equal(err_sqlstate(e.code), "53200");
    assert_non_null(store_ws_find(&ws, 3));
    assert_null(store_ws_find(&ws, 4));
    store_ws_free(&ws);
}

/* 2,000 pages with 16 in the heap; the file is charged, given back with the set, and has a limit.
 */
static void
what_does_not_fit_into_the_heap_is_in_a_temporary_file(void **state)
{
    struct store_ws ws = { .heap_max = 16 * PAGE_BYTES };
    struct err e = ERR_INIT;
    uint8_t page[PAGE_BYTES], want[PAGE_BYTES];

    (void) state;
    spill_set_dir("/tmp");
    for (int round = 0; round < 3; round++) {
        for (pgno_t pgno = 2000; pgno > 0; pgno--) {
            fill(page, pgno);
            assert_int_equal(store_ws_put(&ws, pgno, page, &e), 0);
        }
        for (pgno_t pgno = 1; pgno <= 2000; pgno += 7) {
            fill(page, pgno + 1);
            assert_int_equal(store_ws_put(&ws, pgno, page, &e), 0);
        }
        store_ws_sort(&ws);
        for (pgno_t pgno = 1; pgno <= 2000; pgno++) {
            fill(want, pgno % 7 == 1 ? pgno + 1 : pgno);
            assert_memory_equal(store_ws_find(&ws, pgno), want, PAGE_BYTES);
        }
        assert_true(spill_bytes() >= (2000 - 128) * (uint64_t) PAGE_BYTES);
        store_ws_clear(&ws);
        assert_int_equal(spill_bytes(), 0);
    }
    spill_set_limit(UINT64_C(2) << 20);
    for (pgno_t pgno = 1; e.code == 0 && pgno <= 2000; pgno++)
        (void) store_ws_put(&ws, pgno, page, &e);
    assert_int_equal(e.code, -ERR_CONFIGURATION_LIMIT_EXCEEDED);
    store_ws_free(&ws);
    assert_int_equal(spill_bytes(), 0);
    spill_set_limit(SPILL_NO_LIMIT);
}

static pid_t
opener(const int *ends)
{
    pid_t pid = fork();
    char c;

    if (pid == 0) {
        (void) close(ends[1]);
        _exit(read(ends[0], &c, 1) == 0 && spill_open(NULL) >= 0 ? 0 : 1);
    }
    return pid;
}

/* The directory is made when it is first needed: by several sessions at once, perhaps. */
static void
the_first_temporary_files_of_two_processes_come_at_once(void **state)
{
    char dir[] = "/tmp/pinion-spill-XXXXXX";

    (void) state;
    assert_non_null(mkdtemp(dir));
    spill_set_dir(dir);
    for (int round = 0; round < 30; round++) {
        int ends[2];
        int status;
        pid_t pids[2];

        assert_int_equal(rmdir(dir), 0);
        assert_int_equal(pipe(ends), 0);
        for (int i = 0; i < 2; i++)
            pids[i] = opener(ends);
        (void) close(ends[0]);
        (void) close(ends[1]);
        for (int i = 0; i < 2; i++) {
            assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
            assert_int_equal(status, 0);
        }
    }
    assert_int_equal(rmdir(dir), 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_does_not_fit_into_the_heap_is_in_a_temporary_file),
        cmocka_unit_test(the_first_temporary_files_of_two_processes_come_at_once),
        cmocka_unit_test(it_is_an_array_of_pages_whatever_is_written_cut_and_sorted),
        cmocka_unit_test(the_limit_is_an_error_and_what_was_staged_stays),
    };
    return cmocka_run_group_tests_name("store_ws", tests, NULL, NULL);
}

/* Real files: short transfers and interrupted calls go on, errors are told and never tried again.
 * The program's own pwrite() and friends stand before libc's and answer as told. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/io.h"
#include "support/test.h"

#define ANSWERS 8
#define ALL     1000 /* an answer: as much as is asked for */

static char disk[64];
static int answers[ANSWERS]; /* > 0: so many bytes; else errno */
static unsigned n_calls;

static int
answer(void)
{
    int a = n_calls < ANSWERS ? answers[n_calls] : ALL;

    n_calls++;
    return a == 0 ? ALL : a;
}

static void
will_answer(int a, int b, int c)
{
    memset(answers, 0, sizeof answers);
    answers[0] = a;
    answers[1] = b;
    answers[2] = c;
    n_calls = 0;
}

static ssize_t
moved(int a, size_t n)
{
    if (a >= 0)
        return (ssize_t) MIN((size_t) a, n);
    errno = -a;
    return -1;
}

ssize_t
pwrite(int fd, const void *p, size_t n, off_t off)
{
    ssize_t r = moved(answer(), n);

    (void) fd;
    if (r > 0)
        memcpy(disk + off, p, (size_t) r);
    return r;
}

ssize_t
pread(int fd, void *p, size_t n, off_t off)
{
    ssize_t r = moved(answer(), n);

    (void) fd;
    if (r > 0)
        memcpy(p, disk + off, (size_t) r);
    return r;
}

int
fsync(int fd)
{
    (void) fd;
    return moved(answer(), 0) < 0 ? -1 : 0;
}

int
fdatasync(int fd)
{
    return fsync(fd);
}

static void
a_short_and_interrupted_transfer_goes_on(void **state)
{
    struct io io;
    char got[11] = "";

    (void) state;
    io_real_init(&io, -1);
    will_answer(3, -EINTR, 2);
    assert_int_equal(io_pwrite(&io, 0, "0123456789", 10, 5), 10);
    assert_int_equal(n_calls, 4);
    assert_memory_equal(disk + 5, "0123456789", 10);
    will_answer(1, -EINTR, 4);
    assert_int_equal(io_pread(&io, 0, got, 10, 5), 10);
    assert_string_equal(got, "0123456789");
}

static void
an_error_is_told_and_not_tried_again(void **state)
{
    struct io io;
    char got[10];

    (void) state;
    io_real_init(&io, -1);
    will_answer(3, -ENOSPC, ALL);
    assert_int_equal(io_pwrite(&io, 0, "0123456789", 10, 0), -ENOSPC);
    assert_int_equal(n_calls, 2);
    will_answer(-EIO, ALL, ALL);
    assert_int_equal(io_pread(&io, 0, got, 10, 0), -EIO);
    assert_int_equal(n_calls, 1);
    will_answer(-EIO, ALL, ALL);
    assert_int_equal(io_fsync(&io, 0), -EIO);
    assert_int_equal(n_calls, 1);
    will_answer(-EIO, ALL, ALL);
    assert_int_equal(io_fdatasync(&io, 0), -EIO);
    assert_int_equal(n_calls, 1);
}

static void
an_interrupted_sync_is_no_answer(void **state)
{
    struct io io;

    (void) state;
    io_real_init(&io, -1);
    will_answer(-EINTR, -EINTR, ALL);
    assert_int_equal(io_fsync(&io, 0), 0);
    assert_int_equal(n_calls, 3);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_short_and_interrupted_transfer_goes_on),
        cmocka_unit_test(an_error_is_told_and_not_tried_again),
        cmocka_unit_test(an_interrupted_sync_is_no_answer),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* wal_need(): never less than the true distance, wherever the record starts (WAL-2). */
#include "support/test.h"

#include "wal/wal.h"
#include "wal/wal_format.h"

static void
need_covers_the_true_distance_from_every_start(void **state)
{
    const uint32_t seg = WAL_SEGMENT_BYTES_MIN;
    const uint64_t per_seg = wal_usable_bytes(seg);
    const uint64_t sizes[] = { 8,           24,          8128,        8144,   8152,        8160,
                               8168,        8176,        16336,       65536,  per_seg - 8, per_seg,
                               per_seg + 8, 2 * per_seg, 3 * per_seg, 131072, 262144 };

    (void) state;
    for (size_t i = 0; i < ELEMENTSOF(sizes); i++) {
        uint64_t need = wal_need(sizes[i], seg);

        for (uint64_t at = 0; at < per_seg; at += 8) {
            lsn_t from = wal_usable_to_end(7 * per_seg + at, seg);
            lsn_t to = wal_usable_to_start(7 * per_seg + at + sizes[i], seg);

            if (to - from > need)
                fail_msg("%" PRIu64 " bytes at %" PRIu64 ": need %" PRIu64 ", distance %" PRIu64,
                         sizes[i], at, need, to - from);
        }
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(need_covers_the_true_distance_from_every_start),
    };

    return cmocka_run_group_tests_name("wal_need", tests, NULL, NULL);
}

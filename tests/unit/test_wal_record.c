/* wal/wal_record: what is refused, and that no bytes can lead the decoder out of the record. */
#include "support/test.h"

#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "wal/wal_record.h"

static uint8_t page[WAL_PAGE_BYTES];
static uint8_t bytes[64 * 1024];

static uint32_t
encode(const struct wal_rec *rec)
{
    struct buf b = buf_init(bytes, sizeof bytes);
    struct err e = ERR_INIT;

    assert_ok(wal_record_put(&b, rec, &e), &e);
    assert_int_equal(b.n, wal_record_bytes(rec));
    wal_record_seal(bytes, (uint32_t) b.n, 0x1000028);
    return (uint32_t) b.n;
}

static void
a_commit_sized_record_comes_back_whole(void **state)
{
    static const uint8_t delta[] = { 12, 0, 1, 0, 0x78 };
    static const uint8_t main_data[300] = { 1, 2, 3 };
    struct wal_block blocks[WAL_BLOCKS] = { 0 };
    struct wal_rec rec = { .rmid = RM_GENERIC,
                           .xid = 900,
                           .n_blocks = ELEMENTSOF(blocks),
                           .blocks = blocks,
                           .main = main_data,
                           .main_bytes = sizeof main_data };
    struct wal_decoded d;
    struct err e = ERR_INIT;
    uint32_t n;

    (void) state;
    for (uint8_t i = 0; i < ELEMENTSOF(blocks); i++) {
        blocks[i] = (struct wal_block){ .id = i,
                                        .blk = 1000u + i,
                                        .rel = { 1663, 16384, i < 10 ? 16385u : 16386u } };
        if (i % 3 == 0)
            blocks[i].image = (struct wal_image){ .p = page,
                                                  .bytes = 100,
                                                  .info = WAL_IMAGE_APPLY | WAL_IMAGE_LZ4 };
        else
            blocks[i].data = delta, blocks[i].data_bytes = sizeof delta;
    }
    n = encode(&rec);
    assert_ok(wal_record_decode(bytes, n, &d, &e), &e);
    assert_int_equal(d.n_blocks, WAL_BLOCKS);
    assert_int_equal(d.xid, 900);
    assert_int_equal(d.prev, 0x1000028);
    assert_int_equal(d.main_bytes, sizeof main_data);
    assert_memory_equal(d.main, main_data, sizeof main_data);
    for (uint32_t i = 0; i < d.n_blocks; i++) {
        assert_int_equal(d.blocks[i].blk, 1000 + i);
        assert_true(wal_rel_equal(&d.blocks[i].rel, &blocks[i].rel));
        /* the three OIDs stand only where they change */
        assert_int_equal((d.blocks[i].flags & WAL_BLOCK_SAME_REL) != 0, i != 0 && i != 10);
        assert_int_equal(d.blocks[i].data_bytes, blocks[i].data_bytes);
        assert_int_equal(d.blocks[i].image.bytes, blocks[i].image.bytes);
    }
}

static void
the_writer_refuses_what_a_reader_would_refuse(void **state)
{
    struct wal_block good = { .image = { .p = page, .bytes = 8192, .info = WAL_IMAGE_APPLY },
                              .rel = { 1663, 5, 5 } };
    struct wal_block rows[7];
    struct wal_rec rec = { .rmid = RM_GENERIC, .n_blocks = 1 };

    (void) state;
    for (size_t i = 0; i < ELEMENTSOF(rows); i++)
        rows[i] = good;
    rows[0].id = 33;
    rows[1].flags = 4;                   /* fork */
    rows[2].image.bytes = 8000;          /* neither packed nor with a hole */
    rows[3].image.info |= WAL_IMAGE_LZ4; /* packed to the page's own length */
    rows[4].image.hole_at = 100;         /* hole without length */
    rows[5].image.hole_bytes = 100;      /* hole at 0 */
    rows[6].image.hole_at = 8000, rows[6].image.hole_bytes = 200, rows[6].image.bytes = 7992;
    for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
        struct buf b = buf_init(bytes, sizeof bytes);

        rec.blocks = &rows[i];
        if (wal_record_put(&b, &rec, NULL) != -ERR_INVALID_PARAMETER_VALUE)
            fail_msg("row %zu was written", i);
    }
    rec.blocks = &good;
    for (size_t cap = 0; cap < wal_record_bytes(&rec); cap += 97) {
        struct buf b = buf_init(bytes, cap);

        assert_int_equal(wal_record_put(&b, &rec, NULL), -ERR_PROGRAM_LIMIT_EXCEEDED);
    }
    rec.rmid = 22;
    assert_int_equal(wal_record_put(&(struct buf){ .p = bytes, .cap = sizeof bytes }, &rec, NULL),
                     -ERR_INVALID_PARAMETER_VALUE);
}

/* A body behind a correct header: what the decoder says of it. "" = accepted. */
static void
each_rule_of_the_body_is_checked(void **state)
{
#define REL 0x7F, 6, 0, 0, 5, 0, 0, 0, 6, 0, 0, 0
    static const struct {
        const char *want;
        uint8_t n;
        uint8_t body[40];
    } rows[] = {
        { "", 0, { 0 } },
        { "", 3, { 255, 1, 9 } },
        { "", 6, { 254, 1, 0, 0, 0, 9 } }, /* long form for short data */
        { "", 3, { 253, 1, 0 } },
        { "", 8, { 252, 1, 0, 0, 0, 253, 1, 0 } },
        { "", 20, { 0, 0, 0, 0, REL, 1, 0, 0, 0 } },
        { "", 21, { 0, 0x20, 1, 0, REL, 1, 0, 0, 0, 7 } },
        { "payload", 4, { 255, 1, 9, 9 } },
        { "payload", 2, { 255, 1 } },
        { "payload", 5, { 254, 255, 255, 255, 255 } },
        { "inside its headers", 1, { 255 } },
        { "inside its headers", 3, { 254, 1, 0 } },
        { "inside its headers", 2, { 253, 1 } },
        { "inside its headers", 19, { 0, 0, 0, 0, REL, 1, 0, 0 } },
        { "element has id 33", 1, { 33 } },
        { "element has id 251", 1, { 251 } },
        { "follows 1", 40, { 1, 0, 0, 0, REL, 1, 0, 0, 0, 1, 0, 0, 0, REL, 1, 0, 0, 0 } },
        { "repeats no relation", 8, { 0, 0x80, 0, 0, 1, 0, 0, 0 } },
        { "data flag", 20, { 0, 0x20, 0, 0, REL, 1, 0, 0, 0 } },
        { "data flag", 21, { 0, 0, 1, 0, REL, 1, 0, 0, 0, 7 } },
        { "fork 4", 20, { 0, 4, 0, 0, REL, 1, 0, 0, 0 } },
        { "impossible hole", 25, { 0, 0x10, 0, 0, 0, 1, 0, 0, 3, REL, 1, 0, 0, 0 } },
        { "impossible hole", 25, { 0, 0x10, 0, 0, 0, 0x20, 5, 0, 3, REL, 1, 0, 0, 0 } },
        { "hole without", 25, { 0, 0x10, 0, 0, 0, 0x20, 5, 0, 2, REL, 1, 0, 0, 0 } },
        { "packed but not", 25, { 0, 0x10, 0, 0, 0, 0x20, 0, 0, 10, REL, 1, 0, 0, 0 } },
        { "neither hole", 25, { 0, 0x10, 0, 0, 1, 0, 0, 0, 2, REL, 1, 0, 0, 0 } },
        { "longer than a page", 27, { 0, 0x10, 0, 0, 1, 0x30, 1, 0, 11, 1, 0, REL, 1, 0, 0, 0 } },
        { "behind the page", 27, { 0, 0x10, 0, 0, 1, 0, 0, 0x1F, 11, 1, 2, REL, 1, 0, 0, 0 } },
    };
#undef REL

    (void) state;
    for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
        uint32_t n = WAL_RECORD_HEADER + rows[i].n;
        uint8_t *p = calloc(1, n); /* exactly as long, for AddressSanitizer */
        struct wal_decoded d;
        struct err e = ERR_INIT;

        assert_non_null(p);
        put_u32(p, n);
        p[WAL_RECORD_AT_RMID] = RM_GENERIC;
        memcpy(p + WAL_RECORD_HEADER, rows[i].body, rows[i].n);
        wal_record_seal(p, n, 0);
        (void) wal_record_decode(p, n, &d, &e);
        if (rows[i].want[0] == '\0' ? e.code != 0 : strstr(e.message, rows[i].want) == NULL)
            fail_msg("row %zu: got \"%s\", want \"%s\"", i, e.message, rows[i].want);
        free(p);
    }
}

static void
a_flipped_bit_anywhere_breaks_the_checksum(void **state)
{
    struct wal_block block = { .rel = { 1663, 5, 5 }, .data = page, .data_bytes = 40 };
    struct wal_rec rec = { .rmid = RM_GENERIC, .xid = 7, .n_blocks = 1, .blocks = &block };
    uint32_t n = encode(&rec);
    struct wal_decoded d;

    (void) state;
    for (uint32_t bit = 0; bit < 8 * n; bit++) {
        bytes[bit / 8] ^= (uint8_t) (1u << bit % 8);
        assert_int_equal(wal_record_decode(bytes, n, &d, NULL), -ERR_DATA_CORRUPTED);
        bytes[bit / 8] ^= (uint8_t) (1u << bit % 8);
    }
    for (uint32_t cut = 0; cut < n; cut++)
        assert_int_equal(wal_record_decode(bytes, cut, &d, NULL), -ERR_DATA_CORRUPTED);
    assert_int_equal(wal_record_decode(bytes, n, &d, NULL), 0);
}

/* Everything a decoded record points to lies inside it. */
static void
check_inside(const struct wal_decoded *d)
{
    for (uint32_t i = 0; i < d->n_blocks; i++) {
        const struct wal_block *b = &d->blocks[i];

        if (b->image.p != NULL) {
            assert_true(b->image.p >= d->p);
            assert_true(b->image.p + b->image.bytes <= d->p + d->bytes);
        }
        if (b->data_bytes > 0) {
            assert_true(b->data >= d->p);
            assert_true(b->data + b->data_bytes <= d->p + d->bytes);
        }
    }
    if (d->main_bytes > 0)
        assert_true(d->main + d->main_bytes == d->p + d->bytes);
}

static void
random_bodies_with_a_right_checksum_never_lead_outside(void **state)
{
    struct rng rng;
    unsigned n_valid = 0;

    (void) state;
    rng_init(&rng, 20261121);
    for (unsigned round = 0; round < 20000; round++) {
        struct wal_block blocks[2] = { { .rel = { 1663, 5, 5 }, .data = page, .data_bytes = 9 },
                                       { .id = 1, .rel = { 1663, 5, 5 }, .blk = 3 } };
        struct wal_rec rec = {
            .rmid = RM_XLOG, .n_blocks = 2, .blocks = blocks, .main = page, .main_bytes = 20
        };
        uint32_t n = encode(&rec);
        struct wal_decoded d;
        uint8_t *p = malloc(n);

        assert_non_null(p);
        memcpy(p, bytes, n);
        for (uint64_t i = rng_below(&rng, 4) + 1; i > 0; i--)
            p[WAL_RECORD_HEADER + rng_below(&rng, n - WAL_RECORD_HEADER)] =
                (uint8_t) rng_below(&rng, 256);
        wal_record_seal(p, n, 0);
        if (wal_record_decode(p, n, &d, NULL) == 0) {
            check_inside(&d);
            n_valid++;
        }
        free(p);
    }
    assert_true(n_valid > 100);
}

static void
an_image_with_a_hole_is_spread_with_zeros(void **state)
{
    uint8_t raw[8000];
    uint8_t got[WAL_PAGE_BYTES];
    struct wal_image image = { .p = raw, .bytes = 8000, .hole_at = 100, .hole_bytes = 192 };

    (void) state;
    memset(raw, 7, sizeof raw);
    memset(got, 9, sizeof got);
    wal_image_spread(&image, raw, got);
    for (uint32_t i = 0; i < sizeof got; i++)
        assert_int_equal(got[i], i >= 100 && i < 292 ? 0 : 7);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_commit_sized_record_comes_back_whole),
        cmocka_unit_test(the_writer_refuses_what_a_reader_would_refuse),
        cmocka_unit_test(each_rule_of_the_body_is_checked),
        cmocka_unit_test(a_flipped_bit_anywhere_breaks_the_checksum),
        cmocka_unit_test(random_bodies_with_a_right_checksum_never_lead_outside),
        cmocka_unit_test(an_image_with_a_hole_is_spread_with_zeros),
    };

    return cmocka_run_group_tests_name("wal_record", tests, NULL, NULL);
}

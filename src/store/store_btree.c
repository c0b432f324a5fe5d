/* Unused bytes of SQLite's b-tree pages. Runs in: backends. Pure. Owns: nothing.
 * Source: SQLite's description of its file format, "B-tree Pages" and "Pointer Map Pages". */
#include "store/store_btree.h"

#include <string.h>

#include "base/buf.h"
#include "store/store_page.h"

#define RESERVED_AT     20u
#define POINTER_MAP_ROW 5u /* bytes of a page's entry */
/* A page that is neither b-tree nor pointer map begins with a page number, big-endian: below this
 * one its first byte is 0. */
#define PGNO_MAX (UINT32_C(1) << 24)

enum { TYPE_INDEX_INNER = 2, TYPE_TABLE_INNER = 5, TYPE_INDEX_LEAF = 10, TYPE_TABLE_LEAF = 13 };

bool
store_btree_is_told_by_type(const uint8_t *header, pgno_t pgno, pgno_t size)
{
    static const char magic[16] = "SQLite format 3";

    if (memcmp(header, magic, sizeof magic) != 0 || header[RESERVED_AT] != PAGE_TAIL_BYTES)
        return false;
    return pgno > 1 && size < PGNO_MAX && (pgno - 2) % (PAGE_TAIL_AT / POINTER_MAP_ROW + 1) != 0;
}

static uint32_t
get_be16(const uint8_t *p)
{
    return (uint32_t) p[0] << 8 | p[1];
}

/* Where the cells' pointers begin; 0 = not a b-tree page. */
static uint32_t
pointers_at(const uint8_t *page)
{
    switch (page[0]) {
    case TYPE_INDEX_LEAF:
    case TYPE_TABLE_LEAF:
        return 8;
    case TYPE_INDEX_INNER:
    case TYPE_TABLE_INNER:
        return 12;
    default: /* any byte can be there */
        return 0;
    }
}

void
store_btree_keep_unused(uint8_t *page, const uint8_t *base)
{
    uint32_t gap = pointers_at(page);
    uint32_t cells = get_be16(page + 5); /* 0 would be 65536, of larger pages */
    uint32_t at = get_be16(page + 1);    /* first free block */

    if (gap == 0)
        return;
    gap += 2 * get_be16(page + 3);
    if (gap > cells || cells > PAGE_TAIL_AT)
        return;
    memcpy(page + gap, base + gap, cells - gap);
    for (uint32_t next; at >= cells && at + 4 <= PAGE_TAIL_AT; at = next) {
        uint32_t bytes = get_be16(page + at + 2);

        next = get_be16(page + at);
        if (bytes < 4 || at + bytes > PAGE_TAIL_AT || (next != 0 && next < at + bytes))
            return;
        memcpy(page + at + 4, base + at + 4, bytes - 4);
    }
}

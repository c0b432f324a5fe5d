/* Positions in the log, names of segments, names of record types.
 * Runs in: every process, tests. Pure. Owns: nothing.
 * Source: wal-format.md 1.1, 1.2, 1.9, 2.1. */
#include "wal/wal_format.h"

#include <stdio.h>
#include <string.h>

/* Usable bytes before the start of page `page` (0 = first) of a segment. */
static uint64_t
usable_before_page(uint64_t page)
{
    return page == 0 ? 0 : WAL_USABLE_BYTES_LONG_PAGE + (page - 1) * WAL_USABLE_BYTES_PAGE;
}

lsn_t
wal_usable_to_start(uint64_t u, uint32_t segment_bytes)
{
    uint64_t per_segment = wal_usable_bytes(segment_bytes);
    uint64_t rest = u % per_segment;
    lsn_t segment = u / per_segment * segment_bytes;

    if (rest < WAL_USABLE_BYTES_LONG_PAGE)
        return segment + WAL_LONG_HEADER + rest;
    rest -= WAL_USABLE_BYTES_LONG_PAGE;
    return segment + WAL_PAGE_BYTES * (1 + rest / WAL_USABLE_BYTES_PAGE) + WAL_SHORT_HEADER +
           rest % WAL_USABLE_BYTES_PAGE;
}

lsn_t
wal_usable_to_end(uint64_t u, uint32_t segment_bytes)
{
    lsn_t start = wal_usable_to_start(u, segment_bytes);

    if (wal_page_offset(start) == wal_page_header_bytes(start, segment_bytes))
        return wal_page_start(start);
    return start;
}

uint64_t
wal_usable_of(lsn_t lsn, uint32_t segment_bytes)
{
    uint64_t page = wal_segment_offset(lsn, segment_bytes) / WAL_PAGE_BYTES;
    uint32_t header = wal_page_header_bytes(lsn, segment_bytes);
    uint32_t at = wal_page_offset(lsn);

    return wal_segno(lsn, segment_bytes) * wal_usable_bytes(segment_bytes) +
           usable_before_page(page) + (at > header ? at - header : 0);
}

lsn_t
wal_end_of(lsn_t start, uint64_t bytes, uint32_t segment_bytes)
{
    uint32_t at = wal_page_offset(start);

    if (at >= wal_page_header_bytes(start, segment_bytes) &&
        MAXALIGN(at + bytes) <= WAL_PAGE_BYTES) /* most records: all on one page */
        return MAXALIGN(start + bytes);
    return wal_usable_to_end(MAXALIGN(wal_usable_of(start, segment_bytes) + bytes), segment_bytes);
}

void
wal_segment_name(char ret[WAL_SEGMENT_NAME_BYTES], tli_t tli, uint64_t segno,
                 uint32_t segment_bytes)
{
    uint64_t per_log_id = (UINT64_C(1) << 32) / segment_bytes;

    (void) snprintf(ret, WAL_SEGMENT_NAME_BYTES, "%08X%08X%08X", tli,
                    (uint32_t) (segno / per_log_id), (uint32_t) (segno % per_log_id));
}

void
wal_segment_path(char ret[WAL_SEGMENT_PATH_BYTES], tli_t tli, uint64_t segno,
                 uint32_t segment_bytes)
{
    char name[WAL_SEGMENT_NAME_BYTES];

    wal_segment_name(name, tli, segno, segment_bytes);
    (void) snprintf(ret, WAL_SEGMENT_PATH_BYTES, "%s/%s", WAL_DIR, name);
}

bool
wal_segment_parse(const char *name, uint32_t segment_bytes, tli_t *ret_tli, uint64_t *ret_segno)
{
    uint64_t per_log_id = (UINT64_C(1) << 32) / segment_bytes;
    uint32_t part[3] = { 0, 0, 0 };

    for (size_t i = 0; i < 24; i++) {
        char c = name[i];
        uint32_t digit;

        if (c >= '0' && c <= '9')
            digit = (uint32_t) (c - '0');
        else if (c >= 'A' && c <= 'F')
            digit = (uint32_t) (c - 'A') + 10;
        else
            return false;
        part[i / 8] = part[i / 8] << 4 | digit;
    }
    if (name[24] != '\0' || part[0] == 0 || part[2] >= per_log_id)
        return false;
    *ret_tli = part[0];
    *ret_segno = part[1] * per_log_id + part[2];
    return true;
}

/* clang-format off */
static const char *const rmgr_names[] = {
#define RMGR(name, id, text) [id] = text,
#include "tbl/wal_rmgrs.def"
};
static_assert(ELEMENTSOF(rmgr_names) == RM_MESSAGE + 1, "every id has a name");

static const struct {
    uint8_t rmid;
    uint8_t info;
    const char *name;
} info_names[] = {
#define RMGR_INFO(rmgr, name, info_byte, text) { RM_##rmgr, (info_byte), text },
#include "tbl/wal_rmgrs.def"
};
/* clang-format on */

void
wal_rmgr_name(uint8_t rmid, char ret[16])
{
    if (rmid < ELEMENTSOF(rmgr_names))
        (void) snprintf(ret, 16, "%s", rmgr_names[rmid]);
    else
        (void) snprintf(ret, 16, "custom%03u", rmid);
}

const char *
wal_info_name(uint8_t rmid, uint8_t info)
{
    uint8_t type = rmid == RM_XACT ? info & XACT_INFO_MASK : info & 0xF0;

    for (size_t i = 0; i < ELEMENTSOF(info_names); i++)
        if (info_names[i].rmid == rmid && info_names[i].info == type)
            return info_names[i].name;
    return NULL;
}

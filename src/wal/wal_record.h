/* One record: parts to bytes and bytes to parts (wal-format.md 1.4-1.8). Pure: no I/O, no
 * allocation, no globals.
 *
 * To write: fill struct wal_rec, wal_record_put() it into memory of wal_record_bytes(), and when
 * its place is known wal_record_seal() it: prev and CRC are known only inside the reservation. To
 * read: wal_record_decode() checks everything and points into the bytes; it copies nothing. */
#pragma once

#include "base/buf.h"
#include "base/types.h"
#include "wal/wal_format.h"

struct wal_rel {
    oid_t spc;
    oid_t db;
    oid_t rel;
};
static_assert(sizeof(struct wal_rel) == 12, "lists of relations are copied whole");

static inline bool
wal_rel_equal(const struct wal_rel *a, const struct wal_rel *b)
{
    return a->spc == b->spc && a->db == b->db && a->rel == b->rel;
}

/* Image of a page. Stored bytes may be packed (info, WAL_IMAGE_PACKED) after the hole was cut out.
 */
struct wal_image {
    const uint8_t *p; /* borrowed; NULL = no image */
    uint16_t bytes;   /* as stored; 8192 when neither packed nor with a hole */
    uint16_t hole_at; /* 0 with hole_bytes 0: no hole. We never write one (WAL-1) */
    uint16_t hole_bytes;
    uint8_t info; /* WAL_IMAGE_*; HAS_HOLE is set by wal_record_put() */
};

struct wal_block {
    uint8_t id;    /* 0..32, ascending in a record */
    uint8_t flags; /* fork and WILL_INIT; decode adds HAS_*, put works them out itself */
    uint16_t data_bytes;
    blk_t blk;
    struct wal_rel rel;
    struct wal_image image;
    const uint8_t *data; /* borrowed; data_bytes long */
};

/* A record to write. All pointers are borrowed until wal_record_put() returns. */
struct wal_rec {
    uint8_t rmid;
    uint8_t info;
    uint32_t xid; /* low 32 bits; 0 = none */
    uint32_t n_blocks;
    uint32_t main_bytes;
    const struct wal_block *blocks;
    const void *main;
};

/* Exact length (tot_len) of what wal_record_put() writes. */
uint64_t wal_record_bytes(const struct wal_rec *rec);
/* Append the record's bytes with prev and crc 0. Returns 0; -ERR_INVALID_PARAMETER_VALUE if the
 * parts break a rule of 1.7 or are too long; -ERR_PROGRAM_LIMIT_EXCEEDED if b has no room. b is
 * useless after a failure. */
int wal_record_put(struct buf *b, const struct wal_rec *rec, struct err *e);
/* Fill prev and CRC of the record at p, whose length is `bytes`. */
void wal_record_seal(void *p, uint32_t bytes, lsn_t prev);
/* CRC as it has to be stored: body first, then 20 header bytes. */
uint32_t wal_record_crc(const void *p, uint32_t bytes);

/* A record read. Pointers go into the bytes that were decoded. */
struct wal_decoded {
    lsn_t lsn; /* set by wal_reader: start … */
    lsn_t
        end; /* … and end address (1.8: what a redone page gets); 0 when decoded from loose bytes */
    lsn_t prev;
    uint32_t bytes; /* tot_len */
    uint32_t xid;
    uint8_t rmid;
    uint8_t info;
    bool has_origin;
    bool has_top_xid;
    uint16_t origin;
    uint32_t top_xid;
    uint32_t n_blocks;
    uint32_t main_bytes;
    const uint8_t *main; /* NULL if main_bytes is 0 */
    const uint8_t *p;    /* the whole record, `bytes` long */
    struct wal_block blocks[WAL_BLOCKS];
};

/* True for a Transaction record (info without its flag bits). */
static inline bool
wal_decoded_is_xact(const struct wal_decoded *d, uint8_t info)
{
    return d->rmid == RM_XACT && (d->info & XACT_INFO_MASK) == info;
}
static inline bool
wal_decoded_is(const struct wal_decoded *d, uint8_t rmid, uint8_t info)
{
    return d->rmid == rmid && (d->info & 0xF0) == info;
}

/* Check and take apart the record in p[0..n). n must be its tot_len exactly. CRC, header, element
 * and block rules are all checked. Returns 0, or -ERR_DATA_CORRUPTED with the reason in e. */
int wal_record_decode(const void *p, size_t n, struct wal_decoded *ret, struct err *e);

/* Put a page together from an unpacked image: `raw` is 8192 - hole_bytes long, the hole becomes
 * zeros. The unpacking itself is the caller's. */
void wal_image_spread(const struct wal_image *image, const void *raw, void *ret_page);

/* Which database files the startup process still has to verify: what redo changed since somebody
 * last looked, and what was found damaged. The file "pinion_verify" keeps the list when a start is
 * cut off behind the checkpoint that ends redo: the next redo would begin behind it and would not
 * know. A line "<oid> <relfilenode>" for each. */
#pragma once

#include "store/store_file.h"

#define STORE_TOUCHED_PATH "pinion_verify"

struct store_touched {
    struct store_listed *list; /* owned */
    uint32_t n, cap;
    bool is_dirty; /* has more than the file */
};

bool store_touched_has(const struct store_touched *t, oid_t oid, oid_t rel);
/* 0, also if it is there; 53200. */
int store_touched_add(struct store_touched *t, oid_t oid, oid_t rel, struct err *e);
/* Add what the file lists; none: nothing. XX001: it is not of its form. */
int store_touched_read(struct store_touched *t, struct io *io, struct err *e);
/* Make the file say what `t` says, durably; an empty list: no file. Nothing happens unless
 * `is_dirty`. */
int store_touched_write(struct store_touched *t, struct io *io, struct err *e);
void store_touched_done(struct store_touched *t); /* accepts a zeroed one */

/* SQLite's values as PostgreSQL's types: OIDs from declared column types, text and binary forms.
 * Pure but for sqlite3_value_* accessors. */
#pragma once

#include <sqlite3.h>

#include "base/err.h"
#include "base/types.h"

/* wal-format 6.10 */
enum {
    TYPE_BOOL = 16,
    TYPE_BYTEA = 17,
    TYPE_CHAR = 18,
    TYPE_NAME = 19,
    TYPE_INT8 = 20,
    TYPE_INT2 = 21,
    TYPE_INT4 = 23,
    TYPE_TEXT = 25,
    TYPE_OID = 26,
    TYPE_XID = 28,
    TYPE_JSON = 114,
    TYPE_FLOAT4 = 700,
    TYPE_FLOAT8 = 701,
    TYPE_UNKNOWN = 705,
    TYPE_BPCHAR = 1042,
    TYPE_VARCHAR = 1043,
    TYPE_DATE = 1082,
    TYPE_TIME = 1083,
    TYPE_TIMESTAMP = 1114,
    TYPE_TIMESTAMPTZ = 1184,
    TYPE_NUMERIC = 1700,
    TYPE_UUID = 2950,
    TYPE_PG_LSN = 3220,
    TYPE_JSONB = 3802,
};

/* Marks a function's result (sqlite3_result_subtype) as of one of these types. */
enum { SUBTYPE_BOOL = 'b', SUBTYPE_LSN = 'l', SUBTYPE_TIMESTAMPTZ = 'z', SUBTYPE_NAME = 'n' };

/* Type and modifier of a declared type such as "VARCHAR(20)", "int", "timestamp with time zone".
 * Unknown words go by SQLite's affinity rules. NULL or "" is TYPE_UNKNOWN: go by the value. */
oid_t types_of_decl(const char *decl, int32_t *ret_mod);
/* For a column without a declared type: by a value (NULL is TYPE_TEXT). */
oid_t types_of_value(sqlite3_value *v);
/* pg_type.typlen. */
int16_t types_len(oid_t type);
/* Can values of this type be sent and taken in binary format? */
bool types_has_binary(oid_t type);

/* Shortest decimal form that reads back as `d`, as PostgreSQL prints float8. Returns its length. */
size_t types_format_double(double d, char *p, size_t cap);

/* A growing buffer for the values of one row. */
struct types_out {
    char *p;  /* owned */
    size_t n; /* used */
    size_t cap;
};
/* Give a large buffer back. */
void types_out_trim(struct types_out *out);
/* Append the text form of v (not NULL) as `type` to out; *ret_at and *ret_n say where. 0;
 * 53200 beyond session_memory_limit, 54000 beyond a message. */
int types_put_text(struct types_out *out, sqlite3_value *v, oid_t type, size_t *ret_at,
                   size_t *ret_n, struct err *e);
/* The same in binary. 22P02, 22003 if the value is none of the type. */
int types_put_binary(struct types_out *out, sqlite3_value *v, oid_t type, size_t *ret_at,
                     size_t *ret_n, struct err *e);

/* Bind parameter `idx` of `stmt` from the n bytes at p (n < 0: NULL), given as `type` in text (0)
 * or binary (1) format. 22P02, 22P03 … */
int types_bind(sqlite3_stmt *stmt, int idx, oid_t type, int format, const void *p, int32_t n,
               struct err *e);

/* SQLite's values as PostgreSQL's types. Runs in: backend. No state. Source: wal-format 6.10;
 * SQLite's "Datatypes" for affinity. */
#include "sql/session_types.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/buf.h"
#include "base/utf8.h"

/* Of what PostgreSQL can say of a column: varchar(n), numeric(n, m). */
#define LENGTH_MAX    10485760
#define PRECISION_MAX 1000

struct decl_row {
    const char *word; /* in lower case, blanks single */
    oid_t type;
};

/* PostgreSQL's names and SQLite's habits. */
static const struct decl_row decl_rows[] = {
    { "integer", TYPE_INT4 },
    { "int", TYPE_INT4 },
    { "int4", TYPE_INT4 },
    { "serial", TYPE_INT4 },
    { "mediumint", TYPE_INT4 },
    { "bigint", TYPE_INT8 },
    { "int8", TYPE_INT8 },
    { "bigserial", TYPE_INT8 },
    { "unsigned big int", TYPE_INT8 },
    { "smallint", TYPE_INT2 },
    { "int2", TYPE_INT2 },
    { "tinyint", TYPE_INT2 },
    { "boolean", TYPE_BOOL },
    { "bool", TYPE_BOOL },
    { "text", TYPE_TEXT },
    { "clob", TYPE_TEXT },
    { "string", TYPE_TEXT },
    { "varchar", TYPE_VARCHAR },
    { "character varying", TYPE_VARCHAR },
    { "varying character", TYPE_VARCHAR },
    { "nvarchar", TYPE_VARCHAR },
    { "char", TYPE_BPCHAR },
    { "character", TYPE_BPCHAR },
    { "nchar", TYPE_BPCHAR },
    { "native character", TYPE_BPCHAR },
    { "bpchar", TYPE_BPCHAR },
    { "name", TYPE_NAME },
    { "blob", TYPE_BYTEA },
    { "bytea", TYPE_BYTEA },
    { "real", TYPE_FLOAT8 }, /* SQLite's are always doubles */
    { "float", TYPE_FLOAT8 },
    { "float4", TYPE_FLOAT8 },
    { "float8", TYPE_FLOAT8 },
    { "double", TYPE_FLOAT8 },
    { "double precision", TYPE_FLOAT8 },
    { "numeric", TYPE_NUMERIC },
    { "decimal", TYPE_NUMERIC },
    { "number", TYPE_NUMERIC },
    { "date", TYPE_DATE },
    { "time", TYPE_TIME },
    { "time without time zone", TYPE_TIME },
    { "timestamp", TYPE_TIMESTAMP },
    { "datetime", TYPE_TIMESTAMP },
    { "timestamp without time zone", TYPE_TIMESTAMP },
    { "timestamptz", TYPE_TIMESTAMPTZ },
    { "timestamp with time zone", TYPE_TIMESTAMPTZ },
    { "uuid", TYPE_UUID },
    { "json", TYPE_JSON },
    { "jsonb", TYPE_JSONB },
    { "oid", TYPE_OID },
    { "xid", TYPE_XID },
    { "pg_lsn", TYPE_PG_LSN },
};

/* The words of a declared type without its "(…)", and the numbers in it. */
static int
split_decl(const char *decl, char *word, size_t cap, int32_t *num)
{
    size_t n = 0;
    int n_num = 0;
    bool inside = false;

    for (const char *p = decl; *p != '\0' && n + 1 < cap; p++) {
        if (*p == '(') {
            inside = true;
        } else if (*p == ')') {
            inside = false;
        } else if (inside && isdigit((unsigned char) *p) && n_num < 2) {
            long v = strtol(p, (char **) &p, 10);

            num[n_num++] = (int32_t) MIN(v, INT32_MAX);
            p--;
        } else if (!inside && isspace((unsigned char) *p)) {
            if (n > 0 && word[n - 1] != ' ')
                word[n++] = ' ';
        } else if (!inside) {
            word[n++] = (char) tolower((unsigned char) *p);
        }
    }
    while (n > 0 && word[n - 1] == ' ')
        n--;
    word[n] = '\0';
    return n_num;
}

/* SQLite's five rules, for words we do not know. */
static oid_t
type_by_affinity(const char *word)
{
    if (strstr(word, "int") != NULL)
        return TYPE_INT8;
    if (strstr(word, "char") != NULL || strstr(word, "clob") != NULL ||
        strstr(word, "text") != NULL)
        return TYPE_TEXT;
    if (strstr(word, "blob") != NULL)
        return TYPE_BYTEA;
    if (strstr(word, "real") != NULL || strstr(word, "floa") != NULL ||
        strstr(word, "doub") != NULL)
        return TYPE_FLOAT8;
    return TYPE_NUMERIC;
}

oid_t
types_of_decl(const char *decl, int32_t *ret_mod)
{
    char word[64];
    int32_t num[2] = { 0, 0 };
    oid_t type = 0;
    int n_num;

    *ret_mod = -1;
    if (decl == NULL || decl[0] == '\0')
        return TYPE_UNKNOWN;
    n_num = split_decl(decl, word, sizeof word, num);
    for (size_t i = 0; i < ELEMENTSOF(decl_rows) && type == 0; i++) {
        if (strcmp(word, decl_rows[i].word) == 0)
            type = decl_rows[i].type;
    }
    if (type == 0)
        return type_by_affinity(word);
    if ((type == TYPE_VARCHAR || type == TYPE_BPCHAR) && n_num == 1 && num[0] <= LENGTH_MAX)
        *ret_mod = num[0] + 4;
    if (type == TYPE_NUMERIC && n_num > 0 && num[0] <= PRECISION_MAX)
        *ret_mod = (int32_t) (((uint32_t) num[0] << 16) | ((uint32_t) num[1] & 0x7ff)) + 4;
    return type;
}

oid_t
types_of_value(sqlite3_value *v)
{
    switch (sqlite3_value_subtype(v)) {
    case SUBTYPE_BOOL:
        return TYPE_BOOL;
    case SUBTYPE_LSN:
        return TYPE_PG_LSN;
    case SUBTYPE_TIMESTAMPTZ:
        return TYPE_TIMESTAMPTZ;
    case SUBTYPE_NAME:
        return TYPE_NAME;
    default: /* JSON's and others' */
        break;
    }
    switch (sqlite3_value_type(v)) {
    case SQLITE_INTEGER:
        return TYPE_INT8;
    case SQLITE_FLOAT:
        return TYPE_FLOAT8;
    case SQLITE_BLOB:
        return TYPE_BYTEA;
    default: /* text, NULL */
        return TYPE_TEXT;
    }
}

int16_t
types_len(oid_t type)
{
    switch (type) {
    case TYPE_BOOL:
    case TYPE_CHAR:
        return 1;
    case TYPE_INT2:
        return 2;
    case TYPE_INT4:
    case TYPE_OID:
    case TYPE_XID:
    case TYPE_FLOAT4:
    case TYPE_DATE:
        return 4;
    case TYPE_INT8:
    case TYPE_FLOAT8:
    case TYPE_TIME:
    case TYPE_TIMESTAMP:
    case TYPE_TIMESTAMPTZ:
    case TYPE_PG_LSN:
        return 8;
    case TYPE_UUID:
        return 16;
    case TYPE_NAME:
        return 64;
    case TYPE_UNKNOWN:
        return -2;
    default: /* variable length */
        return -1;
    }
}

bool
types_has_binary(oid_t type)
{
    switch (type) {
    case TYPE_BOOL:
    case TYPE_BYTEA:
    case TYPE_NAME:
    case TYPE_INT8:
    case TYPE_INT2:
    case TYPE_INT4:
    case TYPE_TEXT:
    case TYPE_OID:
    case TYPE_XID:
    case TYPE_JSON:
    case TYPE_FLOAT4:
    case TYPE_FLOAT8:
    case TYPE_UNKNOWN:
    case TYPE_BPCHAR:
    case TYPE_VARCHAR:
        return true;
    default:
        return false;
    }
}

/* ---- text ---- */

size_t
types_format_double(double d, char *p, size_t cap)
{
    char digits[40];
    char *exp;
    int n_exp, prec;

    if (__builtin_isnan(d))
        return (size_t) snprintf(p, cap, "NaN");
    if (__builtin_isinf(d))
        return (size_t) snprintf(p, cap, d < 0 ? "-Infinity" : "Infinity");
    for (prec = 0; prec < 17; prec++) { /* the fewest digits that read back the same */
        double back;

        (void) snprintf(digits, sizeof digits, "%.*e", prec, d);
        back = strtod(digits, NULL);
        if (memcmp(&back, &d, sizeof d) == 0)
            break;
    }
    exp = strchr(digits, 'e');
    n_exp = (int) strtol(exp + 1, NULL, 10);
    if (n_exp < -4 || n_exp >= 15)
        return (size_t) snprintf(p, cap, "%s", digits);
    return (size_t) snprintf(p, cap, "%.*f", MAX(prec - n_exp, 0), d);
}

#define ROW_BYTES_MAX                                                              \
    ((size_t) 0x3fffffff - (1u << 20))    /* of one message, with its column heads \
                                           */
#define OUT_FREE_BYTES ((size_t) 1 << 20) /* below it nobody counts */

static int
out_of_memory(const char *detail, struct err *e)
{
    int r = ERR(e, OUT_OF_MEMORY, "out of memory");

    err_detail(e, "%s", detail);
    err_hint(e, "A session may take session_memory_limit bytes of memory.");
    return r;
}

/* Does a row of `cap` bytes fit beside what SQLite has? It is copied once more, into the message.
 * session_memory_limit is SQLite's hard limit. */
static int
out_check(size_t cap, struct err *e)
{
    sqlite3_int64 limit = sqlite3_hard_heap_limit64(-1);

    if (cap > ROW_BYTES_MAX)
        return ERR(e, PROGRAM_LIMIT_EXCEEDED, "row is too large: a message may have 1 GB");
    if (cap <= OUT_FREE_BYTES || limit <= 0 ||
        sqlite3_memory_used() + 2 * (sqlite3_int64) cap <= limit)
        return 0;
    return out_of_memory("A row and the message that carries it do not fit.", e);
}

void
types_out_trim(struct types_out *out)
{
    if (out->cap <= OUT_FREE_BYTES)
        return;
    free(out->p);
    *out = (struct types_out){ 0 };
}

/* Room for n bytes at *ret_p. */
static int
out_grow(struct types_out *out, size_t n, char **ret_p, size_t *ret_at, struct err *e)
{
    if (out->p == NULL || out->cap - out->n < n) {
        size_t need = out->n + n + 256;
        size_t cap = need > OUT_FREE_BYTES ? need + need / 8 : MAX(out->cap * 2, need);
        int r = out_check(need, e);
        char *grown = r == 0 ? realloc(out->p, cap) : NULL;

        if (r == 0 && grown == NULL)
            r = ERR(e, OUT_OF_MEMORY, "out of memory");
        if (r < 0)
            return r;
        out->p = grown;
        out->cap = cap;
    }
    *ret_at = out->n;
    *ret_p = out->p + out->n;
    return 0;
}

/* SQLite gives no bytes of a value that it cannot make for want of memory: a large zeroblob(). */
static int
no_value(struct err *e)
{
    return out_of_memory("A value could not be made.", e);
}

static int
put_bytes(struct types_out *out, const void *src, size_t n, size_t *ret_at, struct err *e)
{
    char *p = NULL;
    int r = src == NULL && n > 0 ? no_value(e) : out_grow(out, n, &p, ret_at, e);

    if (r < 0)
        return r;
    if (n > 0)
        memcpy(p, src, n);
    out->n += n;
    return 0;
}

static int
put_hex(struct types_out *out, const uint8_t *src, size_t n, size_t *ret_at, struct err *e)
{
    static const char hex[] = "0123456789abcdef";
    char *p = NULL;
    int r;

    if (src == NULL && n > 0)
        return no_value(e);
    r = out_grow(out, 2 + 2 * n, &p, ret_at, e);
    if (r < 0)
        return r;
    ASSERT(p != NULL);
    *p++ = '\\';
    *p++ = 'x';
    for (size_t i = 0; i < n; i++) {
        *p++ = hex[src[i] >> 4];
        *p++ = hex[src[i] & 15];
    }
    out->n += 2 + 2 * n;
    return 0;
}

int
types_put_text(struct types_out *out, sqlite3_value *v, oid_t type, size_t *ret_at, size_t *ret_n,
               struct err *e)
{
    const uint8_t *blob;
    char num[400];
    size_t n;
    int r;

    switch (sqlite3_value_type(v)) {
    case SQLITE_BLOB:
        blob = sqlite3_value_blob(v); /* before its length: it may be made by this */
        r = put_hex(out, blob, (size_t) sqlite3_value_bytes(v), ret_at, e);
        break;
    case SQLITE_FLOAT:
        n = types_format_double(sqlite3_value_double(v), num, sizeof num);
        r = put_bytes(out, num, n, ret_at, e);
        break;
    case SQLITE_INTEGER:
        if (type == TYPE_BOOL)
            r = put_bytes(out, sqlite3_value_int64(v) != 0 ? "t" : "f", 1, ret_at, e);
        else
            r = put_bytes(out, num, decimal_i64(num, sqlite3_value_int64(v)), ret_at, e);
        break;
    default:
        if (type == TYPE_BYTEA) {
            const uint8_t *p = sqlite3_value_text(v);

            r = put_hex(out, p, (size_t) sqlite3_value_bytes(v), ret_at, e);
        } else {
            const unsigned char *p = sqlite3_value_text(v);

            r = put_bytes(out, p, (size_t) sqlite3_value_bytes(v), ret_at, e);
        }
        break;
    }
    *ret_n = r < 0 ? 0 : out->n - *ret_at;
    return r;
}

/* ---- binary ---- */

static int
put_int(struct types_out *out, int64_t i, int bytes, size_t *ret_at, struct err *e)
{
    uint8_t be[8];
    int64_t top = bytes == 8 ? INT64_MAX : (INT64_C(1) << (8 * bytes - 1)) - 1;

    if (i > top || i < -top - 1)
        return ERR(e, NUMERIC_VALUE_OUT_OF_RANGE, "value %lld does not fit into %d bytes",
                   (long long) i, bytes);
    for (int k = 0; k < bytes; k++)
        be[k] = (uint8_t) ((uint64_t) i >> (8 * (bytes - 1 - k)));
    return put_bytes(out, be, (size_t) bytes, ret_at, e);
}

static int
put_double(struct types_out *out, double d, int bytes, size_t *ret_at, struct err *e)
{
    uint64_t u;
    float f = (float) d;
    uint32_t u4;

    memcpy(&u, &d, sizeof u);
    memcpy(&u4, &f, sizeof u4);
    u = __builtin_bswap64(u);
    u4 = __builtin_bswap32(u4);
    return bytes == 8 ? put_bytes(out, &u, 8, ret_at, e) : put_bytes(out, &u4, 4, ret_at, e);
}

/* A column of integers may hold what is none. */
static int
to_integer(sqlite3_value *v, int64_t *ret, struct err *e)
{
    double d = sqlite3_value_double(v);

    *ret = sqlite3_value_int64(v);
    if (sqlite3_value_type(v) == SQLITE_INTEGER ||
        (*ret < INT64_MAX && !((double) *ret < d) && !((double) *ret > d)))
        return 0;
    return ERR(e, NUMERIC_VALUE_OUT_OF_RANGE,
               "value %.17g is not an integer, as its column's type is", d);
}

int
types_put_binary(struct types_out *out, sqlite3_value *v, oid_t type, size_t *ret_at, size_t *ret_n,
                 struct err *e)
{
    int is = sqlite3_value_type(v);
    bool is_number = is == SQLITE_INTEGER || is == SQLITE_FLOAT;
    int16_t len = types_len(type);
    int64_t i = 0;
    int r;

    if (type == TYPE_BYTEA) {
        const void *p = sqlite3_value_blob(v);

        r = put_bytes(out, p, (size_t) sqlite3_value_bytes(v), ret_at, e);
    } else if (len == -1 || len == 64 || type == TYPE_UNKNOWN) {
        r = types_put_text(out, v, type, ret_at, ret_n, e);
    } else if (!is_number) {
        return ERR(e, INVALID_TEXT_REPRESENTATION,
                   "value is not a number, as its column's type is");
    } else if (type == TYPE_FLOAT8 || type == TYPE_FLOAT4) {
        r = put_double(out, sqlite3_value_double(v), len, ret_at, e);
    } else {
        r = to_integer(v, &i, e);
        if (type == TYPE_BOOL)
            i = i != 0;
        else if ((type == TYPE_OID || type == TYPE_XID) && i <= UINT32_MAX)
            i = (int32_t) (uint32_t) i;
        if (r == 0)
            r = put_int(out, i, len, ret_at, e);
    }
    *ret_n = r < 0 ? 0 : out->n - *ret_at;
    return r;
}

/* ---- parameters ---- */

static const char *
name_of(oid_t type)
{
    static const struct {
        oid_t type;
        const char *name;
    } names[] = { { TYPE_BOOL, "boolean" }, { TYPE_INT2, "smallint" },
                  { TYPE_INT4, "integer" }, { TYPE_INT8, "bigint" },
                  { TYPE_OID, "oid" },      { TYPE_XID, "xid" },
                  { TYPE_FLOAT4, "real" },  { TYPE_FLOAT8, "double precision" },
                  { TYPE_BYTEA, "bytea" } };

    for (size_t i = 0; i < ELEMENTSOF(names); i++) {
        if (names[i].type == type)
            return names[i].name;
    }
    return "text";
}

static int
bad_text(oid_t type, const char *p, size_t n, struct err *e)
{
    return ERR(e, INVALID_TEXT_REPRESENTATION, "invalid input syntax for type %s: \"%.*s\"",
               name_of(type), (int) MIN(n, 100), p);
}

static int
out_of_range(oid_t type, const char *word, struct err *e)
{
    return ERR(e, NUMERIC_VALUE_OUT_OF_RANGE, "value \"%s\" is out of range for type %s", word,
               name_of(type));
}

static int
hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 32;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* "\x…" to bytes; other text is taken as it is. */
static int
bind_bytea(sqlite3_stmt *stmt, int idx, const char *p, size_t n, struct err *e)
{
    uint8_t *bytes;

    if (n < 2 || p[0] != '\\' || p[1] != 'x')
        return sqlite3_bind_blob64(stmt, idx, p, n, SQLITE_TRANSIENT);
    if (n % 2 != 0)
        return bad_text(TYPE_BYTEA, p, n, e);
    bytes = sqlite3_malloc64(n);
    if (bytes == NULL)
        return SQLITE_NOMEM;
    for (size_t i = 2; i < n; i += 2) {
        int hi = hex_digit(p[i]), lo = hex_digit(p[i + 1]);

        if (hi < 0 || lo < 0) {
            sqlite3_free(bytes);
            return bad_text(TYPE_BYTEA, p, n, e);
        }
        bytes[i / 2 - 1] = (uint8_t) (hi << 4 | lo);
    }
    return sqlite3_bind_blob64(stmt, idx, bytes, n / 2 - 1, sqlite3_free);
}

static int
bind_double(sqlite3_stmt *stmt, int idx, double d, struct err *e)
{
    int r;

    if (!__builtin_isnan(d))
        return sqlite3_bind_double(stmt, idx, d);
    r = ERR(e, FEATURE_NOT_SUPPORTED, "NaN in parameter %d is not supported", idx);
    err_hint(e, "There is NULL for a number that is none.");
    return r;
}

static int
bind_number(sqlite3_stmt *stmt, int idx, oid_t type, const char *word, struct err *e)
{
    char *end;

    errno = 0;
    if (type == TYPE_FLOAT4 || type == TYPE_FLOAT8) {
        double d = strtod(word, &end);

        if (*end != '\0')
            return bad_text(type, word, strlen(word), e);
        if (errno == ERANGE && fpclassify(d) != FP_SUBNORMAL) /* that is a number still */
            return out_of_range(type, word, e);
        return bind_double(stmt, idx, d, e);
    }
    {
        bool is_unsigned = type == TYPE_OID || type == TYPE_XID; /* -1 is taken, too */
        int bits = 8 * types_len(type) - 1;
        int64_t top = INT64_MAX >> (63 - bits);
        long long i = strtoll(word, &end, 10);

        if (*end != '\0')
            return bad_text(type, word, strlen(word), e);
        if (errno == ERANGE || i < -top - 1 || i > (is_unsigned ? UINT32_MAX : top))
            return out_of_range(type, word, e);
        return sqlite3_bind_int64(stmt, idx, is_unsigned ? (uint32_t) i : i);
    }
}

static int
bind_bool(sqlite3_stmt *stmt, int idx, const char *word, struct err *e)
{
    static const char *const truths[] = { "t", "true", "1", "on", "yes", "y" };
    static const char *const lies[] = { "f", "false", "0", "off", "no", "n" };

    for (size_t i = 0; i < ELEMENTSOF(truths); i++) {
        if (strcasecmp(word, truths[i]) == 0 || strcasecmp(word, lies[i]) == 0)
            return sqlite3_bind_int(stmt, idx, strcasecmp(word, truths[i]) == 0);
    }
    return bad_text(TYPE_BOOL, word, strlen(word), e);
}

static int
bind_text(sqlite3_stmt *stmt, int idx, oid_t type, const char *p, size_t n, struct err *e)
{
    const char *whole = p;
    size_t n_whole = n;
    char word[64];

    if (type == TYPE_BYTEA)
        return bind_bytea(stmt, idx, p, n, e);
    if (type != TYPE_BOOL && type != TYPE_INT2 && type != TYPE_INT4 && type != TYPE_INT8 &&
        type != TYPE_OID && type != TYPE_XID && type != TYPE_FLOAT4 && type != TYPE_FLOAT8)
        return sqlite3_bind_text64(stmt, idx, p, n, SQLITE_TRANSIENT, SQLITE_UTF8);
    for (; n > 0 && isspace((unsigned char) *p); p++)
        n--;
    while (n > 0 && isspace((unsigned char) p[n - 1]))
        n--;
    if (n == 0 || n >= sizeof word)
        return bad_text(type, whole, n_whole, e);
    memcpy(word, p, n);
    word[n] = '\0';
    return type == TYPE_BOOL ? bind_bool(stmt, idx, word, e)
                             : bind_number(stmt, idx, type, word, e);
}

/* Text in binary form is the same bytes; nobody has looked at them yet. */
static int
bind_binary_text(sqlite3_stmt *stmt, int idx, const char *p, size_t n, struct err *e)
{
    size_t ok = utf8_text_length(p, n);

    if (ok < n)
        return ERR(e, CHARACTER_NOT_IN_REPERTOIRE,
                   "invalid byte sequence for encoding \"UTF8\" in parameter %d: 0x%02x", idx,
                   (unsigned) (unsigned char) p[ok]);
    return sqlite3_bind_text64(stmt, idx, p, n, SQLITE_TRANSIENT, SQLITE_UTF8);
}

static int
bind_binary(sqlite3_stmt *stmt, int idx, oid_t type, const uint8_t *p, size_t n, struct err *e)
{
    uint64_t u = 0;
    int16_t len = types_len(type);

    if (type == TYPE_BYTEA)
        return sqlite3_bind_blob64(stmt, idx, p, n, SQLITE_TRANSIENT);
    if (!types_has_binary(type) && type != 0)
        return ERR(e, FEATURE_NOT_SUPPORTED, "no binary input for type %u", type);
    if (len <= 0 || len == 64)
        return bind_binary_text(stmt, idx, (const char *) p, n, e);
    if (n != (size_t) len)
        return ERR(e, INVALID_BINARY_REPRESENTATION, "incorrect binary data format in parameter %d",
                   idx);
    for (size_t i = 0; i < n; i++)
        u = u << 8 | p[i];
    if (type == TYPE_FLOAT8) {
        double d;

        memcpy(&d, &u, sizeof d);
        return bind_double(stmt, idx, d, e);
    }
    if (type == TYPE_FLOAT4) {
        uint32_t u4 = (uint32_t) u;
        float f;

        memcpy(&f, &u4, sizeof f);
        return bind_double(stmt, idx, (double) f, e);
    }
    if (type == TYPE_INT4)
        return sqlite3_bind_int64(stmt, idx, (int32_t) (uint32_t) u);
    if (type == TYPE_INT2)
        return sqlite3_bind_int64(stmt, idx, (int16_t) (uint16_t) u);
    return sqlite3_bind_int64(stmt, idx, (int64_t) u);
}

int
types_bind(sqlite3_stmt *stmt, int idx, oid_t type, int format, const void *p, int32_t n,
           struct err *e)
{
    int rc;

    if (n < 0)
        rc = sqlite3_bind_null(stmt, idx);
    else if (format == 0)
        rc = bind_text(stmt, idx, type, p, (size_t) n, e);
    else
        rc = bind_binary(stmt, idx, type, p, (size_t) n, e);
    if (rc < 0)
        return rc;
    if (rc == SQLITE_NOMEM)
        return ERR(e, OUT_OF_MEMORY, "out of memory");
    if (rc == SQLITE_TOOBIG)
        return ERR(e, PROGRAM_LIMIT_EXCEEDED, "parameter %d is too long", idx);
    if (rc != SQLITE_OK)
        return ERR(e, PROTOCOL_VIOLATION, "parameter %d does not exist", idx);
    return 0;
}

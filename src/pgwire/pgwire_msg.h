/* Messages of protocol 3.0: bytes to structs and back. Pure; knows no socket. Source: wal-format.md
 * chapter 6. */
#pragma once

#include "base/buf.h"
#include "base/err.h"

/* ---- limits (wal-format.md 6.1) ---- */
enum {
    PGWIRE_STARTUP_BYTES_MIN = 8, /* length word and code */
    PGWIRE_STARTUP_BYTES_MAX = 10000,
    PGWIRE_SMALL_BYTES_MAX = 10000,      /* C D E H S X c f */
    PGWIRE_PASSWORD_BYTES_MAX = 65535,   /* p */
    PGWIRE_LARGE_BYTES_MAX = 0x3FFFFFFF, /* Q F B P d, and all we send */
    PGWIRE_PARAMS_MAX = 128,             /* pairs of a start-up packet */
};

/* Longest body and length word of a message of this type from a client; 0: no such type. */
size_t pgwire_length_max(char type);

/* ---- start-up packets ---- */
enum pgwire_packet {
    PGWIRE_PACKET_STARTUP,
    PGWIRE_PACKET_SSL,
    PGWIRE_PACKET_GSS,
    PGWIRE_PACKET_CANCEL
};

struct pgwire_param {
    const char *name, *value; /* borrowed from the packet */
};

enum pgwire_replication {
    PGWIRE_REPLICATION_NONE,
    PGWIRE_REPLICATION_PHYSICAL,
    PGWIRE_REPLICATION_DATABASE
};

struct pgwire_startup {
    enum pgwire_packet kind;
    uint32_t pid, key;    /* CANCEL */
    uint32_t major;       /* STARTUP; also when it is refused for that */
    uint32_t minor;       /* STARTUP: asked for; above 0: answer NegotiateProtocolVersion */
    const char *user;     /* STARTUP: never NULL; all strings borrowed from the packet */
    const char *database; /* defaults to user */
    const char *options;  /* NULL: none */
    enum pgwire_replication replication;
    uint32_t n_params; /* the others: names of settings */
    struct pgwire_param params[PGWIRE_PARAMS_MAX];
    uint32_t n_unknown; /* _pq_.* options, for NegotiateProtocolVersion */
    const char *unknown[PGWIRE_PARAMS_MAX];
};

/* Decode what follows the length word. Returns 0, -ERR_PROTOCOL_VIOLATION,
 * -ERR_FEATURE_NOT_SUPPORTED (major version), -ERR_INVALID_AUTHORIZATION_SPECIFICATION (no user),
 * -ERR_INVALID_PARAMETER_VALUE (replication). `p` outlives *ret. */
int pgwire_get_startup(const void *p, size_t n, struct pgwire_startup *ret, struct err *e);

/* ---- messages of a client ---- */
struct pgwire_msg {
    char type;
    const uint8_t *body; /* borrowed from the connection until its next read */
    size_t n;
    size_t too_long; /* > 0: so many bytes were more than the connection takes, and were skipped */
};

/* A counted list inside a message; items are read by index. */
struct pgwire_list {
    const uint8_t *p;
    uint32_t n;
};

/* All decoders: 0, or -ERR_PROTOCOL_VIOLATION if the body is not exactly such a message. Strings
 * are borrowed. */
int pgwire_get_query(const struct pgwire_msg *m, const char **ret_text, struct err *e);

struct pgwire_parse {
    const char *name, *text;
    struct pgwire_list types; /* u32 each */
};
int pgwire_get_parse(const struct pgwire_msg *m, struct pgwire_parse *ret, struct err *e);

struct pgwire_bind {
    const char *portal, *name;
    struct pgwire_list formats;        /* i16 each: 0, 1 or one per parameter */
    struct pgwire_list params;         /* read in order with pgwire_next_value() */
    struct pgwire_list result_formats; /* i16 each */
};
int pgwire_get_bind(const struct pgwire_msg *m, struct pgwire_bind *ret, struct err *e);

/* Describe and Close: what = 'S' or 'P'. */
int pgwire_get_named(const struct pgwire_msg *m, char *ret_what, const char **ret_name,
                     struct err *e);
int pgwire_get_execute(const struct pgwire_msg *m, const char **ret_portal, uint32_t *ret_max_rows,
                       struct err *e);
/* Sync, Flush, Terminate, CopyDone: no body. */
int pgwire_get_empty(const struct pgwire_msg *m, struct err *e);

/* Element i (below its n) of a decoded list. */
uint32_t pgwire_list_u32(const struct pgwire_list *l, uint32_t i);
int16_t pgwire_list_i16(const struct pgwire_list *l, uint32_t i);
/* The next parameter of a decoded Bind, moving *l on: *ret_p NULL and -1 for NULL. */
int32_t pgwire_next_value(struct pgwire_list *l, const uint8_t **ret_p);

/* Are these n bytes valid UTF-8? 0, or -ERR_CHARACTER_NOT_IN_REPERTOIRE naming the first bad byte.
 */
int pgwire_check_text(const char *text, size_t n, struct err *e);

/* ---- messages of the server ---- */

/* Bytes to send. Grows; a failure is sticky (out of memory, a message beyond the limit): check
 * `failed` at the end. */
struct pgwire_out {
    uint8_t *p; /* owned */
    size_t n, cap;
    size_t msg_at; /* type byte of the open message */
    bool failed;
};

/* Free the buffer. */
void pgwire_out_done(struct pgwire_out *o);
/* Any message: begin, put, end. */
void pgwire_begin(struct pgwire_out *o, char type);
void pgwire_end(struct pgwire_out *o);
/* Take back the open message as if it had not begun. */
void pgwire_undo(struct pgwire_out *o);
void pgwire_put_bytes(struct pgwire_out *o, const void *p, size_t n);
void pgwire_put_u8(struct pgwire_out *o, uint8_t v);
void pgwire_put_u16(struct pgwire_out *o, uint16_t v);
void pgwire_put_u32(struct pgwire_out *o, uint32_t v);
void pgwire_put_str(struct pgwire_out *o, const char *s);
/* The same, each byte that is not part of valid UTF-8 replaced by "?". */
void pgwire_put_text(struct pgwire_out *o, const char *s);

/* AuthenticationOk, BackendKeyData, ParameterStatus, ReadyForQuery ('I', 'T' or 'E'). */
void pgwire_put_auth_ok(struct pgwire_out *o);
void pgwire_put_backend_key(struct pgwire_out *o, uint32_t pid, uint32_t key);
void pgwire_put_parameter(struct pgwire_out *o, const char *name, const char *value);
void pgwire_put_ready(struct pgwire_out *o, char status);
/* Newest minor version we speak (0) and the options we do not know. */
void pgwire_put_negotiate(struct pgwire_out *o, const char *const *unknown, uint32_t n);

/* ErrorResponse ("ERROR", "FATAL", "PANIC") or NoticeResponse (all others): S V C M, and D H P
 * where set. */
void pgwire_put_error(struct pgwire_out *o, const char *severity, const struct err *err);
/* The same for a client of protocol 1 or 2: a text without fields. */
void pgwire_put_error_old(struct pgwire_out *o, const char *severity, const struct err *err);
/* The same into memory that the caller owns, for a signal handler's prebuilt message. Returns its
 * length, 0 if too long. */
size_t pgwire_build_notice(void *p, size_t cap, const char *severity, const struct err *err);

struct pgwire_column {
    const char *name;
    uint32_t table_oid;
    int16_t column_no;
    uint32_t type_oid;
    int16_t type_len; /* -1 variable, -2 C string */
    int32_t type_mod;
    int16_t format; /* 0 text, 1 binary */
};
/* RowDescription: begin with the number of columns, one call per column, pgwire_end(). */
void pgwire_begin_columns(struct pgwire_out *o, uint16_t n);
void pgwire_put_column(struct pgwire_out *o, const struct pgwire_column *c);
/* DataRow: begin with the number of values, one call per value (n = -1: NULL), pgwire_end(). */
void pgwire_begin_row(struct pgwire_out *o, uint16_t n);
void pgwire_put_value(struct pgwire_out *o, const void *p, int32_t n);

/* CommandComplete; ParameterDescription. */
void pgwire_put_complete(struct pgwire_out *o, const char *tag);
void pgwire_put_param_types(struct pgwire_out *o, const uint32_t *types, uint16_t n);

/* Messages without a body. */
#define PGWIRE_EMPTY_QUERY      'I'
#define PGWIRE_PARSE_COMPLETE   '1'
#define PGWIRE_BIND_COMPLETE    '2'
#define PGWIRE_CLOSE_COMPLETE   '3'
#define PGWIRE_NO_DATA          'n'
#define PGWIRE_PORTAL_SUSPENDED 's'
void pgwire_put_bare(struct pgwire_out *o, char type);

/* Codec of protocol 3.0 messages. Pure. No length from a client is believed before the bytes are
 * there.
 *
 * Runs in: backend, dead-end child, tests, fuzzers. Owns: the memory of struct pgwire_out. Source:
 * wal-format.md 6.1-6.8. */
#include "pgwire/pgwire_msg.h"

#include <stdio.h>
#include <string.h>

#include "base/utf8.h"

enum {
    CODE_PROTOCOL_MAJOR = 3,
    CODE_CANCEL = 80877102,
    CODE_SSL = 80877103,
    CODE_GSS = 80877104,
};

size_t
pgwire_length_max(char type)
{
    switch (type) {
    case 'Q':
    case 'F':
    case 'B':
    case 'P':
    case 'd':
        return PGWIRE_LARGE_BYTES_MAX;
    case 'C':
    case 'D':
    case 'E':
    case 'H':
    case 'S':
    case 'X':
    case 'c':
    case 'f':
        return PGWIRE_SMALL_BYTES_MAX;
    case 'p':
        return PGWIRE_PASSWORD_BYTES_MAX;
    default:
        return 0;
    }
}

/* ---- start-up ---- */

static int
get_replication(const char *value, enum pgwire_replication *ret, struct err *e)
{
    static const struct {
        const char *word;
        enum pgwire_replication value;
    } words[] = {
        { "database", PGWIRE_REPLICATION_DATABASE },
        { "true", PGWIRE_REPLICATION_PHYSICAL },
        { "on", PGWIRE_REPLICATION_PHYSICAL },
        { "yes", PGWIRE_REPLICATION_PHYSICAL },
        { "1", PGWIRE_REPLICATION_PHYSICAL },
        { "false", PGWIRE_REPLICATION_NONE },
        { "off", PGWIRE_REPLICATION_NONE },
        { "no", PGWIRE_REPLICATION_NONE },
        { "0", PGWIRE_REPLICATION_NONE },
    };

    for (size_t i = 0; i < ELEMENTSOF(words); i++) {
        if (strcasecmp(words[i].word, value) == 0) {
            *ret = words[i].value;
            return 0;
        }
    }
    return ERR(e, INVALID_PARAMETER_VALUE, "invalid value for parameter \"replication\": \"%s\"",
               value);
}

static int
get_pair(struct pgwire_startup *s, const char *name, const char *value, struct err *e)
{
    if (strcmp(name, "user") == 0)
        s->user = value;
    else if (strcmp(name, "database") == 0)
        s->database = value;
    else if (strcmp(name, "options") == 0)
        s->options = value;
    else if (strcmp(name, "replication") == 0)
        return get_replication(value, &s->replication, e);
    else if (s->n_params + s->n_unknown >= PGWIRE_PARAMS_MAX)
        return ERR(e, PROTOCOL_VIOLATION, "too many parameters in startup packet");
    else if (strncmp(name, "_pq_.", 5) == 0)
        s->unknown[s->n_unknown++] = name;
    else
        s->params[s->n_params++] = (struct pgwire_param){ name, value };
    return 0;
}

static int
get_pairs(struct cur *c, struct pgwire_startup *s, struct err *e)
{
    for (;;) {
        const char *name = cur_str(c), *value;
        int r;

        if (name != NULL && name[0] == '\0' && c->left == 0)
            break; /* the one NUL, exactly at the end */
        value = name != NULL && name[0] != '\0' ? cur_str(c) : NULL;
        if (value == NULL)
            return ERR(e, PROTOCOL_VIOLATION,
                       "invalid startup packet layout: expected terminator as last byte");
        r = get_pair(s, name, value, e);
        if (r < 0)
            return r;
    }
    if (s->user == NULL || s->user[0] == '\0')
        return ERR(e, INVALID_AUTHORIZATION_SPECIFICATION,
                   "no PostgreSQL user name specified in startup packet");
    if (s->database == NULL || s->database[0] == '\0')
        s->database = s->user;
    return 0;
}

int
pgwire_get_startup(const void *p, size_t n, struct pgwire_startup *ret, struct err *e)
{
    struct cur c = cur_init(p, n);
    uint32_t code = cur_be32(&c);

    memset(ret, 0, sizeof *ret);
    if (c.failed)
        return ERR(e, PROTOCOL_VIOLATION, "invalid length of startup packet");
    if (code == CODE_SSL || code == CODE_GSS) {
        ret->kind = code == CODE_SSL ? PGWIRE_PACKET_SSL : PGWIRE_PACKET_GSS;
        return c.left == 0 ? 0 : ERR(e, PROTOCOL_VIOLATION, "invalid length of startup packet");
    }
    if (code == CODE_CANCEL) {
        ret->kind = PGWIRE_PACKET_CANCEL;
        ret->pid = cur_be32(&c);
        ret->key = cur_be32(&c);
        return !c.failed && c.left == 0
                   ? 0
                   : ERR(e, PROTOCOL_VIOLATION, "invalid length of startup packet");
    }
    ret->kind = PGWIRE_PACKET_STARTUP;
    ret->major = code >> 16;
    if (code >> 16 != CODE_PROTOCOL_MAJOR)
        return ERR(e, FEATURE_NOT_SUPPORTED,
                   "unsupported frontend protocol %u.%u: server supports 3.0 to 3.0", code >> 16,
                   code & 0xFFFF);
    ret->minor = code & 0xFFFF;
    return get_pairs(&c, ret, e);
}

/* ---- messages of a client ---- */

static int
malformed(const struct pgwire_msg *m, struct err *e)
{
    return ERR(e, PROTOCOL_VIOLATION, "invalid message format: type \"%c\"", m->type);
}

/* The message must end exactly here. */
static int
at_end(const struct cur *c, const struct pgwire_msg *m, struct err *e)
{
    return c->failed || c->left != 0 ? malformed(m, e) : 0;
}

int
pgwire_get_query(const struct pgwire_msg *m, const char **ret_text, struct err *e)
{
    struct cur c = cur_init(m->body, m->n);

    *ret_text = cur_str(&c);
    return at_end(&c, m, e);
}

/* int16 count, then `width` bytes each. */
static struct pgwire_list
take_list(struct cur *c, size_t width)
{
    uint32_t n = cur_be16(c);
    const uint8_t *p = cur_take(c, n * width);

    return (struct pgwire_list){ p, p != NULL ? n : 0 };
}

int
pgwire_get_parse(const struct pgwire_msg *m, struct pgwire_parse *ret, struct err *e)
{
    struct cur c = cur_init(m->body, m->n);

    ret->name = cur_str(&c);
    ret->text = cur_str(&c);
    ret->types = take_list(&c, 4);
    return at_end(&c, m, e);
}

int
pgwire_get_bind(const struct pgwire_msg *m, struct pgwire_bind *ret, struct err *e)
{
    struct cur c = cur_init(m->body, m->n);

    ret->portal = cur_str(&c);
    ret->name = cur_str(&c);
    ret->formats = take_list(&c, 2);
    ret->params.n = cur_be16(&c);
    ret->params.p = c.p;
    for (uint32_t i = 0; i < ret->params.n && !c.failed; i++) {
        uint32_t n = cur_be32(&c);

        if (n == UINT32_MAX)
            continue; /* NULL */
        if (n > INT32_MAX)
            return malformed(m, e);
        (void) cur_take(&c, n);
    }
    ret->result_formats = take_list(&c, 2);
    return at_end(&c, m, e);
}

int
pgwire_get_named(const struct pgwire_msg *m, char *ret_what, const char **ret_name, struct err *e)
{
    struct cur c = cur_init(m->body, m->n);

    *ret_what = (char) cur_u8(&c);
    *ret_name = cur_str(&c);
    if (*ret_what != 'S' && *ret_what != 'P')
        return malformed(m, e);
    return at_end(&c, m, e);
}

int
pgwire_get_execute(const struct pgwire_msg *m, const char **ret_portal, uint32_t *ret_max_rows,
                   struct err *e)
{
    struct cur c = cur_init(m->body, m->n);

    *ret_portal = cur_str(&c);
    *ret_max_rows = cur_be32(&c);
    if (*ret_max_rows > INT32_MAX) /* a negative limit is none */
        *ret_max_rows = 0;
    return at_end(&c, m, e);
}

int
pgwire_get_empty(const struct pgwire_msg *m, struct err *e)
{
    return m->n == 0 ? 0 : malformed(m, e);
}

uint32_t
pgwire_list_u32(const struct pgwire_list *l, uint32_t i)
{
    ASSERT(i < l->n);
    return get_be32(l->p + (size_t) i * 4);
}

int16_t
pgwire_list_i16(const struct pgwire_list *l, uint32_t i)
{
    ASSERT(i < l->n);
    return (int16_t) __builtin_bswap16(get_u16(l->p + (size_t) i * 2));
}

int32_t
pgwire_next_value(struct pgwire_list *l, const uint8_t **ret_p)
{
    uint32_t n;

    ASSERT(l->n > 0);
    n = get_be32(l->p);
    l->p += 4;
    l->n--;
    *ret_p = n != UINT32_MAX ? l->p : NULL;
    if (n != UINT32_MAX)
        l->p += n;
    return (int32_t) n;
}

int
pgwire_check_text(const char *text, size_t n, struct err *e)
{
    size_t i = utf8_text_length(text, n);

    if (i == n)
        return 0;
    return ERR(e, CHARACTER_NOT_IN_REPERTOIRE,
               "invalid byte sequence for encoding \"UTF8\": 0x%02x",
               (unsigned) (unsigned char) text[i]);
}

/* ---- messages of the server ---- */

void
pgwire_out_done(struct pgwire_out *o)
{
    free(o->p);
    *o = (struct pgwire_out){ 0 };
}

/* Room for n bytes, or NULL (and failed). */
static uint8_t *
grow(struct pgwire_out *o, size_t n)
{
    if (o->failed || n > PGWIRE_LARGE_BYTES_MAX) {
        o->failed = true;
        return NULL;
    }
    if (n > o->cap - o->n) {
        size_t cap = MAX(o->cap * 2, MAX(o->n + n, (size_t) 8192));
        uint8_t *p = realloc(o->p, cap);

        if (p == NULL) {
            o->failed = true;
            return NULL;
        }
        o->p = p;
        o->cap = cap;
    }
    o->n += n;
    return o->p + o->n - n;
}

/* The same; mostly there is room. */
static uint8_t *
room(struct pgwire_out *o, size_t n)
{
    if (o->failed || n > o->cap - o->n)
        return grow(o, n);
    o->n += n;
    return o->p + o->n - n;
}

void
pgwire_put_bytes(struct pgwire_out *o, const void *p, size_t n)
{
    uint8_t *to = room(o, n);

    if (to != NULL && n > 0)
        memcpy(to, p, n);
}

void
pgwire_put_u8(struct pgwire_out *o, uint8_t v)
{
    uint8_t *to = room(o, 1);

    if (to != NULL)
        *to = v;
}

void
pgwire_put_u16(struct pgwire_out *o, uint16_t v)
{
    uint8_t *to = room(o, sizeof v);

    if (to != NULL)
        put_be16(to, v);
}

void
pgwire_put_u32(struct pgwire_out *o, uint32_t v)
{
    uint8_t *to = room(o, sizeof v);

    if (to != NULL)
        put_be32(to, v);
}

void
pgwire_put_str(struct pgwire_out *o, const char *s)
{
    pgwire_put_bytes(o, s, strlen(s) + 1);
}

void
pgwire_put_text(struct pgwire_out *o, const char *s)
{
    size_t left = strlen(s);
    size_t whole = utf8_text_length(s, left);

    pgwire_put_bytes(o, s, whole);
    s += whole;
    left -= whole;
    while (left > 0) {
        size_t n = utf8_length(s, left);
        size_t step = MAX(n, (size_t) 1);

        pgwire_put_bytes(o, n > 0 ? s : "?", step);
        s += step;
        left -= step;
    }
    pgwire_put_u8(o, 0);
}

void
pgwire_begin(struct pgwire_out *o, char type)
{
    o->msg_at = o->n;
    pgwire_put_u8(o, (uint8_t) type);
    pgwire_put_u32(o, 0);
}

void
pgwire_end(struct pgwire_out *o)
{
    size_t n = o->n - o->msg_at;

    if (n > PGWIRE_LARGE_BYTES_MAX)
        o->failed = true;
    if (!o->failed)
        put_be32(o->p + o->msg_at + 1, (uint32_t) (n - 1));
}

void
pgwire_undo(struct pgwire_out *o)
{
    o->n = o->msg_at;
    o->failed = false;
}

void
pgwire_put_bare(struct pgwire_out *o, char type)
{
    pgwire_begin(o, type);
    pgwire_end(o);
}

void
pgwire_put_auth_ok(struct pgwire_out *o)
{
    pgwire_begin(o, 'R');
    pgwire_put_u32(o, 0);
    pgwire_end(o);
}

void
pgwire_put_backend_key(struct pgwire_out *o, uint32_t pid, uint32_t key)
{
    pgwire_begin(o, 'K');
    pgwire_put_u32(o, pid);
    pgwire_put_u32(o, key);
    pgwire_end(o);
}

void
pgwire_put_parameter(struct pgwire_out *o, const char *name, const char *value)
{
    pgwire_begin(o, 'S');
    pgwire_put_str(o, name);
    pgwire_put_text(o, value);
    pgwire_end(o);
}

void
pgwire_put_ready(struct pgwire_out *o, char status)
{
    pgwire_begin(o, 'Z');
    pgwire_put_u8(o, (uint8_t) status);
    pgwire_end(o);
}

void
pgwire_put_negotiate(struct pgwire_out *o, const char *const *unknown, uint32_t n)
{
    pgwire_begin(o, 'v');
    pgwire_put_u32(o, 0);
    pgwire_put_u32(o, n);
    for (uint32_t i = 0; i < n; i++)
        pgwire_put_str(o, unknown[i]);
    pgwire_end(o);
}

static void
put_field(struct pgwire_out *o, char code, const char *text)
{
    if (text[0] == '\0' && code != 'M')
        return;
    pgwire_put_u8(o, (uint8_t) code);
    pgwire_put_text(o, text);
}

static bool
is_error(const char *severity)
{
    return strcmp(severity, "ERROR") == 0 || strcmp(severity, "FATAL") == 0 ||
           strcmp(severity, "PANIC") == 0;
}

void
pgwire_put_error(struct pgwire_out *o, const char *severity, const struct err *err)
{
    char position[16] = "";

    if (err->position > 0)
        (void) snprintf(position, sizeof position, "%d", err->position);
    pgwire_begin(o, is_error(severity) ? 'E' : 'N');
    put_field(o, 'S', severity);
    put_field(o, 'V', severity);
    put_field(o, 'C', err_sqlstate(err->code));
    put_field(o, 'M', err->message);
    put_field(o, 'D', err->detail);
    put_field(o, 'H', err->hint);
    put_field(o, 'P', position);
    pgwire_put_u8(o, 0);
    pgwire_end(o);
}

void
pgwire_put_error_old(struct pgwire_out *o, const char *severity, const struct err *err)
{
    pgwire_put_u8(o, 'E');
    pgwire_put_bytes(o, severity, strlen(severity));
    pgwire_put_bytes(o, ":  ", 3);
    pgwire_put_bytes(o, err->message, strlen(err->message));
    pgwire_put_bytes(o, "\n", 2); /* with its NUL */
}

size_t
pgwire_build_notice(void *p, size_t cap, const char *severity, const struct err *err)
{
    CLEANUP(pgwire_out_done) struct pgwire_out o = { 0 };

    pgwire_put_error(&o, severity, err);
    if (o.failed || o.n > cap)
        return 0;
    memcpy(p, o.p, o.n);
    return o.n;
}

void
pgwire_begin_columns(struct pgwire_out *o, uint16_t n)
{
    pgwire_begin(o, 'T');
    pgwire_put_u16(o, n);
}

void
pgwire_put_column(struct pgwire_out *o, const struct pgwire_column *c)
{
    pgwire_put_text(o, c->name);
    pgwire_put_u32(o, c->table_oid);
    pgwire_put_u16(o, (uint16_t) c->column_no);
    pgwire_put_u32(o, c->type_oid);
    pgwire_put_u16(o, (uint16_t) c->type_len);
    pgwire_put_u32(o, (uint32_t) c->type_mod);
    pgwire_put_u16(o, (uint16_t) c->format);
}

void
pgwire_begin_row(struct pgwire_out *o, uint16_t n)
{
    pgwire_begin(o, 'D');
    pgwire_put_u16(o, n);
}

void
pgwire_put_value(struct pgwire_out *o, const void *p, int32_t n)
{
    pgwire_put_u32(o, (uint32_t) n);
    if (n > 0)
        pgwire_put_bytes(o, p, (size_t) n);
}

void
pgwire_put_complete(struct pgwire_out *o, const char *tag)
{
    pgwire_begin(o, 'C');
    pgwire_put_str(o, tag);
    pgwire_end(o);
}

void
pgwire_put_param_types(struct pgwire_out *o, const uint32_t *types, uint16_t n)
{
    pgwire_begin(o, 't');
    pgwire_put_u16(o, n);
    for (uint16_t i = 0; i < n; i++)
        pgwire_put_u32(o, types[i]);
    pgwire_end(o);
}

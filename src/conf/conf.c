/* Typed settings: the table, checked values, loading whole or not at all, the difference of a
 * reload.
 *
 * Runs in: postmaster (load, reload), every child (reads its inherited copy), backend
 * (conf_session.c). Owns: the strings of each struct conf. Source: names, contexts and words of
 * PostgreSQL's settings, as users know them. */
#include "conf/conf.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "conf/conf_log.h"
#include "conf/conf_net.h"

/* The table's flags column. */
enum {
    REPORT = CONF_FLAG_REPORT,
    COMPAT = CONF_FLAG_COMPAT,
    TXN = CONF_FLAG_TXN,
    OCTAL = CONF_FLAG_OCTAL,
    PRIVATE = CONF_FLAG_PRIVATE,
};

/* clang-format off */
static const struct conf_desc descs[CONF_SETTINGS] = {
#define SETTING(field, name, type, unit, context, flags, def, min, max, values, group, text) \
    [CONF_##field] = { name, CONF_TYPE_##type, CONF_UNIT_##unit, CONF_CONTEXT_##context, flags, def, min, max, values, group, text },
#include "tbl/settings.def"
#undef SETTING
};

static const size_t offsets[CONF_SETTINGS] = {
#define SETTING(field, name, type, unit, context, flags, def, min, max, values, group, text) \
    [CONF_##field] = offsetof(struct conf_values, field),
#include "tbl/settings.def"
#undef SETTING
};
/* clang-format on */

const struct conf_desc *
conf_desc(enum conf_id id)
{
    ASSERT((unsigned) id < CONF_SETTINGS);
    return &descs[id];
}

const char *
conf_context_name(enum conf_context context)
{
    static const char *const names[] = {
        [CONF_CONTEXT_INTERNAL] = "internal", [CONF_CONTEXT_POSTMASTER] = "postmaster",
        [CONF_CONTEXT_SIGHUP] = "sighup",     [CONF_CONTEXT_SUPERUSER] = "superuser",
        [CONF_CONTEXT_USER] = "user",
    };

    return names[context];
}

const char *
conf_source_name(enum conf_source source)
{
    static const char *const names[] = {
        [CONF_FROM_DEFAULT] = "default",   [CONF_FROM_FILE] = "configuration file",
        [CONF_FROM_ARGS] = "command line", [CONF_FROM_CLIENT] = "client",
        [CONF_FROM_SESSION] = "session",
    };

    return names[source];
}

int
conf_find(const char *name)
{
    for (int id = 0; id < CONF_SETTINGS; id++) {
        if (strcasecmp(descs[id].name, name) == 0)
            return id;
    }
    return -1;
}

static void *
field(struct conf_values *v, enum conf_id id)
{
    return (char *) v + offsets[id];
}

static union conf_value
value_of(const struct conf *conf, enum conf_id id)
{
    const void *p = (const char *) &conf->v + offsets[id];
    union conf_value v = { .i = 0 };

    switch (descs[id].type) {
    case CONF_TYPE_BOOL:
        memcpy(&v.b, p, sizeof v.b);
        break;
    case CONF_TYPE_INT:
        memcpy(&v.i, p, sizeof v.i);
        break;
    case CONF_TYPE_REAL:
        memcpy(&v.r, p, sizeof v.r);
        break;
    case CONF_TYPE_STRING:
        memcpy(&v.s, p, sizeof v.s);
        break;
    case CONF_TYPE_ENUM:
        memcpy(&v.e, p, sizeof v.e);
        break;
    }
    return v;
}

void
conf_swap(struct conf *conf, enum conf_id id, union conf_value *value)
{
    union conf_value old = value_of(conf, id);
    void *p = field(&conf->v, id);

    switch (descs[id].type) {
    case CONF_TYPE_BOOL:
        memcpy(p, &value->b, sizeof value->b);
        break;
    case CONF_TYPE_INT:
        memcpy(p, &value->i, sizeof value->i);
        break;
    case CONF_TYPE_REAL:
        memcpy(p, &value->r, sizeof value->r);
        break;
    case CONF_TYPE_STRING:
        memcpy(p, &value->s, sizeof value->s);
        break;
    case CONF_TYPE_ENUM:
        memcpy(p, &value->e, sizeof value->e);
        break;
    }
    *value = old;
}

int
conf_dup(const struct conf *conf, enum conf_id id, union conf_value *ret)
{
    *ret = value_of(conf, id);
    if (descs[id].type == CONF_TYPE_STRING) {
        ret->s = strdup(ret->s != NULL ? ret->s : "");
        if (ret->s == NULL)
            return -ENOMEM;
    }
    return 0;
}

void
conf_value_done(enum conf_id id, union conf_value *value)
{
    if (descs[id].type == CONF_TYPE_STRING)
        free(value->s);
    *value = (union conf_value){ .i = 0 };
}

/* The range in the words of SHOW. */
static int
out_of_range(enum conf_id id, const char *text, struct err *e)
{
    const struct conf_desc *d = &descs[id];
    const char *unit = conf_unit_name(d->unit);
    const char *space = unit[0] != '\0' ? " " : "";

    return ERR(e, INVALID_PARAMETER_VALUE,
               "%s is outside the valid range for parameter \"%s\" (%.0f%s%s .. %.0f%s%s)", text,
               d->name, d->min, space, unit, d->max, space, unit);
}

static int
read_int(enum conf_id id, const char *text, int64_t *ret, struct err *e)
{
    const struct conf_desc *d = &descs[id];
    struct err why = ERR_INIT;
    int64_t n;
    int r = conf_parse_int(text, d->unit, &n, &why);

    if (r < 0) {
        (void) ERR(e, INVALID_PARAMETER_VALUE, "invalid value for parameter \"%s\": \"%s\"",
                   d->name, text);
        if (why.hint[0] != '\0')
            err_hint(e, "%s", why.hint);
        return r;
    }
    if ((double) n < d->min || (double) n > d->max)
        return out_of_range(id, text, e);
    *ret = n > 0 ? n * conf_unit_factor(d->unit) : n;
    return 0;
}

static int
read_real(enum conf_id id, const char *text, double *ret, struct err *e)
{
    const struct conf_desc *d = &descs[id];

    if (conf_parse_real(text, ret, NULL) < 0)
        return ERR(e, INVALID_PARAMETER_VALUE, "invalid value for parameter \"%s\": \"%s\"",
                   d->name, text);
    if (*ret < d->min || *ret > d->max)
        return out_of_range(id, text, e);
    return 0;
}

/* The i-th name of "a|b|c" (n bytes at the returned place), or NULL. */
static const char *
enum_name(const char *values, int i, size_t *ret_n)
{
    const char *p = values;

    while (i > 0 && (p = strchr(p, '|')) != NULL) {
        p++;
        i--;
    }
    if (p != NULL)
        *ret_n = strcspn(p, "|");
    return p;
}

static int
find_enum(const char *values, const char *text)
{
    const char *p;
    size_t n;

    for (int i = 0; (p = enum_name(values, i, &n)) != NULL; i++) {
        if (strlen(text) == n && strncasecmp(p, text, n) == 0)
            return i;
    }
    return -1;
}

static int
read_enum(enum conf_id id, const char *text, int *ret, struct err *e)
{
    const struct conf_desc *d = &descs[id];
    char list[256];
    bool b;
    size_t n = 0;
    int i = find_enum(d->values, text);

    if (i < 0 && conf_parse_bool(text, &b)) /* "true" where "on" is a value */
        i = find_enum(d->values, b ? "on" : "off");
    if (i >= 0) {
        *ret = i;
        return 0;
    }
    for (const char *p = d->values; *p != '\0' && n + 3 < sizeof list; p++) {
        list[n++] = (char) (*p == '|' ? ',' : *p);
        if (*p == '|')
            list[n++] = ' ';
    }
    list[n] = '\0';
    (void) ERR(e, INVALID_PARAMETER_VALUE, "invalid value for parameter \"%s\": \"%s\"", d->name,
               text);
    err_hint(e, "Available values: %s.", list);
    return -ERR_INVALID_PARAMETER_VALUE;
}

/* DateStyle: words by comma; only ISO is spoken, the order of day and month is kept for the client.
 */
static int
canonical_datestyle(const char *text, char *ret, size_t cap, struct err *e)
{
    const char *order = strstr(ret, "DMY") ? "DMY" : strstr(ret, "YMD") ? "YMD" : "MDY";

    for (const char *p = text; *p != '\0';) {
        size_t n;

        p += strspn(p, ", \t");
        n = strcspn(p, ", \t");
        if (n == 0)
            break;
        if (strncasecmp(p, "mdy", MAX(n, 3)) == 0 || strncasecmp(p, "us", MAX(n, 2)) == 0 ||
            strncasecmp(p, "noneuropean", MAX(n, 7)) == 0)
            order = "MDY";
        else if (strncasecmp(p, "dmy", MAX(n, 3)) == 0 || strncasecmp(p, "euro", MAX(n, 4)) == 0)
            order = "DMY";
        else if (strncasecmp(p, "ymd", MAX(n, 3)) == 0)
            order = "YMD";
        else if (strncasecmp(p, "iso", MAX(n, 3)) != 0 &&
                 strncasecmp(p, "default", MAX(n, 7)) != 0) {
            (void) ERR(e, INVALID_PARAMETER_VALUE,
                       "invalid value for parameter \"DateStyle\": \"%s\"", text);
            err_hint(e, "Only the ISO style is supported.");
            return -ERR_INVALID_PARAMETER_VALUE;
        }
        p += n;
    }
    (void) snprintf(ret, cap, "ISO, %s", order);
    return 0;
}

/* client_encoding: UTF8 under its many names; SQL_ASCII is taken as UTF8 (design 11). */
static int
canonical_encoding(const char *text, char *ret, size_t cap, struct err *e)
{
    char word[16];
    size_t n = 0;

    for (const char *p = text; *p != '\0' && n + 1 < sizeof word; p++) {
        if (isalnum((unsigned char) *p))
            word[n++] = (char) tolower((unsigned char) *p);
    }
    word[n] = '\0';
    if (strcmp(word, "utf8") != 0 && strcmp(word, "unicode") != 0 &&
        strcmp(word, "sqlascii") != 0) {
        (void) ERR(e, INVALID_PARAMETER_VALUE,
                   "invalid value for parameter \"client_encoding\": \"%s\"", text);
        err_hint(e, "Only UTF8 is supported.");
        return -ERR_INVALID_PARAMETER_VALUE;
    }
    (void) snprintf(ret, cap, "UTF8");
    return 0;
}

/* Names that reach the log and process titles: 63 bytes of printable ASCII. */
static void
canonical_name(const char *text, char *ret, size_t cap)
{
    size_t n = 0;

    for (const char *p = text; *p != '\0' && n < 63 && n + 1 < cap; p++)
        ret[n++] = (char) (*p >= 32 && *p < 127 ? *p : '?');
    ret[n] = '\0';
}

static int
read_string(const struct conf *conf, enum conf_id id, const char *text, char **ret, struct err *e)
{
    char own[CONF_VALUE_BYTES_MAX + 1];
    int r = 0;

    if (strlen(text) > CONF_VALUE_BYTES_MAX)
        return ERR(e, INVALID_PARAMETER_VALUE, "value for parameter \"%s\" is too long",
                   descs[id].name);
    (void) snprintf(own, sizeof own, "%s", text);
    if (id == CONF_datestyle) {
        (void) snprintf(own, sizeof own, "%s", conf->v.datestyle != NULL ? conf->v.datestyle : "");
        r = canonical_datestyle(text, own, sizeof own, e);
    } else if (id == CONF_client_encoding) {
        r = canonical_encoding(text, own, sizeof own, e);
    } else if (id == CONF_application_name) {
        canonical_name(text, own, sizeof own);
    } else if (id == CONF_timezone && (text[0] == '\0' || strlen(text) > 63)) {
        r = ERR(e, INVALID_PARAMETER_VALUE, "invalid value for parameter \"TimeZone\": \"%s\"",
                text);
    } else {
        r = conf_log_check(id, text, e);
        if (r == 0)
            r = conf_net_check(id, text, e);
    }
    if (r < 0)
        return r;
    *ret = strdup(own);
    return *ret != NULL ? 0 : ERR(e, OUT_OF_MEMORY, "out of memory");
}

/* Text to value: the one door. *ret is owned by the caller on success. */
static int
read_value(const struct conf *conf, enum conf_id id, const char *text, union conf_value *ret,
           struct err *e)
{
    switch (descs[id].type) {
    case CONF_TYPE_BOOL:
        if (conf_parse_bool(text, &ret->b))
            return 0;
        return ERR(e, INVALID_PARAMETER_VALUE, "parameter \"%s\" requires a Boolean value",
                   descs[id].name);
    case CONF_TYPE_INT:
        return read_int(id, text, &ret->i, e);
    case CONF_TYPE_REAL:
        return read_real(id, text, &ret->r, e);
    case CONF_TYPE_STRING:
        return read_string(conf, id, text, &ret->s, e);
    case CONF_TYPE_ENUM:
        return read_enum(id, text, &ret->e, e);
    }
    return -ERR_INTERNAL_ERROR;
}

int
conf_put(struct conf *conf, enum conf_id id, const char *text, enum conf_source source,
         struct err *e)
{
    union conf_value v = { .i = 0 };
    int r = read_value(conf, id, text, &v, e);

    if (r < 0)
        return r;
    conf_swap(conf, id, &v);
    conf_value_done(id, &v);
    conf->source[id] = (uint8_t) source;
    return 0;
}

int
conf_check(enum conf_id id, const char *text, struct err *e)
{
    struct conf none = { 0 };
    union conf_value v = { .i = 0 };
    int r = read_value(&none, id, text, &v, e);

    if (r == 0)
        conf_value_done(id, &v);
    return r;
}

static void
show_int(const struct conf_desc *d, int64_t value, bool with_unit, char *p, size_t cap)
{
    int64_t n = value > 0 ? value / conf_unit_factor(d->unit) : value;

    if ((d->flags & CONF_FLAG_OCTAL) != 0)
        (void) snprintf(p, cap, "%04" PRIo64, (uint64_t) value);
    else
        (void) conf_format_int(n, with_unit ? d->unit : CONF_UNIT_NONE, p, cap);
}

static const char *
show(const struct conf *conf, enum conf_id id, bool with_unit, char *p, size_t cap)
{
    const struct conf_desc *d = &descs[id];
    union conf_value v = value_of(conf, id);
    const char *name;
    size_t n;

    switch (d->type) {
    case CONF_TYPE_BOOL:
        (void) snprintf(p, cap, "%s", v.b ? "on" : "off");
        break;
    case CONF_TYPE_INT:
        show_int(d, v.i, with_unit, p, cap);
        break;
    case CONF_TYPE_REAL:
        (void) snprintf(p, cap, "%g", v.r);
        break;
    case CONF_TYPE_STRING:
        (void) snprintf(p, cap, "%s", v.s);
        break;
    case CONF_TYPE_ENUM:
        name = enum_name(d->values, v.e, &n);
        (void) snprintf(p, cap, "%.*s", name != NULL ? (int) n : 0, name != NULL ? name : "");
        break;
    }
    return p;
}

const char *
conf_show(const struct conf *conf, enum conf_id id, char *p, size_t cap)
{
    return show(conf, id, true, p, cap);
}

const char *
conf_show_bare(const struct conf *conf, enum conf_id id, char *p, size_t cap)
{
    return show(conf, id, false, p, cap);
}

bool
conf_equal(const struct conf *a, const struct conf *b, enum conf_id id)
{
    union conf_value x = value_of(a, id), y = value_of(b, id);

    switch (descs[id].type) {
    case CONF_TYPE_BOOL:
        return x.b == y.b;
    case CONF_TYPE_INT:
        return x.i == y.i;
    case CONF_TYPE_REAL:
        return memcmp(&x.r, &y.r, sizeof x.r) == 0;
    case CONF_TYPE_STRING:
        return strcmp(x.s, y.s) == 0;
    case CONF_TYPE_ENUM:
        return x.e == y.e;
    }
    return false;
}

int
conf_init(struct conf *ret, struct err *e)
{
    *ret = (struct conf){ 0 };
    for (int id = 0; id < CONF_SETTINGS; id++) {
        int r = conf_put(ret, (enum conf_id) id, descs[id].initial, CONF_FROM_DEFAULT, e);

        if (r < 0) {
            conf_done(ret);
            return r;
        }
    }
    return 0;
}

int
conf_copy(struct conf *ret, const struct conf *from, struct err *e)
{
    *ret = (struct conf){ 0 };
    for (int id = 0; id < CONF_SETTINGS; id++) {
        union conf_value v;

        if (conf_dup(from, (enum conf_id) id, &v) < 0) {
            conf_done(ret);
            return ERR(e, OUT_OF_MEMORY, "out of memory");
        }
        conf_swap(ret, (enum conf_id) id, &v);
        ret->source[id] = from->source[id];
    }
    return 0;
}

void
conf_done(struct conf *conf)
{
    for (int id = 0; id < CONF_SETTINGS; id++) {
        union conf_value v = { .i = 0 };

        conf_swap(conf, (enum conf_id) id, &v);
        conf_value_done((enum conf_id) id, &v);
        if (conf->origins != NULL)
            free(conf->origins[id].file);
    }
    free(conf->origins);
    *conf = (struct conf){ 0 };
}

/* Values as text: booleans, numbers with units, and back. Pure. Runs in: every process. Owns:
 * nothing. */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "conf/conf_parse.h"

struct unit_row {
    const char *name;
    int64_t factor; /* bytes or microseconds */
    char kind;      /* 'm'emory, 't'ime, 0 */
};

static const struct unit_row units[CONF_UNITS] = {
    [CONF_UNIT_NONE] = { "", 1, 0 },
    [CONF_UNIT_B] = { "B", 1, 'm' },
    [CONF_UNIT_KB] = { "kB", 1024, 'm' },
    [CONF_UNIT_BLOCKS] = { "8kB", 8192, 'm' },
    [CONF_UNIT_MB] = { "MB", 1048576, 'm' },
    [CONF_UNIT_US] = { "us", 1, 't' },
    [CONF_UNIT_MS] = { "ms", 1000, 't' },
    [CONF_UNIT_S] = { "s", 1000000, 't' },
    [CONF_UNIT_MIN] = { "min", 60000000, 't' },
};

/* What may stand behind a number; per kind from large to small: also the order in which
 * conf_format_int() tries. */
static const struct unit_row suffixes[] = {
    { "TB", INT64_C(1) << 40, 'm' },
    { "GB", INT64_C(1) << 30, 'm' },
    { "MB", INT64_C(1) << 20, 'm' },
    { "kB", 1024, 'm' },
    { "B", 1, 'm' },
    { "d", INT64_C(86400000000), 't' },
    { "h", INT64_C(3600000000), 't' },
    { "min", 60000000, 't' },
    { "s", 1000000, 't' },
    { "ms", 1000, 't' },
    { "us", 1, 't' },
};

int64_t
conf_unit_factor(enum conf_unit unit)
{
    return units[unit].factor;
}

const char *
conf_unit_name(enum conf_unit unit)
{
    return units[unit].name;
}

bool
conf_parse_bool(const char *text, bool *ret)
{
    static const struct {
        const char *word;
        size_t least;
        bool value;
    } words[] = {
        { "true", 1, true }, { "false", 1, false }, { "yes", 1, true }, { "no", 1, false },
        { "on", 2, true },   { "off", 2, false },   { "1", 1, true },   { "0", 1, false },
    };
    size_t n = strlen(text);

    for (size_t i = 0; i < ELEMENTSOF(words); i++) {
        if (n >= words[i].least && n <= strlen(words[i].word) &&
            strncasecmp(text, words[i].word, n) == 0) {
            *ret = words[i].value;
            return true;
        }
    }
    return false;
}

/* The number at the beginning of text; *ret_rest stands behind it. Returns false if there is none
 * or it is not finite. */
static bool
take_number(const char *text, double *ret, const char **ret_rest)
{
    const char *p = text + strspn(text, " \t\n\r\f\v");
    const char *digits = p + (*p == '-' || *p == '+' ? 1 : 0);
    bool is_octal = digits[0] == '0' && isdigit((unsigned char) digits[1]);
    char *end;

    if (!isdigit((unsigned char) digits[0]) && digits[0] != '.')
        return false; /* no "inf", no "nan" */
    errno = 0;
    if (is_octal)
        *ret = (double) strtoll(p, &end, 8);
    else
        *ret = strtod(p, &end);
    *ret_rest = end;
    return end > digits && errno == 0 && isfinite(*ret);
}

static int
bad_number(const char *text, enum conf_unit unit, struct err *e)
{
    int r = ERR(e, INVALID_PARAMETER_VALUE, "invalid value: \"%s\"", text);

    if (units[unit].kind == 'm')
        err_hint(e,
                 "Valid units for this parameter are \"B\", \"kB\", \"MB\", \"GB\", and \"TB\".");
    if (units[unit].kind == 't')
        err_hint(e, "Valid units for this parameter are \"us\", \"ms\", \"s\", \"min\", \"h\", and "
                    "\"d\".");
    return r;
}

int
conf_parse_int(const char *text, enum conf_unit unit, int64_t *ret, struct err *e)
{
    const char *rest;
    double v;
    size_t n;

    if (!take_number(text, &v, &rest))
        return bad_number(text, unit, e);
    rest += strspn(rest, " \t\n\r\f\v");
    n = strcspn(rest, " \t\n\r\f\v");
    if (rest[n + strspn(rest + n, " \t\n\r\f\v")] != '\0')
        return bad_number(text, unit, e);
    if (n > 0) {
        const struct unit_row *s = NULL;

        for (size_t i = 0; i < ELEMENTSOF(suffixes) && s == NULL; i++) {
            if (suffixes[i].kind == units[unit].kind && strlen(suffixes[i].name) == n &&
                strncmp(rest, suffixes[i].name, n) == 0)
                s = &suffixes[i];
        }
        if (s == NULL)
            return bad_number(text, unit, e);
        v = v * (double) s->factor / (double) units[unit].factor;
    }
    v = rint(v);
    if (fabs(v) > 9.0e15)
        return ERR(e, INVALID_PARAMETER_VALUE, "value is out of range: \"%s\"", text);
    *ret = (int64_t) v;
    return 0;
}

int
conf_parse_real(const char *text, double *ret, struct err *e)
{
    const char *rest;

    if (!take_number(text, ret, &rest) || rest[strspn(rest, " \t\n\r\f\v")] != '\0')
        return bad_number(text, CONF_UNIT_NONE, e);
    return 0;
}

const char *
conf_format_int(int64_t count, enum conf_unit unit, char *p, size_t cap)
{
    int64_t total;

    if (count > 0 && units[unit].kind != 0 &&
        !__builtin_mul_overflow(count, units[unit].factor, &total)) {
        for (size_t i = 0; i < ELEMENTSOF(suffixes); i++) {
            if (suffixes[i].kind == units[unit].kind && total % suffixes[i].factor == 0) {
                (void) snprintf(p, cap, "%" PRId64 "%s", total / suffixes[i].factor,
                                suffixes[i].name);
                return p;
            }
        }
    }
    (void) snprintf(p, cap, "%" PRId64, count);
    return p;
}

/* A strict reader of JSON text in front of json-c, and small helpers to build replies.
 * Runs in: postmaster, unit tests, fuzzing.
 * Owns: nothing.
 * Source: RFC 8259; UAPI.20 "Varlink IPC". */
#include "control/control_json.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"

struct key {
    const char *p;
    size_t n;
    int depth;
};

struct scan {
    const char *p;
    const char *end;
    int n_keys;
    struct key keys[CONTROL_JSON_KEYS_MAX];
};

enum expect { WANT_VALUE, WANT_VALUE_OR_END, WANT_KEY, WANT_KEY_OR_END, WANT_COMMA_OR_END, DONE };

static int
bad(struct err *e, const char *what)
{
    return ERR(e, PROTOCOL_VIOLATION, "invalid JSON: %s", what);
}

static bool
is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool
is_hex(char c)
{
    return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

static char
peek(const struct scan *s)
{
    return s->p < s->end ? *s->p : '\0';
}

/* Behind a backslash. */
static int
scan_escape(struct scan *s, struct err *e)
{
    char c = peek(s);

    s->p++;
    if (c == '\0' || strchr("\"\\/bfnrtu", c) == NULL)
        return bad(e, "unknown escape in a string");
    if (c != 'u')
        return 0;
    bool zero = true;
    for (int i = 0; i < 4; i++, s->p++) {
        if (!is_hex(peek(s)))
            return bad(e, "incomplete \\u escape");
        zero = zero && *s->p == '0';
    }
    return zero ? bad(e, "a string contains NUL") : 0;
}

/* At the opening quote. Leaves p behind the closing one. */
static int
scan_string(struct scan *s, bool *ret_escaped, struct err *e)
{
    *ret_escaped = false;
    for (s->p++; s->p < s->end; s->p++) {
        unsigned char c = (unsigned char) *s->p;
        if (c == '"') {
            s->p++;
            return 0;
        }
        if (c < 0x20)
            return bad(e, "raw control character in a string");
        if (c != '\\')
            continue;
        *ret_escaped = true;
        s->p++;
        int r = scan_escape(s, e);
        if (r < 0)
            return r;
        s->p--; /* the loop steps again */
    }
    return bad(e, "unterminated string");
}

static int
scan_digits(struct scan *s, struct err *e)
{
    if (!is_digit(peek(s)))
        return bad(e, "malformed number");
    while (is_digit(peek(s)))
        s->p++;
    return 0;
}

/* The integer in [from, p) fits 64 bits: json-c would clamp it silently. */
static int
check_range(const char *from, const char *to, struct err *e)
{
    bool negative = *from == '-';
    int64_t v = 0;

    for (const char *q = from + negative; q < to; q++) {
        int d = *q - '0';
        if (__builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, negative ? -d : d, &v))
            return bad(e, "integer out of range");
    }
    return 0;
}

static int
scan_number(struct scan *s, struct err *e)
{
    const char *from = s->p;
    bool is_int = true;
    int r;

    if (peek(s) == '-')
        s->p++;
    if (peek(s) == '0' && s->p + 1 < s->end && is_digit(s->p[1]))
        return bad(e, "number with a leading zero");
    if ((r = scan_digits(s, e)) < 0)
        return r;
    const char *int_end = s->p;
    if (peek(s) == '.') {
        is_int = false;
        s->p++;
        if ((r = scan_digits(s, e)) < 0)
            return r;
    }
    if (peek(s) == 'e' || peek(s) == 'E') {
        is_int = false;
        s->p++;
        if (peek(s) == '+' || peek(s) == '-')
            s->p++;
        if ((r = scan_digits(s, e)) < 0)
            return r;
    }
    return is_int ? check_range(from, int_end, e) : 0;
}

static int
scan_literal(struct scan *s, struct err *e)
{
    static const char *const words[] = { "true", "false", "null" };

    for (size_t i = 0; i < ELEMENTSOF(words); i++) {
        size_t n = strlen(words[i]);
        if ((size_t) (s->end - s->p) >= n && memcmp(s->p, words[i], n) == 0) {
            s->p += n;
            return 0;
        }
    }
    return bad(e, "unexpected character");
}

/* Remember a key of the object at `depth`, refuse a second one. */
static int
scan_key(struct scan *s, int depth, struct err *e)
{
    const char *from = s->p + 1;
    bool escaped;
    int r = scan_string(s, &escaped, e);

    if (r < 0)
        return r;
    if (escaped)
        return bad(e, "escape in a key");
    size_t n = (size_t) (s->p - from) - 1;
    for (int i = s->n_keys - 1; i >= 0 && s->keys[i].depth == depth; i--) {
        if (s->keys[i].n == n && memcmp(s->keys[i].p, from, n) == 0)
            return bad(e, "duplicate key");
    }
    if (s->n_keys == CONTROL_JSON_KEYS_MAX)
        return ERR(e, PROGRAM_LIMIT_EXCEEDED, "more than %d keys in one message",
                   CONTROL_JSON_KEYS_MAX);
    s->keys[s->n_keys++] = (struct key){ .p = from, .n = n, .depth = depth };
    return 0;
}

static void
skip_space(struct scan *s)
{
    while (s->p < s->end && (*s->p == ' ' || *s->p == '\t' || *s->p == '\n' || *s->p == '\r'))
        s->p++;
}

static int
scan_scalar(struct scan *s, struct err *e)
{
    bool escaped;
    char c = peek(s);

    if (c == '"')
        return scan_string(s, &escaped, e);
    if (c == '-' || is_digit(c))
        return scan_number(s, e);
    return scan_literal(s, e);
}

struct nest {
    int depth;
    char open[CONTROL_JSON_DEPTH_MAX];
};

/* '{' or '['. Returns what is expected next, or < 0. */
static int
enter(struct scan *s, struct nest *nest, struct err *e)
{
    if (nest->depth == CONTROL_JSON_DEPTH_MAX)
        return ERR(e, PROGRAM_LIMIT_EXCEEDED, "JSON is nested deeper than %d",
                   CONTROL_JSON_DEPTH_MAX);
    nest->open[nest->depth++] = *s->p;
    return *s->p++ == '{' ? WANT_KEY_OR_END : WANT_VALUE_OR_END;
}

/* '}' or ']'. */
static int
leave(struct scan *s, struct nest *nest, struct err *e)
{
    if (nest->depth == 0 || nest->open[nest->depth - 1] != (*s->p == '}' ? '{' : '['))
        return bad(e, "unbalanced brackets");
    while (s->n_keys > 0 && s->keys[s->n_keys - 1].depth == nest->depth)
        s->n_keys--;
    nest->depth--;
    s->p++;
    return nest->depth == 0 ? DONE : WANT_COMMA_OR_END;
}

static int
after_comma(struct scan *s, const struct nest *nest, struct err *e)
{
    if (*s->p != ',')
        return bad(e, "expected a comma");
    s->p++;
    return nest->open[nest->depth - 1] == '{' ? WANT_KEY : WANT_VALUE;
}

static int
step_key(struct scan *s, const struct nest *nest, struct err *e)
{
    if (*s->p != '"')
        return bad(e, "expected a key");
    int r = scan_key(s, nest->depth, e);
    if (r < 0)
        return r;
    skip_space(s);
    if (peek(s) != ':')
        return bad(e, "expected a colon");
    s->p++;
    return WANT_VALUE;
}

/* One token. Returns the next expectation, or < 0. */
static int
step(struct scan *s, struct nest *nest, enum expect want, struct err *e)
{
    char c = *s->p;

    if ((c == '}' || c == ']') && want != WANT_KEY && want != WANT_VALUE)
        return leave(s, nest, e);
    if (want == WANT_COMMA_OR_END)
        return after_comma(s, nest, e);
    if (want == WANT_KEY || want == WANT_KEY_OR_END)
        return step_key(s, nest, e);
    if (c == '{' || c == '[')
        return enter(s, nest, e);
    int r = scan_scalar(s, e);
    return r < 0 ? r : WANT_COMMA_OR_END;
}

int
control_json_check(const char *p, size_t n, struct err *e)
{
    struct scan s = { .p = p, .end = p + n };
    struct nest nest = { 0 };
    int want = WANT_VALUE;

    skip_space(&s);
    if (peek(&s) != '{')
        return bad(e, "not an object");
    while (want != DONE) {
        skip_space(&s);
        if (s.p == s.end)
            return bad(e, "unexpected end");
        want = step(&s, &nest, (enum expect) want, e);
        if (want < 0)
            return want;
    }
    skip_space(&s);
    return s.p == s.end ? 0 : bad(e, "text behind the object");
}

int
control_json_parse(const char *p, size_t n, struct json_object **ret, struct err *e)
{
    int r = control_json_check(p, n, e);
    if (r < 0)
        return r;

    /* One level more than we accept: json-c counts scalars as a level. */
    struct json_tokener *tok = json_tokener_new_ex(CONTROL_JSON_DEPTH_MAX + 1);
    if (tok == NULL)
        return ERR(e, OUT_OF_MEMORY, "out of memory");
    json_tokener_set_flags(tok, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
    struct json_object *o = json_tokener_parse_ex(tok, p, (int) n);
    enum json_tokener_error why = json_tokener_get_error(tok);
    json_tokener_free(tok);
    if (o == NULL)
        return bad(e, json_tokener_error_desc(why));
    *ret = o;
    return 0;
}

struct json_object *
control_json_string(const char *s)
{
    size_t left = strlen(s);
    CLEANUP(freep) char *out = malloc(left * strlen(UTF8_REPLACEMENT) + 1);
    size_t n = 0;

    while (left > 0 && out != NULL) {
        size_t len = utf8_length(s, left);
        size_t step = len > 0 ? len : 1;

        memcpy(out + n, len > 0 ? s : UTF8_REPLACEMENT, len > 0 ? len : strlen(UTF8_REPLACEMENT));
        n += len > 0 ? len : strlen(UTF8_REPLACEMENT);
        s += step;
        left -= step;
    }
    return out != NULL ? json_object_new_string_len(out, (int) n) : NULL; /* null: no memory */
}

void
control_printable(char *s)
{
    size_t n = strlen(s);

    for (size_t i = 0; i < n; i++) {
        if ((unsigned char) s[i] < 0x20 || s[i] == 0x7f)
            s[i] = ' ';
    }
    while (n > 0 && s[n - 1] == ' ')
        s[--n] = '\0';
}

void
control_json_add_str(struct json_object *o, const char *key, const char *s)
{
    if (s != NULL)
        json_object_object_add(o, key, control_json_string(s));
}

void
control_json_add_int(struct json_object *o, const char *key, int64_t v)
{
    json_object_object_add(o, key, json_object_new_int64(v));
}

void
control_json_add_lsn(struct json_object *o, const char *key, uint64_t lsn)
{
    char text[32];

    if (lsn == 0)
        return;
    (void) snprintf(text, sizeof text, "%" PRIX32 "/%" PRIX32, (uint32_t) (lsn >> 32),
                    (uint32_t) lsn);
    json_object_object_add(o, key, json_object_new_string(text));
}

void
control_json_putp(struct json_object **o)
{
    if (*o != NULL)
        (void) json_object_put(*o);
    *o = NULL;
}

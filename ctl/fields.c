/* See fields.h.
 * Runs in: pinionctl. Owns: nothing. Source: none. */
#include "fields.h"

#include <stdlib.h>
#include <string.h>

#include "util.h"

/* "\t", "\n" and "\\" in place. */
static void
unescape(char *text)
{
    char *to = text;

    for (const char *from = text; *from != '\0'; from++) {
        if (from[0] != '\\' || from[1] == '\0')
            *to++ = *from;
        else
            *to++ = (char) (*++from == 't' ? '\t' : *from == 'n' ? '\n' : *from);
    }
    *to = '\0';
}

static bool
is_number(const char *key, const struct field *table, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (strcmp(table[i].key, key) == 0)
            return table[i].is_number;
    }
    return false; /* of a newer server */
}

/* Up to which byte it is UTF-8, if no more than a character at its end is not. */
static size_t
whole_characters(const char *text, size_t n)
{
    for (size_t cut = 1; cut < 4 && cut <= n && (unsigned char) text[n - cut] >= 0x80; cut++) {
        json_auto_t *begin = json_stringn(text, n - cut);

        if (begin != NULL)
            return n - cut;
    }
    return 0;
}

json_t *
fields_text(const char *text)
{
    json_t *string = json_string(text);
    CLEANUP(freep) char *copy = string == NULL ? strdup(text) : NULL;
    size_t whole;

    if (string != NULL || copy == NULL)
        return string != NULL ? string : json_string("?");
    whole = whole_characters(text, strlen(text));
    for (char *p = copy + whole; *p != '\0'; p++)
        *p = (unsigned char) *p < 0x80 ? *p : '?';
    if (whole > 0)
        copy[whole + 1] = '\0';
    return json_string(copy);
}

json_t *
fields_read(char *line, const struct field *table, size_t n_table)
{
    json_t *o = json_object();
    char *key;

    while ((key = strsep(&line, "\t")) != NULL) {
        char *value = strchr(key, '=');

        if (value == NULL)
            continue;
        *value++ = '\0';
        unescape(value);
        (void) json_object_set_new(o, key,
                                   is_number(key, table, n_table)
                                       ? json_integer(strtoll(value, NULL, 10))
                                       : fields_text(value));
    }
    return o;
}

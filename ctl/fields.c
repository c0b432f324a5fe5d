/* See fields.h.
 * Runs in: pinionctl. Owns: nothing. Source: none. */
#include "fields.h"

#include <stdlib.h>
#include <string.h>

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

/* JSON is UTF-8; a path or a message need not be: then what is not ASCII is shown as '?'. */
static json_t *
text_of(char *value)
{
    json_t *text = json_string(value);

    if (text != NULL)
        return text;
    for (char *p = value; *p != '\0'; p++)
        *p = (unsigned char) *p < 0x80 ? *p : '?';
    return json_string(value);
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
                                       : text_of(value));
    }
    return o;
}

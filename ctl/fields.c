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

json_t *
fields_text(const char *text)
{
    size_t n = strlen(text);
    json_t *string = NULL;

    for (size_t cut = 0; cut < 4 && cut <= n && string == NULL; cut++) {
        if (cut > 0 && (unsigned char) text[n - cut] < 0x80)
            break;
        string = json_stringn(text, n - cut);
    }
    if (string != NULL)
        return string;
    CLEANUP(freep) char *copy = strdup(text);
    for (char *p = copy; p != NULL && *p != '\0'; p++)
        *p = (unsigned char) *p < 0x80 ? *p : '?';
    return json_string(copy != NULL ? copy : "?");
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

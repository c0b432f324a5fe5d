/* Lines of fields "key=value" by tabs, as `piniond verify` prints them and pinion_history has them.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

struct field {
    const char *key;
    bool is_number; /* in JSON; a key that is not in the table is text */
};

/* JSON is UTF-8; a path or a message need not be, or may be cut inside a character: then that one
 * is '?', or each byte that is not ASCII. The caller's to decref. */
json_t *fields_text(const char *text);

/* One object of a line's fields; changes `line`. The caller's to decref. */
json_t *fields_read(char *line, const struct field *table, size_t n_table);

/* JSON at the border: a strict check before json-c sees a byte, because json-c's own "strict" is
 * not (it takes single quotes, NaN, raw newlines and duplicate keys, and clamps large integers).
 * Pure; no process state. */
#pragma once

#include <json-c/json.h>

#include "base/err.h"

#define CONTROL_JSON_DEPTH_MAX 16
#define CONTROL_JSON_KEYS_MAX  256 /* keys in open objects at one time */

/* Is the text at p, n bytes, one JSON object that we accept? Refused beside bad grammar: nesting
 * deeper than CONTROL_JSON_DEPTH_MAX, a key twice in one object, an escape in a key, an integer
 * outside 64 bits, \u0000. Returns 0 or -ERR_PROTOCOL_VIOLATION (-ERR_PROGRAM_LIMIT_EXCEEDED for
 * depth and number of keys) with e set. */
int control_json_check(const char *p, size_t n, struct err *e);

/* Check, then parse. Returns 0 and an object that the caller puts, or < 0 with e set. */
int control_json_parse(const char *p, size_t n, struct json_object **ret, struct err *e);

/* A JSON string from bytes of unknown origin (client names, log text): what is not UTF-8 becomes
 * U+FFFD. */
struct json_object *control_json_string(const char *s);

/* Make text from outside fit for one log line: control characters become spaces, in place. */
void control_printable(char *s);

/* json_object_object_add() for the types we send. A NULL string and `known` false add nothing. */
void control_json_add_str(struct json_object *o, const char *key, const char *s);
void control_json_add_int(struct json_object *o, const char *key, int64_t v);
void control_json_add_lsn(struct json_object *o, const char *key,
                          uint64_t lsn); /* 0 adds nothing */

/* Drop the reference; for CLEANUP(). */
void control_json_putp(struct json_object **o);

/* Settings of the server's log. Runs in: every process. Owns: nothing. Source: PostgreSQL 15's
 * documentation (runtime-config-logging). */
#include "conf/conf_log.h"

#include <ctype.h>
#include <string.h>

#include "base/log.h"
#include "base/log_text.h"

/* The formats of "stderr, csvlog" as bits; false: another word. */
static bool
read_destinations(const char *text, unsigned *ret)
{
    static const char *const names[LOG_FORMATS] = { "stderr", "csvlog", "jsonlog" };

    *ret = 0;
    for (const char *p = text; *p != '\0';) {
        unsigned found = LOG_FORMATS;
        size_t n;

        p += strspn(p, ", \t");
        n = strcspn(p, ", \t");
        if (n == 0)
            break;
        for (unsigned i = 0; i < LOG_FORMATS; i++)
            if (strlen(names[i]) == n && strncasecmp(p, names[i], n) == 0)
                found = i;
        if (found == LOG_FORMATS)
            return false;
        *ret |= (unsigned) BIT(found);
        p += n;
    }
    return true;
}

static int
check_destination(const char *text, struct err *e)
{
    unsigned formats;

    if (read_destinations(text, &formats))
        return 0;
    (void) ERR(e, INVALID_PARAMETER_VALUE,
               "invalid value for parameter \"log_destination\": \"%s\"", text);
    err_hint(e, "Available values, by comma: stderr, csvlog, jsonlog. Under systemd stderr is the "
                "journal.");
    return -ERR_INVALID_PARAMETER_VALUE;
}

static int
check_prefix(const char *text, struct err *e)
{
    for (const char *p = strchr(text, '%'); p != NULL; p = strchr(p, '%')) {
        p++;
        p += *p == '-';
        while (isdigit((unsigned char) *p))
            p++;
        if (*p == '\0')
            break;
        if (strchr(log_prefix_escapes, *p) == NULL) {
            (void) ERR(e, INVALID_PARAMETER_VALUE,
                       "invalid value for parameter \"log_line_prefix\": \"%s\"", text);
            err_hint(e, "\"%%%c\" is not supported; each of \"%s\" behind %% is.", *p,
                     log_prefix_escapes);
            return -ERR_INVALID_PARAMETER_VALUE;
        }
        p++;
    }
    return 0;
}

static int
check_filename(const char *text, struct err *e)
{
    if (text[0] != '\0' && strchr(text, '/') == NULL)
        return 0;
    (void) ERR(e, INVALID_PARAMETER_VALUE, "invalid value for parameter \"log_filename\": \"%s\"",
               text);
    err_hint(e, "It is the name of a file in log_directory, without \"/\".");
    return -ERR_INVALID_PARAMETER_VALUE;
}

int
conf_log_check(enum conf_id id, const char *text, struct err *e)
{
    if (id == CONF_log_destination)
        return check_destination(text, e);
    if (id == CONF_log_line_prefix)
        return check_prefix(text, e);
    if (id == CONF_log_filename)
        return check_filename(text, e);
    return 0;
}

unsigned
conf_log_formats(const struct conf_values *v)
{
    unsigned formats;

    (void) read_destinations(v->log_destination, &formats);
    return formats;
}

void
conf_log_apply(const struct conf_values *v)
{
    struct log_options o = { .min = (enum log_level) v->log_min_messages,
                             .min_statement = (enum log_level) v->log_min_error_statement,
                             .verbosity = (enum log_verbosity) v->log_error_verbosity,
                             .formats = conf_log_formats(v),
                             .prefix = v->log_line_prefix };

    log_configure(&o);
}

/* Chunks of log entries: heads, and putting them together. Pure but for memory. Runs in: every
 * process (heads), syslogger. Owns: the entries in the making. */
#include "base/log_pipe.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"

#define IS_FIRST 1u
#define IS_LAST  2u

struct head {
    size_t n;
    int pid;
    unsigned format;
    unsigned flags;
};

void
log_pipe_head(char *p, int pid, unsigned format, bool is_first, bool is_last, size_t n)
{
    struct buf b = buf_init(p, LOG_OUT_HEAD);

    buf_put_zero(&b, 2);
    buf_put_u16(&b, (uint16_t) n);
    buf_put_u32(&b, (uint32_t) pid);
    buf_put_u8(&b, (uint8_t) format);
    buf_put_u8(&b, (uint8_t) ((is_first ? IS_FIRST : 0) | (is_last ? IS_LAST : 0)));
    ASSERT(buf_ok(&b) && b.n == LOG_OUT_HEAD);
}

/* A head that we may have written? */
static bool
read_head(const char *p, struct head *ret)
{
    struct cur c = cur_init(p, LOG_OUT_HEAD);

    if (cur_u16(&c) != 0)
        return false;
    ret->n = cur_u16(&c);
    ret->pid = (int) cur_u32(&c);
    ret->format = cur_u8(&c);
    ret->flags = cur_u8(&c);
    return ret->pid > 0 && ret->format <= LOG_PIPE_FLUSH && ret->flags <= (IS_FIRST | IS_LAST) &&
           ret->n <= LOG_OUT_BYTES - LOG_OUT_HEAD;
}

/* ---- parts ---- */
static void
finish(struct log_pipe *lp, struct log_pipe_part *part)
{
    if (part->n > 0)
        lp->emit(lp->arg, part->format, !part->is_rest, part->p, part->n);
    free(part->p);
    *part = (struct log_pipe_part){ 0 };
}

static struct log_pipe_part *
find_part(struct log_pipe *lp, int pid, enum log_format format)
{
    for (size_t i = 0; i < LOG_PIPE_PARTS; i++)
        if (lp->parts[i].pid == pid && (pid == 0 || lp->parts[i].format == format))
            return &lp->parts[i];
    return NULL;
}

static struct log_pipe_part *
new_part(struct log_pipe *lp, int pid, enum log_format format)
{
    struct log_pipe_part *part = find_part(lp, 0, format);

    if (part == NULL) { /* as many in the making as there is room for: the first goes as it is */
        part = &lp->parts[0];
        finish(lp, part);
    }
    part->pid = pid;
    part->format = format;
    return part;
}

static bool
grow(struct log_pipe_part *part, const char *p, size_t n)
{
    if (n == 0)
        return true; /* of an empty chunk, perhaps the first: there is no memory yet */
    if (part->n + n > part->cap) {
        size_t cap = MAX(2 * part->cap, part->n + n);
        char *more = realloc(part->p, cap);

        if (more == NULL)
            return false;
        part->p = more;
        part->cap = cap;
    }
    memcpy(part->p + part->n, p, n);
    part->n += n;
    return true;
}

static void
take_chunk(struct log_pipe *lp, const struct head *h, const char *text)
{
    enum log_format format = (enum log_format) h->format;
    struct log_pipe_part *part;

    if (h->format == LOG_PIPE_FLUSH) {
        lp->asked(lp->arg);
        return;
    }
    part = find_part(lp, h->pid, format);
    if (part != NULL && (h->flags & IS_FIRST) != 0) {
        finish(lp, part); /* the writer of before died, or gave up */
        part = NULL;
    }
    if (part == NULL && (h->flags & IS_LAST) != 0) {
        lp->emit(lp->arg, format, true, text, h->n);
        return;
    }
    if (part == NULL)
        part = new_part(lp, h->pid, format);
    if (!grow(part, text, h->n)) {
        finish(lp, part);
        lp->emit(lp->arg, format, false, text, h->n);
    } else if ((h->flags & IS_LAST) != 0) {
        finish(lp, part);
    } else if (part->n > LOG_PIPE_PART_MAX) {
        lp->emit(lp->arg, format, !part->is_rest, part->p, part->n);
        part->n = 0;
        part->is_rest = true;
    }
}

/* ---- the stream ---- */

/* One chunk, or text without a head, from the start of p; 0: it is not complete. */
static size_t
take_one(struct log_pipe *lp, const char *p, size_t n)
{
    struct head h;
    const char *next;
    size_t n_text;

    if (p[0] == '\0' && n < LOG_OUT_HEAD && (n < 2 || p[1] == '\0'))
        return 0;
    if (n >= LOG_OUT_HEAD && read_head(p, &h)) {
        if (n < LOG_OUT_HEAD + h.n)
            return 0;
        take_chunk(lp, &h, p + LOG_OUT_HEAD);
        return LOG_OUT_HEAD + h.n;
    }
    next = memchr(p + 1, '\0', n - 1);
    n_text = next == NULL ? n : (size_t) (next - p);
    if (p[0] != '\0') /* a stray zero byte is no text */
        lp->emit(lp->arg, LOG_FORMAT_STDERR, false, p, n_text);
    else if (n_text > 1)
        lp->emit(lp->arg, LOG_FORMAT_STDERR, false, p + 1, n_text - 1);
    return n_text;
}

static size_t
take_all(struct log_pipe *lp, const char *p, size_t n)
{
    size_t at = 0;

    while (at < n) {
        size_t used = take_one(lp, p + at, n - at);

        if (used == 0)
            break;
        at += used;
    }
    return at;
}

void
log_pipe_take(struct log_pipe *lp, const char *p, size_t n)
{
    size_t used;

    while (lp->n_rest > 0 && n > 0) { /* complete the one that was cut, no byte more than needed */
        struct head h;
        size_t want = LOG_OUT_HEAD;
        size_t more;

        if (lp->n_rest >= LOG_OUT_HEAD && read_head(lp->rest, &h))
            want += h.n;
        more = MIN(n, want - lp->n_rest);
        memcpy(lp->rest + lp->n_rest, p, more);
        lp->n_rest += more;
        p += more;
        n -= more;
        used = take_all(lp, lp->rest, lp->n_rest);
        memmove(lp->rest, lp->rest + used, lp->n_rest - used);
        lp->n_rest -= used;
    }
    used = take_all(lp, p, n);
    ASSERT(lp->n_rest + n - used <= sizeof lp->rest);
    memcpy(lp->rest + lp->n_rest, p + used, n - used);
    lp->n_rest += n - used;
}

void
log_pipe_done(struct log_pipe *lp)
{
    if (lp->n_rest > LOG_OUT_HEAD)
        lp->emit(lp->arg, LOG_FORMAT_STDERR, false, lp->rest + LOG_OUT_HEAD,
                 lp->n_rest - LOG_OUT_HEAD);
    lp->n_rest = 0;
    for (size_t i = 0; i < LOG_PIPE_PARTS; i++)
        if (lp->parts[i].pid != 0)
            finish(lp, &lp->parts[i]);
}

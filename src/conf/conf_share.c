/* The settings in force as bytes of a memory file: a checksum tells a reader that it met a writer.
 *
 * Runs in: postmaster (put), children (get). Owns: nothing between calls; the file is guarded by
 * its checksum: one writer, readers try again. Source: none. */
#include "conf/conf_share.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/crc32c.h"

struct head {
    uint32_t bytes; /* behind it */
    uint32_t crc;   /* of them */
};

enum { TRIES_MAX = 1000 };

void
conf_packed_done(struct conf_packed *packed)
{
    free(packed->p);
    *packed = (struct conf_packed){ .n = 0 };
}

/* The value as conf_put() reads it, without loss. */
static const char *
exact_text(const struct conf *conf, enum conf_id id, char *p, size_t cap)
{
    union conf_value v;

    if (conf_desc(id)->type != CONF_TYPE_REAL)
        return conf_show_bare(conf, id, p, cap);
    (void) conf_dup(conf, id, &v); /* a number: cannot fail */
    (void) snprintf(p, cap, "%.17g", v.r);
    return p;
}

static void
put_text(struct buf *b, const char *text)
{
    buf_put(b, text, strlen(text) + 1);
}

static void
pack_all(struct buf *b, const struct conf *cur, const struct conf *next,
         const struct conf_diff *diff)
{
    char text[CONF_VALUE_BYTES_MAX + 1];

    for (int i = 0; i < CONF_SETTINGS; i++) {
        enum conf_id id = (enum conf_id) i;
        const struct conf *value = diff != NULL && diff->changed[id] ? next : cur;
        const struct conf *place = diff != NULL && !diff->restart[id] ? next : cur;
        const struct conf_origin *o = place->origins != NULL ? &place->origins[id] : NULL;
        bool is_pending = diff != NULL ? diff->restart[id] : o != NULL && o->is_pending;

        buf_put_u8(b, place->source[id]);
        buf_put_u8(b, is_pending);
        buf_put_u32(b, o != NULL ? (uint32_t) o->line : 0);
        put_text(b, o != NULL && o->file != NULL ? o->file : "");
        put_text(b, exact_text(value, id, text, sizeof text));
    }
}

int
conf_share_pack(int fd, const struct conf *cur, const struct conf *next,
                const struct conf_diff *diff, struct conf_packed *ret, struct err *e)
{
    size_t cap =
        sizeof(struct head) + (size_t) CONF_SETTINGS * (CONF_VALUE_BYTES_MAX + CONF_PATH_BYTES + 8);
    struct head head;
    struct buf b;

    ret->p = malloc(cap);
    if (ret->p == NULL)
        return ERR(e, OUT_OF_MEMORY, "out of memory");
    b = buf_init(ret->p + sizeof head, cap - sizeof head);
    pack_all(&b, cur, next, diff);
    ASSERT(buf_ok(&b));
    head = (struct head){ .bytes = (uint32_t) b.n, .crc = crc32c(0, b.p, b.n) };
    memcpy(ret->p, &head, sizeof head);
    ret->n = sizeof head + b.n;
    if (fallocate(fd, 0, 0, (off_t) ret->n) < 0)
        return ERR_ERRNO(e, "could not make room for the settings");
    return 0;
}

void
conf_share_put(int fd, const struct conf_packed *packed)
{
    ssize_t n = pwrite(fd, packed->p, packed->n, 0);

    ASSERT(n == (ssize_t) packed->n); /* memory that is there */
}

int
conf_share_new(const struct conf *conf, struct err *e)
{
    CLEANUP(conf_packed_done) struct conf_packed packed = { .n = 0 };
    CLEANUP(closep) int fd = memfd_create("pinion-settings", MFD_CLOEXEC);
    int r;

    if (fd < 0)
        return ERR_ERRNO(e, "could not make a memory file for the settings");
    r = conf_share_pack(fd, conf, NULL, NULL, &packed, e);
    if (r < 0)
        return r;
    conf_share_put(fd, &packed);
    return TAKE_FD(fd);
}

static int
unpack_one(struct cur *c, struct conf *conf, enum conf_id id, struct err *e)
{
    struct conf_origin *o = &conf->origins[id];
    enum conf_source source = (enum conf_source) cur_u8(c);
    const char *file;
    const char *value;

    o->is_pending = cur_u8(c) != 0;
    o->line = (int) cur_u32(c);
    file = cur_str(c);
    value = cur_str(c);
    if (file == NULL || value == NULL)
        return ERR(e, DATA_CORRUPTED, "the settings of the postmaster end early");
    if (file[0] != '\0' && (o->file = strdup(file)) == NULL)
        return ERR(e, OUT_OF_MEMORY, "out of memory");
    return conf_put(conf, id, value, source, e);
}

static int
unpack_all(const void *p, size_t n, struct conf *ret, struct err *e)
{
    CLEANUP(conf_done) struct conf conf = { 0 };
    struct cur c = cur_init(p, n);
    int r = conf_init(&conf, e);

    if (r < 0)
        return r;
    conf.origins = calloc(CONF_SETTINGS, sizeof *conf.origins);
    if (conf.origins == NULL)
        return ERR(e, OUT_OF_MEMORY, "out of memory");
    for (int id = 0; id < CONF_SETTINGS && r == 0; id++)
        r = unpack_one(&c, &conf, (enum conf_id) id, e);
    if (r < 0)
        return r;
    *ret = conf;
    conf = (struct conf){ 0 };
    return 0;
}

/* One look: 1 and the bytes behind the head, 0 if a writer was met, < 0 an error. */
static int
look(int fd, uint8_t **ret, uint32_t *ret_n, struct err *e)
{
    CLEANUP(freep) uint8_t *p = NULL;
    struct head head;
    ssize_t n = pread(fd, &head, sizeof head, 0);

    if (n < 0)
        return ERR_ERRNO(e, "could not read the settings of the postmaster");
    if (n != sizeof head)
        return 0;
    p = malloc(head.bytes);
    if (p == NULL)
        return ERR(e, OUT_OF_MEMORY, "out of memory");
    n = pread(fd, p, head.bytes, sizeof head);
    if (n < 0)
        return ERR_ERRNO(e, "could not read the settings of the postmaster");
    if (n != head.bytes || crc32c(0, p, head.bytes) != head.crc)
        return 0;
    *ret = TAKE_PTR(p);
    *ret_n = head.bytes;
    return 1;
}

int
conf_share_get(int fd, struct conf *ret, struct err *e)
{
    CLEANUP(freep) uint8_t *p = NULL;
    uint32_t n = 0;
    int r = 0;

    for (int i = 0; i < TRIES_MAX && r == 0; i++) {
        r = look(fd, &p, &n, e);
        if (r == 0)
            (void) sched_yield();
    }
    if (r == 0)
        return ERR(e, DATA_CORRUPTED, "the settings of the postmaster change all the time");
    return r < 0 ? r : unpack_all(p, n, ret, e);
}

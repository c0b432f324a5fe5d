/* pg_hba.conf: rules of who may connect from where, by which method.
 *
 * Runs in: postmaster (start and reload check it), backend (parses and matches). Owns: the rules of
 * a struct pgwire_hba. Source: PostgreSQL's file format as documented for users; design 11. What is
 * not supported is a fault, never ignored. */
#include "pgwire/pgwire_hba.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum where { WHERE_ALL, WHERE_MASK, WHERE_SAMEHOST, WHERE_LOCALHOST };

struct name {
    char *text;     /* owned */
    bool is_quoted; /* then no keyword */
};

struct names {
    struct name *items; /* owned */
    size_t n;
};

struct pgwire_hba_rule {
    int line;
    bool is_local;
    const char *type; /* a word of the table of types */
    struct names databases, roles;
    enum where where;
    struct pgwire_hba_addr addr, mask;
    enum pgwire_hba_method method;
};

/* ---- addresses ---- */

static size_t
addr_bytes(const struct pgwire_hba_addr *a)
{
    return a->family == AF_INET ? 4 : a->family == AF_INET6 ? 16 : 0;
}

struct pgwire_hba_addr
pgwire_hba_addr(const struct sockaddr *sa)
{
    struct pgwire_hba_addr a = { 0 };

    if (sa->sa_family == AF_INET) {
        struct sockaddr_in in;

        memcpy(&in, sa, sizeof in);
        a.family = AF_INET;
        memcpy(a.bytes, &in.sin_addr, 4);
    } else if (sa->sa_family == AF_INET6) {
        struct sockaddr_in6 in6;

        memcpy(&in6, sa, sizeof in6);
        if (IN6_IS_ADDR_V4MAPPED(&in6.sin6_addr)) {
            a.family = AF_INET;
            memcpy(a.bytes, in6.sin6_addr.s6_addr + 12, 4);
        } else {
            a.family = AF_INET6;
            memcpy(a.bytes, &in6.sin6_addr, 16);
        }
    }
    return a;
}

const char *
pgwire_hba_addr_text(const struct pgwire_hba_addr *a, char *p, size_t cap)
{
    if (a->family == 0 || inet_ntop(a->family, a->bytes, p, (socklen_t) cap) == NULL)
        (void) snprintf(p, cap, "[local]");
    return p;
}

static bool
addr_read(const char *text, struct pgwire_hba_addr *ret)
{
    memset(ret, 0, sizeof *ret);
    if (inet_pton(AF_INET, text, ret->bytes) == 1)
        ret->family = AF_INET;
    else if (inet_pton(AF_INET6, text, ret->bytes) == 1)
        ret->family = AF_INET6;
    return ret->family != 0;
}

static bool
addr_equal(const struct pgwire_hba_addr *a, const struct pgwire_hba_addr *b)
{
    return a->family == b->family && a->family != 0 &&
           memcmp(a->bytes, b->bytes, addr_bytes(a)) == 0;
}

static bool
addr_in(const struct pgwire_hba_addr *a, const struct pgwire_hba_addr *net,
        const struct pgwire_hba_addr *mask)
{
    if (a->family != net->family)
        return false;
    for (size_t i = 0; i < addr_bytes(a); i++) {
        if (((a->bytes[i] ^ net->bytes[i]) & mask->bytes[i]) != 0)
            return false;
    }
    return true;
}

static bool
addr_is_loopback(const struct pgwire_hba_addr *a)
{
    static const uint8_t one[16] = { [15] = 1 };

    return (a->family == AF_INET && a->bytes[0] == 127) ||
           (a->family == AF_INET6 && memcmp(a->bytes, one, 16) == 0);
}

/* A mask of `bits` ones. Returns false if the family has fewer. */
static bool
mask_of_bits(int family, const char *text, struct pgwire_hba_addr *ret)
{
    char *end;
    unsigned long bits;

    memset(ret, 0, sizeof *ret);
    ret->family = family;
    if (text[0] < '0' || text[0] > '9')
        return false;
    errno = 0;
    bits = strtoul(text, &end, 10);
    if (*end != '\0' || errno != 0 || bits > addr_bytes(ret) * 8)
        return false;
    for (unsigned long i = 0; i < bits; i++)
        ret->bytes[i / 8] |= (uint8_t) (0x80 >> (i % 8));
    return true;
}

/* ---- tokens ---- */

struct line {
    const char *p, *end;
};

static void
names_done(struct names *l)
{
    for (size_t i = 0; i < l->n; i++)
        free(l->items[i].text);
    free(l->items);
    *l = (struct names){ 0 };
}

static int
names_add(struct names *l, const char *p, size_t n, bool is_quoted)
{
    struct name *items = reallocarray(l->items, l->n + 1, sizeof *items);

    if (items == NULL)
        return -ENOMEM;
    l->items = items;
    items[l->n] = (struct name){ strndup(p, n), is_quoted };
    return items[l->n++].text != NULL ? 0 : -ENOMEM;
}

static bool
at_blank(const struct line *l)
{
    return l->p < l->end && (*l->p == ' ' || *l->p == '\t' || *l->p == '\r');
}

static void
skip_blanks(struct line *l)
{
    while (at_blank(l))
        l->p++;
}

/* One word, up to a blank, comma or comment; quotes may stand anywhere in it. */
static int
take_word(struct line *l, struct names *to, struct err *e)
{
    char word[512];
    size_t n = 0;
    bool in_quotes = false, was_quoted = false;

    for (; l->p < l->end; l->p++) {
        char c = *l->p;

        if (!in_quotes && (c == ' ' || c == '\t' || c == '\r' || c == ',' || c == '#'))
            break;
        if (c == '"') {
            in_quotes = !in_quotes;
            was_quoted = true;
            continue;
        }
        if (c == '\0' || n + 1 >= sizeof word)
            return ERR(e, CONFIG_FILE_ERROR, c == '\0' ? "zero byte" : "word is too long");
        word[n++] = c;
    }
    if (in_quotes)
        return ERR(e, CONFIG_FILE_ERROR, "unterminated quoted word");
    return names_add(to, word, n, was_quoted);
}

/* The next field: words by comma. Returns 1 if there was one, 0 at the end of the line, < 0. */
static int
take_field(struct line *l, struct names *ret, struct err *e)
{
    int r;

    skip_blanks(l);
    if (l->p == l->end || *l->p == '#')
        return 0;
    for (;;) {
        if (ret->n >= PGWIRE_HBA_NAMES_MAX)
            return ERR(e, CONFIG_FILE_ERROR, "more than %d names in a list", PGWIRE_HBA_NAMES_MAX);
        r = take_word(l, ret, e);
        if (r < 0)
            return r;
        skip_blanks(l);
        if (l->p == l->end || *l->p != ',')
            return 1;
        l->p++;
        skip_blanks(l);
    }
}

/* A field that must be one word. */
static int
take_single(struct line *l, const char *what, struct names *ret, struct err *e)
{
    int r = take_field(l, ret, e);

    if (r == 0)
        return ERR(e, CONFIG_FILE_ERROR, "end-of-line before %s", what);
    if (r > 0 && ret->n != 1)
        return ERR(e, CONFIG_FILE_ERROR, "multiple values specified for %s", what);
    return r;
}

/* ---- one rule ---- */

static bool
is_word(const struct name *n, const char *word)
{
    return !n->is_quoted && strcmp(n->text, word) == 0;
}

static int
not_yet(struct err *e, const char *what, const char *word)
{
    return ERR(e, FEATURE_NOT_SUPPORTED, "%s \"%s\" is not supported yet", what, word);
}

static int
read_type(struct line *l, struct pgwire_hba_rule *rule, struct err *e)
{
    static const char *const types[] = { "local", "host", "hostnossl", "hostnogssenc" };
    CLEANUP(names_done) struct names f = { 0 };
    int r = take_single(l, "connection type", &f, e);
    const char *word;

    if (r < 0)
        return r;
    word = f.items[0].text;
    if (strcmp(word, "hostssl") == 0 || strcmp(word, "hostgssenc") == 0)
        return not_yet(e, "connection type", word);
    for (size_t i = 0; i < ELEMENTSOF(types); i++)
        if (strcmp(word, types[i]) == 0)
            rule->type = types[i];
    if (rule->type == NULL)
        return ERR(e, CONFIG_FILE_ERROR, "invalid connection type \"%s\"", word);
    rule->is_local = rule->type == types[0];
    return 0;
}

/* Databases or roles. */
static int
read_names(struct line *l, const char *what, bool is_role, struct names *ret, struct err *e)
{
    int r = take_field(l, ret, e);

    if (r < 0)
        return r;
    if (r == 0)
        return ERR(e, CONFIG_FILE_ERROR, "end-of-line before %s specification", what);
    for (size_t i = 0; i < ret->n; i++) {
        const struct name *n = &ret->items[i];

        if (n->is_quoted)
            continue;
        if (n->text[0] == '@' || n->text[0] == '/' || (is_role && n->text[0] == '+'))
            return not_yet(e, what, n->text);
        if (!is_role && (strcmp(n->text, "samerole") == 0 || strcmp(n->text, "samegroup") == 0))
            return not_yet(e, what, n->text);
        if (n->text[0] == '\0')
            return ERR(e, CONFIG_FILE_ERROR, "empty name in %s specification", what);
    }
    return 0;
}

/* "ADDRESS/BITS", or an address followed by a mask in the next field. */
static int
read_network(struct line *l, char *text, struct pgwire_hba_rule *rule, struct err *e)
{
    CLEANUP(names_done) struct names f = { 0 };
    char *slash = strchr(text, '/');
    int r;

    if (slash != NULL)
        *slash = '\0';
    if (!addr_read(text, &rule->addr)) {
        if (strspn(text, "0123456789.") == strlen(text) || strchr(text, ':') != NULL)
            return ERR(e, CONFIG_FILE_ERROR, "invalid IP address \"%s\"", text);
        if (slash != NULL)
            return ERR(e, CONFIG_FILE_ERROR,
                       "specifying both host name and CIDR mask is invalid: \"%s\"", text);
        return not_yet(e, "host name", text);
    }
    rule->where = WHERE_MASK;
    if (slash != NULL)
        return mask_of_bits(rule->addr.family, slash + 1, &rule->mask)
                   ? 0
                   : ERR(e, CONFIG_FILE_ERROR, "invalid CIDR mask in address \"%s/%s\"", text,
                         slash + 1);
    r = take_single(l, "netmask specification", &f, e);
    if (r < 0) {
        err_hint(e, "Specify an address range in CIDR notation, or provide a separate netmask.");
        return r;
    }
    if (!addr_read(f.items[0].text, &rule->mask))
        return ERR(e, CONFIG_FILE_ERROR, "invalid IP mask \"%s\"", f.items[0].text);
    if (rule->mask.family != rule->addr.family)
        return ERR(e, CONFIG_FILE_ERROR, "IP address and mask do not match");
    return 0;
}

static int
read_address(struct line *l, struct pgwire_hba_rule *rule, struct err *e)
{
    CLEANUP(names_done) struct names f = { 0 };
    int r = take_single(l, "IP address specification", &f, e);
    const struct name *n = f.items;

    if (r < 0)
        return r;
    if (is_word(n, "all"))
        rule->where = WHERE_ALL;
    else if (is_word(n, "samehost"))
        rule->where = WHERE_SAMEHOST;
    else if (is_word(n, "samenet"))
        return not_yet(e, "address", n->text);
    else if (strcmp(n->text, "localhost") == 0)
        rule->where = WHERE_LOCALHOST;
    else
        return read_network(l, n->text, rule, e);
    return 0;
}

static int
read_method(struct line *l, struct pgwire_hba_rule *rule, struct err *e)
{
    static const char *const later[] = { "scram-sha-256", "md5", "password", "cert",
                                         "ident",         "gss", "sspi",     "ldap",
                                         "pam",           "bsd", "radius" };
    CLEANUP(names_done) struct names f = { 0 };
    CLEANUP(names_done) struct names option = { 0 };
    int r = take_single(l, "authentication method", &f, e);
    const char *word;

    if (r < 0)
        return r;
    word = f.items[0].text;
    for (size_t i = 0; i < ELEMENTSOF(later); i++) {
        if (strcmp(word, later[i]) == 0)
            return not_yet(e, "authentication method", word);
    }
    if (strcmp(word, "trust") == 0)
        rule->method = PGWIRE_HBA_TRUST;
    else if (strcmp(word, "reject") == 0)
        rule->method = PGWIRE_HBA_REJECT;
    else if (strcmp(word, "peer") == 0)
        rule->method = PGWIRE_HBA_PEER;
    else
        return ERR(e, CONFIG_FILE_ERROR, "invalid authentication method \"%s\"", word);
    if (rule->method == PGWIRE_HBA_PEER && !rule->is_local)
        return ERR(e, CONFIG_FILE_ERROR, "peer authentication is only supported on local sockets");
    r = take_field(l, &option, e);
    if (r > 0)
        return not_yet(e, "authentication option", option.items[0].text);
    return r;
}

static void
rule_done(struct pgwire_hba_rule *rule)
{
    names_done(&rule->databases);
    names_done(&rule->roles);
}

/* Returns 1 with *ret, 0 for an empty line, < 0. */
static int
read_rule(struct line l, struct pgwire_hba_rule *ret, struct err *e)
{
    int r;

    skip_blanks(&l);
    if (l.p == l.end || *l.p == '#')
        return 0;
    r = read_type(&l, ret, e);
    if (r == 0)
        r = read_names(&l, "database", false, &ret->databases, e);
    if (r == 0)
        r = read_names(&l, "role", true, &ret->roles, e);
    if (r == 0 && !ret->is_local)
        r = read_address(&l, ret, e);
    if (r == 0)
        r = read_method(&l, ret, e);
    return r < 0 ? r : 1;
}

/* ---- the file ---- */

void
pgwire_hba_done(struct pgwire_hba *hba)
{
    for (size_t i = 0; i < hba->n; i++)
        rule_done(&hba->rules[i]);
    free(hba->rules);
    *hba = (struct pgwire_hba){ 0 };
}

static int
append(struct pgwire_hba *hba, const struct pgwire_hba_rule *rule)
{
    struct pgwire_hba_rule *rules = reallocarray(hba->rules, hba->n + 1, sizeof *rules);

    if (rules == NULL)
        return -ENOMEM;
    hba->rules = rules;
    rules[hba->n++] = *rule;
    return 0;
}

struct reader {
    const char *path;
    struct pgwire_hba hba;
    pgwire_hba_fault_fn fn;
    void *arg;
    struct err *e; /* the first fault */
    size_t n_faults;
};

static void
readerp_done(struct reader *rd)
{
    pgwire_hba_done(&rd->hba);
}

static void
report(struct reader *rd, int line, const struct err *fault)
{
    if (rd->n_faults++ == 0) {
        (void) ERR(rd->e, CONFIG_FILE_ERROR, "%s:%d: %s", rd->path, line, fault->message);
        if (fault->hint[0] != '\0')
            err_hint(rd->e, "%s", fault->hint);
    }
    if (rd->fn != NULL && rd->n_faults <= PGWIRE_HBA_FAULTS_MAX)
        rd->fn(rd->arg, line, fault);
}

static int
one_line(struct reader *rd, struct line l, int number)
{
    struct pgwire_hba_rule rule = { .line = number };
    struct err fault = ERR_INIT;
    int r = read_rule(l, &rule, &fault);

    if (r == 0)
        return 0;
    if (r > 0 && rd->hba.n >= PGWIRE_HBA_RULES_MAX)
        r = ERR(&fault, CONFIG_FILE_ERROR, "more than %d rules", PGWIRE_HBA_RULES_MAX);
    if (r > 0)
        r = append(&rd->hba, &rule);
    if (r == 0)
        return 0; /* hba owns the lists now */
    rule_done(&rule);
    if (r == -ENOMEM)
        return r;
    report(rd, number, &fault);
    return 0;
}

/* 0, or what is wrong; rd->hba has what is right in either case. */
static int
all_lines(struct reader *rd, const char *text, size_t n)
{
    const char *p = text, *end = text + n;

    for (int number = 1; p < end; number++) {
        const char *nl = memchr(p, '\n', (size_t) (end - p));
        struct line l = { p, nl != NULL ? nl : end };

        if (one_line(rd, l, number) < 0)
            return ERR(rd->e, OUT_OF_MEMORY, "out of memory");
        p = nl != NULL ? nl + 1 : end;
    }
    if (rd->n_faults == 0 && rd->hba.n == 0) {
        struct err fault = ERR_INIT;

        (void) ERR(&fault, CONFIG_FILE_ERROR, "the file contains no entries");
        report(rd, 1, &fault);
    }
    return rd->n_faults > 0 ? -ERR_CONFIG_FILE_ERROR : 0;
}

int
pgwire_hba_parse(const char *path, const char *text, size_t n, struct pgwire_hba *ret,
                 pgwire_hba_fault_fn fn, void *arg, struct err *e)
{
    CLEANUP(readerp_done) struct reader rd = { .path = path, .fn = fn, .arg = arg, .e = e };
    int r = all_lines(&rd, text, n);

    if (r < 0)
        return r;
    *ret = rd.hba;
    rd.hba = (struct pgwire_hba){ 0 };
    return 0;
}

/* The whole file at *ret, the caller's to free(). */
static int
read_file(const char *path, char **ret, size_t *ret_n, struct err *e)
{
    CLEANUP(closep) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    CLEANUP(freep) char *text = NULL;
    struct stat st;
    size_t n = 0;

    if (fd < 0 || fstat(fd, &st) < 0)
        return ERR_ERRNO(e, "could not open access rules \"%s\"", path);
    if (!S_ISREG(st.st_mode) || st.st_size > PGWIRE_HBA_BYTES_MAX)
        return ERR(e, CONFIG_FILE_ERROR,
                   "access rules \"%s\" are not a regular file of at most %d bytes", path,
                   PGWIRE_HBA_BYTES_MAX);
    text = malloc(PGWIRE_HBA_BYTES_MAX);
    if (text == NULL)
        return ERR(e, OUT_OF_MEMORY, "out of memory");
    while (n < PGWIRE_HBA_BYTES_MAX) {
        ssize_t got = read(fd, text + n, PGWIRE_HBA_BYTES_MAX - n);

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return ERR_ERRNO(e, "could not read access rules \"%s\"", path);
        if (got == 0)
            break;
        n += (size_t) got;
    }
    *ret = TAKE_PTR(text);
    *ret_n = n;
    return 0;
}

int
pgwire_hba_load(const char *path, struct pgwire_hba *ret, pgwire_hba_fault_fn fn, void *arg,
                struct err *e)
{
    CLEANUP(freep) char *text = NULL;
    size_t n = 0;
    int r = read_file(path, &text, &n, e);

    return r < 0 ? r : pgwire_hba_parse(path, text, n, ret, fn, arg, e);
}

int
pgwire_hba_load_good(const char *path, struct pgwire_hba *ret, pgwire_hba_fault_fn fn, void *arg,
                     struct err *e)
{
    struct reader rd = { .path = path, .fn = fn, .arg = arg, .e = e };
    CLEANUP(freep) char *text = NULL;
    size_t n = 0;
    int r = read_file(path, &text, &n, e);

    if (r == 0)
        r = all_lines(&rd, text, n);
    *ret = rd.hba;
    return r;
}

/* ---- showing ---- */

int
pgwire_hba_line(const struct pgwire_hba *hba, size_t i)
{
    return hba->rules[i].line;
}

static const char *
show_names(const struct names *l, char *p, size_t cap)
{
    size_t at = (size_t) snprintf(p, cap, "{");

    for (size_t i = 0; i < l->n && at < cap; i++)
        at += (size_t) snprintf(p + at, cap - at, "%s%s", i > 0 ? "," : "", l->items[i].text);
    if (at < cap)
        (void) snprintf(p + at, cap - at, "}");
    return p;
}

static const char *
show_address(const struct pgwire_hba_rule *rule, char *p, size_t cap)
{
    if (rule->is_local)
        return NULL;
    switch (rule->where) {
    case WHERE_ALL:
        return "all";
    case WHERE_SAMEHOST:
        return "samehost";
    case WHERE_LOCALHOST:
        return "localhost";
    case WHERE_MASK:
        return pgwire_hba_addr_text(&rule->addr, p, cap);
    }
    return NULL;
}

const char *
pgwire_hba_show(const struct pgwire_hba *hba, size_t i, enum pgwire_hba_column column, char *p,
                size_t cap)
{
    static const char *const methods[] = {
        [PGWIRE_HBA_TRUST] = "trust", [PGWIRE_HBA_PEER] = "peer", [PGWIRE_HBA_REJECT] = "reject"
    };
    const struct pgwire_hba_rule *rule = &hba->rules[i];

    switch (column) {
    case PGWIRE_HBA_TYPE:
        return rule->type;
    case PGWIRE_HBA_DATABASES:
        return show_names(&rule->databases, p, cap);
    case PGWIRE_HBA_ROLES:
        return show_names(&rule->roles, p, cap);
    case PGWIRE_HBA_ADDRESS:
        return show_address(rule, p, cap);
    case PGWIRE_HBA_NETMASK:
        return !rule->is_local && rule->where == WHERE_MASK
                   ? pgwire_hba_addr_text(&rule->mask, p, cap)
                   : NULL;
    case PGWIRE_HBA_METHOD:
        return methods[rule->method];
    case PGWIRE_HBA_COLUMNS:
        break;
    }
    return NULL;
}

/* ---- matching ---- */

static bool
database_matches(const struct names *l, const struct pgwire_hba_client *c)
{
    for (size_t i = 0; i < l->n; i++) {
        const struct name *n = &l->items[i];

        if (c->is_replication) {
            if (is_word(n, "replication"))
                return true;
        } else if (is_word(n, "all") ||
                   (is_word(n, "sameuser") && strcmp(c->database, c->role) == 0)) {
            return true;
        } else if (!is_word(n, "sameuser") && !is_word(n, "replication") &&
                   strcmp(n->text, c->database) == 0) {
            return true;
        }
    }
    return false;
}

static bool
role_matches(const struct names *l, const struct pgwire_hba_client *c)
{
    for (size_t i = 0; i < l->n; i++) {
        if (is_word(&l->items[i], "all") || strcmp(l->items[i].text, c->role) == 0)
            return true;
    }
    return false;
}

static bool
address_matches(const struct pgwire_hba_rule *rule, const struct pgwire_hba_client *c)
{
    if (rule->is_local || c->addr.family == 0)
        return rule->is_local && c->addr.family == 0;
    switch (rule->where) {
    case WHERE_ALL:
        return true;
    case WHERE_SAMEHOST:
        return addr_is_loopback(&c->addr) || addr_equal(&c->addr, &c->server);
    case WHERE_LOCALHOST:
        return addr_is_loopback(&c->addr);
    case WHERE_MASK:
        return addr_in(&c->addr, &rule->addr, &rule->mask);
    }
    return false;
}

static int
refuse(const struct pgwire_hba_client *c, bool is_rejected, struct err *e)
{
    const char *what = is_rejected ? "pg_hba.conf rejects" : "no pg_hba.conf entry for";
    char host[64];

    (void) pgwire_hba_addr_text(&c->addr, host, sizeof host);
    if (c->is_replication)
        return ERR(e, INVALID_AUTHORIZATION_SPECIFICATION,
                   "%s replication connection %s host \"%s\", user \"%s\", no encryption", what,
                   is_rejected ? "for" : "from", host, c->role);
    return ERR(e, INVALID_AUTHORIZATION_SPECIFICATION,
               "%s%s host \"%s\", user \"%s\", database \"%s\", no encryption", what,
               is_rejected ? " connection for" : "", host, c->role, c->database);
}

int
pgwire_hba_match(const struct pgwire_hba *hba, const struct pgwire_hba_client *client,
                 enum pgwire_hba_method *ret_method, int *ret_line, struct err *e)
{
    for (size_t i = 0; i < hba->n; i++) {
        const struct pgwire_hba_rule *rule = &hba->rules[i];

        if (!address_matches(rule, client) || !database_matches(&rule->databases, client) ||
            !role_matches(&rule->roles, client))
            continue;
        *ret_method = rule->method;
        *ret_line = rule->line;
        return rule->method == PGWIRE_HBA_REJECT ? refuse(client, true, e) : 0;
    }
    return refuse(client, false, e);
}

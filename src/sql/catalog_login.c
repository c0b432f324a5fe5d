/* Logins remembered. Runs in: backend. Owns: struct catalog_logins. Source: FILE-3 (the row is read
 * again once the reference is held): here, that nothing was committed to the catalogue in between.
 */
#include "sql/catalog_login.h"

#include <errno.h>
#include <string.h>

#include "sql/catalog_int.h"
#include "store/store_db.h"

/* ---- entries ---- */

/* Copies the entry of these names that is as of `p`. */
static bool
find_entry(struct store *st, struct catalog_logins *l, const char *role, const char *db, lsn_t p,
           struct catalog_logins_entry *ret)
{
    bool found = false;

    spin_take(st->self, &l->lock, LOCK_LOGINS);
    for (uint32_t i = 0; i < CATALOG_LOGINS && !found; i++) {
        const struct catalog_logins_entry *entry = &l->entries[i];

        found = entry->as_of == p && strcmp(entry->role.name, role) == 0 &&
                strcmp(entry->db.name, db) == 0;
        if (found)
            *ret = *entry;
    }
    spin_drop(st->self, &l->lock, LOCK_LOGINS);
    return found;
}

static void
keep_entry(struct store *st, struct catalog_logins *l, const struct catalog_login *login, lsn_t p)
{
    struct catalog_logins_entry entry = {
        .as_of = p, .role = login->role, .db = login->db, .n = (uint32_t) login->n
    };

    if (login->n > sizeof entry.settings)
        return;
    if (login->n > 0)
        memcpy(entry.settings, login->settings, login->n);
    spin_take(st->self, &l->lock, LOCK_LOGINS);
    l->entries[l->next++ % CATALOG_LOGINS] = entry;
    spin_drop(st->self, &l->lock, LOCK_LOGINS);
}

/* ---- the two ways ---- */

static int
set_settings(struct catalog_login *login, const char *bytes, size_t n, struct err *e)
{
    login->n = n;
    login->settings = n > 0 ? malloc(n) : NULL;
    if (n > 0 && login->settings == NULL)
        return ERR(e, OUT_OF_MEMORY, "out of memory");
    if (n > 0)
        memcpy(login->settings, bytes, n);
    return 0;
}

/* With a reference to the catalogue. 0, CATALOG_NONE: ask the catalogue, or < 0. */
static int
from_entry(struct store *st, struct catalog_logins *l, uint32_t catalog_idx,
           const char *const names[2], struct catalog_login *ret)
{
    struct catalog_logins_entry entry;
    lsn_t p = store_db_published(st, catalog_idx);

    if (p == 0 || !find_entry(st, l, names[0], names[1], p, &entry))
        return CATALOG_NONE;
    if (store_db_attach(st, entry.db.oid, entry.db.rel, &ret->db_idx, NULL) < 0)
        return CATALOG_NONE;
    /* FILE-3: from the reference on it is not dropped, and it was there after it was taken. */
    if (store_db_published(st, catalog_idx) != p ||
        set_settings(ret, entry.settings, entry.n, NULL) < 0) {
        store_db_detach(st, ret->db_idx);
        return CATALOG_NONE;
    }
    ret->role = entry.role;
    ret->db = entry.db;
    return 0;
}

static int
add_setting(void *arg, const char *name, const char *value)
{
    struct catalog_login *login = arg;
    size_t a = strlen(name) + 1;
    size_t b = strlen(value) + 1;
    char *grown = realloc(login->settings, login->n + a + b);

    if (grown == NULL)
        return -ENOMEM;
    memcpy(grown + login->n, name, a);
    memcpy(grown + login->n + a, value, b);
    login->settings = grown;
    login->n += a + b;
    return 0;
}

/* What the catalogue says is kept if it is what commit p left: durable before we looked, so that
 * every snapshot had it, and still the newest afterwards. */
static int
from_catalog(struct store *st, struct catalog_logins *l, const char *const names[2],
             struct catalog_login *ret, struct err *e)
{
    struct catalog *c = NULL;
    int r = catalog_open(st, &c, e);
    lsn_t p;
    bool is_durable;

    if (r < 0)
        return r;
    p = store_db_published(st, c->db_idx);
    is_durable = p != 0 && cache_horizon(st->cache) >= p;
    r = catalog_login(c, names[0], names[1], &ret->role, &ret->db, &ret->db_idx, e);
    if (r == 0) {
        r = catalog_settings(c, ret->db.oid, ret->role.oid, add_setting, ret, e);
        if (r < 0)
            store_db_detach(st, ret->db_idx);
    }
    if (r == 0 && is_durable && store_db_published(st, c->db_idx) == p)
        keep_entry(st, l, ret, p);
    catalog_close(c);
    if (r == -ENOMEM)
        return ERR(e, OUT_OF_MEMORY, "out of memory");
    return r < 0 ? r : 0;
}

int
catalog_log_in(struct store *st, struct catalog_logins *logins, const char *role, const char *db,
               struct catalog_login *ret, struct err *e)
{
    const char *const names[2] = { role, db };
    uint32_t catalog_idx;
    int r = store_db_attach(st, CATALOG_DB_OID, CATALOG_DB_OID, &catalog_idx, e);

    if (r < 0)
        return r;
    *ret = (struct catalog_login){ .n = 0 };
    r = from_entry(st, logins, catalog_idx, names, ret);
    if (r == CATALOG_NONE)
        r = from_catalog(st, logins, names, ret, e);
    store_db_detach(st, catalog_idx);
    if (r < 0)
        catalog_login_done(ret);
    return r;
}

void
catalog_login_done(struct catalog_login *login)
{
    free(login->settings);
    login->settings = NULL;
    login->n = 0;
}

int
catalog_login_settings(const struct catalog_login *login, catalog_setting_fn fn, void *arg)
{
    for (size_t at = 0; at < login->n;) {
        const char *name = login->settings + at;
        const char *value = name + strlen(name) + 1;
        int r = fn(arg, name, value);

        if (r < 0)
            return r;
        at = (size_t) (value - login->settings) + strlen(value) + 1;
    }
    return 0;
}

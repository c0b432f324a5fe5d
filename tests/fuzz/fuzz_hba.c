/* What an administrator can write into pg_hba.conf: the input as the file; the rules it gives are
 * asked about clients of every kind. Run: as fuzz_startup. */
#include <arpa/inet.h>
#include <string.h>

#include "pgwire/pgwire_hba.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

struct count {
    int n, lines;
};

static void
on_fault(void *arg, int line, const struct err *fault)
{
    struct count *c = arg;

    c->n++;
    ASSERT(line >= 0 && line <= c->lines);
    ASSERT(fault->message[0] != '\0');
}

static struct pgwire_hba_addr
addr(int family, const char *text)
{
    struct pgwire_hba_addr a = { .family = family };

    ASSERT(inet_pton(family, text, a.bytes) == 1);
    return a;
}

static void
ask(const struct pgwire_hba *hba, struct pgwire_hba_client client, int lines)
{
    static const char *const names[] = { "postgres", "bob", "replication", "a b", "é", "all" };
    enum pgwire_hba_method method;
    struct err e = ERR_INIT;
    int line;

    for (size_t i = 0; i < ELEMENTSOF(names) * 4; i++) {
        client.role = names[i % ELEMENTSOF(names)];
        client.database = names[i / 4];
        client.is_replication = i % 5 == 0;
        err_clear(&e);
        if (pgwire_hba_match(hba, &client, &method, &line, &e) == 0)
            ASSERT(line >= 1 && line <= lines && method != PGWIRE_HBA_REJECT);
        else
            ASSERT(e.message[0] != '\0');
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    char *text = malloc(n + 1); /* not ended by 0, and exact */
    struct pgwire_hba hba = { 0 };
    struct pgwire_hba again = { 0 };
    struct count faults = { .lines = 1 };
    struct err e = ERR_INIT;
    int r;

    ASSERT(text != NULL);
    if (n > 0)
        memcpy(text, p, n);
    for (size_t i = 0; i < n; i++)
        faults.lines += text[i] == '\n';
    text = realloc(text, n > 0 ? n : 1);
    r = pgwire_hba_parse("/nowhere/pg_hba.conf", text, n, &hba, on_fault, &faults, &e);
    ASSERT((r == 0) == (faults.n == 0));
    ASSERT(r == 0 || e.message[0] != '\0');
    if (r == 0) {
        struct pgwire_hba_client local = { 0 };
        struct pgwire_hba_client v4 = { .addr = addr(AF_INET, "127.0.0.1"),
                                        .server = addr(AF_INET, "127.0.0.1") };
        struct pgwire_hba_client v6 = { .addr = addr(AF_INET6, "fe80::1"),
                                        .server = addr(AF_INET6, "::1") };

        ask(&hba, local, faults.lines);
        ask(&hba, v4, faults.lines);
        ask(&hba, v6, faults.lines);
        ASSERT(pgwire_hba_parse("/nowhere/pg_hba.conf", text, n, &again, NULL, NULL, &e) == 0);
        ASSERT(again.n == hba.n);
        pgwire_hba_done(&again);
        pgwire_hba_done(&hba);
    }
    free(text);
    return 0;
}

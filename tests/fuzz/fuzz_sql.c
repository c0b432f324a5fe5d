/* What a client can write: any text through the splitter, the commands' parser and the rewriter;
 * then, as a declared type and as a number, through the type tables. Run: as fuzz_startup. */
#include <string.h>

#include "sql/session_types.h"
#include "sql/sql_stmt.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static void
one_statement(const struct sql_stmt *s, const char *text, size_t n)
{
    struct err e = ERR_INIT;
    struct sql_rewrite rw;

    ASSERT(s->at <= n);
    ASSERT(s->n <= n - s->at);
    ASSERT(s->text == text + s->at);
    if (sql_rewrite(s->text, s->n, &rw, &e) < 0)
        return;
    ASSERT(rw.text[rw.n] == '\0');
    for (size_t at = 0; at <= rw.n; at++)
        ASSERT(sql_rewrite_at(&rw, at) <= s->n);
    sql_rewrite_done(&rw);
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    char *text = malloc(n + 1); /* exact, so that a read behind the end is seen */
    size_t pos = 0;
    int32_t mod;

    ASSERT(text != NULL);
    if (n > 0)
        memcpy(text, p, n);
    text[n] = '\0';
    while (!sql_is_blank(text, n, pos)) {
        struct err e = ERR_INIT;
        struct sql_stmt s;
        size_t before = pos;

        if (sql_stmt_parse(text, n, pos, &s, &pos, &e) == 0)
            one_statement(&s, text, n);
        else
            ASSERT(e.position >= 0 && (size_t) e.position <= n + 1);
        sql_stmt_done(&s);
        ASSERT(pos > before); /* it ends */
    }
    (void) types_of_decl(text, &mod);
    free(text);
    return 0;
}

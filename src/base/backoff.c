/* Restart delays. Runs in: postmaster. Owns nothing; no clock. */
#include "base/backoff.h"

static usec_t
delay_after(unsigned n_failures)
{
    usec_t delay = BACKOFF_FIRST_USEC;

    for (unsigned i = 1; i < n_failures && delay < BACKOFF_MAX_USEC; i++)
        delay *= 2;
    return delay < BACKOFF_MAX_USEC ? delay : BACKOFF_MAX_USEC;
}

bool
backoff_fail(struct backoff *b, usec_t now, int code)
{
    bool is_news = b->n_failures == 0 || b->last_error != code;

    b->n_failures++;
    b->last_error = code;
    b->not_before = now + delay_after(b->n_failures);
    return is_news;
}

void
backoff_left(struct backoff *b, usec_t since, usec_t now)
{
    if (now - since >= BACKOFF_STABLE_USEC)
        backoff_reset(b);
    else
        (void) backoff_fail(b, now, 0);
}

void
backoff_reset(struct backoff *b)
{
    *b = (struct backoff){ .n_failures = 0 };
}

unsigned
seldom_say(struct seldom *s, usec_t now, usec_t gap)
{
    unsigned n = ++s->n;

    if (s->said_usec != 0 && now < s->said_usec + gap)
        return 0;
    *s = (struct seldom){ .said_usec = now };
    return n;
}

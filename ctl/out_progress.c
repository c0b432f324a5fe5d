/* Progress in text: one line that a terminal redraws, else a line for each change of phase and
 * every ten seconds. Runs in: pinionctl. Owns: whether such a line stands on the terminal. Source:
 * systemd-ops 4.2. */
#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "out.h"

#define LINE_EVERY_USEC   (10 * USEC_PER_SEC)
#define REDRAW_EVERY_USEC (USEC_PER_SEC / 4)
#define BAR_WIDTH         20

static bool line_open; /* a progress line without its newline stands on the terminal */

void
out_close_line(void)
{
    if (line_open)
        (void) printf("\r\033[K");
    line_open = false;
}

void
out_bar(char *to, int width, double percent)
{
    for (int i = 0; i < width; i++)
        to[i] = percent >= (i + 1) * 100.0 / width ? '#' : '-';
    to[width] = '\0';
}

/* A phase by its name; without one the words up to the first number are as good. */
static void
name_phase(char *to, size_t cap, const char *message, const json_t *progress)
{
    const char *phase = out_text_of(progress, "phase");

    if (phase[0] != '\0')
        (void) snprintf(to, cap, "%s", phase);
    else
        (void) snprintf(to, cap, "%.*s", (int) strcspn(message, "0123456789"), message);
}

/* What is often over before anybody has read it: its line waits for a second. */
static bool
is_fleeting(const json_t *progress)
{
    const json_t *percent = json_object_get(progress, "percent");
    bool is_begun = percent != NULL && json_number_value(percent) >= 1;

    if (strcmp(out_text_of(progress, "unit"), "processes") == 0)
        return true;
    return strstr(out_text_of(progress, "phase"), "checkpoint") != NULL && !is_begun;
}

/* Is it time for a line of this phase? */
static bool
is_due(const char *phase, const json_t *progress, bool is_terminal)
{
    static uint64_t begun_usec;
    static char last_phase[128];
    static uint64_t last_usec;
    uint64_t now = now_mono_usec();
    bool is_new = strcmp(phase, last_phase) != 0;

    begun_usec = begun_usec == 0 ? now : begun_usec;
    if (is_fleeting(progress) && now - begun_usec < USEC_PER_SEC)
        return false;
    if (!is_new && now - last_usec < (is_terminal ? REDRAW_EVERY_USEC : LINE_EVERY_USEC))
        return false;
    (void) snprintf(last_phase, sizeof last_phase, "%s", phase);
    last_usec = now;
    return true;
}

/* "main: stopping: checkpoint 41 %". */
void
out_text_progress(const struct target *t, const char *message, const json_t *progress)
{
    const json_t *percent = json_object_get(progress, "percent");
    bool is_terminal = isatty(STDOUT_FILENO) != 0;
    char phase[128], bar[BAR_WIDTH + 1];

    if (out_options.quiet || message == NULL || message[0] == '\0')
        return;
    name_phase(phase, sizeof phase, message, progress);
    if (!is_due(phase, progress, is_terminal))
        return;
    out_close_line();
    (void) printf("%s: ", t->name);
    if (is_terminal && percent != NULL) {
        out_bar(bar, BAR_WIDTH, json_number_value(percent));
        (void) printf("[%s] ", bar);
    }
    (void) printf("%c%s", tolower((unsigned char) message[0]), message + 1);
    if (is_terminal)
        line_open = true;
    else
        (void) putchar('\n');
    (void) fflush(stdout);
}

/* A line that a terminal redraws, beside the parts that stand. */
void
out_text_verifying(const json_t *progress)
{
    uint64_t all = out_number_of(progress, "all");
    double percent = all > 0 ? (double) out_number_of(progress, "done") * 100 / (double) all : 0;
    char bar[BAR_WIDTH + 1];

    if (out_options.quiet || isatty(STDOUT_FILENO) == 0)
        return;
    out_close_line();
    if (all > 0) {
        out_bar(bar, BAR_WIDTH, percent);
        (void) printf("[%s] %3.0f %% ", bar, percent);
    }
    (void) printf("%s", out_text_of(progress, "what"));
    (void) fflush(stdout);
    line_open = true;
}

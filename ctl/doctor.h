/* The checks of `doctor`: each looks and adds what it found. */
#pragma once

#include <jansson.h>

#include "target.h"

/* What the checks know: replies of the server (NULL without one), and what they have found. */
struct doctor {
    const struct target *t;
    json_t *status;   /* GetStatus' record */
    json_t *settings; /* name → value as text, as far as we may see them */
    json_t *config;   /* CheckConfig's reply */
    json_t *history;  /* {"entries":[…]} */
    json_t *checks;   /* found so far */
    int worst;        /* enum doctor_level */
};

enum doctor_level { DOCTOR_OK, DOCTOR_NOTE, DOCTOR_WARNING, DOCTOR_BAD };

/* One finding. `why` and `advice` may be NULL (with OK they always are). */
void doctor_say(struct doctor *d, const char *check, enum doctor_level level, const char *why,
                const char *advice, const char *finding, ...) __attribute__((format(printf, 6, 7)));

/* A setting as the server has it, "" if unknown; a size like "1GB" in bytes, 0 if unknown. */
const char *doctor_setting(const struct doctor *d, const char *name);
uint64_t doctor_setting_bytes(const struct doctor *d, const char *name);
/* The data directory: what the server says, or what the target is. "" if unknown. */
const char *doctor_datadir(const struct doctor *d);
/* The postmaster, 0 = it does not run or is not known. */
pid_t doctor_pid(const struct doctor *d);

/* doctor_disk.c */
void doctor_check_directory(struct doctor *d);
void doctor_check_space(struct doctor *d);
void doctor_check_log_volume(struct doctor *d);
void doctor_check_archive(struct doctor *d);
void doctor_check_access(struct doctor *d);
/* doctor_host.c */
void doctor_check_program(struct doctor *d);
void doctor_check_limits(struct doctor *d);
void doctor_check_memory(struct doctor *d);
void doctor_check_kernel(struct doctor *d);
void doctor_check_clock(struct doctor *d);
void doctor_check_metrics(struct doctor *d);
void doctor_check_unit(struct doctor *d);
void doctor_check_groups(struct doctor *d);

/* The commands, one function each. All return an exit code; `p` says why it is not 0. */
#pragma once

#include "client.h"
#include "target.h"

/* cmd_look.c */
int cmd_status(const struct args *a, struct problem *p);
int cmd_list(const struct args *a, struct problem *p);
int cmd_ps(const struct args *a, struct problem *p);
int cmd_watch(const struct args *a, struct problem *p);
int cmd_call(const struct args *a, struct problem *p);
/* cmd_ask.c */
int cmd_show(const struct args *a, struct problem *p);
int cmd_cancel(const struct args *a, struct problem *p);
int cmd_cancel_stop(const struct args *a, struct problem *p);
int cmd_rotate_log(const struct args *a, struct problem *p);
int cmd_version(const struct args *a, struct problem *p);
int cmd_logs(const struct args *a, struct problem *p);
int cmd_terminate(const struct args *a, struct problem *p);
int cmd_introspect(const struct args *a, struct problem *p);
int cmd_completion(const struct args *a, struct problem *p);
/* cmd_history.c */
int cmd_history(const struct args *a, struct problem *p);
/* The entries in the history file of a data directory (none if it never ran): {"entries":[…]}, or
 * CTL_NO_INSTANCE, CTL_PERMISSION, CTL_FAILED. */
int history_read_file(const char *datadir, json_t **ret, struct problem *p);
/* cmd_doctor.c */
int cmd_doctor(const struct args *a, struct problem *p);
/* Every check on `t`: {"checks":[…]}; returns the exit code that they mean. */
int doctor_examine(const struct target *t, json_t **ret);
/* cmd_report.c */
int cmd_report(const struct args *a, struct problem *p);
/* cmd_wait.c */
int cmd_is_active(const struct args *a, struct problem *p);
int cmd_wait(const struct args *a, struct problem *p);
int cmd_is_ready(const struct args *a, struct problem *p);
/* cmd_run.c */
int cmd_start(const struct args *a, struct problem *p);
int cmd_stop(const struct args *a, struct problem *p);
int cmd_restart(const struct args *a, struct problem *p);
int cmd_checkpoint(const struct args *a, struct problem *p);
/* cmd_conf.c */
int cmd_reload(const struct args *a, struct problem *p);
int cmd_check_config(const struct args *a, struct problem *p);
/* Of a server that does not run: {"valid":…, "problems":[…]} from `piniond --check`. */
int conf_check_stopped(const struct target *t, json_t **ret, struct problem *p);
/* Says no (CTL_CONFIG) if the running server's files have errors; what cannot be asked is fine. */
int conf_refuse_errors(const struct target *t, struct problem *p);
/* cmd_make.c */
int cmd_init(const struct args *a, struct problem *p);
int cmd_create(const struct args *a, struct problem *p);
/* cmd_credential.c */
int cmd_set_credential(const struct args *a, struct problem *p);
/* cmd_verify.c */
int cmd_verify(const struct args *a, struct problem *p);

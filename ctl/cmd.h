/* The commands, one function each. All return an exit code; `p` says why it is not 0. */
#pragma once

#include "args.h"

/* cmd_look.c */
int cmd_status(const struct args *a, struct problem *p);
int cmd_ps(const struct args *a, struct problem *p);
int cmd_watch(const struct args *a, struct problem *p);
int cmd_call(const struct args *a, struct problem *p);
/* cmd_ask.c */
int cmd_show(const struct args *a, struct problem *p);
int cmd_cancel(const struct args *a, struct problem *p);
int cmd_cancel_stop(const struct args *a, struct problem *p);
int cmd_logs(const struct args *a, struct problem *p);
int cmd_terminate(const struct args *a, struct problem *p);
int cmd_introspect(const struct args *a, struct problem *p);
int cmd_completion(const struct args *a, struct problem *p);
/* cmd_wait.c */
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
/* cmd_make.c */
int cmd_init(const struct args *a, struct problem *p);
int cmd_create(const struct args *a, struct problem *p);
/* cmd_credential.c */
int cmd_set_credential(const struct args *a, struct problem *p);
/* cmd_verify.c */
int cmd_verify(const struct args *a, struct problem *p);

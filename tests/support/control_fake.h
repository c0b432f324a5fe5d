/* A made-up server behind control_view.h: the test sets what it says and sees what was asked. */
#pragma once

#include "control/control_view.h"

struct control_fake {
    struct control_status status; /* copied into every answer */
    int reload_result;            /* 0, -ERR_CONFIG_FILE_ERROR, … */
    enum control_operation checkpoint_state;
    struct control_progress checkpoint_progress; /* of one that runs; phase "" = none */
    int n_checkpoints, n_stops, n_reloads, n_signals;
    enum control_action last_action;
    bool last_fast;
    enum control_stop_mode last_mode;
    usec_t last_drain_usec;
    char last_by[100], last_reason[100];
    bool has_log_files;
    int n_rotations;
    int n_sessions; /* backends beyond the one of the list */
};

/* A primary in PM_RUN. */
void control_fake_init(struct control_fake *f);
struct control_view control_fake_view(struct control_fake *f);

/* Yield points for the simulations: nothing unless built with PINION_SIM. Never under a SHORT lock.
 */
#pragma once

#ifdef PINION_SIM
/* tests/sim/sim_sched.c: perhaps switch to another task. `point` is for people. */
void sim_yield(const char *point);
#define SIM_YIELD(point) sim_yield(#point)
#else
#define SIM_YIELD(point) ((void) 0)
#endif

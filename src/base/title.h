/* What `ps` shows of a process. The command line's memory is overwritten; nothing else moves. */
#pragma once

/* Once, first thing in main(): remembers where argv lies and returns a copy of it to be used
 * instead (never freed; on lack of memory argv itself, and titles do nothing). */
char **title_init(int argc, char **argv);
/* Set this process' title, cut to the room there is. In a child; the postmaster keeps its command
 * line. */
void title_set(const char *text);

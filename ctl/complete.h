/* What could stand at the end of a command line: for the shells' completion. */
#pragma once

/* Print the candidates for the last of `words` (without the program's name), a line each. Ends the
 * process after 200 ms, however far it is: a shell waits. */
int complete_print(int n_words, char **words);

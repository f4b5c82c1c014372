/* host/commands.h: the commands of the program; each returns an exit code. argv[0] is the command's name. */
#ifndef TANDEM_HOST_COMMANDS_H
#define TANDEM_HOST_COMMANDS_H

int cmd_devices(int argc, char **argv);
int cmd_inspect(int argc, char **argv);
int cmd_generate(int argc, char **argv);
int cmd_eval(int argc, char **argv);
int cmd_tokenize(int argc, char **argv);
int cmd_perplexity(int argc, char **argv);
int cmd_synth(int argc, char **argv);
int cmd_quantize(int argc, char **argv);
int cmd_trace(int argc, char **argv);
int cmd_sweep(int argc, char **argv);
int cmd_compare(int argc, char **argv);
int cmd_peaks(int argc, char **argv);

#endif

/* host/plugin_choice.h: which plugin a command takes that is told none. */
#ifndef TANDEM_HOST_PLUGIN_CHOICE_H
#define TANDEM_HOST_PLUGIN_CHOICE_H

/* Name of the plugin with the best device here: cuda on a GPU, vulkan on a GPU, vulkan on a software driver, reference.
 * Each is asked in a process of its own. One line on standard error says which it is, and which it passed over for
 * another reason than that there is no such device. device: what --device names, or NULL; a UUID is looked for.
 * NULL, said on standard error with plugin_say_none: there is none at all. */
const char *plugin_choose(const char *command, const char *device);

/* Says that no device was found, where plugins were looked for, which there are, and what to install; returns the exit
 * code. wanted: what --plugin named, or NULL. */
int plugin_say_none(const char *command, const char *wanted);

#endif

/* stub.h: a function table in which every slot is present and offers nothing, for plugins that tests make
 * wrong. */
#ifndef TANDEM_TESTS_STUB_H
#define TANDEM_TESTS_STUB_H

#include <tandem/tandem.h>

/* The table with every slot; abi_* and descriptor are the caller's to set. */
extern const tandem_backend stub_backend;

extern const tandem_descriptor stub_descriptor;

#endif

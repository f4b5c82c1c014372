/* tandem/tandem.h: the whole plugin ABI. */
#ifndef TANDEM_TANDEM_H
#define TANDEM_TANDEM_H

#include "backend.h"

#endif

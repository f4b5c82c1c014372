/* host/identity.h: plugin and device as a journal row names them. */
#ifndef TANDEM_HOST_IDENTITY_H
#define TANDEM_HOST_IDENTITY_H

#include <cjson/cJSON.h>

#include <tandem/tandem.h>

/* {"name", "version", "git", "toolchain", "targets", "shaders"} */
cJSON *identity_plugin(const tandem_descriptor *d);
/* {"name", "kind", "uuid", "driver", "matrix_paths", "matrix_used", "memory_total"} */
cJSON *identity_device(const tandem_device_info *info);

#endif

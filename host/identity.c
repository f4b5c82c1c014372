/* host/identity.c: plugin and device as JSON. */
#include "identity.h"

#include "cli.h"

cJSON *identity_plugin(const tandem_descriptor *d) {
    cJSON *j = cJSON_CreateObject();
    cJSON_AddStringToObject(j, "name", d->name);
    cJSON_AddStringToObject(j, "version", d->version);
    cJSON_AddStringToObject(j, "git", d->git);
    cJSON_AddStringToObject(j, "toolchain", d->toolchain);
    cJSON_AddStringToObject(j, "targets", d->targets);
    cJSON_AddStringToObject(j, "shaders", d->shaders);
    return j;
}

cJSON *identity_device(const tandem_device_info *info) {
    char uuid[37];
    format_uuid(info->uuid, uuid);
    cJSON *j = cJSON_CreateObject();
    cJSON_AddStringToObject(j, "name", info->name);
    cJSON_AddStringToObject(j, "kind", device_kind_name(info->kind));
    cJSON_AddStringToObject(j, "uuid", uuid);
    cJSON_AddStringToObject(j, "driver", info->driver);
    cJSON_AddNumberToObject(j, "matrix_paths", info->matrix_paths);
    cJSON_AddNumberToObject(j, "matrix_used", info->matrix_used);
    cJSON_AddNumberToObject(j, "memory_total", (double)info->memory_total);
    return j;
}

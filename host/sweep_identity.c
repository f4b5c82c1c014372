/* host/sweep_identity.c: what a column is, in words and as a key. */
#include <string.h>

#include "hash.h"
#include "identity.h"
#include "inspect.h"
#include "sweep.h"

typedef struct fingerprint {
    uint64_t hash;
} fingerprint;

static void add_tensor(void *user, const source_tensor *t, uint32_t role, uint32_t layer) {
    (void)role;
    (void)layer;
    fingerprint *f = user;
    f->hash = hash_bytes(t->name, strlen(t->name), f->hash);
    f->hash = hash_bytes(t->dims, sizeof t->dims, f->hash ^ t->type);
    if (t->data) {
        uint64_t n = t->bytes < 64 ? t->bytes : 64;
        f->hash = hash_bytes(t->data, n, f->hash);
        f->hash = hash_bytes((const uint8_t *)t->data + t->bytes - n, n, f->hash);
    }
}

/* What --routing comes to: a name that is the same where the experts are. */
static int name_routing(const common_options *o, const model_source *source, char name[64],
                        tandem_message *message) {
    routing *r;
    int status = routing_create(&r, o->routing, model_source_config(source), o->seed, message);
    if (status)
        return status;
    snprintf(name, 64, "%s", routing_name(r));
    routing_destroy(r);
    return TANDEM_OK;
}

/* Names a model by shapes, formats and samples of its bytes, and the routing imposed on it; a synthetic one
 * by what it is made from. */
static int model_key(const model_source *source, const char *how, char key[64], tandem_message *message) {
    const model_config *c = model_source_config(source);
    fingerprint f = {.hash = c->family};
    if (!model_source_gguf(source))
        f.hash = hash_bytes(model_source_label(source), strlen(model_source_label(source)), f.hash);
    for (uint32_t l = 0; l < c->n_layer; l++) {
        const uint32_t shape[] = {c->layers[l].window, c->layers[l].n_head, c->layers[l].n_kv_head,
                                  c->layers[l].kv_layer};
        f.hash = hash_bytes(shape, sizeof shape, f.hash);
    }
    if (strcmp(how, "model"))
        f.hash = hash_bytes(how, strlen(how), f.hash);
    int status = model_each_tensor(source, add_tensor, &f, message);
    snprintf(key, 64, "%016llx", (unsigned long long)f.hash);
    return status;
}

/* A preset of other dimensions than its name promises says so. */
static void model_name(const sweep_options *o, const model_source *source, char *name, size_t size) {
    static const model_overrides none;
    const model_config *c = model_source_config(source);
    if (memcmp(&o->shape.overrides, &none, sizeof none))
        snprintf(name, size, "%s, %u layers, %u wide, vocabulary %u", model_source_label(source), c->n_layer,
                 c->d_model, c->n_vocab);
    else
        snprintf(name, size, "%s", model_source_label(source));
}

static cJSON *describe_model(const sweep_options *o, const model_source *source, const char *how) {
    const model_config *c = model_source_config(source);
    char name[256];
    model_name(o, source, name, sizeof name);
    cJSON *j = cJSON_CreateObject();
    cJSON_AddStringToObject(j, "name", name);
    cJSON_AddBoolToObject(j, "synthetic", !model_source_gguf(source));
    cJSON_AddNumberToObject(j, "n_layer", c->n_layer);
    cJSON_AddNumberToObject(j, "n_vocab", c->n_vocab);
    cJSON_AddNumberToObject(j, "bytes", (double)model_source_bytes(source));
    if (c->n_expert) {
        cJSON_AddStringToObject(j, "routing", how);
        cJSON_AddStringToObject(j, "expert_memory",
                                o->common.expert_memory ? o->common.expert_memory : "device");
    }
    return j;
}

/* The plugin, its --plugin-option, and a hash of what it was built with and is told: another build or setting
 * is another column. */
static cJSON *describe_plugin(const cli_device *device, uint32_t *hash) {
    const tandem_descriptor *d = device->backend->descriptor;
    const char *options[CLI_MAX_PLUGIN_OPTIONS],
        *built[] = {d->version, d->toolchain, d->targets, d->shaders};
    const uint32_t n = cli_plugin_options(tandem_plugin_path(device->plugin), options);
    uint64_t h = 1;
    for (uint32_t i = 0; i < sizeof built / sizeof *built; i++)
        h = hash_bytes(built[i], strlen(built[i]) + 1, h);
    for (uint32_t i = 0; i < n; i++)
        h = hash_bytes(options[i], strlen(options[i]) + 1, h);
    *hash = (uint32_t)(h ^ h >> 32);
    cJSON *j = identity_plugin(d);
    if (n)
        cJSON_AddItemToObject(j, "options", cJSON_CreateStringArray(options, (int)n));
    return j;
}

int sweep_identity(const sweep_options *o, const cli_device *device, const model_source *source, char *key,
                   size_t size, cJSON *j, tandem_message *message) {
    const tandem_descriptor *d = device->backend->descriptor;
    const char *experts = o->common.expert_memory;
    char model[64], how[64], uuid[37];
    int status = name_routing(&o->common, source, how, message);
    if (!status)
        status = model_key(source, how, model, message);
    if (status)
        return status;
    format_uuid(device->info.uuid, uuid);
    uint32_t build;
    cJSON_AddItemToObject(j, "plugin", describe_plugin(device, &build));
    snprintf(key, size, "%s|%s@%s|%s|%.128s|%s|%s|%s|b%u|cap%llu%s%s|build-%08x", model, d->name, d->git,
             uuid, device->info.driver, o->kvs.text[0], o->precisions.text[0], o->fill, o->common.batch,
             (unsigned long long)o->common.memory_cap, experts ? "|experts-" : "", experts ? experts : "",
             build);
    cJSON_AddStringToObject(j, "key", key);
    cJSON_AddStringToObject(j, "model_key", model);
    cJSON_AddItemToObject(j, "model", describe_model(o, source, how));
    cJSON_AddItemToObject(j, "device", identity_device(&device->info));
    return TANDEM_OK;
}

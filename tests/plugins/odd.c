/* odd.c: a plugin that is wrong in the way its options say. Without options it is a good one without devices.
 *
 *     major=N, minor=N      the version it claims
 *     blind=1               does not look at the host's version; without it, an odd version refuses as
 * plugins should filled=N              the struct_size it stores missing=SLOT          leaves one function
 * out string=NAME           leaves one string of the descriptor out descriptor=none|short leaves the
 * descriptor out, or one whose struct_size is 8 garbage=1             fills the whole table with 0xAA and
 * answers OK status=N              answers this status and writes no sentence refuse=SENTENCE       answers
 * NO_DEVICE with this sentence unterminated=1        answers NO_DEVICE with a message without an end
 *     permanent=1           may not be unloaded
 *     oddity=X              any X: nothing
 */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <tandem/message.h>
#include <tandem/negotiate.h>

#include "stub.h"

typedef struct odd_report {
    uint32_t n_query; /* since the library was loaded */
    const tandem_host *host;
} odd_report;

static tandem_descriptor descriptor;
static odd_report report;

/* The value of an option, or NULL. */
static const char *option(const tandem_host *host, const char *name) {
    size_t n = strlen(name);
    for (uint32_t i = 0; i < host->n_options; i++)
        if (strncmp(host->options[i], name, n) == 0 && host->options[i][n] == '=')
            return host->options[i] + n + 1;
    return NULL;
}

static const void *get_interface(const char *name) {
    return name != NULL && strcmp(name, "odd_report/1") == 0 ? &report : NULL;
}

static void leave_out(tandem_backend *backend, const char *slot) {
    static const struct {
        const char *name;
        size_t offset;
    } slots[] = {
#define SLOT(name) {#name, offsetof(tandem_backend, name)},
        TANDEM_KIT_SLOTS(SLOT)
#undef SLOT
    };
    for (size_t i = 0; i < sizeof slots / sizeof *slots; i++)
        if (strcmp(slots[i].name, slot) == 0)
            memset((char *)backend + slots[i].offset, 0, sizeof(void *));
}

static void leave_string_out(const char *name) {
    static const struct {
        const char *name;
        const char **member;
    } strings[] = {
        {"name", &descriptor.name},       {"version", &descriptor.version},
        {"git", &descriptor.git},         {"toolchain", &descriptor.toolchain},
        {"targets", &descriptor.targets}, {"shaders", &descriptor.shaders},
        {"needs", &descriptor.needs},
    };
    for (size_t i = 0; i < sizeof strings / sizeof *strings; i++)
        if (strcmp(strings[i].name, name) == 0)
            *strings[i].member = NULL;
}

static void make_table(const tandem_host *host, tandem_backend *backend) {
    const char *value;
    descriptor = stub_descriptor;
    descriptor.name = "odd";
    if (option(host, "permanent") != NULL)
        descriptor.flags = 0;
    *backend = stub_backend;
    backend->descriptor = &descriptor;
    backend->get_interface = get_interface;
    if ((value = option(host, "major")) != NULL)
        backend->abi_major = (uint32_t)strtoul(value, NULL, 10);
    if ((value = option(host, "minor")) != NULL)
        backend->abi_minor = (uint32_t)strtoul(value, NULL, 10);
    if ((value = option(host, "filled")) != NULL)
        backend->struct_size = (uint32_t)strtoul(value, NULL, 10);
    if ((value = option(host, "missing")) != NULL)
        leave_out(backend, value);
    if ((value = option(host, "string")) != NULL)
        leave_string_out(value);
    if ((value = option(host, "descriptor")) != NULL) {
        descriptor.struct_size = 8;
        backend->descriptor = strcmp(value, "none") == 0 ? NULL : &descriptor;
    }
}

TANDEM_EXPORT tandem_status tandem_backend_query(const tandem_host *host, tandem_backend *backend) {
    const char *value;
    report.n_query++;
    report.host = host;
    make_table(host, backend);
    if (option(host, "garbage") != NULL)
        memset(backend, 0xaa, sizeof *backend);
    if ((value = option(host, "status")) != NULL)
        return (tandem_status)strtol(value, NULL, 10);
    if ((value = option(host, "refuse")) != NULL)
        return tandem_kit_fail(host->error, TANDEM_E_NO_DEVICE, "%s", value);
    if (option(host, "unterminated") != NULL) {
        memset(host->error->message, 'x', sizeof host->error->message);
        return TANDEM_E_NO_DEVICE;
    }
    if (option(host, "blind") == NULL && option(host, "garbage") == NULL &&
        !tandem_kit_versions_fit(backend->abi_major, backend->abi_minor, host->abi_major, host->abi_minor))
        return TANDEM_E_VERSION; /* as a plugin of another major: it cannot trust host->error */
    return TANDEM_OK;
}

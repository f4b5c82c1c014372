/* plugin.c: the descriptor and the options. */
#include "context.h"
#include "test_interface.h"

#include <stdio.h>
#include <string.h>

extern const vk_test_interface vk_the_test_interface;

const tandem_descriptor gpu_descriptor = {
    .struct_size = sizeof(tandem_descriptor),
    .flags = TANDEM_PLUGIN_UNLOADABLE,
    .name = "vulkan",
    .version = TANDEM_PLUGIN_VERSION,
    .git = TANDEM_GIT,
    .toolchain = TANDEM_TOOLCHAIN,
    .targets = "Vulkan 1.2, SPIR-V 1.5",
    .shaders = TANDEM_GLSLC ", without GL_KHR_cooperative_matrix",
    .needs = "libvulkan.so.1 and a driver with Vulkan 1.2, buffer device addresses and timeline semaphores",
};

const void *gpu_get_interface(const char *name) {
    if (name && strcmp(name, VK_TEST_INTERFACE) == 0)
        return &vk_the_test_interface;
    return NULL;
}

void gpu_options_reset(void) {
    vk_plugin *plugin = &vk_the_plugin;
    plugin->validation = plugin->gpu_assisted = plugin->staged = 0;
    plugin->shape = VK_SHAPE_BY_KIND;
    plugin->cache_dir[0] = 0;
}

static tandem_status take_shape(const char *value, uint32_t *shape, tandem_error *error) {
    if (strcmp(value, "gpu") == 0)
        *shape = VK_SHAPE_GPU;
    else if (strcmp(value, "software") == 0)
        *shape = VK_SHAPE_SOFTWARE;
    else
        return tandem_kit_fail(error, TANDEM_E_INVALID, "Option vulkan.shape is gpu or software, not '%s'",
                               value);
    return TANDEM_OK;
}

tandem_status gpu_option(const char *option, size_t n, const char *value, tandem_error *error) {
    vk_plugin *plugin = &vk_the_plugin;
    if (gpu_option_is(option, n, "vulkan.validation"))
        return gpu_take_switch(option, value, &plugin->validation, error);
    if (gpu_option_is(option, n, "vulkan.gpu_assisted"))
        return gpu_take_switch(option, value, &plugin->gpu_assisted, error);
    if (gpu_option_is(option, n, "vulkan.staged"))
        return gpu_take_switch(option, value, &plugin->staged, error);
    if (gpu_option_is(option, n, "vulkan.shape"))
        return take_shape(value, &plugin->shape, error);
    return tandem_kit_fail(error, TANDEM_E_UNSUPPORTED,
                           "Unknown option %s: the Vulkan plugin has vulkan.validation, vulkan.gpu_assisted, "
                           "vulkan.staged, vulkan.shape and vulkan.max_segment",
                           option);
}

tandem_status gpu_options_end(tandem_error *error) {
    vk_plugin *plugin = &vk_the_plugin;
    const char *cache_dir = gpu_the_plugin.host.cache_dir;
    if (plugin->gpu_assisted && !plugin->validation)
        return tandem_kit_fail(error, TANDEM_E_INVALID,
                               "Option vulkan.gpu_assisted=1 needs vulkan.validation=1");
    if (!cache_dir)
        return TANDEM_OK;
    int n = snprintf(plugin->cache_dir, sizeof plugin->cache_dir, "%s", cache_dir);
    if (n < 0 || (size_t)n >= sizeof plugin->cache_dir)
        return tandem_kit_fail(error, TANDEM_E_INVALID, "The cache folder's name is longer than %zu bytes",
                               sizeof plugin->cache_dir - 1);
    return TANDEM_OK;
}

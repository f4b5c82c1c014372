/* driver.c: opens the Vulkan loader and makes the instance that contexts and device queries share. */
#include "driver.h"

#include "gpu/services.h"

#include <dlfcn.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VALIDATION_LAYER "VK_LAYER_KHRONOS_validation"
#define LOADER_NAME "libvulkan.so.1"

vk_plugin vk_the_plugin = {.lock = PTHREAD_MUTEX_INITIALIZER};

static VKAPI_ATTR VkBool32 VKAPI_CALL on_validation_message(VkDebugUtilsMessageSeverityFlagBitsEXT severity,
                                                            VkDebugUtilsMessageTypeFlagsEXT types,
                                                            const VkDebugUtilsMessengerCallbackDataEXT *data,
                                                            void *user) {
    (void)severity;
    (void)types;
    (void)user;
    atomic_fetch_add(&vk_the_plugin.n_messages, 1);
    gpu_log(TANDEM_LOG_ERROR, "Vulkan validation: %s", data->pMessage);
    return VK_FALSE;
}

/* The messenger of create time and of run time: everything the validation layer objects to. */
static VkDebugUtilsMessengerCreateInfoEXT messenger_info(void) {
    return (VkDebugUtilsMessengerCreateInfoEXT){
        .sType = VK_STRUCTURE_TYPE_DEBUG_UTILS_MESSENGER_CREATE_INFO_EXT,
        .messageSeverity =
            VK_DEBUG_UTILS_MESSAGE_SEVERITY_WARNING_BIT_EXT | VK_DEBUG_UTILS_MESSAGE_SEVERITY_ERROR_BIT_EXT,
        .messageType = VK_DEBUG_UTILS_MESSAGE_TYPE_VALIDATION_BIT_EXT,
        .pfnUserCallback = on_validation_message,
    };
}

static tandem_status check_layer(PFN_vkGetInstanceProcAddr get, tandem_error *error) {
    PFN_vkEnumerateInstanceLayerProperties enumerate =
        (PFN_vkEnumerateInstanceLayerProperties)get(NULL, "vkEnumerateInstanceLayerProperties");
    VkLayerProperties layers[64];
    uint32_t n = 64;
    if (enumerate && enumerate(&n, layers) >= 0) {
        for (uint32_t i = 0; i < n; i++)
            if (strcmp(layers[i].layerName, VALIDATION_LAYER) == 0)
                return TANDEM_OK;
    }
    return tandem_kit_fail(error, TANDEM_E_NO_DEVICE,
                           "Option vulkan.validation=1 needs the layer " VALIDATION_LAYER
                           ", which is not installed");
}

static tandem_status check_loader_version(PFN_vkGetInstanceProcAddr get, tandem_error *error) {
    PFN_vkEnumerateInstanceVersion enumerate =
        (PFN_vkEnumerateInstanceVersion)get(NULL, "vkEnumerateInstanceVersion");
    uint32_t version = VK_API_VERSION_1_0;
    if (enumerate)
        enumerate(&version);
    if (version < VK_API_VERSION_1_2)
        return tandem_kit_fail(error, TANDEM_E_NO_DEVICE,
                               "The Vulkan loader offers version %u.%u; tandem needs 1.2",
                               VK_API_VERSION_MAJOR(version), VK_API_VERSION_MINOR(version));
    return TANDEM_OK;
}

static VkResult create_handle(PFN_vkGetInstanceProcAddr get, VkInstance *handle) {
    const vk_plugin *plugin = &vk_the_plugin;
    VkDebugUtilsMessengerCreateInfoEXT messenger = messenger_info();
    VkValidationFeatureEnableEXT enables[3] = {
        VK_VALIDATION_FEATURE_ENABLE_SYNCHRONIZATION_VALIDATION_EXT,
        VK_VALIDATION_FEATURE_ENABLE_GPU_ASSISTED_EXT,
        VK_VALIDATION_FEATURE_ENABLE_GPU_ASSISTED_RESERVE_BINDING_SLOT_EXT};
    VkValidationFeaturesEXT features = {
        .sType = VK_STRUCTURE_TYPE_VALIDATION_FEATURES_EXT,
        .pNext = &messenger,
        .enabledValidationFeatureCount = plugin->gpu_assisted ? 3 : 1,
        .pEnabledValidationFeatures = enables,
    };
    VkApplicationInfo application = {
        .sType = VK_STRUCTURE_TYPE_APPLICATION_INFO,
        .pApplicationName = "tandem",
        .apiVersion = VK_API_VERSION_1_3,
    };
    const char *layer = VALIDATION_LAYER;
    const char *extension = VK_EXT_DEBUG_UTILS_EXTENSION_NAME;
    VkInstanceCreateInfo info = {.sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO,
                                 .pApplicationInfo = &application};
    if (plugin->validation) {
        info.pNext = &features;
        info.enabledLayerCount = 1;
        info.ppEnabledLayerNames = &layer;
        info.enabledExtensionCount = 1;
        info.ppEnabledExtensionNames = &extension;
    }
    PFN_vkCreateInstance create = (PFN_vkCreateInstance)get(NULL, "vkCreateInstance");
    if (!create)
        return VK_ERROR_INITIALIZATION_FAILED;
    VkResult result = vk_fault_check();
    return result == VK_SUCCESS ? create(&info, NULL, handle) : result;
}

/* ---- drivers stay loaded ----
 *
 * The loader unloads drivers with the last instance, and drivers are not made for that: Mesa's lavapipe loses
 * memory each time, others leave threads behind. So whatever vkCreateInstance has loaded is pinned. */

#define MAX_PINNED 64

typedef struct object_list {
    uint32_t n;     /* objects seen */
    uint32_t first; /* keep the names of those from here on: the list of objects grows at its end */
    uint32_t n_name;
    char *names[MAX_PINNED];
} object_list;

static int visit_object(struct dl_phdr_info *info, size_t size, void *user) {
    object_list *list = user;
    (void)size;
    if (list->n++ >= list->first && info->dlpi_name && info->dlpi_name[0] == '/' &&
        list->n_name < MAX_PINNED) {
        char *name = strdup(info->dlpi_name);
        if (name)
            list->names[list->n_name++] = name;
    }
    return 0;
}

static uint32_t count_objects(void) {
    object_list list = {.first = UINT32_MAX};
    dl_iterate_phdr(visit_object, &list);
    return list.n;
}

static void pin_objects(uint32_t first) {
    object_list list = {.first = first};
    dl_iterate_phdr(visit_object, &list);
    for (uint32_t i = 0; i < list.n_name; i++) {
        void *library = dlopen(list.names[i], RTLD_LAZY | RTLD_NOLOAD | RTLD_NODELETE);
        if (library)
            dlclose(library);
        free(list.names[i]);
    }
}

static void destroy_instance(vk_instance *instance) {
    if (instance->messenger)
        instance->DestroyDebugUtilsMessengerEXT(instance->handle, instance->messenger, NULL);
    if (instance->handle && instance->DestroyInstance)
        instance->DestroyInstance(instance->handle, NULL);
    if (instance->library)
        dlclose(instance->library);
    memset(instance, 0, sizeof *instance);
}

static tandem_status load_instance_functions(vk_instance *instance, tandem_error *error) {
#define LOAD(function)                                                                                       \
    instance->function = (PFN_vk##function)instance->GetInstanceProcAddr(instance->handle, "vk" #function);  \
    if (!instance->function)                                                                                 \
        return tandem_kit_fail(error, TANDEM_E_NO_DEVICE, "The Vulkan loader lacks vk" #function);
    VK_INSTANCE_FUNCTIONS(LOAD)
#undef LOAD
    return TANDEM_OK;
}

static tandem_status create_messenger(vk_instance *instance, tandem_error *error) {
    tandem_status status = TANDEM_OK;
    PFN_vkCreateDebugUtilsMessengerEXT create =
        (PFN_vkCreateDebugUtilsMessengerEXT)instance->GetInstanceProcAddr(instance->handle,
                                                                          "vkCreateDebugUtilsMessengerEXT");
    instance->DestroyDebugUtilsMessengerEXT =
        (PFN_vkDestroyDebugUtilsMessengerEXT)instance->GetInstanceProcAddr(instance->handle,
                                                                           "vkDestroyDebugUtilsMessengerEXT");
    if (!create || !instance->DestroyDebugUtilsMessengerEXT)
        return tandem_kit_fail(error, TANDEM_E_NO_DEVICE, "The validation layer offers no message callback");
    VkDebugUtilsMessengerCreateInfoEXT info = messenger_info();
    VkResult result = create(instance->handle, &info, NULL, &instance->messenger);
    if (result != VK_SUCCESS)
        status = vk_fail_driver(error, result, "vkCreateDebugUtilsMessengerEXT");
    return status;
}

static tandem_status create_instance(vk_instance *instance, tandem_error *error) {
    tandem_status status;
    instance->library = dlopen(LOADER_NAME, RTLD_NOW | RTLD_LOCAL);
    if (!instance->library)
        return tandem_kit_fail(error, TANDEM_E_NO_DEVICE,
                               "No Vulkan driver: " LOADER_NAME " could not be opened (%s)", dlerror());
    instance->GetInstanceProcAddr =
        (PFN_vkGetInstanceProcAddr)dlsym(instance->library, "vkGetInstanceProcAddr");
    if (!instance->GetInstanceProcAddr) {
        status = tandem_kit_fail(error, TANDEM_E_NO_DEVICE, LOADER_NAME " has no vkGetInstanceProcAddr");
        goto fail;
    }
    status = check_loader_version(instance->GetInstanceProcAddr, error);
    if (status == TANDEM_OK && vk_the_plugin.validation)
        status = check_layer(instance->GetInstanceProcAddr, error);
    if (status != TANDEM_OK)
        goto fail;
    uint32_t n_object = count_objects();
    VkResult result = create_handle(instance->GetInstanceProcAddr, &instance->handle);
    pin_objects(n_object);
    if (result == VK_ERROR_INCOMPATIBLE_DRIVER) {
        status = tandem_kit_fail(error, TANDEM_E_NO_DEVICE,
                                 "No Vulkan driver: the loader found none on this machine");
        goto fail;
    }
    if (result != VK_SUCCESS) {
        status = vk_fail_driver(error, result, "vkCreateInstance");
        goto fail;
    }
    status = load_instance_functions(instance, error);
    if (status == TANDEM_OK && vk_the_plugin.validation)
        status = create_messenger(instance, error);
    if (status != TANDEM_OK)
        goto fail;
    return TANDEM_OK;
fail:
    destroy_instance(instance);
    return status;
}

tandem_status vk_instance_acquire(const vk_instance **instance, tandem_error *error) {
    vk_plugin *plugin = &vk_the_plugin;
    tandem_status status = TANDEM_OK;
    pthread_mutex_lock(&plugin->lock);
    if (plugin->n_users == 0)
        status = create_instance(&plugin->instance, error);
    if (status == TANDEM_OK) {
        plugin->n_users++;
        *instance = &plugin->instance;
    }
    pthread_mutex_unlock(&plugin->lock);
    return status;
}

void vk_instance_release(void) {
    vk_plugin *plugin = &vk_the_plugin;
    pthread_mutex_lock(&plugin->lock);
    if (--plugin->n_users == 0)
        destroy_instance(&plugin->instance);
    pthread_mutex_unlock(&plugin->lock);
}

/* features.c: features and extensions that the pose lacks or adds, and what shader modules need. */
#include "layer.h"

#include <string.h>

#define CAPABILITY 17u /* OpCapability */
#define SPIRV_MAGIC 0x07230203u

#define KHR_COOPERATIVE_MATRIX "VK_KHR_cooperative_matrix" /* not in older headers */
#define NV_COOPERATIVE_MATRIX_2 "VK_NV_cooperative_matrix2"

/* Takes one member: notes that it is on, and turns it off where it has to be. */
static uint32_t take(VkBool32 *member, uint32_t feature, uint32_t clear) {
    uint32_t on = *member ? feature : 0;
    if (clear & feature)
        *member = VK_FALSE;
    return on;
}

uint32_t layer_core_features(VkPhysicalDeviceFeatures *f, uint32_t clear) {
    return take(&f->shaderInt64, POSE_INT64, clear) | take(&f->shaderInt16, POSE_INT16, clear);
}

static uint32_t storage16(VkBool32 *buffer, VkBool32 *uniform, VkBool32 *push, uint32_t clear) {
    return take(buffer, POSE_STORAGE16, clear) | take(uniform, POSE_STORAGE16, clear) |
           take(push, POSE_STORAGE16, clear);
}

static uint32_t storage8(VkBool32 *buffer, VkBool32 *uniform, VkBool32 *push, uint32_t clear) {
    return take(buffer, POSE_STORAGE8, clear) | take(uniform, POSE_STORAGE8, clear) |
           take(push, POSE_STORAGE8, clear);
}

static uint32_t subgroup_control(VkBool32 *size, VkBool32 *full, uint32_t clear) {
    return take(size, POSE_SUBGROUP_CONTROL, clear) | take(full, POSE_SUBGROUP_CONTROL, clear);
}

static uint32_t features12(VkPhysicalDeviceVulkan12Features *f, uint32_t clear) {
    return take(&f->shaderFloat16, POSE_FLOAT16, clear) | take(&f->shaderInt8, POSE_INT8, clear) |
           storage8(&f->storageBuffer8BitAccess, &f->uniformAndStorageBuffer8BitAccess,
                    &f->storagePushConstant8, clear);
}

static uint32_t features_of(VkBaseOutStructure *s, uint32_t clear) {
    switch ((uint32_t)s->sType) {
    case VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2:
        return layer_core_features(&((VkPhysicalDeviceFeatures2 *)s)->features, clear);
    case VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_FEATURES: {
        VkPhysicalDeviceVulkan11Features *f = (VkPhysicalDeviceVulkan11Features *)s;
        return storage16(&f->storageBuffer16BitAccess, &f->uniformAndStorageBuffer16BitAccess,
                         &f->storagePushConstant16, clear);
    }
    case VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES:
        return features12((VkPhysicalDeviceVulkan12Features *)s, clear);
    case VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_3_FEATURES: {
        VkPhysicalDeviceVulkan13Features *f = (VkPhysicalDeviceVulkan13Features *)s;
        return take(&f->shaderIntegerDotProduct, POSE_DOT, clear) |
               take(&f->maintenance4, POSE_MAINTENANCE4, clear) |
               subgroup_control(&f->subgroupSizeControl, &f->computeFullSubgroups, clear);
    }
    case VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_16BIT_STORAGE_FEATURES: {
        VkPhysicalDevice16BitStorageFeatures *f = (VkPhysicalDevice16BitStorageFeatures *)s;
        return storage16(&f->storageBuffer16BitAccess, &f->uniformAndStorageBuffer16BitAccess,
                         &f->storagePushConstant16, clear);
    }
    case VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_8BIT_STORAGE_FEATURES: {
        VkPhysicalDevice8BitStorageFeatures *f = (VkPhysicalDevice8BitStorageFeatures *)s;
        return storage8(&f->storageBuffer8BitAccess, &f->uniformAndStorageBuffer8BitAccess,
                        &f->storagePushConstant8, clear);
    }
    case VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_FLOAT16_INT8_FEATURES: {
        VkPhysicalDeviceShaderFloat16Int8Features *f = (VkPhysicalDeviceShaderFloat16Int8Features *)s;
        return take(&f->shaderFloat16, POSE_FLOAT16, clear) | take(&f->shaderInt8, POSE_INT8, clear);
    }
    case VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_INTEGER_DOT_PRODUCT_FEATURES:
        return take(&((VkPhysicalDeviceShaderIntegerDotProductFeatures *)s)->shaderIntegerDotProduct,
                    POSE_DOT, clear);
    case VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_FEATURES: {
        VkPhysicalDeviceSubgroupSizeControlFeatures *f = (VkPhysicalDeviceSubgroupSizeControlFeatures *)s;
        return subgroup_control(&f->subgroupSizeControl, &f->computeFullSubgroups, clear);
    }
    default:
        return 0;
    }
}

uint32_t layer_features(void *chain, uint32_t clear) {
    uint32_t on = 0;
    for (VkBaseOutStructure *s = chain; s; s = s->pNext)
        on |= features_of(s, clear);
    return on;
}

/* ---- extensions ---- */

static const struct {
    const char *name;
    uint32_t feature;
} extensions[] = {
    {VK_KHR_SHADER_INTEGER_DOT_PRODUCT_EXTENSION_NAME, POSE_DOT},
    {VK_EXT_SUBGROUP_SIZE_CONTROL_EXTENSION_NAME, POSE_SUBGROUP_CONTROL},
    {VK_KHR_8BIT_STORAGE_EXTENSION_NAME, POSE_STORAGE8},
    {VK_KHR_16BIT_STORAGE_EXTENSION_NAME, POSE_STORAGE16},
    {VK_KHR_MAINTENANCE_4_EXTENSION_NAME, POSE_MAINTENANCE4},
    {VK_NV_COOPERATIVE_MATRIX_EXTENSION_NAME, POSE_COOPMAT},
    {KHR_COOPERATIVE_MATRIX, POSE_COOPMAT},
    {NV_COOPERATIVE_MATRIX_2, POSE_COOPMAT},
};

int layer_extension_is_hidden(const pose *p, const char *name) {
    for (size_t i = 0; i < sizeof extensions / sizeof extensions[0]; i++)
        if (strcmp(name, extensions[i].name) == 0)
            return (p->hidden & extensions[i].feature) != 0;
    /* Those that the layer speaks for itself. */
    if (strcmp(name, VK_EXT_MEMORY_BUDGET_EXTENSION_NAME) == 0)
        return !p->budget;
    if (strcmp(name, VK_EXT_PCI_BUS_INFO_EXTENSION_NAME) == 0)
        return !p->pci;
    if (strcmp(name, VK_NV_SHADER_SM_BUILTINS_EXTENSION_NAME) == 0)
        return p->n_sm == 0;
    if (strcmp(name, VK_AMD_SHADER_CORE_PROPERTIES_EXTENSION_NAME) == 0)
        return p->n_cu == 0 || p->cu_extension < 1;
    if (strcmp(name, VK_AMD_SHADER_CORE_PROPERTIES_2_EXTENSION_NAME) == 0)
        return p->n_cu == 0 || p->cu_extension < 2;
    return 0;
}

uint32_t layer_added_extensions(const pose *p, const char **names) {
    static const char *const candidates[] = {
        VK_EXT_MEMORY_BUDGET_EXTENSION_NAME, VK_EXT_PCI_BUS_INFO_EXTENSION_NAME,
        VK_NV_SHADER_SM_BUILTINS_EXTENSION_NAME, VK_AMD_SHADER_CORE_PROPERTIES_EXTENSION_NAME,
        VK_AMD_SHADER_CORE_PROPERTIES_2_EXTENSION_NAME};
    uint32_t n = 0;
    for (size_t i = 0; i < sizeof candidates / sizeof candidates[0]; i++)
        if (!layer_extension_is_hidden(p, candidates[i]))
            names[n++] = candidates[i];
    return n;
}

/* ---- shader modules ---- */

/* The feature behind a capability; 0: none that a pose can lack. Numbers of the SPIR-V specification. */
static uint32_t feature_of(uint32_t capability) {
    switch (capability) {
    case 9:
        return POSE_FLOAT16;
    case 11:
        return POSE_INT64;
    case 22:
        return POSE_INT16;
    case 39:
        return POSE_INT8;
    case 4433:
    case 4434:
    case 4435:
        return POSE_STORAGE16;
    case 4448:
    case 4449:
    case 4450:
        return POSE_STORAGE8;
    case 6016:
    case 6017:
    case 6018:
    case 6019:
        return POSE_DOT;
    case 5357:
    case 6022:
        return POSE_COOPMAT;
    default:
        return 0;
    }
}

uint32_t layer_module_features(const VkShaderModuleCreateInfo *info) {
    const size_t n = info->codeSize / sizeof(uint32_t);
    uint32_t needed = 0;
    if (n < 5 || info->pCode[0] != SPIRV_MAGIC)
        return 0;
    /* Capabilities come first: the list ends with the first other instruction. */
    for (size_t i = 5; i + 1 < n && (info->pCode[i] & 0xffff) == CAPABILITY; i += info->pCode[i] >> 16)
        needed |= feature_of(info->pCode[i + 1]);
    return needed;
}

const char *layer_feature_name(uint32_t feature) {
    switch (feature) {
    case POSE_INT64:
        return "shaderInt64";
    case POSE_INT16:
        return "shaderInt16";
    case POSE_INT8:
        return "shaderInt8";
    case POSE_FLOAT16:
        return "shaderFloat16";
    case POSE_STORAGE8:
        return "8-bit storage";
    case POSE_STORAGE16:
        return "16-bit storage";
    case POSE_DOT:
        return "shaderIntegerDotProduct";
    case POSE_SUBGROUP_CONTROL:
        return "subgroupSizeControl";
    case POSE_COOPMAT:
        return "cooperativeMatrix";
    case POSE_MAINTENANCE4:
        return "maintenance4";
    default:
        return "a feature";
    }
}

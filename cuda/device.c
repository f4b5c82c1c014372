/* device.c: what the driver says of its devices. */
#include "device.h"

#include "error.h"
#include "images.h"

#include "kernels/params_ops.h"

#include <tandem/growth.h>

#include <stdio.h>
#include <string.h>

#define NVIDIA 0x10deu
#define MIN_COMPUTE 80u /* the PTX is for compute capability 8.0 */

tandem_status gpu_device_count(uint32_t *n, tandem_error *error) {
    const cu_driver *cu = NULL;
    int count = 0;
    if (!n)
        return tandem_kit_fail(error, TANDEM_E_INVALID, "device_count: the place for the count is NULL");
    tandem_status status = cu_driver_get(&cu, error);
    if (status != TANDEM_OK)
        return status;
    CUresult result = cu->DeviceGetCount(&count);
    if (result != CUDA_SUCCESS)
        return cu_fail_driver(error, result, "cuDeviceGetCount");
    if (count <= 0)
        return tandem_kit_fail(error, TANDEM_E_NO_DEVICE, "The CUDA driver has no device");
    *n = (uint32_t)count;
    return TANDEM_OK;
}

/* An attribute, 0 where the driver does not know it. */
static uint32_t attribute(const cu_driver *cu, CUdevice device, CUdevice_attribute which) {
    int value = 0;
    return cu->DeviceGetAttribute(&value, which, device) == CUDA_SUCCESS && value > 0 ? (uint32_t)value : 0;
}

static void fill_texts(const cu_driver *cu, cu_device *device) {
    tandem_device_info *info = &device->info;
    char code[64] = "kernels are compiled by the driver at first use";
    if (device->code)
        snprintf(code, sizeof code, "machine code for sm_%u", device->code);
    if (cu->DeviceGetName(info->name, (int)sizeof info->name, device->handle) != CUDA_SUCCESS)
        snprintf(info->name, sizeof info->name, "unnamed CUDA device");
    snprintf(info->driver, sizeof info->driver, "%s of CUDA %d.%d",
             cu->simulated ? "simulated driver" : "NVIDIA driver", cu->version / 1000,
             cu->version % 1000 / 10);
    snprintf(
        info->abilities, sizeof info->abilities,
        "compute capability %u.%u, %u multiprocessors, mma of f16 and int8, dp4a, cp.async, CUDA graphs; %s",
        device->compute_major, device->compute_minor, info->n_units, code);
}

tandem_status cu_device_get(uint32_t index, cu_device *device, tandem_error *error) {
    const cu_driver *cu = NULL;
    size_t total = 0;
    CUuuid uuid;
    tandem_status status = cu_driver_get(&cu, error);
    if (status != TANDEM_OK)
        return status;
    memset(device, 0, sizeof *device);
    CUresult result = cu->DeviceGet(&device->handle, (int)index);
    if (result == CUDA_ERROR_INVALID_DEVICE)
        return tandem_kit_fail(error, TANDEM_E_INVALID, "The CUDA driver has no device %u", index);
    if (result != CUDA_SUCCESS)
        return cu_fail_driver(error, result, "cuDeviceGet");
    CUdevice handle = device->handle;
    tandem_device_info *info = &device->info;
    device->compute_major = attribute(cu, handle, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR);
    device->compute_minor = attribute(cu, handle, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR);
    device->code = cu_image_code(&cu_images_built, cu->version, device->compute_major, device->compute_minor);
    device->shared_plain = attribute(cu, handle, CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK);
    device->shared_most = attribute(cu, handle, CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN);
    info->struct_size = sizeof *info;
    info->kind = cu->simulated                                           ? TANDEM_DEVICE_SIMULATED
                 : attribute(cu, handle, CU_DEVICE_ATTRIBUTE_INTEGRATED) ? TANDEM_DEVICE_INTEGRATED
                                                                         : TANDEM_DEVICE_GPU;
    info->matrix_paths = info->matrix_used = TANDEM_MATRIX_FMA | TANDEM_MATRIX_DOT | TANDEM_MATRIX_MMA;
    info->vendor_id = NVIDIA;
    info->pci_domain = attribute(cu, handle, CU_DEVICE_ATTRIBUTE_PCI_DOMAIN_ID);
    info->pci_bus = attribute(cu, handle, CU_DEVICE_ATTRIBUTE_PCI_BUS_ID);
    info->pci_device = attribute(cu, handle, CU_DEVICE_ATTRIBUTE_PCI_DEVICE_ID);
    info->subgroup_size = attribute(cu, handle, CU_DEVICE_ATTRIBUTE_WARP_SIZE);
    info->n_units = attribute(cu, handle, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT);
    if (cu->DeviceGetUuid(&uuid, handle) == CUDA_SUCCESS)
        memcpy(info->uuid, uuid.bytes, sizeof info->uuid);
    result = cu->DeviceTotalMem(&total, handle);
    if (result != CUDA_SUCCESS)
        return cu_fail_driver(error, result, "cuDeviceTotalMem");
    info->memory_total = info->max_allocation = total;
    fill_texts(cu, device);
    return TANDEM_OK;
}

/* Free memory beside a CUDA context, which is made for the question; 0: unknown. */
static uint64_t measure_free(CUdevice device) {
    const cu_driver *cu = NULL;
    CUcontext context = NULL;
    size_t free_bytes = 0, total = 0;
    if (cu_driver_get(&cu, NULL) != TANDEM_OK || cu->CtxCreate(&context, 0, device) != CUDA_SUCCESS)
        return 0;
    if (cu->MemGetInfo(&free_bytes, &total) != CUDA_SUCCESS)
        free_bytes = 0;
    cu->CtxDestroy(context);
    return free_bytes;
}

tandem_status gpu_device_info(uint32_t index, tandem_device_info *info, tandem_error *error) {
    cu_device device;
    uint32_t n = 0;
    tandem_status status = gpu_device_count(&n, error);
    if (status == TANDEM_OK && index >= n)
        status = tandem_kit_fail(error, TANDEM_E_INVALID, "Device %u of %u", index, n);
    if (status == TANDEM_OK)
        status = cu_device_get(index, &device, error);
    if (status != TANDEM_OK)
        return status;
    if (cu_device_usable(&device, NULL) == TANDEM_OK)
        device.info.memory_free = measure_free(device.handle);
    return TANDEM_KIT_GIVE(tandem_device_info, info, &device.info, error);
}

tandem_status cu_device_usable(const cu_device *device, tandem_error *error) {
    if (device->compute_major * 10 + device->compute_minor < MIN_COMPUTE)
        return tandem_kit_fail(error, TANDEM_E_NO_DEVICE,
                               "%s has compute capability %u.%u, and the kernels are for 8.0 and newer",
                               device->info.name, device->compute_major, device->compute_minor);
    if (device->shared_most < PREFILL_MAX_SHARED)
        return tandem_kit_fail(error, TANDEM_E_NO_DEVICE,
                               "%s gives a block %u bytes of shared memory, and the kernels take up to %u",
                               device->info.name, device->shared_most, PREFILL_MAX_SHARED);
    return TANDEM_OK;
}

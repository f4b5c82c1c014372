/* kv.h: what kv.c and kv_image.c share. */
#ifndef VK_KV_H
#define VK_KV_H

#include "object.h"
#include "pipeline.h"

#include "../shaders/params_ops.h"

#define GPU_MAX_HEAD_DIM 512u

tandem_status gpu_kv_check(const tandem_kv *kv, uint32_t slot, tandem_error *error);

#endif

/* kv.h: what kv.c and kv_image.c share. */
#ifndef GPU_KV_H
#define GPU_KV_H

#include "object.h"

#define GPU_MAX_HEAD_DIM 512u

tandem_status gpu_kv_check(const tandem_kv *kv, uint32_t slot, tandem_error *error);

#endif

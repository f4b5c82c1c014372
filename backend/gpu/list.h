/* list.h: a growing array of plain structs. */
#ifndef GPU_LIST_H
#define GPU_LIST_H

#include <stddef.h>
#include <stdint.h>

typedef struct gpu_list {
    void *items;
    uint32_t n;
    uint32_t capacity;
} gpu_list;

#define GPU_AT(list, type, i) (&((type *)(list).items)[i])

/* Adds a zeroed item; NULL: no memory. */
void *gpu_list_add(gpu_list *list, size_t item_bytes);
/* Forgets the items and keeps their memory, zeroed. */
void gpu_list_clear(gpu_list *list, size_t item_bytes);

#endif

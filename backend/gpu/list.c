/* list.c: growing arrays. */
#include "list.h"
#include "services.h"

#include <string.h>

void *gpu_list_add(gpu_list *list, size_t item_bytes) {
    if (list->n == list->capacity) {
        uint32_t capacity = list->capacity ? list->capacity * 2 : 32;
        void *items = gpu_alloc((uint64_t)capacity * item_bytes);
        if (!items)
            return NULL;
        if (list->n)
            memcpy(items, list->items, list->n * item_bytes);
        gpu_free(list->items);
        list->items = items;
        list->capacity = capacity;
    }
    return (char *)list->items + (size_t)list->n++ * item_bytes;
}

void gpu_list_clear(gpu_list *list, size_t item_bytes) {
    list->n = 0;
    if (list->items)
        memset(list->items, 0, list->capacity * item_bytes);
}

/* buffer.c: plain bytes. Device and host placement are the same memory here. */
#include <stdio.h>
#include <string.h>

#include "objects.h"

tandem_status ref_buffer_create(tandem_context *context, const tandem_buffer_desc *desc,
                                tandem_buffer **buffer, tandem_error *error) {
    tandem_buffer_desc d;
    tandem_status status = TANDEM_KIT_TAKE(tandem_buffer_desc, &d, desc, error);
    if (status == TANDEM_OK)
        status = tandem_kit_validate_buffer(&d, error);
    if (status != TANDEM_OK)
        return status;

    char what[96];
    snprintf(what, sizeof what, "buffer '%.60s'", d.label ? d.label : "");
    void *handle, *data;
    status = ref_alloc(context, REF_BUFFERS, sizeof(tandem_buffer), what, &handle, error);
    if (status != TANDEM_OK)
        return status;
    status = ref_alloc(context, REF_BUFFERS, d.bytes, what, &data, error);
    if (status != TANDEM_OK) {
        ref_free(context, REF_BUFFERS, handle, sizeof(tandem_buffer));
        return status;
    }
    tandem_buffer *b = handle;
    *b = (tandem_buffer){.context = context, .bytes = d.bytes, .placement = d.placement, .data = data};
    *buffer = b;
    return TANDEM_OK;
}

void ref_buffer_destroy(tandem_buffer *buffer) {
    if (!buffer)
        return;
    tandem_context *context = buffer->context;
    ref_drain(context);
    ref_free(context, REF_BUFFERS, buffer->data, buffer->bytes);
    ref_free(context, REF_BUFFERS, buffer, sizeof *buffer);
}

tandem_status ref_buffer_info(const tandem_buffer *buffer, tandem_buffer_info *info, tandem_error *error) {
    tandem_buffer_info known = {.placement = buffer->placement, .bytes = buffer->bytes};
    return TANDEM_KIT_GIVE(tandem_buffer_info, info, &known, error);
}

tandem_status ref_buffer_write(tandem_buffer *buffer, uint64_t offset, const void *source, uint64_t bytes,
                               tandem_error *error) {
    tandem_status status = tandem_kit_validate_range("a buffer", buffer->bytes, offset, bytes, source, error);
    if (status != TANDEM_OK || bytes == 0)
        return status;
    ref_drain(buffer->context);
    memcpy(buffer->data + offset, source, bytes);
    return TANDEM_OK;
}

tandem_status ref_buffer_read(tandem_buffer *buffer, uint64_t offset, void *target, uint64_t bytes,
                              uint32_t flags, tandem_error *error) {
    tandem_status status = tandem_kit_validate_range("a buffer", buffer->bytes, offset, bytes, target, error);
    if (status != TANDEM_OK)
        return status;
    if (flags & ~TANDEM_READ_NOW)
        return tandem_kit_fail(error, TANDEM_E_INVALID, "buffer_read flags 0x%x are not known", flags);
    if (!(flags & TANDEM_READ_NOW))
        ref_drain(buffer->context);
    if (bytes)
        memcpy(target, buffer->data + offset, bytes);
    return TANDEM_OK;
}

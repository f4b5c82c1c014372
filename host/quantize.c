/* host/quantize.c: reads, rounds and writes tensor by tensor. */
#include "quantize.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <tandem/quants.h>

#include "gguf_write.h"
#include "parallel.h"

#define CHUNK_BYTES (16u << 20) /* of results */
#define QUANTIZATION_VERSION 2u /* of the block formats, as in every current file */

typedef struct job {
    const quantize_desc *desc;
    gguf_file *file;
    model_config config;
    model_tensor *list; /* tensors of the model with the formats of the mix */
    uint32_t n_list;
    gguf_writer *writer;
    uint8_t *chunk; /* results */
    uint64_t chunk_bytes;
    float *rows; /* [n_thread][longest row] */
    uint64_t longest_row;
    uint64_t bytes_done;
    quantize_result *result;
    tandem_message *message;
} job;

/* ---- which format ---- */

static bool stays(const model_tensor *t) {
    return t->n_dims == 1 || t->role == MODEL_T_ROUTER || t->role == MODEL_T_PLE_MODEL_PROJ;
}

static uint32_t wanted_type(const job *j, const gguf_tensor *tensor) {
    for (uint32_t i = 0; i < j->n_list; i++)
        if (!strcmp(j->list[i].name, tensor->name))
            return stays(&j->list[i]) ? tensor->type : j->list[i].type;
    return tensor->type;
}

static bool is_quantised(uint32_t type) {
    const tandem_type_info *info = tandem_kit_type(type);
    return info && info->block > 1;
}

static int check_types(const job *j, const gguf_tensor *tensor, uint32_t type) {
    if (tensor->bytes == 0)
        return message_fail(j->message, TANDEM_E_UNSUPPORTED,
                            "%s: the tensor %s is of a type (%u) whose size is not known.", j->desc->in,
                            tensor->name, tensor->type);
    if (type != tensor->type && (!tandem_kit_type(tensor->type) || !tandem_kit_can_quantise(type)))
        return message_fail(j->message, TANDEM_E_UNSUPPORTED, "%s: the tensor %s cannot be made %s from %s.",
                            j->desc->in, tensor->name, gguf_tensor_type_name(type),
                            gguf_tensor_type_name(tensor->type));
    return TANDEM_OK;
}

/* ---- metadata ---- */

static bool has_key(const gguf_value *value, const char *key) {
    return value->key.len == strlen(key) && !memcmp(value->key.data, key, value->key.len);
}

static void copy_metadata(job *j) {
    for (uint64_t i = 0; i < gguf_n_values(j->file); i++) {
        const gguf_value *value = gguf_value_at(j->file, i);
        bool ours = has_key(value, "general.file_type") || has_key(value, "general.quantization_version");
        bool of_parts = value->key.len > 6 && !memcmp(value->key.data, "split.", 6);
        if (!ours && !of_parts)
            gguf_write_copy(j->writer, value);
    }
    gguf_write_u32(j->writer, "general.file_type", j->desc->mix->file_type);
    gguf_write_u32(j->writer, "general.quantization_version", QUANTIZATION_VERSION);
}

static int declare_tensors(job *j) {
    int status = TANDEM_OK;
    for (uint64_t i = 0; i < gguf_n_tensors(j->file) && !status; i++) {
        const gguf_tensor *t = gguf_tensor_at(j->file, i);
        const uint32_t type = wanted_type(j, t);
        status = check_types(j, t, type);
        if (status)
            return status;
        status = gguf_write_declare(j->writer, t->name, type, t->n_dims, t->dims);
        j->result->bytes_in += t->bytes;
        j->result->bytes_out += gguf_tensor_bytes(type, t->n_dims, t->dims);
        j->result->n_again += type != t->type && is_quantised(t->type);
        *(type != t->type ? &j->result->n_changed : &j->result->n_kept) += 1;
        const uint64_t row_bytes = type != t->type ? tandem_kit_row_bytes(type, t->dims[0]) : 0;
        j->chunk_bytes = row_bytes > j->chunk_bytes ? row_bytes : j->chunk_bytes;
        if (row_bytes && t->dims[0] > j->longest_row)
            j->longest_row = t->dims[0];
    }
    return status;
}

/* ---- tensors ---- */

/* Rows of one chunk, dealt out to threads. */
typedef struct rounding {
    const job *j;
    const uint8_t *from;
    uint32_t from_type, to_type;
    uint64_t n_col, from_bytes, to_bytes;
} rounding;

static void round_rows(void *user, uint32_t worker, uint64_t first, uint64_t n) {
    const rounding *r = user;
    float *row = r->j->rows + worker * r->j->longest_row;
    for (uint64_t i = first; i < first + n; i++) {
        tandem_kit_dequantise(r->from_type, r->from + i * r->from_bytes, row, r->n_col);
        tandem_kit_quantise(r->to_type, row, r->j->chunk + i * r->to_bytes, r->n_col);
    }
}

static int report(job *j, uint64_t bytes) {
    j->bytes_done += bytes;
    return j->desc->progress ? j->desc->progress(j->desc->user, j->bytes_done, j->result->bytes_in)
                             : TANDEM_OK;
}

static int write_rounded(job *j, const gguf_tensor *t, uint32_t type) {
    rounding r = {.j = j,
                  .from_type = t->type,
                  .to_type = type,
                  .n_col = t->dims[0],
                  .from_bytes = tandem_kit_row_bytes(t->type, t->dims[0]),
                  .to_bytes = tandem_kit_row_bytes(type, t->dims[0])};
    const uint64_t n_row = t->dims[1] * t->dims[2] * t->dims[3], most = j->chunk_bytes / r.to_bytes;
    int status = TANDEM_OK;
    for (uint64_t first = 0; first < n_row && !status; first += most) {
        const uint64_t n = n_row - first < most ? n_row - first : most;
        r.from = t->data + first * r.from_bytes;
        parallel_run(j->desc->n_thread, n, round_rows, &r);
        status = gguf_write_data(j->writer, j->chunk, n * r.to_bytes);
        if (!status)
            status = report(j, n * r.from_bytes);
    }
    return status;
}

static int write_copy(job *j, const gguf_tensor *t) {
    int status = TANDEM_OK;
    for (uint64_t first = 0; first < t->bytes && !status; first += CHUNK_BYTES) {
        const uint64_t n = t->bytes - first < CHUNK_BYTES ? t->bytes - first : CHUNK_BYTES;
        status = gguf_write_data(j->writer, t->data + first, n);
        if (!status)
            status = report(j, n);
    }
    return status;
}

static int write_tensors(job *j) {
    int status = TANDEM_OK;
    for (uint64_t i = 0; i < gguf_n_tensors(j->file) && !status; i++) {
        const gguf_tensor *t = gguf_tensor_at(j->file, i);
        const uint32_t type = wanted_type(j, t);
        status = type == t->type ? write_copy(j, t) : write_rounded(j, t, type);
        gguf_drop_pages(j->file, t);
    }
    return status;
}

static int write_file(job *j) {
    j->chunk_bytes = CHUNK_BYTES;
    copy_metadata(j);
    int status = declare_tensors(j);
    if (status)
        return status;
    const uint64_t row_bytes = j->desc->n_thread * j->longest_row * sizeof *j->rows;
    j->chunk = malloc(j->chunk_bytes);
    j->rows = malloc(row_bytes ? row_bytes : 1);
    if (!j->chunk || !j->rows)
        return message_out_of_memory(j->message, "rows of weights", j->chunk_bytes + row_bytes);
    status = write_tensors(j);
    return status ? status : gguf_check_unchanged(j->file, j->message);
}

/* A failed writer tells its own sentence when it ends; everything else has been told. */
static int end_file(job *j, int status) {
    if (status == TANDEM_OK || gguf_write_status(j->writer) != TANDEM_OK)
        return gguf_write_end(j->writer, j->message);
    gguf_write_abort(j->writer);
    return status;
}

int quantize_file(const quantize_desc *desc, quantize_result *result, tandem_message *message) {
    job *j = calloc(1, sizeof *j);
    if (!j)
        return message_out_of_memory(message, "the model's shape", sizeof *j);
    *result = (quantize_result){0};
    *j = (job){.desc = desc, .result = result, .message = message};
    int status = gguf_open(&j->file, desc->in, message);
    if (!status)
        status = model_config_read(&j->config, j->file, message);
    if (!status)
        status = model_tensor_list(&j->config, desc->mix, &j->list, &j->n_list, message);
    if (!status) {
        input_files inputs = {0};
        gguf_add_inputs(j->file, &inputs);
        status = gguf_write_begin(&j->writer, desc->out, &inputs, message);
        input_files_free(&inputs);
    }
    if (!status)
        status = end_file(j, write_file(j));
    free(j->chunk);
    free(j->rows);
    free(j->list);
    gguf_close(j->file);
    free(j);
    return status;
}

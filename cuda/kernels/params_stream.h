/* cuda/kernels/params_stream.h: parameters of STREAM, alone or in a mat-vec (params.h). Read by C and by CUDA
 * C. Rows, indices and `gather` as in params_ops.h.
 */
#ifndef TANDEM_CUDA_PARAMS_STREAM_H
#define TANDEM_CUDA_PARAMS_STREAM_H

#include <stdint.h>

#ifdef __CUDACC__
#define TANDEM_SHARED static __host__ __device__ __forceinline__ constexpr
#else
#define TANDEM_SHARED static inline
#endif

/* ---- stream: the residual stream between two phases ----
 *
 * stream, or stream_wide where d > STREAM_NARROW_D. Grid (n_slice, rows, 1), block stream_threads(d). */
#define STREAM_THREADS 256u /* most of a block */
#define STREAM_NARROW_D 4096u
#define STREAM_MAX_D 8192u
#define STREAM_GATHER_H 1u
#define STREAM_GATHER_A0 2u
#define STREAM_GATHER_A1 4u

typedef struct stream_params {
    uint64_t index;   /* u32, or 0; a multiple of 4 */
    uint64_t n_tok;   /* a multiple of 4 */
    uint64_t h;       /* [rows][n_slice * d] f32 */
    uint64_t a[2];    /* likewise; [n_a] are read */
    uint64_t w[3];    /* [d] f32, or 0; a multiple of 4 */
    uint64_t y_h;     /* likewise, or 0 */
    uint64_t y[3];    /* [rows][n_slice * d] f32, or 0; [n_out] are written */
    uint64_t y_w[3];  /* [d] f32, or 0; a multiple of 4 */
    uint64_t y_q8[3]; /* dense rows of Q8_ROW_BYTES(d), or 0; n_slice is then 1 */
    uint32_t y_stride[3];
    float y_scale[3];
    uint32_t h_stride;
    uint32_t a_stride[2];
    uint32_t y_h_stride;
    uint32_t d;
    uint32_t n_a;
    uint32_t n_out;
    uint32_t gather; /* STREAM_GATHER_* */
    float eps;
    float scale;
} stream_params;

/* Threads of a block: two units of four elements each, where there are enough. */
TANDEM_SHARED uint32_t stream_threads(uint32_t d) {
    uint32_t threads = (d + 255u) / 256u * 32u;
    return threads < STREAM_THREADS ? threads : STREAM_THREADS;
}

#endif

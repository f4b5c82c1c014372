#include "kernels.h"

CUresult run_matvec(CUfunction f, float *y, int n_row, int n_block, const int8_t *w, const float *scale,
                    const int8_t *x, const float *x_scale) {
    CUdeviceptr dw = sim_upload(w, (size_t)n_row * n_block * 32),
                ds = sim_upload(scale, (size_t)n_row * n_block * 4);
    CUdeviceptr dx = sim_upload(x, (size_t)n_block * 32), dxs = sim_upload(x_scale, (size_t)n_block * 4);
    CUdeviceptr dy = sim_alloc((size_t)n_row * 4);
    const CUresult r =
        sim_run(f, (unsigned)(n_row + 3) / 4, 128, 0, PARAMS(&dw, &ds, &dx, &dxs, &dy, &n_row, &n_block));
    return r ? r : cuMemcpyDtoH(y, dy, (size_t)n_row * 4);
}

CUresult run_matmul(CUfunction f, float *c, int m, int n, int k, const uint16_t *a, const uint16_t *b) {
    CUdeviceptr da = sim_upload(a, (size_t)m * k * 2), db = sim_upload(b, (size_t)n * k * 2),
                dc = sim_alloc((size_t)m * n * 4);
    const CUresult r = sim_run3(f, (unsigned)(n + 31) / 32, (unsigned)(m + 63) / 64, 128, 0,
                                PARAMS(&da, &db, &dc, &m, &n, &k));
    return r ? r : cuMemcpyDtoH(c, dc, (size_t)m * n * 4);
}

CUresult run_flash(CUfunction f, float *out, const float *q, const uint16_t *keys, const uint16_t *values,
                   int n_ctx, unsigned splits, float scale) {
    const uint32_t zero = 0;
    const size_t bytes = (size_t)n_ctx * HEAD * 2;
    CUdeviceptr dq = sim_upload(q, HEAD * 4), dk = sim_upload(keys, bytes), dv = sim_upload(values, bytes);
    CUdeviceptr partial = sim_alloc(splits * (HEAD + 2) * 4), done = sim_upload(&zero, 4),
                dout = sim_alloc(HEAD * 4);
    const CUresult r =
        sim_run(f, splits, 128, 0, PARAMS(&dq, &dk, &dv, &partial, &done, &dout, &n_ctx, &scale));
    return r ? r : cuMemcpyDtoH(out, dout, HEAD * 4);
}

/* embed.comp: rows of a quantised table, dequantised and scaled.
 *
 * computes    y[i] = scale * W[token(i)]; zero for a token outside the table
 * inputs      W in the layout of vulkan/pack.h (the head may share it); token ids token_stride apart
 * grid        x: blocks of 32 columns / EMBED_BLOCKS, y: rows. One thread a block
 * bytes       one packed row and 4 n_col a row; a row has 16 bytes of each 128-byte line, so twice as many
 *             cross the bus as are used. A token reads one row: under 1 / 5000 of its weights
 * phase       first of a token
 * order       no sums
 * reference   backend/reference/embed.c
 *
 * loops       none
 */
#version 450
#extension GL_GOOGLE_include_directive : require
#include "params.h"
#include "address.glsl"
#include "quant.glsl"

layout(local_size_x = EMBED_BLOCKS) in;

layout(push_constant) uniform Push { embed_push p; };

void main() {
    n_block = (p.n_col + 31u) / 32u;
    uint k = gl_GlobalInvocationID.x;
    uint i = gl_WorkGroupID.y;
    if (k >= n_block || i >= Words(p.n_tok).v[0])
        return;
    uint token = Words(p.tokens).v[row_index(p.rows, i, p.n_tok) * (p.token_stride / 4u)];
    bool known = token < p.n_row;
    token = min(token, p.n_row - 1u);

    Units w = Units(Table(p.table).address[token >> p.segment_shift]);
    uint at = row_at(token & ((1u << p.segment_shift) - 1u));
    uvec2 row = row_address(p.y, i, p.y_stride);
    float scale = known ? p.scale : 0.0;
#ifndef IS_FLOAT
    uint c = k / CHUNK_BLOCKS, j = k % CHUNK_BLOCKS;
    Header h = load_header(w, at, token % GROUP_ROWS, c);
    Block b = load_block(w, at, c, j);
#endif
    for (uint q = 0; q < 8; q++) {
#ifdef IS_FLOAT
        vec4 v = load_values(w, at, k, q);
#else
        vec2 s = block_scale(h, b, j, q / 4u);
        vec4 v = fma(block_floats(b, q % 4u, q / 4u) - FLOAT_ZERO, vec4(s.x), vec4(s.y));
#endif
        v *= scale;
        uint first = 32u * k + 4u * q;
        if (first + 4u <= p.n_col)
            Vectors(row).v[first / 4u] = v;
        else
            for (uint e = 0; first + e < p.n_col; e++)
                Floats(row).v[first + e] = v[e];
    }
}

/* finish.comp: the end of every run of a program with a TOPK.
 *
 * computes    the rows of the first TOPK in the run's result, id[0] of the last one in the context's next block
 * inputs      run block (result address, row counts), TOPK rows [rows] of 2 k + 2 words, `stride` apart
 * grid        (ceil(rows / 16), 1, 1) workgroups of 64; 16 rows each
 * bytes       8 k + 8 read and written per row
 * phase       last step
 * order       no sums
 * reference   backend/reference copies likewise
 *
 * loops       per subgroup at most 16 * (2 * 64 + 2) / 64 + 1 = 34 iterations
 */
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_buffer_reference : require
#extension GL_EXT_buffer_reference_uvec2 : require

#include "run_block.h"

layout(local_size_x = 64) in;

layout(buffer_reference, std430, buffer_reference_align = 16) readonly buffer Header { run_header v; };
layout(buffer_reference, std430, buffer_reference_align = 4) buffer Words { uint v[]; };

layout(push_constant, std430) uniform Push { finish_push p; };

/* The word at `index` of row `row`: 64-bit, since rows may lie far apart. */
uvec2 word_address(uvec2 address, uint row, uint index)
{
    uint high, low, carry;
    umulExtended(row, p.stride, high, low);
    low = uaddCarry(low, index * 4u, carry);
    high += carry;
    low = uaddCarry(address.x, low, carry);
    return uvec2(low, address.y + high + carry);
}

void main()
{
    run_header header = Header(p.run).v;
    uint n = p.rows == 0u ? header.n_rows : header.n_out;
    uint first = gl_WorkGroupID.x * FINISH_ROWS;
    uint last = min(first + FINISH_ROWS, n);
    if (header.result != uvec2(0u)) {
        for (uint i = gl_LocalInvocationIndex; i < (last - first) * p.row_words; i += 64u) {
            uint row = first + i / p.row_words;
            uint index = i % p.row_words;
            uint word = Words(word_address(p.topk, row, index)).v[0];
            Words(word_address(header.result, row, index)).v[0] = word;
        }
    }
    if (last == n && gl_LocalInvocationIndex == 0u)
        Words(p.next).v[0] = Words(word_address(p.topk, n - 1u, 0u)).v[0];
}

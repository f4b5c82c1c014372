/* anchor_matvec.comp: the naive Q4_0 mat-vec that matvec_bench measures against. Not used by any plugin.
 *
 * computes    y[r] = sum over c of W[r][c] x[c]
 * inputs      quants [row][block][16 bytes], then scales [row][block] f16; x f32
 * grid        one workgroup of 256 a row
 * bytes       W once, by 4-byte loads
 * order       every thread its words in ascending order, then a tree in shared memory
 * reference   matvec_bench --check
 *
 * loops       n_col / 2048 + 8 + 9 iterations per subgroup, the unrolled inner ones not counted
 */
#version 450
#extension GL_EXT_buffer_reference : require
#extension GL_EXT_buffer_reference_uvec2 : require

layout(local_size_x = 256) in;

layout(buffer_reference, std430, buffer_reference_align = 4) readonly buffer Words { uint v[]; };
layout(buffer_reference, std430, buffer_reference_align = 4) readonly buffer Inputs { float v[]; };
layout(buffer_reference, std430, buffer_reference_align = 4) writeonly buffer Outputs { float v[]; };

layout(push_constant) uniform Push {
    uvec2 w;
    uvec2 x;
    uvec2 y;
    uint n_row;
    uint n_block; // of a row, even
};

shared float partial[256];

void main() {
    uint row = gl_WorkGroupID.x;
    uint thread = gl_LocalInvocationID.x;
    uint quants = row * n_block * 4;
    uint scales = n_row * n_block * 4 + row * (n_block / 2);
    float sum = 0.0;
    for (uint i = thread; i < n_block * 4; i += 256) {
        uint block = i / 4;
        uint word = Words(w).v[quants + i];
        vec2 two = unpackHalf2x16(Words(w).v[scales + block / 2]);
        float d = block % 2 == 0 ? two.x : two.y;
        uint first = block * 32 + i % 4 * 4;
        float s = 0.0;
        for (uint e = 0; e < 4; e++) {
            s += float(int(word >> 8 * e & 15u) - 8) * Inputs(x).v[first + e];
            s += float(int(word >> 8 * e + 4 & 15u) - 8) * Inputs(x).v[first + 16 + e];
        }
        sum += d * s;
    }
    partial[thread] = sum;
    barrier();
    for (uint half_ = 128; half_ > 0; half_ /= 2) {
        if (thread < half_)
            partial[thread] += partial[thread + half_];
        barrier();
    }
    if (thread == 0)
        Outputs(y).v[row] = partial[0];
}

// norm.glsl: root mean squares over a workgroup, for every finite input.
//
// A square overflows f32 beyond 1.8e19 and vanishes below 1e-23. Sums of squares are therefore taken of x,
// of x * 2^-80 and of x * 2^80 at once, and the one that lost nothing is used. The includer has defined
// LOCAL_SIZE.
#extension GL_EXT_control_flow_attributes : require
#include "subgroup.glsl"

const float NORM_DOWN = 8.271806125530277e-25; // 2^-80
const float NORM_UP = 1.2089258196146292e24; // 2^80

shared vec3 norm_partial[LOCAL_SIZE / MIN_SUBGROUP]; // one a subgroup

// Adds x to the sums of squares: as it is, scaled down, scaled up.
void norm_add(inout vec3 sums, vec4 x) {
    vec4 down = x * NORM_DOWN, up = x * NORM_UP;
    sums += vec3(dot(x, x), dot(down, down), dot(up, up));
}

// The sums of all threads, in every thread: lanes as a tree, subgroups ascending. Begins with a barrier.
vec3 norm_total(vec3 sums) {
    [[unroll]] for (uint level = 0u; level < 6u; level++)
        if (1u << level < subgroup_width())
            sums += subgroup_shuffle_xor(sums, 1u << level);
    barrier();
    if (subgroup_lane() == 0u)
        norm_partial[subgroup_index()] = sums;
    barrier();
    sums = norm_partial[0];
    for (uint i = 1u; i < subgroup_count(); i++)
        sums += norm_partial[i];
    return sums;
}

// norm(x) = x * factors.x * factors.y, multiplied in this order: x / sqrt(mean of squares + eps).
vec2 norm_factors(vec3 sums, float n, float eps) {
    float mean = sums.x / n + eps;
    if (sums.x > 1.0e38)
        return vec2(NORM_DOWN, 1.0 / sqrt(sums.y / n));
    if (mean > 1.0e-30)
        return vec2(1.0, 1.0 / sqrt(mean));
    precise float eps_up = eps * NORM_UP; // precise: the compiler would fold NORM_UP * NORM_UP, which is inf
    mean = sums.z / n + eps_up * NORM_UP;
    return vec2(NORM_UP, mean > 0.0 ? 1.0 / sqrt(mean) : 0.0);
}

/* moe_route.comp: the experts of a row from the router's logits.
 *
 * computes    p = softmax(z); the n_used largest, ties to the lower index, or the imposed ones; their weights
 *             p / max(sum of the chosen p, 2^-14) * scale
 * inputs      moe_route_push (params_moe.h); logits f32
 * grid        y: rows; a workgroup is a row, its threads take the experts in turn
 * bytes       4 per expert, 8 per choice, each once
 * phase       between the router's product and the experts
 * order       the sum of exp(z - max): experts of a thread ascending, lanes as a tree, subgroups ascending;
 *             the chosen p: in the order of the choices. Which are chosen depends on no sum: logits are
 *             compared as integers (a NaN below all), and each expert counts those before it
 * reference   backend/reference/moe_route.c
 *
 * loops       with R = ceil(n_expert / LOCAL_SIZE), U = ceil(n_used / LOCAL_SIZE):
 *             R (ceil(n_expert / 4) + 4) + n_used + 3 U + 2 (LOCAL_SIZE / subgroup) + 10
 */
#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#include "params_moe.h"
#include "address.glsl"
#include "activations.glsl"
#include "order.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LOCAL_SIZE = 32;

#include "subgroup.glsl"

layout(push_constant, std430) uniform Push { moe_route_push p; };
layout(buffer_reference, std430, buffer_reference_align = 4) writeonly buffer WordStores { uint v[]; };

const uint NO_ID = 0xffffffffu;
const float MIN_SUM = 6.103515625e-5; // 2^-14

shared uvec4 keys[MOE_MAX_EXPERT / 4u];
shared float share[MOE_MAX_EXPERT]; // exp(z - max)
shared uint chosen[MOE_MAX_EXPERT];
shared uint lane_max[LOCAL_SIZE / MIN_SUBGROUP];
shared float lane_sum[LOCAL_SIZE / MIN_SUBGROUP];

uint workgroup_max(uint x) {
    [[unroll]] for (uint level = 0u; level < 6u; level++)
        if (1u << level < subgroup_width())
            x = max(x, subgroup_shuffle_xor(x, 1u << level));
    if (subgroup_lane() == 0u)
        lane_max[subgroup_index()] = x;
    barrier();
    for (uint i = 0u; i < subgroup_count(); i++)
        x = max(x, lane_max[i]);
    return x;
}

float workgroup_sum(float x) {
    [[unroll]] for (uint level = 0u; level < 6u; level++)
        if (1u << level < subgroup_width())
            x += subgroup_shuffle_xor(x, 1u << level);
    if (subgroup_lane() == 0u)
        lane_sum[subgroup_index()] = x;
    barrier();
    x = 0.0;
    for (uint i = 0u; i < subgroup_count(); i++)
        x += lane_sum[i];
    return x;
}

// e^x for x <= 0, down to the smallest numbers; a NaN stays one.
float exp_below(float x) {
    bool far = x < -80.0;
    float e = exp_bounded(max(far ? 0.5 * x : x, -87.0));
    return is_nan(floatBitsToUint(x)) ? x : far ? e * e : e;
}

// Experts that come before expert e.
uint rank_of(uint e) {
    uint key = keys[e / 4u][e % 4u], rank = 0u;
    for (uint q = 0u; q < (p.n_expert + 3u) / 4u; q++) {
        uvec4 other = keys[q];
        [[unroll]] for (uint i = 0u; i < 4u; i++)
            rank += other[i] > key || other[i] == key && 4u * q + i < e ? 1u : 0u;
    }
    return rank;
}

void main() {
    uint i = gl_WorkGroupID.y, thread = gl_LocalInvocationID.x;
    Words logits = Words(row_address(p.logits, i, p.n_expert * 4u));
    uint largest_key = 0u;
    for (uint e = thread; e < (p.n_expert + 3u) / 4u * 4u; e += LOCAL_SIZE) {
        uint key = e < p.n_expert ? key_of(logits.v[e]) : 0u;
        keys[e / 4u][e % 4u] = key;
        largest_key = max(largest_key, key);
    }
    float largest = value_of(workgroup_max(largest_key)), sum = 0.0;
    for (uint e = thread; e < p.n_expert; e += LOCAL_SIZE) {
        share[e] = exp_below(value_of(keys[e / 4u][e % 4u]) - largest);
        sum += share[e];
        uint rank = rank_of(e);
        if (rank < p.n_used)
            chosen[rank] = e;
    }
    float each = 1.0 / workgroup_sum(sum);

    if (!is_null(p.imposed)) {
        uint row = (p.gather & MOE_GATHER_IMPOSED) != 0u ? row_index(p.index, i, p.logits) : i;
        Words ids = Words(optional_row(p.imposed, row, p.imposed_stride, p.logits));
        if (ids.v[0] != NO_ID)
            for (uint j = thread; j < p.n_used; j += LOCAL_SIZE)
                chosen[j] = ids.v[j];
        barrier();
    }
    float chosen_sum = 0.0;
    for (uint j = 0u; j < p.n_used; j++)
        if (chosen[j] < p.n_expert)
            chosen_sum += share[min(chosen[j], p.n_expert - 1u)] * each;
    chosen_sum = max(chosen_sum, MIN_SUM);

    WordStores route = WordStores(row_address(p.route, i, p.route_stride));
    for (uint j = thread; j < p.n_used; j += LOCAL_SIZE) {
        uint id = chosen[j];
        float weight = uintBitsToFloat(NAN_BITS); // of an imposed id that is no expert
        if (id < p.n_expert) {
            weight = share[id] * each / chosen_sum;
            weight *= optional_factor(p.expert_scale, id, p.logits);
        }
        route.v[j] = id;
        route.v[p.n_used + j] = floatBitsToUint(weight);
    }
    if (!is_null(p.probabilities)) {
        Floats probabilities = Floats(row_address(p.probabilities, i, p.probabilities_stride));
        for (uint e = thread; e < p.n_expert; e += LOCAL_SIZE)
            probabilities.v[e] = share[e] * each;
    }
}

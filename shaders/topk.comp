#version 460
/* topk.comp: the k largest of a row with their indices, its logsumexp, and the value at a target.
 *
 * computes    STAGE 0: for each part of TOPK_PART elements its k best, its maximum M and the sum of exp(x -
 *             M). STAGE 1: the k best of those, logsumexp, the target's value
 * inputs      x f32 rows; partial results of stage 0
 * grid        x: parts (stage 0) or 1, y: rows
 * bytes       x twice in stage 0 (the second time from cache); 8 k + 16 per part
 * phase       after the head
 * order       sums: elements of a thread ascending, lanes as a tree, subgroups ascending; parts likewise.
 *             Which elements are found does not depend on order: values are compared as integers (a NaN
 *             below all), ties by index
 * reference   backend/reference/topk.c
 *
 * A part has 256 groups of 16 neighbours. The k groups with the largest maxima hold the k largest elements,
 * and at most 16 k elements are not below the last of those maxima. These are gathered, and each counts how
 * many come before it.
 *
 * loops       with R = 256 / LOCAL_SIZE, S = subgroup, M = 16 k: maxima 6 R + 1, groups R (64 + 512 / S + 2) + 1,
 *             exp 6 R + 1, gathering and elements ceil(M / LOCAL_SIZE) (M / 4 + 2 M / S + 3) + 2,
 *             sums 3 (LOCAL_SIZE / S + 1)
 */
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require

#include "params_ops.h"
#include "address.glsl"
#include "order.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LOCAL_SIZE = 64;
layout(constant_id = 1) const uint STAGE = 0;

#include "subgroup.glsl"

layout(push_constant, std430) uniform Push { topk_push p; };
layout(buffer_reference, std430, buffer_reference_align = 4) writeonly buffer WordStores { uint v[]; };

const uint N_GROUP = 256;
const uint GROUP = TOPK_PART / N_GROUP;
const uint MAX_FOUND = TOPK_MAX * GROUP;
const uint MINUS_INF_BITS = 0xff800000u;
const uint NO_ID = 0xffffffffu;

shared uint group_key[N_GROUP];
shared uint chosen[TOPK_MAX]; /* the k groups, the best first */
shared uint threshold_key, threshold_group, n_found;
shared uint found_key[MAX_FOUND], found_at[MAX_FOUND];
shared uint lane_max[LOCAL_SIZE / MIN_SUBGROUP];
shared float lane_sum[LOCAL_SIZE / MIN_SUBGROUP];

uint n_part, n_here; /* parts of a row; elements this workgroup chooses from */
uvec2 from;          /* its elements (stage 0), the row's records (stage 1) */

/* Word 0 (id) or 1 (value) of entry `at` of the partial results. */
uint entry_word(uint at, uint word)
{
    uvec2 record = row_address(from, at / p.k, topk_part_bytes(p.k));
    return Words(record).v[4u + 2u * (at % p.k) + word];
}

uint value_bits(uint at)
{
    if (at >= n_here)
        return NAN_BITS;
    return STAGE == 0u ? Words(from).v[at] : entry_word(at, 1u);
}

uvec4 four_values(uint at)
{
    if (STAGE == 0u && at + 4u <= n_here)
        return load_unit(Units(from), at / 4u);
    return uvec4(value_bits(at), value_bits(at + 1u), value_bits(at + 2u), value_bits(at + 3u));
}

uint workgroup_max(uint x)
{
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

float workgroup_sum(float x)
{
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

/* Keys of the row before (key, at): larger, or equal and earlier. `theirs` of lane s is key first + s. */
uint count_before(uint theirs, uint their_at, uint key, uint at)
{
    uint n = 0u;
    for (uint s0 = 0u; s0 < subgroup_width(); s0 += 4u)
        [[unroll]] for (uint s = 0u; s < 4u; s++) {
            uint other = subgroup_shuffle(theirs, s0 + s), other_at = subgroup_shuffle(their_at, s0 + s);
            n += other > key || other == key && other_at < at ? 1u : 0u;
        }
    return n;
}

/* Fills group_key; returns the largest key of this thread's groups. */
uint find_maxima(uint thread)
{
    uint most = 0u;
    for (uint g = thread; g < N_GROUP; g += LOCAL_SIZE) {
        uint key = 0u;
        for (uint at = GROUP * g; at < GROUP * (g + 1u); at += 4u) {
            uvec4 bits = four_values(at);
            key = max(max(max(key_of(bits.x), key_of(bits.y)), max(key_of(bits.z), key_of(bits.w))), key);
        }
        group_key[g] = key;
        most = max(most, key);
    }
    return most;
}

/* Sets the chosen groups, and the threshold to the last of them. */
void find_chosen(uint thread, uint largest)
{
    uint lane = subgroup_lane();
    for (uint g = thread; g < N_GROUP; g += LOCAL_SIZE) {
        uint key = group_key[g], rank = 0u;
        if (p.k == 1u) {
            if (key == largest)
                atomicMin(threshold_group, g);
            continue;
        }
        for (uint first = 0u; first < N_GROUP; first += subgroup_width())
            rank += count_before(group_key[first + lane], first + lane, key, g);
        if (rank < p.k)
            chosen[rank] = g;
        if (rank == p.k - 1u) {
            threshold_key = key;
            threshold_group = g;
        }
    }
}

/* exp(x - largest). A NaN stays one whatever the driver makes of exp. */
float exp_or_nan(uint bits, float largest)
{
    return is_nan(bits) ? uintBitsToFloat(NAN_BITS) : exp(uintBitsToFloat(bits) - largest);
}

/* This thread's part of the sum of exp(x - largest). */
float sum_exp(uint thread, float largest)
{
    float sum = 0.0;
    for (uint g = thread; g < N_GROUP; g += LOCAL_SIZE)
        for (uint at = GROUP * g; at < GROUP * (g + 1u); at += 4u) {
            uvec4 bits = four_values(at);
            [[unroll]] for (uint e = 0u; e < 4u; e++)
                sum += at + e < n_here ? exp_or_nan(bits[e], largest) : 0.0;
        }
    return sum;
}

/* Gathers the elements of the chosen groups that are not below the threshold. */
void gather(uint thread)
{
    for (uint c = thread; c < p.k * GROUP; c += LOCAL_SIZE) {
        uint g = p.k == 1u ? threshold_group : chosen[c / GROUP];
        uint at = GROUP * g + c % GROUP, key = key_of(value_bits(at));
        if (key > threshold_key || key == threshold_key && g <= threshold_group) {
            uint slot = atomicAdd(n_found, 1u);
            found_key[slot] = key;
            found_at[slot] = at;
        }
    }
}

void write_result(uint row, uint rank, uint at)
{
    uint bits = value_bits(at), id = NO_ID;
    if (STAGE == 0u) {
        id = at < n_here ? gl_WorkGroupID.x * TOPK_PART + at : NO_ID;
        uvec2 record = row_address(p.partial, row * n_part + gl_WorkGroupID.x, topk_part_bytes(p.k));
        WordStores(record).v[4u + 2u * rank] = id;
        WordStores(record).v[5u + 2u * rank] = bits;
    } else {
        WordStores y = WordStores(row_address(p.y, row, p.y_stride));
        y.v[rank] = entry_word(at, 0u);
        y.v[p.k + rank] = bits;
    }
}

/* The value at the row's target, 0 without one. Targets belong to the wanted rows of the run. */
float target_value(uint i, uvec2 x)
{
    uint target = Words(is_null(p.index) ? x : p.target).v[is_null(p.index) ? 0u : i];
    float value = uintBitsToFloat(Words(x).v[min(target, p.n - 1u)]);
    return !is_null(p.index) && target < p.n ? value : 0.0;
}

/* Merges the maxima and sums of the parts. */
float logsumexp(uint thread)
{
    uvec2 record = row_address(from, min(thread, n_part - 1u), topk_part_bytes(p.k));
    uint bits = thread < n_part ? Words(record).v[0] : NAN_BITS;
    float largest = value_of(workgroup_max(key_of(bits)));
    float part_max = uintBitsToFloat(bits), sum = 0.0;
    if (thread < n_part && bits != MINUS_INF_BITS)
        sum = uintBitsToFloat(Words(record).v[1]) * exp(part_max - largest);
    sum = workgroup_sum(sum);
    if (isinf(largest) || is_nan(floatBitsToUint(sum)))
        return isinf(largest) ? largest : sum;
    return largest + log(sum);
}

void main()
{
    uint i = gl_WorkGroupID.y, thread = gl_LocalInvocationID.x, lane = subgroup_lane();
    uvec2 x = row_address(p.x, (p.gather & TOPK_GATHER_X) != 0u ? row_index(p.index, i, p.x) : i, p.x_stride);
    n_part = topk_parts(p.n);
    if (STAGE == 0u) {
        from = row_address(x, gl_WorkGroupID.x, TOPK_PART * 4u);
        n_here = min(TOPK_PART, p.n - gl_WorkGroupID.x * TOPK_PART);
    } else {
        from = row_address(p.partial, i * n_part, topk_part_bytes(p.k));
        n_here = n_part * p.k;
    }

    if (thread == 0u) {
        n_found = 0u;
        threshold_group = N_GROUP;
    }
    uint largest_key = workgroup_max(find_maxima(thread));
    if (thread == 0u && p.k == 1u)
        threshold_key = largest_key;
    find_chosen(thread, largest_key);
    barrier();
    gather(thread);
    float largest = value_of(largest_key), sum = STAGE == 0u ? sum_exp(thread, largest) : 0.0;
    barrier();

    uint m = n_found;
    for (uint first = 0u; first < m; first += LOCAL_SIZE) {
        uint f = min(first + thread, m - 1u), key = found_key[f], at = found_at[f], rank = 0u;
        for (uint others = 0u; others < m; others += subgroup_width()) {
            uint other = others + lane, o = min(other, m - 1u);
            rank += count_before(other < m ? found_key[o] : 0u, other < m ? found_at[o] : NO_ID, key, at);
        }
        if (first + thread < m && rank < p.k)
            write_result(i, rank, at);
    }

    if (STAGE == 0u) {
        sum = workgroup_sum(sum);
        uint part = i * n_part + gl_WorkGroupID.x;
        WordStores record = WordStores(row_address(p.partial, part, topk_part_bytes(p.k)));
        if (thread == 0u) {
            record.v[0] = floatBitsToUint(largest);
            record.v[1] = floatBitsToUint(sum);
        }
    } else {
        float total = logsumexp(thread), target = target_value(i, x);
        WordStores y = WordStores(row_address(p.y, i, p.y_stride));
        if (thread == 0u) {
            y.v[2u * p.k] = floatBitsToUint(total);
            y.v[2u * p.k + 1u] = floatBitsToUint(target);
        }
    }
}

#version 460
/* attention_split.comp: masked softmax attention of a tile of queries over one split of the keys they see.
 *
 * computes    y = sum_j w_j v_j, w = softmax over the visible keys j of q . k_j (q is scaled already), by
 *             online softmax over tiles of N_KEY keys. With one split: y. With more: acc, m and l of this
 *             split, not normalised
 * inputs      q [rows][N_HEAD][HEAD_DIM] f32, rotated; K and V of the cache (kv.glsl); the run's rows
 * grid        x: KV heads, y: tiles of N_QUERY queries, z: splits; LOCAL_SIZE = max(LANES, subgroup). A key
 *             is read by LANES threads, 8 elements each; a subgroup wider than that reads N_SLOT keys at
 *             once
 * bytes       each visible K and V row once per tile: the least there is where a tile holds the group's
 *             heads
 * phase       after attention_append; attention_combine follows where there is more than one split
 * order       q . k: 8 elements in a lane, lanes of a subgroup as a tree, subgroups ascending. Sum of
 *             weights: keys of a thread ascending, threads as a tree. acc: keys of a slot ascending, slots
 *             as a tree
 * reference   backend/reference/attention.c
 *
 * loops       vk_attention_iterations() of vulkan/attention_plan.h
 * note:       K and V come from memory once and the rest stays in registers, because on lavapipe a load
 *             costs as much as a hundred multiplications. For that reason weights reach the lanes by
 *             shuffles, too
 */
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_buffer_reference : require
#extension GL_EXT_buffer_reference_uvec2 : require
#extension GL_EXT_control_flow_attributes : require

#include "params_ops.h"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LOCAL_SIZE = 32;
layout(constant_id = 1) const uint HEAD_DIM = 256;
layout(constant_id = 2) const uint N_HEAD = 4;
layout(constant_id = 3) const uint N_KV_HEAD = 1;
layout(constant_id = 4) const uint N_QUERY = 4;
layout(constant_id = 5) const uint KV_TYPE = KV_F16;
layout(constant_id = 6) const uint SUBGROUP_SIZE = 8;
layout(constant_id = 7) const uint KEYS_IN_FLIGHT = 1;

#include "kv.glsl"
#include "subgroup.glsl"

layout(push_constant, std430) uniform Push { attention_split_push p; };
layout(buffer_reference, std430, buffer_reference_align = 16) readonly buffer Run {
    run_header header;
    run_row rows[];
};

const uint GROUP = N_HEAD / N_KV_HEAD;

/* Lanes of a key: HEAD_DIM / 8 rounded up to a power of two. Those beyond the head read chunk 0 against
 * zeros. */
const uint CHUNKS = HEAD_DIM / 8u;
const uint LOG2_LANES = CHUNKS <= 1u    ? 0u
                        : CHUNKS <= 2u  ? 1u
                        : CHUNKS <= 4u  ? 2u
                        : CHUNKS <= 8u  ? 3u
                        : CHUNKS <= 16u ? 4u
                        : CHUNKS <= 32u ? 5u
                                        : 6u;
const uint LOG2_SUBGROUP = SUBGROUP_SIZE == 4u    ? 2u
                           : SUBGROUP_SIZE == 8u  ? 3u
                           : SUBGROUP_SIZE == 16u ? 4u
                           : SUBGROUP_SIZE == 32u ? 5u
                                                  : 6u;
const uint LOG2_QUERY = N_QUERY == 1u ? 0u : N_QUERY == 2u ? 1u : N_QUERY == 4u ? 2u : 3u;
const uint LOG2_LOCAL = LOG2_LANES > LOG2_SUBGROUP ? LOG2_LANES : LOG2_SUBGROUP;

const uint LANES = 1u << LOG2_LANES;
const uint N_SLOT = LOCAL_SIZE / LANES; /* keys read at once, in one subgroup */
const uint LOG2_CLUSTER = LOG2_LANES < LOG2_SUBGROUP ? LOG2_LANES : LOG2_SUBGROUP;
const uint CLUSTER = 1u << LOG2_CLUSTER; /* lanes of a key in one subgroup */
const uint N_PART = LANES / CLUSTER;     /* subgroups that share a key */
const uint N_KEY = SUBGROUP_SIZE > 32u ? SUBGROUP_SIZE : 32u; /* keys of a tile */
const uint STEP = N_SLOT * KEYS_IN_FLIGHT;                    /* divides SUBGROUP_SIZE, and that N_KEY */

/* Adding up the lanes of a cluster ends with HELD queries in each of 2^LEVELS lanes. */
const uint LEVELS = LOG2_QUERY < LOG2_CLUSTER ? LOG2_QUERY : LOG2_CLUSTER;
const uint HELD = N_QUERY >> LEVELS;

/* Threads that share a query in the softmax: neighbours in one subgroup. */
const uint LOG2_TEAM = LOG2_LOCAL - LOG2_QUERY < LOG2_SUBGROUP ? LOG2_LOCAL - LOG2_QUERY : LOG2_SUBGROUP;
const uint TEAM = 1u << LOG2_TEAM;

const float LOWEST = -3.0e38; /* the score of a masked key; real ones are kept above */

shared float score[N_PART * N_KEY * N_QUERY]; /* [part][key][query]; part 0 becomes the weights */
shared float per_query[N_QUERY];
shared uint slot_end;

/* This thread's place, and the keys it reads. */
uint lane, thread, chunk, key_slot, part, first_query, kv_head;
uvec2 k_region, v_region, k_scales, v_scales;

eight q[N_QUERY], acc[N_QUERY];

/* The query this thread works on in the softmax: its running maximum and sum, the keys [x, y) it sees. */
uint my_query;
float best, sum;
uvec2 mine;

void load_queries(uint n_rows)
{
    [[unroll]] for (uint n = 0u; n < N_QUERY; n++) {
        uint row = (first_query + n) / GROUP, head = kv_head * GROUP + (first_query + n) % GROUP;
        q[n].a = q[n].b = acc[n].a = acc[n].b = vec4(0.0);
        if (row < n_rows && thread % LANES < CHUNKS) {
            uint live_row = min(row, n_rows - 1u);
            Units from = Units(row_address(p.q, live_row * N_HEAD + head, HEAD_DIM * 4u));
            q[n].a = uintBitsToFloat(load_unit(from, 2u * chunk));
            q[n].b = uintBitsToFloat(load_unit(from, 2u * chunk + 1u));
        }
    }
}

/* Positions the slot holds: visible_until never shows more. Every thread of the workgroup calls it. */
uint end_of_slot(uint slot)
{
    if (thread == 0u)
        slot_end = 0u;
    barrier();
    uint n_rows = Run(p.run).header.n_rows, end = 0u;
    for (uint i = thread; i < n_rows; i += LOCAL_SIZE)
        if (Run(p.run).rows[i].slot == slot)
            end = max(end, Run(p.run).rows[i].position + 1u);
    atomicMax(slot_end, end);
    barrier();
    return slot_end;
}

/* Keys [x, y) that row `run_row` (row i of the op) sees. */
uvec2 visible_keys(uint i, uint run_row, uint end)
{
    uint position = Run(p.run).rows[run_row].position, until = position + 1u;
    if (!is_null(p.visible_until)) {
        uint row = (p.gather & SPLIT_GATHER_VISIBLE) != 0u ? run_row : i;
        uvec2 at = optional_row(p.visible_until, row, p.visible_stride, p.run);
        until = max(until, min(end, Words(at).v[0]));
    }
    return uvec2(p.window != 0u && position + 1u > p.window ? position + 1u - p.window : 0u, until);
}

/* Takes the rows from `row` on that share its slot: the keys [x, y) any of them sees. Moves `row` behind
 * them. */
uvec2 take_slot(inout uint row, uint last_row, uint slot)
{
    uint end = is_null(p.visible_until) ? 0u : end_of_slot(slot);
    uint my_row = (first_query + my_query) / GROUP;
    uvec2 seen = uvec2(0xffffffffu, 0u);
    mine = uvec2(0u);
    for (; row <= last_row; row++) {
        uint run_row = row_index(p.index, min(row, last_row), p.run);
        if (Run(p.run).rows[run_row].slot != slot)
            break;
        uvec2 keys = visible_keys(row, run_row, end);
        seen = uvec2(min(seen.x, keys.x), max(seen.y, keys.y));
        mine = row == my_row ? keys : mine;
    }
    return seen;
}

uint ring_row(uint at)
{
    return at < p.ring ? at : at - p.ring;
}

/* Adds s over the lanes of a key: halves the queries that a lane holds while doubling the lanes that a sum
 * spans. Returns the first query whose sum this lane holds. */
uint add_lanes(inout float s[N_QUERY])
{
    uint query = 0u;
    [[unroll]] for (uint level = 0u; level < LEVELS; level++) {
        bool upper = (lane >> level & 1u) != 0u;
        uint half_count = N_QUERY >> level + 1u;
        query += upper ? half_count : 0u;
        [[unroll]] for (uint n = 0u; n < N_QUERY / 2u; n++)
            if (n < half_count) {
                float keep = upper ? s[n + half_count] : s[n], send = upper ? s[n] : s[n + half_count];
                s[n] = keep + subgroup_shuffle_xor(send, 1u << level);
            }
    }
    [[unroll]] for (uint level = LEVELS; level < LOG2_CLUSTER; level++)
        [[unroll]] for (uint n = 0u; n < HELD; n++)
            s[n] += subgroup_shuffle_xor(s[n], 1u << level);
    return query;
}

/* Scores of a tile of `count` keys whose first is in ring row `ring_first`. */
void score_keys(uint ring_first, uint count)
{
    for (uint j0 = 0u; j0 < count; j0 += STEP) {
        kv_bits bits[KEYS_IN_FLIGHT];
        [[unroll]] for (uint u = 0u; u < KEYS_IN_FLIGHT; u++) {
            uint j = min(j0 + u * N_SLOT + key_slot, count - 1u);
            bits[u] = kv_fetch(k_region, k_scales, ring_row(ring_first + j), chunk);
        }
        [[unroll]] for (uint u = 0u; u < KEYS_IN_FLIGHT; u++) {
            eight k = kv_values(bits[u], chunk);
            float s[N_QUERY];
            [[unroll]] for (uint n = 0u; n < N_QUERY; n++)
                s[n] = dot(q[n].a, k.a) + dot(q[n].b, k.b);
            uint query = add_lanes(s), j = j0 + u * N_SLOT + key_slot;
            if (lane % CLUSTER < 1u << LEVELS)
                [[unroll]] for (uint n = 0u; n < HELD; n++)
                    score[(part * N_KEY + j) * N_QUERY + query + n] = s[n];
        }
    }
}

/* Turns the scores of this thread's query into weights; leaves the factor for earlier sums in per_query. Threads
 * without a query take part in the shuffles alone. */
void soften(uint first)
{
    uint begin = my_query < N_QUERY ? thread % TEAM : N_KEY;
    float before = best;
    for (uint j = begin; j < N_KEY; j += TEAM) {
        uint at = j * N_QUERY + my_query;
        float s = score[at];
        [[unroll]] for (uint i = 1u; i < N_PART; i++)
            s += score[i * N_KEY * N_QUERY + at];
        s = first + j >= mine.x && first + j < mine.y ? max(s, -2.0e38) : LOWEST;
        score[at] = s;
        best = max(best, s);
    }
    [[unroll]] for (uint level = 0u; level < LOG2_TEAM; level++)
        best = max(best, subgroup_shuffle_xor(best, 1u << level));
    float scale = exp(before - best), add = 0.0;
    for (uint j = begin; j < N_KEY; j += TEAM) {
        uint at = j * N_QUERY + my_query;
        float s = score[at], w = s > LOWEST ? exp(s - best) : 0.0;
        score[at] = w;
        add += w;
    }
    [[unroll]] for (uint level = 0u; level < LOG2_TEAM; level++)
        add += subgroup_shuffle_xor(add, 1u << level);
    sum = sum * scale + add;
    if (begin == 0u)
        per_query[my_query] = scale;
}

void add_values(uint ring_first, uint count)
{
    [[unroll]] for (uint n = 0u; n < N_QUERY; n++) {
        float scale = per_query[n];
        acc[n].a *= scale;
        acc[n].b *= scale;
    }
    for (uint block = 0u; block < count; block += SUBGROUP_SIZE) {
        float weights[N_QUERY]; /* of key block + lane */
        [[unroll]] for (uint n = 0u; n < N_QUERY; n++)
            weights[n] = score[(block + lane) * N_QUERY + n];
        uint n_key = min(count - block, SUBGROUP_SIZE);
        for (uint j0 = 0u; j0 < n_key; j0 += STEP) {
            kv_bits bits[KEYS_IN_FLIGHT];
            [[unroll]] for (uint u = 0u; u < KEYS_IN_FLIGHT; u++) {
                uint j = min(block + j0 + u * N_SLOT + key_slot, count - 1u);
                bits[u] = kv_fetch(v_region, v_scales, ring_row(ring_first + j), chunk);
            }
            [[unroll]] for (uint u = 0u; u < KEYS_IN_FLIGHT; u++) {
                eight v = kv_values(bits[u], chunk);
                [[unroll]] for (uint n = 0u; n < N_QUERY; n++) {
                    float w = subgroup_shuffle(weights[n], j0 + u * N_SLOT + key_slot);
                    acc[n].a += w * v.a;
                    acc[n].b += w * v.b;
                }
            }
        }
    }
}

/* Adds the key slots and writes rows, or this split's partial results. */
void write_results(uint n_rows)
{
    uint split = gl_WorkGroupID.z, n_split = gl_NumWorkGroups.z;
    [[unroll]] for (uint level = LOG2_LANES; level < LOG2_SUBGROUP; level++)
        [[unroll]] for (uint n = 0u; n < N_QUERY; n++) {
            acc[n].a += subgroup_shuffle_xor(acc[n].a, 1u << level);
            acc[n].b += subgroup_shuffle_xor(acc[n].b, 1u << level);
        }
    if (my_query < N_QUERY && thread % TEAM == 0u) {
        score[my_query] = best;
        per_query[my_query] = sum;
    }
    barrier();
    if (key_slot != 0u || thread % LANES >= CHUNKS)
        return;
    [[unroll]] for (uint n = 0u; n < N_QUERY; n++) {
        uint row = (first_query + n) / GROUP, head = kv_head * GROUP + (first_query + n) % GROUP;
        if (row >= n_rows)
            return;
        if (n_split == 1u) {
            Vectors to = Vectors(row_address(row_address(p.y, row, p.y_stride), head, HEAD_DIM * 4u));
            to.v[2u * chunk] = acc[n].a / per_query[n];
            to.v[2u * chunk + 1u] = acc[n].b / per_query[n];
        } else {
            uint record = (row * N_HEAD + head) * n_split + split;
            Vectors to = Vectors(row_address(p.partial, record, HEAD_DIM * 4u + 16u));
            to.v[2u * chunk] = acc[n].a;
            to.v[2u * chunk + 1u] = acc[n].b;
            if (chunk == 0u)
                to.v[HEAD_DIM / 4u] = vec4(score[n], per_query[n], 0.0, 0.0);
        }
    }
}

void main()
{
    uint n_rows = Words(p.n_tok).v[0], n_split = gl_NumWorkGroups.z;
    first_query = gl_WorkGroupID.y * N_QUERY;
    if (first_query >= n_rows * GROUP)
        return;
    lane = subgroup_lane();
    thread = subgroup_index() * SUBGROUP_SIZE + lane;
    kv_head = gl_WorkGroupID.x;
    chunk = thread % LANES < CHUNKS ? thread % LANES : 0u;
    key_slot = thread / LANES;
    part = thread % LANES / CLUSTER;
    my_query = thread / TEAM;
    best = LOWEST;
    sum = 0.0;
    load_queries(n_rows);

    uint row = first_query / GROUP, last_row = min((first_query + N_QUERY - 1u) / GROUP, n_rows - 1u);
    while (row <= last_row) {
        uint slot = Run(p.run).rows[row_index(p.index, min(row, last_row), p.run)].slot;
        uvec2 seen = take_slot(row, last_row, slot);
        k_region = kv_region(p.k_cache, slot, kv_head, p.region_bytes);
        v_region = kv_region(p.v_cache, slot, kv_head, p.region_bytes);
        k_scales = kv_scales(k_region, p.ring);
        v_scales = kv_scales(v_region, p.ring);

        /* This split's keys: whole tiles. */
        uint n_key = ((seen.y - seen.x + n_split - 1u) / n_split + N_KEY - 1u) / N_KEY * N_KEY;
        uint first = seen.x + gl_WorkGroupID.z * n_key, last = min(seen.y, first + n_key);
        for (; first < last; first += N_KEY) {
            uint count = min(N_KEY, last - first), ring_first = first % p.ring;
            score_keys(ring_first, count);
            barrier();
            soften(first);
            barrier();
            add_values(ring_first, count);
            barrier(); /* the next tile overwrites the weights */
        }
    }
    write_results(n_rows);
}

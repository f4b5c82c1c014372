/* moe_group.comp: sorts the entries (row, choice) of a run by expert and cuts them into tiles.
 *
 * computes    the sorted list of entries, two lists of tiles, and the launch commands of the products over
 *             them (params_moe.h)
 * inputs      moe_group_push; the ids of the route
 * grid        one workgroup
 * bytes       4 per entry read twice and written once, 16 per tile
 * phase       prefill, between the route and the experts' products
 * order       no sums of floats. Counts are integers, so that atomics have one result; an entry's place is
 *             the number of entries of its expert before it, found from one bit per expert and entry
 * reference   sort_entries of backend/reference/moe_ffn.c
 *
 * loops       with L = LOCAL_SIZE, E = n_expert, W = MOE_CHUNK_WORDS(E), N entries:
 *             ceil(E / L) (E + N / tall_rows + 4) + N / L
 *             + ceil(N / (32 W)) (ceil(E W / L) (W + 36) + 32 W / L + ceil(E / L) (W + 2) + 4) + 8
 */
#version 460
#extension GL_GOOGLE_include_directive : require
#include "params_moe.h"
#include "address.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LOCAL_SIZE = 256;

layout(push_constant, std430) uniform Push { moe_group_push p; };
layout(buffer_reference, std430, buffer_reference_align = 4) writeonly buffer WordStores { uint v[]; };
layout(buffer_reference, std430, buffer_reference_align = 16) writeonly buffer UnitStores { uvec4 v[]; };

shared uint count[MOE_MAX_EXPERT]; // entries of an expert
shared uint place[MOE_MAX_EXPERT]; // where its next entry goes
shared uint mask[MOE_MASK_WORDS];  // of the chunk: [n_expert][words]

uint id_of(uint entry) {
    uvec2 row = row_address(p.route, row_index(p.index, entry / p.n_used, p.n_tok), p.route_stride);
    return Words(row).v[entry % p.n_used];
}

// Tiles of an expert with n entries: tall, short.
uvec2 tiles_of(uint n) {
    uint rest = n % p.tall_rows;
    uint is_tall = rest > p.short_rows ? 1u : 0u, is_short = rest > 0u && is_tall == 0u ? 1u : 0u;
    return uvec2(n / p.tall_rows + is_tall, is_short);
}

void write_tiles(uint expert, uint first, uvec2 at) {
    uvec2 n_tile = tiles_of(count[expert]);
    uint left = count[expert];
    for (uint t = 0u; t < n_tile.x; t++) {
        uint rows = min(left, p.tall_rows);
        UnitStores(p.tall_tiles).v[at.x + t] = uvec4(expert, first, rows, 0u); // moe_tile
        first += rows;
        left -= rows;
    }
    if (n_tile.y > 0u)
        UnitStores(p.short_tiles).v[at.y] = uvec4(expert, first, left, 0u);
}

void write_commands(uvec2 n_tile) {
    for (uint c = 0u; c < MOE_N_COMMAND; c++) {
        uint n = c % 2u == 0u ? n_tile.x : n_tile.y;
        UnitStores(p.commands).v[c] = uvec4(n > 0u ? p.grid_x[c] : 0u, n, n > 0u ? 1u : 0u, 0u);
    }
}

// Sets the bits of the entries from `start` on.
void fill_mask(uint start, uint end, uint n_word, uint thread) {
    for (uint i = thread; i < p.n_expert * n_word; i += LOCAL_SIZE)
        mask[i] = 0u;
    barrier();
    for (uint e = start + thread; e < end; e += LOCAL_SIZE) {
        uint id = id_of(e), bit = e - start;
        if (id < p.n_expert)
            atomicOr(mask[id * n_word + bit / 32u], 1u << bit % 32u);
    }
    barrier();
}

uint bits_before(uint expert, uint word, uint n_word) {
    uint n = 0u;
    for (uint w = 0u; w < word; w++)
        n += bitCount(mask[expert * n_word + w]);
    return n;
}

void place_entries(uint start, uint n_word, uint thread) {
    for (uint i = thread; i < p.n_expert * n_word; i += LOCAL_SIZE) {
        uint expert = i / n_word, word = i % n_word, bits = mask[i];
        if (bits == 0u)
            continue;
        uint at = place[expert] + bits_before(expert, word, n_word);
        for (; bits != 0u; bits &= bits - 1u)
            WordStores(p.entries).v[at++] = start + 32u * word + uint(findLSB(bits));
    }
    barrier();
    for (uint e = thread; e < p.n_expert; e += LOCAL_SIZE)
        place[e] += bits_before(e, n_word, n_word);
    barrier();
}

void main() {
    uint thread = gl_LocalInvocationID.x, n_entry = Words(p.n_tok).v[0] * p.n_used;
    for (uint e = thread; e < p.n_expert; e += LOCAL_SIZE)
        count[e] = 0u;
    barrier();
    for (uint e = thread; e < n_entry; e += LOCAL_SIZE) {
        uint id = id_of(e);
        if (id < p.n_expert)
            atomicAdd(count[id], 1u);
    }
    barrier();
    for (uint e = thread; e < p.n_expert; e += LOCAL_SIZE) {
        uint first = 0u;
        uvec2 at = uvec2(0u);
        for (uint before = 0u; before < e; before++) {
            first += count[before];
            at += tiles_of(count[before]);
        }
        place[e] = first;
        write_tiles(e, first, at);
        if (e == p.n_expert - 1u)
            write_commands(at + tiles_of(count[e]));
    }
    uint n_word = MOE_CHUNK_WORDS(p.n_expert);
    for (uint start = 0u; start < n_entry; start += 32u * n_word) {
        fill_mask(start, min(start + 32u * n_word, n_entry), n_word, thread);
        place_entries(start, n_word, thread);
    }
}

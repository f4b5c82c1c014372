/* prepare.comp: the head of every run.
 *
 * computes    the program's run block and the indirect arguments of its launches
 * inputs      the host's table of this run (run_block.h), the launch rules, the context's next block
 * grid        one workgroup of 64; rows and rules go round its threads
 * bytes       16 per row, 8 per wanted output, 64 per launch rule, each once
 * phase       before the first step; a barrier follows
 * order       no sums
 * reference   backend/reference reads the run directly; tests/gpu_run_test.c compares the two by results
 *
 * loops       per subgroup at most max_tokens / 64 + max_out / 64 + n_rule / 64 + 3 iterations
 */
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_buffer_reference : require
#extension GL_EXT_buffer_reference_uvec2 : require

#include "run_block.h"

layout(local_size_x = 64) in;

layout(buffer_reference, std430, buffer_reference_align = 16) buffer Header { run_header v; };
layout(buffer_reference, std430, buffer_reference_align = 16) buffer Rows { run_row v[]; };
layout(buffer_reference, std430, buffer_reference_align = 4) buffer Words { uint v[]; };
layout(buffer_reference, std430, buffer_reference_align = 16) readonly buffer Rules { launch_rule v[]; };
layout(buffer_reference, std430, buffer_reference_align = 16) readonly buffer Next { next_block v; };

layout(push_constant, std430) uniform Push { prepare_push p; };

uvec2 offset(uvec2 address, uint bytes)
{
    uint carry;
    uint low = uaddCarry(address.x, bytes, carry);
    return uvec2(low, address.y + carry);
}

uint divide_up(uint n, uint by) { return (n + by - 1u) / by; }

void write_command(uint i, uint n_rows, uint n_out, uint n_context)
{
    launch_rule rule = Rules(p.rules).v[i];
    uint n = rule.rows == 0u ? n_rows : n_out;
    uint counts[3] = rule.groups;
    if (rule.rows_per_group > 0u)
        counts[rule.row_axis] *= divide_up(n, rule.rows_per_group);
    if (rule.keys_per_split > 0u) {
        uint keys = rule.window > 0u ? min(n_context, rule.window + n_rows - 1u) : n_context;
        uint n_split = RULE_SPLITS(keys, rule.keys_per_split, rule.max_split);
        if (rule.key_axis != RULE_ONLY_IF_SPLIT)
            counts[rule.key_axis] *= n_split;
        else if (n_split == 1u)
            n = 0u;
    }
    Words command = Words(offset(p.indirect, i * INDIRECT_BYTES));
    for (uint axis = 0u; axis < 3u; axis++)
        command.v[axis] = n > 0u ? counts[axis] : 0u;
}

void main()
{
    uint thread = gl_LocalInvocationIndex;
    run_header header = Header(p.source).v;
    header.n_rows = min(header.n_rows, p.max_tokens);
    header.n_out = min(header.n_out, p.max_out);

    Rows from = Rows(offset(p.source, RUN_ROWS_OFFSET));
    Rows to = Rows(offset(p.run, RUN_ROWS_OFFSET));
    for (uint i = thread; i < header.n_rows; i += 64u) {
        run_row row = from.v[i];
        if (header.source != 0u && i == 0u)
            row.token = Next(p.next).v.token;
        to.v[i] = row;
    }
    Words from_row = Words(offset(p.source, RUN_OUT_ROW_OFFSET(p.max_tokens)));
    Words to_row = Words(offset(p.run, RUN_OUT_ROW_OFFSET(p.max_tokens)));
    for (uint i = thread; i < header.n_out; i += 64u) {
        to_row.v[i] = from_row.v[i];
        to_row.v[i + p.max_out] = from_row.v[i + p.max_out];
    }
    for (uint i = thread; i < p.n_rule; i += 64u)
        write_command(i, header.n_rows, header.n_out, header.n_context);
    if (thread == 0u)
        Header(p.run).v = header;
}

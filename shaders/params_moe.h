/* shaders/params_moe.h: push constants, grids and lists of the shaders moe_*. Read by C and by GLSL; the words
 * are those of params.h, and what holds for all of params_ops.h holds here.
 *
 * Entry e = i * n_used + j stands for choice j of row i. A row of a route is {u32 id[n_used]; f32 weight[n_used]}.
 */
#ifndef TANDEM_SHADERS_PARAMS_MOE_H
#define TANDEM_SHADERS_PARAMS_MOE_H

#include "params.h"

#define MOE_MAX_EXPERT 1024u /* their keys and probabilities are held in shared memory */

/* moe_route.comp: grid (1, rows, 1). Specialisation: 0 LOCAL_SIZE (128 on a GPU, 32 on a CPU). */
#define MOE_GATHER_IMPOSED 1u
TANDEM_STRUCT_BEGIN(moe_route_push)
    TANDEM_ADDRESS index;         /* u32, or 0; a multiple of 4 */
    TANDEM_ADDRESS logits;        /* [rows][n_expert] f32, dense; a multiple of 4 */
    TANDEM_ADDRESS expert_scale;  /* [n_expert] f32, or 0; a multiple of 4 */
    TANDEM_ADDRESS imposed;       /* [rows] u32[n_used], or 0; a multiple of 4, like its stride */
    TANDEM_ADDRESS route;         /* rows of a route */
    TANDEM_ADDRESS probabilities; /* [rows][n_expert] f32, or 0 */
    TANDEM_U32 imposed_stride;
    TANDEM_U32 route_stride;
    TANDEM_U32 probabilities_stride;
    TANDEM_U32 n_expert;
    TANDEM_U32 n_used;
    TANDEM_U32 gather; /* MOE_GATHER_IMPOSED */
TANDEM_STRUCT_END(moe_route_push)

#endif

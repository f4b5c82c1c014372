/* host/weights_plan.h: which tensors make which weights object of a model. */
#ifndef TANDEM_HOST_WEIGHTS_PLAN_H
#define TANDEM_HOST_WEIGHTS_PLAN_H

#include "weights.h"

#define PLAN_MAX_MATRICES 3u
#define PLAN_MAX_OBJECTS 8u

/* One weights object: which tensors are its matrices, and where its handle goes. A tensor holds its matrix of
 * all records, one behind the other. */
typedef struct object_plan {
    char label[32];
    uint32_t layer; /* TANDEM_NONE: not of a layer */
    uint32_t placement;
    uint32_t n_record;
    uint32_t n_matrix;
    uint32_t tensor[PLAN_MAX_MATRICES]; /* MODEL_T_* */
    uint32_t role[PLAN_MAX_MATRICES];   /* TANDEM_ROLE_* */
    tandem_weights **target;
} object_plan;

/* Objects that exist once, and those of one layer; the return is their number. */
uint32_t plan_model_objects(const model_config *config, model_weights *weights,
                            object_plan plans[PLAN_MAX_OBJECTS]);
uint32_t plan_layer_objects(const model_config *config, uint32_t layer, uint32_t expert_placement,
                            layer_weights *weights, object_plan plans[PLAN_MAX_OBJECTS]);

/* Tensor (MODEL_T_*) of each norm vector of a layer (VECTOR_*). */
extern const uint32_t plan_vector_tensor[N_LAYER_VECTOR];

/* Whether layer `layer` has use for the vector; the file may lack it all the same. */
bool plan_has_vector(const model_config *config, uint32_t layer, uint32_t vector);

/* Vectors begin at multiples of this: enough for any vector load. */
#define PLAN_VECTOR_ALIGN 256u

/* A tensor that must be there; INVALID names it if it is not. */
int plan_find_tensor(const model_source *source, uint32_t role, uint32_t layer, source_tensor *tensor,
                     tandem_message *message);

#endif

/* Graphs: nodes and their dependencies, and the images of them that are launched. */
#include "driver.h"

#include <stdlib.h>
#include <string.h>

uint64_t graph_launches;

struct graph *graph_new(struct context *context) {
    struct graph *g = calloc(1, sizeof *g);
    if (!g || !handle_add(g, HANDLE_GRAPH)) {
        free(g);
        return NULL;
    }
    g->context = context;
    return g;
}

void graph_free(struct graph *g) {
    for (uint32_t i = 0; i < g->n_node; i++) {
        handle_remove(g->node[i]);
        action_clear(&g->node[i]->action);
        free(g->node[i]->dependency);
        free(g->node[i]);
    }
    handle_remove(g);
    free(g->node);
    free(g);
}

/* Takes over the action. */
CUresult graph_add(struct graph *g, struct action *action, struct node *const *dependencies, size_t n,
                   struct node **out) {
    struct node *node = calloc(1, sizeof *node);
    if (g->n_node == g->max_node) {
        const uint32_t max = g->max_node ? 2 * g->max_node : 64;
        struct node **bigger = realloc(g->node, max * sizeof *bigger);
        if (!bigger)
            goto fail;
        g->node = bigger;
        g->max_node = max;
    }
    if (!node || !(node->dependency = malloc((n + 1) * sizeof *node->dependency)) ||
        !handle_add(node, HANDLE_NODE))
        goto fail;
    node->graph = g;
    node->action = *action;
    node->n_dependency = (uint32_t)n;
    node->index = g->n_node;
    if (n)
        memcpy(node->dependency, dependencies, n * sizeof *dependencies);
    g->node[g->n_node++] = node;
    if (out)
        *out = node;
    return CUDA_SUCCESS;
fail:
    if (node)
        free(node->dependency);
    free(node);
    action_clear(action);
    return CUDA_ERROR_OUT_OF_MEMORY;
}

/* ---- images ---- */

void image_free(struct graph_image *image) {
    if (!image)
        return;
    for (uint32_t i = 0; i < image->n; i++) {
        if (image->action)
            action_clear(&image->action[i]);
        if (image->dependency)
            free(image->dependency[i]);
    }
    free(image->action);
    free(image->dependency);
    free(image->n_dependency);
    free(image);
}

struct graph_image *image_clone(const struct graph_image *from) {
    struct graph_image *image = calloc(1, sizeof *image);
    if (!image)
        return NULL;
    image->action = calloc(from->n + 1u, sizeof *image->action);
    image->dependency = calloc(from->n + 1u, sizeof *image->dependency);
    image->n_dependency = calloc(from->n + 1u, sizeof *image->n_dependency);
    if (!image->action || !image->dependency || !image->n_dependency)
        goto fail;
    for (uint32_t i = 0; i < from->n; i++) {
        if (action_clone(&image->action[i], &from->action[i])) {
            image->action[i].kind = ACTION_EMPTY;
            goto fail;
        }
        image->n = i + 1;
        image->n_dependency[i] = from->n_dependency[i];
        image->dependency[i] = malloc((from->n_dependency[i] + 1u) * sizeof **image->dependency);
        if (!image->dependency[i])
            goto fail;
        memcpy(image->dependency[i], from->dependency[i], from->n_dependency[i] * sizeof **image->dependency);
    }
    return image;
fail:
    image_free(image);
    return NULL;
}

/* Adversarial order: any node whose dependencies have run. Otherwise as they were made. */
CUresult image_run(struct context *context, struct graph_image *image) {
    uint8_t *done = calloc(image->n + 1u, 1);
    struct random random = {options.seed * 0x9e3779b97f4a7c15ull | 1};
    CUresult r = done ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
    random.state ^= simulated_ns << 1;
    random.state |= 1;
    for (uint32_t left = image->n; left && !r; left--) {
        uint32_t chosen = UINT32_MAX, n_ready = 0;
        for (uint32_t i = 0; i < image->n; i++) {
            bool ready = !done[i];
            for (uint32_t k = 0; k < image->n_dependency[i] && ready; k++)
                ready = done[image->dependency[i][k]];
            if (ready && (options.seed ? random_below(&random, ++n_ready) == 0 : chosen == UINT32_MAX))
                chosen = i;
            if (ready && !options.seed)
                break;
        }
        if (chosen == UINT32_MAX) {
            r = REFUSE(CUDA_ERROR_INVALID_VALUE, "the graph has a circle");
            break;
        }
        done[chosen] = 1;
        r = action_run(context, &image->action[chosen]);
    }
    free(done);
    return r;
}

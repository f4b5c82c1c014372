/* Graphs made by hand, instantiated, changed and launched. */
#include "driver.h"

#include <stdlib.h>
#include <string.h>

static struct graph *graph_of(CUgraph handle) {
    return handle_is(handle, HANDLE_GRAPH) ? (struct graph *)handle : NULL;
}
static struct graph_exec *exec_of(CUgraphExec handle) {
    return handle_is(handle, HANDLE_EXEC) ? (struct graph_exec *)handle : NULL;
}

static CUresult create(struct context *c, CUgraph *out, unsigned flags) {
    if (!out || flags)
        return CUDA_ERROR_INVALID_VALUE;
    struct graph *g = graph_new(c);
    if (!g)
        return CUDA_ERROR_OUT_OF_MEMORY;
    *out = (CUgraph)g;
    return CUDA_SUCCESS;
}
static CUresult destroy(CUgraph handle) {
    if (!graph_of(handle))
        return CUDA_ERROR_INVALID_HANDLE;
    graph_free(graph_of(handle));
    return CUDA_SUCCESS;
}
CUresult cuGraphCreate(CUgraph *graph, unsigned flags) {
    API("cuGraphCreate", NEEDS_CONTEXT, create(c, graph, flags));
}
CUresult cuGraphDestroy(CUgraph graph) {
    API("cuGraphDestroy", NEEDS_CONTEXT | ALLOWS_STICKY, destroy(graph));
}

/* ---- nodes ---- */

/* Takes over the action, also when it fails. */
static CUresult add_node(CUgraphNode *out, CUgraph handle, const CUgraphNode *dependencies, size_t n,
                         struct action *a) {
    struct graph *g = graph_of(handle);
    CUresult r = g ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
    if (!r && (!out || (n && !dependencies)))
        r = CUDA_ERROR_INVALID_VALUE;
    for (size_t i = 0; i < n && !r; i++)
        if (!handle_is(dependencies[i], HANDLE_NODE) || ((struct node *)dependencies[i])->graph != g)
            r = CUDA_ERROR_INVALID_VALUE;
    if (r) {
        action_clear(a);
        return r;
    }
    return graph_add(g, a, (struct node *const *)dependencies, n, (struct node **)out);
}

static CUresult kernel_action(struct action *a, const CUDA_KERNEL_NODE_PARAMS *p) {
    if (!p)
        return CUDA_ERROR_INVALID_VALUE;
    const uint32_t grid[3] = {p->gridDimX, p->gridDimY, p->gridDimZ},
                   threads[3] = {p->blockDimX, p->blockDimY, p->blockDimZ};
    return launch_action(a, p->func ? p->func : (CUfunction)p->kern, grid, threads, p->sharedMemBytes, false,
                         p->kernelParams, p->extra);
}
static CUresult add_kernel(CUgraphNode *out, CUgraph g, const CUgraphNode *d, size_t n,
                           const CUDA_KERNEL_NODE_PARAMS *p) {
    struct action a;
    const CUresult r = kernel_action(&a, p);
    return r ? r : add_node(out, g, d, n, &a);
}
CUresult cuGraphAddKernelNode_v2(CUgraphNode *node, CUgraph graph, const CUgraphNode *dependencies, size_t n,
                                 const CUDA_KERNEL_NODE_PARAMS *params) {
    API("cuGraphAddKernelNode", NEEDS_CONTEXT, add_kernel(node, graph, dependencies, n, params));
}

/* Copies in one dimension. */
static CUresult copy_action(struct action *a, const CUDA_MEMCPY3D *p) {
    if (!p || p->Height != 1 || p->Depth != 1 || p->srcY || p->srcZ || p->dstY || p->dstZ)
        return p ? REFUSE(CUDA_ERROR_NOT_SUPPORTED, "graph copies of more than one row are not simulated")
                 : CUDA_ERROR_INVALID_VALUE;
    if (p->srcMemoryType == CU_MEMORYTYPE_ARRAY || p->dstMemoryType == CU_MEMORYTYPE_ARRAY)
        return REFUSE(CUDA_ERROR_NOT_SUPPORTED, "arrays are not simulated");
    const bool from_host = p->srcMemoryType == CU_MEMORYTYPE_HOST,
               to_host = p->dstMemoryType == CU_MEMORYTYPE_HOST;
    const uint64_t from = (from_host ? (uint64_t)(uintptr_t)p->srcHost : p->srcDevice) + p->srcXInBytes;
    const uint64_t to = (to_host ? (uint64_t)(uintptr_t)p->dstHost : p->dstDevice) + p->dstXInBytes;
    *a = (struct action){
        .kind = ACTION_COPY,
        .copy = {
            .to = to, .from = from, .to_host = to_host, .from_host = from_host, .bytes = p->WidthInBytes}};
    return CUDA_SUCCESS;
}
static CUresult add_copy(CUgraphNode *out, CUgraph g, const CUgraphNode *d, size_t n,
                         const CUDA_MEMCPY3D *p) {
    struct action a;
    const CUresult r = copy_action(&a, p);
    return r ? r : add_node(out, g, d, n, &a);
}
CUresult cuGraphAddMemcpyNode(CUgraphNode *node, CUgraph graph, const CUgraphNode *dependencies, size_t n,
                              const CUDA_MEMCPY3D *params, CUcontext context) {
    (void)context;
    API("cuGraphAddMemcpyNode", NEEDS_CONTEXT, add_copy(node, graph, dependencies, n, params));
}

static CUresult add_set(CUgraphNode *out, CUgraph g, const CUgraphNode *d, size_t n,
                        const CUDA_MEMSET_NODE_PARAMS *p) {
    if (!p || (p->elementSize != 1 && p->elementSize != 2 && p->elementSize != 4) || !p->height ||
        p->dst % p->elementSize)
        return CUDA_ERROR_INVALID_VALUE;
    struct action a = {.kind = ACTION_SET,
                       .set = {.to = p->dst,
                               .count = p->width,
                               .value = p->value,
                               .element = p->elementSize,
                               .pitch = p->pitch,
                               .height = p->height}};
    return add_node(out, g, d, n, &a);
}
CUresult cuGraphAddMemsetNode(CUgraphNode *node, CUgraph graph, const CUgraphNode *dependencies, size_t n,
                              const CUDA_MEMSET_NODE_PARAMS *params, CUcontext context) {
    (void)context;
    API("cuGraphAddMemsetNode", NEEDS_CONTEXT, add_set(node, graph, dependencies, n, params));
}

static CUresult add_host(CUgraphNode *out, CUgraph g, const CUgraphNode *d, size_t n,
                         const CUDA_HOST_NODE_PARAMS *p) {
    if (!p || !p->fn)
        return CUDA_ERROR_INVALID_VALUE;
    struct action a = {.kind = ACTION_HOST, .host = p->fn, .user = p->userData};
    return add_node(out, g, d, n, &a);
}
CUresult cuGraphAddHostNode(CUgraphNode *node, CUgraph graph, const CUgraphNode *dependencies, size_t n,
                            const CUDA_HOST_NODE_PARAMS *params) {
    API("cuGraphAddHostNode", NEEDS_CONTEXT, add_host(node, graph, dependencies, n, params));
}

static CUresult add_empty(CUgraphNode *out, CUgraph g, const CUgraphNode *d, size_t n) {
    struct action a = {.kind = ACTION_EMPTY};
    return add_node(out, g, d, n, &a);
}
CUresult cuGraphAddEmptyNode(CUgraphNode *node, CUgraph graph, const CUgraphNode *dependencies, size_t n) {
    API("cuGraphAddEmptyNode", NEEDS_CONTEXT, add_empty(node, graph, dependencies, n));
}

static CUresult add_record(CUgraphNode *out, CUgraph g, const CUgraphNode *d, size_t n, CUevent event) {
    if (!handle_is(event, HANDLE_EVENT))
        return CUDA_ERROR_INVALID_HANDLE;
    struct action a = {.kind = ACTION_RECORD, .event = (struct event *)event};
    a.event->users++;
    return add_node(out, g, d, n, &a);
}
CUresult cuGraphAddEventRecordNode(CUgraphNode *node, CUgraph graph, const CUgraphNode *dependencies,
                                   size_t n, CUevent event) {
    API("cuGraphAddEventRecordNode", NEEDS_CONTEXT, add_record(node, graph, dependencies, n, event));
}

/* ---- edges and questions ---- */

static bool leads_to(const struct node *from, const struct node *to) {
    if (from == to)
        return true;
    for (uint32_t i = 0; i < to->n_dependency; i++)
        if (leads_to(from, to->dependency[i]))
            return true;
    return false;
}
static CUresult add_edges(CUgraph handle, const CUgraphNode *from, const CUgraphNode *to, size_t n) {
    const struct graph *g = graph_of(handle);
    if (!g)
        return CUDA_ERROR_INVALID_HANDLE;
    for (size_t i = 0; i < n; i++) {
        struct node *a = from ? (struct node *)from[i] : NULL, *b = to ? (struct node *)to[i] : NULL;
        if (!handle_is(a, HANDLE_NODE) || !handle_is(b, HANDLE_NODE) || a->graph != g || b->graph != g)
            return CUDA_ERROR_INVALID_VALUE;
        if (leads_to(b, a))
            return REFUSE(CUDA_ERROR_INVALID_VALUE, "the dependency would close a circle");
        struct node **more = realloc(b->dependency, (b->n_dependency + 1u) * sizeof *more);
        if (!more)
            return CUDA_ERROR_OUT_OF_MEMORY;
        b->dependency = more;
        more[b->n_dependency++] = a;
    }
    return CUDA_SUCCESS;
}
CUresult cuGraphAddDependencies_v2(CUgraph graph, const CUgraphNode *from, const CUgraphNode *to,
                                   const CUgraphEdgeData *edges, size_t n) {
    API("cuGraphAddDependencies", NEEDS_CONTEXT,
        edges ? CUDA_ERROR_NOT_SUPPORTED : add_edges(graph, from, to, n));
}
#pragma GCC visibility push(default)
#undef cuGraphAddDependencies
CUresult cuGraphAddDependencies(CUgraph graph, const CUgraphNode *from, const CUgraphNode *to, size_t n);
CUresult cuGraphAddDependencies(CUgraph graph, const CUgraphNode *from, const CUgraphNode *to, size_t n) {
    API("cuGraphAddDependencies", NEEDS_CONTEXT, add_edges(graph, from, to, n));
}
#pragma GCC visibility pop

static CUresult get_nodes(CUgraph handle, CUgraphNode *nodes, size_t *n, bool roots) {
    const struct graph *g = graph_of(handle);
    size_t found = 0;
    if (!g || !n)
        return g ? CUDA_ERROR_INVALID_VALUE : CUDA_ERROR_INVALID_HANDLE;
    for (uint32_t i = 0; i < g->n_node; i++) {
        if (roots && g->node[i]->n_dependency)
            continue;
        if (nodes && found < *n)
            nodes[found] = (CUgraphNode)g->node[i];
        found++;
    }
    *n = found;
    return CUDA_SUCCESS;
}
CUresult cuGraphGetNodes(CUgraph graph, CUgraphNode *nodes, size_t *n) {
    API("cuGraphGetNodes", NEEDS_CONTEXT, get_nodes(graph, nodes, n, false));
}
CUresult cuGraphGetRootNodes(CUgraph graph, CUgraphNode *nodes, size_t *n) {
    API("cuGraphGetRootNodes", NEEDS_CONTEXT, get_nodes(graph, nodes, n, true));
}

static CUresult get_edges(CUgraph handle, CUgraphNode *from, CUgraphNode *to, size_t *n) {
    const struct graph *g = graph_of(handle);
    size_t found = 0;
    if (!g || !n)
        return g ? CUDA_ERROR_INVALID_VALUE : CUDA_ERROR_INVALID_HANDLE;
    for (uint32_t i = 0; i < g->n_node; i++)
        for (uint32_t k = 0; k < g->node[i]->n_dependency; k++) {
            if (from && to && found < *n) {
                from[found] = (CUgraphNode)g->node[i]->dependency[k];
                to[found] = (CUgraphNode)g->node[i];
            }
            found++;
        }
    *n = found;
    return CUDA_SUCCESS;
}
CUresult cuGraphGetEdges_v2(CUgraph graph, CUgraphNode *from, CUgraphNode *to, CUgraphEdgeData *edges,
                            size_t *n) {
    API("cuGraphGetEdges", NEEDS_CONTEXT, edges ? CUDA_ERROR_NOT_SUPPORTED : get_edges(graph, from, to, n));
}

static CUresult get_type(CUgraphNode handle, CUgraphNodeType *type) {
    static const CUgraphNodeType types[] = {
        [ACTION_EMPTY] = CU_GRAPH_NODE_TYPE_EMPTY,    [ACTION_KERNEL] = CU_GRAPH_NODE_TYPE_KERNEL,
        [ACTION_COPY] = CU_GRAPH_NODE_TYPE_MEMCPY,    [ACTION_SET] = CU_GRAPH_NODE_TYPE_MEMSET,
        [ACTION_HOST] = CU_GRAPH_NODE_TYPE_HOST,      [ACTION_RECORD] = CU_GRAPH_NODE_TYPE_EVENT_RECORD,
        [ACTION_WAIT] = CU_GRAPH_NODE_TYPE_WAIT_EVENT};
    if (!handle_is(handle, HANDLE_NODE) || !type)
        return type ? CUDA_ERROR_INVALID_HANDLE : CUDA_ERROR_INVALID_VALUE;
    *type = types[((struct node *)handle)->action.kind];
    return CUDA_SUCCESS;
}
CUresult cuGraphNodeGetType(CUgraphNode node, CUgraphNodeType *type) {
    API("cuGraphNodeGetType", NEEDS_CONTEXT, get_type(node, type));
}

/* ---- instances ---- */

/* A snapshot of the graph, nodes in the order they were made. */
static struct graph_image *image_of(const struct graph *g) {
    struct graph_image view = {.n = g->n_node};
    struct graph_image *image = NULL;
    view.action = calloc(g->n_node + 1u, sizeof *view.action);
    view.dependency = calloc(g->n_node + 1u, sizeof *view.dependency);
    view.n_dependency = calloc(g->n_node + 1u, sizeof *view.n_dependency);
    bool good = view.action && view.dependency && view.n_dependency;
    for (uint32_t i = 0; good && i < g->n_node; i++) {
        view.action[i] = g->node[i]->action;
        view.n_dependency[i] = g->node[i]->n_dependency;
        view.dependency[i] = malloc((g->node[i]->n_dependency + 1u) * sizeof **view.dependency);
        good = view.dependency[i] != NULL;
        for (uint32_t k = 0; good && k < g->node[i]->n_dependency; k++)
            view.dependency[i][k] = g->node[i]->dependency[k]->index;
    }
    if (good)
        image = image_clone(&view);
    for (uint32_t i = 0; view.dependency && i < g->n_node; i++)
        free(view.dependency[i]);
    free(view.action);
    free(view.dependency);
    free(view.n_dependency);
    return image;
}

void exec_free(struct graph_exec *e) {
    if (!e)
        return;
    handle_remove(e);
    image_free(e->image);
    work_release(e->last);
    free(e->origin);
    free(e);
}

static CUresult instantiate(struct context *c, CUgraphExec *out, CUgraph handle) {
    const struct graph *g = graph_of(handle);
    if (!g || !out)
        return g ? CUDA_ERROR_INVALID_VALUE : CUDA_ERROR_INVALID_HANDLE;
    struct graph_exec *e = calloc(1, sizeof *e);
    if (e) {
        e->context = c;
        e->image = image_of(g);
        e->origin = malloc((g->n_node + 1u) * sizeof *e->origin);
    }
    if (!e || !e->image || !e->origin || !handle_add(e, HANDLE_EXEC)) {
        exec_free(e);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    if (g->n_node)
        memcpy(e->origin, g->node, g->n_node * sizeof *e->origin);
    *out = (CUgraphExec)e;
    return CUDA_SUCCESS;
}
static CUresult instantiate_params(struct context *c, CUgraphExec *out, CUgraph graph,
                                   CUDA_GRAPH_INSTANTIATE_PARAMS *p) {
    if (!p)
        return CUDA_ERROR_INVALID_VALUE;
    const CUresult r = instantiate(c, out, graph);
    p->hErrNode_out = NULL;
    p->result_out = r ? CUDA_GRAPH_INSTANTIATE_ERROR : CUDA_GRAPH_INSTANTIATE_SUCCESS;
    return r;
}
CUresult cuGraphInstantiateWithFlags(CUgraphExec *exec, CUgraph graph, unsigned long long flags) {
    API("cuGraphInstantiate", NEEDS_CONTEXT,
        flags & ~(unsigned long long)CUDA_GRAPH_INSTANTIATE_FLAG_UPLOAD ? CUDA_ERROR_NOT_SUPPORTED
                                                                        : instantiate(c, exec, graph));
}
CUresult cuGraphInstantiateWithParams(CUgraphExec *exec, CUgraph graph,
                                      CUDA_GRAPH_INSTANTIATE_PARAMS *params) {
    API("cuGraphInstantiate", NEEDS_CONTEXT, instantiate_params(c, exec, graph, params));
}
static CUresult destroy_exec(CUgraphExec handle) {
    if (!exec_of(handle))
        return CUDA_ERROR_INVALID_HANDLE;
    exec_free(exec_of(handle));
    return CUDA_SUCCESS;
}
CUresult cuGraphExecDestroy(CUgraphExec exec) {
    API("cuGraphExecDestroy", NEEDS_CONTEXT | ALLOWS_STICKY, destroy_exec(exec));
}

/* Launches already made keep their parameters. */
static CUresult set_kernel(CUgraphExec handle, CUgraphNode node, const CUDA_KERNEL_NODE_PARAMS *p) {
    struct graph_exec *e = exec_of(handle);
    struct action a;
    if (!e)
        return CUDA_ERROR_INVALID_HANDLE;
    uint32_t i = 0;
    while (i < e->image->n && (CUgraphNode)e->origin[i] != node)
        i++;
    if (i == e->image->n || e->image->action[i].kind != ACTION_KERNEL)
        return CUDA_ERROR_INVALID_VALUE;
    const CUresult r = kernel_action(&a, p);
    if (r)
        return r;
    action_clear(&e->image->action[i]);
    e->image->action[i] = a;
    return CUDA_SUCCESS;
}
CUresult cuGraphExecKernelNodeSetParams_v2(CUgraphExec exec, CUgraphNode node,
                                           const CUDA_KERNEL_NODE_PARAMS *params) {
    API("cuGraphExecKernelNodeSetParams", NEEDS_CONTEXT, set_kernel(exec, node, params));
}
static CUresult set_node_kernel(CUgraphNode handle, const CUDA_KERNEL_NODE_PARAMS *p) {
    struct node *node = (struct node *)handle;
    struct action a;
    if (!handle_is(node, HANDLE_NODE))
        return CUDA_ERROR_INVALID_HANDLE;
    const CUresult r = node->action.kind == ACTION_KERNEL ? kernel_action(&a, p) : CUDA_ERROR_INVALID_VALUE;
    if (r)
        return r;
    action_clear(&node->action);
    node->action = a;
    return CUDA_SUCCESS;
}
CUresult cuGraphKernelNodeSetParams_v2(CUgraphNode node, const CUDA_KERNEL_NODE_PARAMS *params) {
    API("cuGraphKernelNodeSetParams", NEEDS_CONTEXT, set_node_kernel(node, params));
}

static bool same_shape(const struct graph_image *a, const struct graph_image *b) {
    if (a->n != b->n)
        return false;
    for (uint32_t i = 0; i < a->n; i++)
        if (a->action[i].kind != b->action[i].kind || a->n_dependency[i] != b->n_dependency[i] ||
            memcmp(a->dependency[i], b->dependency[i], a->n_dependency[i] * sizeof **a->dependency))
            return false;
    return true;
}
static CUresult update(CUgraphExec handle, CUgraph graph, CUgraphExecUpdateResultInfo *info) {
    struct graph_exec *e = exec_of(handle);
    const struct graph *g = graph_of(graph);
    if (!e || !g || !info)
        return e && g ? CUDA_ERROR_INVALID_VALUE : CUDA_ERROR_INVALID_HANDLE;
    struct graph_image *image = image_of(g);
    if (!image)
        return CUDA_ERROR_OUT_OF_MEMORY;
    memset(info, 0, sizeof *info);
    if (!same_shape(e->image, image)) {
        image_free(image);
        info->result = CU_GRAPH_EXEC_UPDATE_ERROR_TOPOLOGY_CHANGED;
        return CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE;
    }
    image_free(e->image);
    e->image = image;
    if (g->n_node)
        memcpy(e->origin, g->node, g->n_node * sizeof *e->origin);
    info->result = CU_GRAPH_EXEC_UPDATE_SUCCESS;
    return CUDA_SUCCESS;
}
CUresult cuGraphExecUpdate_v2(CUgraphExec exec, CUgraph graph, CUgraphExecUpdateResultInfo *info) {
    API("cuGraphExecUpdate", NEEDS_CONTEXT, update(exec, graph, info));
}

/* ---- launch ---- */

static CUresult launch(struct context *c, CUgraphExec handle, CUstream stream) {
    struct graph_exec *e = exec_of(handle);
    struct stream *s = stream_find(c, stream);
    struct work *w;
    if (!e || !s)
        return CUDA_ERROR_INVALID_HANDLE;
    if (s->capture)
        return REFUSE(CUDA_ERROR_NOT_SUPPORTED, "graphs inside graphs are not simulated");
    struct action a = {.kind = ACTION_GRAPH, .graph = image_clone(e->image)};
    if (!a.graph)
        return CUDA_ERROR_OUT_OF_MEMORY;
    const CUresult r = stream_add(s, &a, &w);
    if (r)
        return r;
    if (!work_depend(w, e->last))
        return CUDA_ERROR_OUT_OF_MEMORY;
    work_release(e->last);
    e->last = w;
    w->users++;
    for (uint32_t i = 0; i < e->image->n; i++) {
        struct event *event = e->image->action[i].event;
        if (e->image->action[i].kind != ACTION_RECORD)
            continue;
        work_release(event->work);
        event->work = w;
        event->capture = NULL;
        w->users++;
    }
    return CUDA_SUCCESS;
}
CUresult cuGraphLaunch(CUgraphExec exec, CUstream stream) {
    API("cuGraphLaunch", NEEDS_CONTEXT, launch(c, exec, stream));
}
CUresult cuGraphUpload(CUgraphExec exec, CUstream stream) {
    API("cuGraphUpload", NEEDS_CONTEXT,
        exec_of(exec) && stream_find(c, stream) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE);
}

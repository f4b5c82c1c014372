/* Objects behind the driver API: contexts, modules, streams, events, graphs. All are used under one lock.
 *
 * Handles given out are pointers to these structs; a registry knows the living ones, so a stale or foreign
 * handle is an error code and not a crash.
 */
#ifndef CUDASIM_DRIVER_H
#define CUDASIM_DRIVER_H

#pragma GCC visibility push(default)
#include <cuda.h>
#pragma GCC visibility pop

#include "kernel.h"
#include "memory.h"

enum handle_kind {
    HANDLE_CONTEXT,
    HANDLE_MODULE,
    HANDLE_FUNCTION,
    HANDLE_STREAM,
    HANDLE_EVENT,
    HANDLE_GRAPH,
    HANDLE_NODE,
    HANDLE_EXEC
};

bool handle_add(void *object, enum handle_kind kind);
void handle_remove(const void *object);
bool handle_is(const void *object, enum handle_kind kind);
/* Walks the living ones of a kind: *cursor starts at 0; NULL behind the last. */
void *handle_next(enum handle_kind kind, size_t *cursor);

/* ---- modules ---- */

struct module {
    struct module *next; /* in its context */
    struct context *context;
    struct kernel *kernels;
    struct variable *variables;
    struct function *functions;
    uint32_t n_function;
    uint32_t arch, ptx_version;
    uint32_t users; /* pending launches and graph nodes */
    bool unloaded;
};
struct variable {
    struct variable *next;
    char *name;
    struct allocation *memory;
};
struct function { /* CUfunction and CUkernel */
    struct kernel *kernel;
    struct module *module;
};
CUresult module_load(struct context *context, const void *image, struct module **out, char *log,
                     size_t log_bytes);
void module_unload(struct module *module);
void module_release(struct module *module); /* a user less */
/* Blocks of a kernel that one multiprocessor holds, and what the launch would break. */
uint32_t occupancy(const struct kernel *kernel, uint32_t threads, uint32_t dynamic_bytes);
uint32_t kernel_registers(const struct kernel *kernel, uint32_t threads);
/* The largest block that a kernel of so many registers can have. */
uint32_t threads_by_registers(uint32_t registers);

/* Limits that all devices share; the others are in pose.c. */
enum {
    MAX_THREADS_PER_BLOCK = 1024,
    REGISTERS_PER_SM = 65536,
    SHARED_PER_BLOCK = 49152,
    SHARED_RESERVED = 1024
};

/* ---- actions: what a stream or a graph node does ---- */

enum action_kind {
    ACTION_EMPTY,
    ACTION_KERNEL,
    ACTION_COPY,
    ACTION_SET,
    ACTION_HOST,
    ACTION_RECORD,
    ACTION_WAIT,
    ACTION_FREE,
    ACTION_GRAPH
};

struct action {
    uint8_t kind;
    struct {
        struct function *function;
        uint32_t grid[3], threads[3], dynamic_bytes;
        bool cooperative;
        uint8_t *params; /* a copy */
    } kernel;
    struct {
        uint64_t to, from; /* device addresses, or host ones */
        bool to_host, from_host;
        uint64_t bytes;
        uint8_t *snapshot; /* of pageable memory, taken at the call */
    } copy;
    struct {
        uint64_t to, count; /* elements in a row */
        uint32_t value, element;
        uint64_t pitch, height;
    } set;
    CUhostFn host;
    void *user;
    struct event *event;
    uint64_t address; /* to free */
    struct graph_image *graph;
};
/* A launch, checked; the parameters are copied. */
CUresult launch_action(struct action *a, CUfunction handle, const uint32_t *grid, const uint32_t *threads,
                       uint32_t dynamic_bytes, bool cooperative, void **params, void **extra);
CUresult action_clone(struct action *to, const struct action *from);
void action_clear(struct action *action);
CUresult action_run(struct context *context, struct action *action);

/* ---- streams ---- */

struct work {
    struct work *next; /* in its stream */
    struct stream *stream;
    struct action action;
    uint32_t users; /* stream, event, and those that wait for it */
    bool done;
    struct work **dependency;
    uint32_t n_dependency;
};

struct stream {
    struct stream *next; /* in its context */
    struct context *context;
    unsigned flags;
    int priority;
    uint64_t id;
    bool destroyed;
    struct work *first, *last;
    struct capture *capture;
    struct node **tail; /* nodes that the next captured one depends on */
    uint32_t n_tail;
};

struct event {
    struct context *context;
    unsigned flags;
    uint32_t users;
    struct work *work; /* the latest record, NULL before any */
    uint64_t time;     /* simulated ns, of the latest record that ran */
    bool destroyed;
    struct capture *capture;
    struct node **nodes;
    uint32_t n_node;
};

/* NULL and CU_STREAM_LEGACY are the context's own stream. NULL result: no such stream. */
struct stream *stream_find(struct context *context, CUstream handle);
struct stream *stream_new(struct context *context, unsigned flags, int priority);
void stream_free(struct stream *stream);
/* Takes over the action. In a capture it becomes a node. */
CUresult stream_add(struct stream *stream, struct action *action, struct work **work);
/* Runs whatever must have run before `work` is done, and it. */
CUresult work_finish(struct context *context, struct work *work);
CUresult stream_finish(struct stream *stream);
CUresult context_finish(struct context *context);
/* Runs one piece of what `stream` waits for. True when nothing is left. */
bool stream_step(struct context *context, struct work *until, CUresult *result);
void work_release(struct work *work);
bool work_depend(struct work *work, struct work *on);
void event_release(struct event *event);

/* ---- captures and graphs ---- */

struct capture {
    struct graph *graph;
    struct stream *origin;
    CUstreamCaptureMode mode;
    uint64_t id, thread;
    bool invalid;
    uint32_t n_stream;
};
/* A call that waits or that cannot be captured spoils the capture of its stream; returns the code to answer
 * with. */
CUresult capture_forbids(struct stream *stream);
/* Calls that are unsafe while any global capture, or one of this thread, is going on. */
CUresult capture_forbids_unsafe(struct context *context);
CUresult capture_add(struct stream *stream, struct action *action);
CUresult capture_record(struct stream *stream, struct event *event);
CUresult capture_wait(struct stream *stream, struct event *event);
void capture_drop(struct stream *stream);

struct node {
    struct graph *graph;
    struct action action;
    struct node **dependency;
    uint32_t n_dependency, index;
};
struct graph {
    struct context *context;
    struct node **node;
    uint32_t n_node, max_node;
};
/* What is launched: actions in an order that respects the dependencies, which are indices. */
struct graph_image {
    uint32_t n;
    struct action *action;
    uint32_t **dependency, *n_dependency;
};
struct graph_exec {
    struct context *context;
    struct graph_image *image;
    struct node **origin; /* the node each entry came from */
    struct work *last;    /* its latest launch: launches of one graph do not overlap */
};
void exec_free(struct graph_exec *exec);
struct graph *graph_new(struct context *context);
void graph_free(struct graph *graph);
CUresult graph_add(struct graph *graph, struct action *action, struct node *const *dependencies, size_t n,
                   struct node **out);
struct graph_image *image_clone(const struct graph_image *image);
void image_free(struct graph_image *image);
CUresult image_run(struct context *context, struct graph_image *image);

/* ---- contexts ---- */

struct context {
    struct context *next;
    bool primary, destroyed;
    uint32_t retained;
    unsigned flags;
    uint64_t id;
    CUresult sticky; /* once set, every call answers with it */
    char fault[512]; /* the sentence of what went wrong then */
    struct stream *null_stream, *streams;
    struct module *modules;
    struct capture *captures[64];
    uint32_t n_capture;
    size_t stack_limit, printf_limit, heap_limit;
};
struct context *context_new(unsigned flags);
void context_free(struct context *context);
struct context *context_current(void);
struct context *context_list(void); /* all that live */

/* What has been executed so far, as the clock of events. */
extern uint64_t simulated_ns;
extern uint64_t next_object_id;

/* ---- entry points ---- */

enum { NEEDS_NOTHING = 0, NEEDS_INIT = 1, NEEDS_CONTEXT = 3, ALLOWS_STICKY = 4 };

struct call {
    const char *name;
    struct context *context;
    bool locked;
    uint64_t said; /* messages before it */
};
CUresult api_enter(struct call *call, const char *name, unsigned needs);
/* Leaves a sentence when the call is refused and nothing has been said of it. */
CUresult api_leave(struct call *call, CUresult result);
/* The same for calls that need nothing and so take no lock. */
CUresult api_refuse(const char *name, CUresult result);
/* The name of a code, or what it means. INVALID_VALUE and NULL when it has none. */
CUresult error_text(CUresult code, const char **text, bool name);
extern bool driver_ready;
void api_callback(CUhostFn fn, void *user); /* which may not call the driver */
void api_lose_device(CUresult code);        /* for the life of the process */
void api_lock(void);
void api_unlock(void);

/* The body of an entry point: `expression` runs under the lock with `c` for the call's context, once
 * everything that the call needs is there. */
#define API(name, needs, expression)                                                                         \
    do {                                                                                                     \
        struct call call_state;                                                                              \
        CUresult call_result = api_enter(&call_state, name, needs);                                          \
        struct context *c = call_state.context;                                                              \
        (void)c;                                                                                             \
        if (call_result == CUDA_SUCCESS)                                                                     \
            call_result = (expression);                                                                      \
        return api_leave(&call_state, call_result);                                                          \
    } while (0)

/* Says a sentence and returns the code. */
#define REFUSE(code, ...) (message(__VA_ARGS__), (code))

/* ---- counters ---- */
struct copy_stats {
    uint64_t to_device, to_host, on_device, calls_to_device, calls_to_host;
};
extern struct copy_stats copy_stats;
extern uint64_t graph_launches;
void counters_launch(const struct launch *launch);
void counters_keep(struct kernel *kernel); /* of a module that goes */
void counters_write_at_exit(void);

#endif

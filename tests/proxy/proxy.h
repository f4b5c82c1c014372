/* proxy.h: a plugin between the host and a real one, which changes one thing.
 *
 * One library a mode, libtandem_proxy_MODE.so; all that a mode does not change goes to a private copy of the
 * wrapped library (`wrap`), so that a host may hold the wrapped plugin beside it. Options, with or without
 * a name in front ("proxy_twice.wrap=PATH"):
 *
 *     wrap=PATH      the real plugin; mandatory
 *     op=NAME        the op, by its label without "blk.N."; "*": every op
 *     depth=N        nothing is wrong in runs that begin below this position
 *     rows=N         nothing is wrong in runs of fewer rows
 *     most=N         nor in runs of more rows
 *     whole=1        nor in programs without a TOPK: those that look at the first layers alone
 *     runs=N         nothing is wrong in the first N runs of all programs together
 *     NAME=VALUE     as the modes below say
 *
 * mode        what it changes
 *   twice       every op named `op` is executed twice: right results, honest times, slower
 *   garbage     ops named `op` (else all products of the feed-forward part) are left out: fast and wrong
 *   precision   programs run at q8 whatever the host stated; disguise=1: kernels carry the stated name
 *   fallback    says that its device is a GPU, and gives ns=N (100000) as the device time of each run; with
 *               ns=0 the times stay those of the wrapped plugin
 *   scripted    device times are base=NS (10000) a step, noise=S a run (and as much again a step), seed=N,
 *               times factor=F where the op is `op`; a run is not done before that time has passed
 *   cache       from layer=N (0) on caches are of type kv=N, and layers without a window see window=N
 *               positions; the host is told what it asked for
 *   simulated   says that its device is simulated
 *   crash       a run raises SIGSEGV
 *   hang        a wait never returns
 *   oom         a run answers OUT_OF_MEMORY
 *   driver      driver=TEXT: the device's driver, as after an update
 *   lacks       has no kernel for ops named `op`, attention only where heads are head=N elements or wider
 *               and the cache is of type kv=N
 *   matrix      says that the device has matrix units; the kernels do without
 *   hostile     from its call after=N (0) on, slot=SLOT of the table (or query, descriptor, unload)
 * does=ACTION: nothing   answers OK and does nothing: no object, no ticket, no bytes status    answers
 * status=N crash     raises SIGSEGV; exit: exit(status); hang: never returns absurd    numbers that no
 * machine has, out of the wrapped plugin's answer nan, ids  buffer_read: values that are no numbers; an id
 * that no vocabulary has name      texts with control characters, without an end, that are no UTF-8
 */
#ifndef TANDEM_TESTS_PROXY_H
#define TANDEM_TESTS_PROXY_H

#include <tandem/tandem.h>

enum {
    PROXY_TWICE,
    PROXY_GARBAGE,
    PROXY_PRECISION,
    PROXY_FALLBACK,
    PROXY_SCRIPTED,
    PROXY_SIMULATED,
    PROXY_CRASH,
    PROXY_HANG,
    PROXY_OOM,
    PROXY_DRIVER,
    PROXY_LACKS,
    PROXY_MATRIX,
    PROXY_CACHE,
    PROXY_HOSTILE
};

typedef struct proxy_options {
    char wrap[1024], op[64], driver[128], slot[32], action[16];
    uint64_t after;
    int64_t status;
    uint32_t depth, rows, most, whole, head, kv, window, layer;
    uint64_t runs, ns, base, seed;
    double factor, noise;
    uint32_t disguise;
} proxy_options;

extern proxy_options proxy;
extern tandem_backend proxy_inner; /* the wrapped plugin's table */

/* "blk.3.ffn_down" is "ffn_down"; whether that is the op of the options. */
int proxy_names(const char *label);

/* hostile: whether what is no slot goes wrong now; may end the process. */
int proxy_hostile(const char *slot);
void proxy_make_hostile(tandem_backend *backend, tandem_descriptor *descriptor);

/* A program of the wrapped plugin, made from an edited list of ops. */
typedef struct proxy_variant {
    tandem_program *program;
    uint32_t n_op, *outer; /* index of each of its ops in the host's list */
    uint32_t n_step;
} proxy_variant;

typedef struct proxy_program {
    tandem_context *context;
    proxy_variant shown; /* what the host is told about; run unless the conditions of `wrong` hold */
    proxy_variant wrong; /* garbage only; program NULL: the same */
    uint32_t precision;  /* as stated by the host */
    int has_topk;
    tandem_kv *kv; /* of its attention ops, or NULL */
} proxy_program;

/* proxy_time.c */
typedef struct proxy_run {
    tandem_context *context;
    tandem_ticket ticket;
    const proxy_program *program;
    const proxy_variant *variant; /* that ran */
    int due;                      /* it was to go wrong */
    uint64_t number;              /* runs of this library before it */
    uint64_t device_ns, end_ns;   /* scripted */
} proxy_run;

void proxy_note_run(const proxy_program *program, const proxy_variant *variant, int due,
                    tandem_ticket ticket);
void proxy_forget_program(const proxy_program *program);

/* Slots of the table. */
tandem_status proxy_kv_create(tandem_context *context, const tandem_kv_desc *desc, tandem_kv **kv,
                              tandem_error *error);
tandem_status proxy_kv_layer(const tandem_kv *kv, uint32_t layer, tandem_kv_layer *info, tandem_error *error);
tandem_status proxy_supports(tandem_context *context, const tandem_op *op, uint32_t precision,
                             tandem_error *error);
tandem_status proxy_program_create(tandem_context *context, const tandem_program_desc *desc,
                                   tandem_program **program, tandem_error *error);
void proxy_program_destroy(tandem_program *program);
tandem_status proxy_program_step_count(const tandem_program *program, uint32_t *n, tandem_error *error);
tandem_status proxy_program_step(const tandem_program *program, uint32_t step, tandem_step *info,
                                 tandem_error *error);
tandem_status proxy_program_cost(const tandem_program *program, const tandem_run *run,
                                 tandem_cost *const *costs, uint32_t n_step, tandem_error *error);
tandem_status proxy_start(tandem_program *program, const tandem_run *run, tandem_ticket *ticket,
                          tandem_error *error);
tandem_status proxy_wait(tandem_context *context, tandem_ticket ticket, uint64_t timeout_ns,
                         tandem_error *error);
tandem_status proxy_times(tandem_context *context, tandem_ticket ticket, tandem_times *times,
                          tandem_error *error);
tandem_status proxy_step_times(tandem_context *context, tandem_ticket ticket, uint64_t *ns, uint32_t n_step,
                               tandem_error *error);

#endif

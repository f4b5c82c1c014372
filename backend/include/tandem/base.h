/* tandem/base.h: version, status codes, errors and the growth rule.
 *
 * The public headers are standalone C11 (and valid C++17): fixed-width integers, opaque handles, no enums by value,
 * no bitfields, no `bool`, no varargs.
 *
 * Growth. A struct whose first member is `struct_size` may grow at its end in a later minor version, never otherwise.
 *   - Input struct: the caller sets struct_size = sizeof. A receiver that knows less checks that the bytes it does not
 *     know are zero, else it answers TANDEM_E_UNSUPPORTED and names the offset. Missing bytes count as zero.
 *   - Output struct: the caller sets struct_size = sizeof; the callee fills what both sides know and stores that size.
 *   - Arrays of growing structs are arrays of pointers.
 * Structs without struct_size (tandem_view, tandem_row, tandem_out, the head of an op) are value types and never grow.
 *
 * Threads. Each function carries one tag: [any-thread], or [context]: one caller per context at a time.
 */
#ifndef TANDEM_BASE_H
#define TANDEM_BASE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Until the freeze the major is 0 and minors must be equal; from 1.0 on any 1.x plugin loads in any 1.y host. */
#define TANDEM_ABI_MAJOR 0u
#define TANDEM_ABI_MINOR 1u

#if defined(_WIN32)
#define TANDEM_EXPORT __declspec(dllexport)
#elif defined(__GNUC__)
#define TANDEM_EXPORT __attribute__((visibility("default")))
#else
#define TANDEM_EXPORT
#endif

/* Status: 0 is good, negative is bad. Results go through pointers and are untouched on error. */
typedef int32_t tandem_status;
#define TANDEM_OK 0
#define TANDEM_E_INVALID (-1)           /* an argument breaks a documented rule */
#define TANDEM_E_UNSUPPORTED (-2)       /* a legal request that this plugin or device does not offer */
#define TANDEM_E_OUT_OF_MEMORY (-3)     /* device or host memory, or the context's cap; everything stays usable */
#define TANDEM_E_BUSY (-4)              /* as many runs pending as the context takes; wait on a ticket, try again */
#define TANDEM_E_TIMEOUT (-5)           /* not finished in the given time; the ticket stays valid */
#define TANDEM_E_DEVICE_LOST (-6)       /* every later call on the context but destroy returns this */
#define TANDEM_E_NEEDS_NEW_PROCESS (-7) /* the driver cannot recover inside this process */
#define TANDEM_E_NO_DEVICE (-8)         /* driver or device missing; the message says which */
#define TANDEM_E_VERSION (-9)           /* ABI versions do not fit */
#define TANDEM_E_INTERNAL (-10)         /* a driver call failed in a way no other code covers */

#define TANDEM_NONE 0xffffffffu /* "no such index" wherever a uint32_t index is optional */

/* Filled by a fallible function that fails; may be NULL. On success it is left alone. */
typedef struct tandem_error {
    uint32_t struct_size;
    int32_t status;      /* the returned status */
    int64_t driver_code; /* VkResult, CUresult, errno; 0: none */
    uint32_t op_index;   /* index into tandem_program_desc.ops, or TANDEM_NONE */
    uint32_t reserved;
    char message[488]; /* UTF-8, one sentence, always terminated */
} tandem_error;

/* Element types carry the GGUF numbers. */
#define TANDEM_TYPE_F32 0u
#define TANDEM_TYPE_F16 1u
#define TANDEM_TYPE_Q4_0 2u
#define TANDEM_TYPE_Q4_1 3u
#define TANDEM_TYPE_Q5_0 6u
#define TANDEM_TYPE_Q5_1 7u
#define TANDEM_TYPE_Q8_0 8u
#define TANDEM_TYPE_Q2_K 10u
#define TANDEM_TYPE_Q3_K 11u
#define TANDEM_TYPE_Q4_K 12u
#define TANDEM_TYPE_Q5_K 13u
#define TANDEM_TYPE_Q6_K 14u
#define TANDEM_TYPE_IQ4_NL 20u
#define TANDEM_TYPE_IQ4_XS 23u
#define TANDEM_TYPE_BF16 30u
#define TANDEM_TYPE_MXFP4 39u

/* How activations are rounded before a matrix product (to the bit: tandem/quants.h); stated by the program, never mixed
 * in a comparison. */
#define TANDEM_PRECISION_EXACT 0u /* f32 activations */
#define TANDEM_PRECISION_F16 1u   /* each row scaled by a power of two, rounded to f16, unscaled */
#define TANDEM_PRECISION_Q8 2u    /* groups of 32: d = max|x| / 127, q = rint(x / d), y = d q */

/* Opaque handles. */
typedef struct tandem_context tandem_context;
typedef struct tandem_buffer tandem_buffer;
typedef struct tandem_weights tandem_weights;
typedef struct tandem_kv tandem_kv;
typedef struct tandem_program tandem_program;

/* One run or placement edit of a context, counted up from 1; 0 is never issued. */
typedef uint64_t tandem_ticket;
#define TANDEM_TICKET_ALL UINT64_MAX /* everything submitted so far */

#ifdef __cplusplus
}
#endif
#endif

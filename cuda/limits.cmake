# What ptxas may say of a kernel: the column Good of the table of compiler facts that the kernels are judged by. Read by
# compile.cmake, and by bench/kernels.sh.
#
#   bytes of spills   0
#   stack frame       64 bytes
#   registers         mat-vec, and all that a token runs beside it: 64, so that half of the warps fit
#                     attention of few rows: 168; products and attention of many, on matrix units: 255
set(MAX_STACK 64)

# CLASS PATTERN REGISTERS; the first pattern that matches a kernel's name.
set(REGISTER_LIMITS
    "attention_append ^attention_append_ 64"
    "prefill          ^attention_prefill 255"
    "attention        ^attention_        168"
    "prefill          ^matmul_           255"
    "wide_stream      ^stream_wide$      168" # rows over 4,096 stay in registers; no model of Gemma's sizes has them
    "stream           ^stream$           80"
    "matvec           ^matvec_           64"
    "other            .                  64")

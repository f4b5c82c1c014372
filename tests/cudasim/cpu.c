/* Compiled for any x86-64, so that it can say that the rest is not. */
#include <cpuid.h>
#include <stdbool.h>

bool cpu_can_run(void);

bool cpu_can_run(void) {
    unsigned a, b, c, d;
    const unsigned f16c = 1u << 29;
    __builtin_cpu_init(); /* AVX2 counts only when the system saves its registers */
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
           __builtin_cpu_supports("bmi2") && __get_cpuid(1, &a, &b, &c, &d) && c & f16c;
}

/* Compiled for any x86-64, so that it can say that the rest is not. */
#include <stdbool.h>

bool cpu_can_run(void);

bool cpu_can_run(void) {
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
           __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("f16c");
}

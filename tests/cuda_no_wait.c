/* A driver that lies: the simulated one, but waits for events return at once. Of the plugin it is the mutant
 * without its only wait. */
#include <cuda.h>

__attribute__((visibility("default"))) CUresult cuEventSynchronize(CUevent event) {
    (void)event;
    return CUDA_SUCCESS;
}

__attribute__((visibility("default"))) CUresult cuEventQuery(CUevent event) {
    (void)event;
    return CUDA_SUCCESS;
}

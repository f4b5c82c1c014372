# What a real GPU's compiler makes of the Vulkan pipelines, by RADV's null device (bench/kernels_vulkan.py).

if(TARGET tandem_vulkan AND NOT TANDEM_SANITIZE)
    set(kernels ${TANDEM_SYSTEM_PYTHON} ${PROJECT_SOURCE_DIR}/bench/kernels_vulkan.py ${PROJECT_BINARY_DIR})
    tandem_run(vulkan_no_spills_on_radv 900 COMMAND ${kernels})
    # 64 columns a lane (SPEC_N_COL), in place of 8, cannot stay in registers; the check itself must say so.
    tandem_run(vulkan_spills_are_found 300 COMMAND ${kernels} --spoil matmul_q4_0_exact_wide:3=64)
    # Mesa 26.1 and newer have no null device.
    set_tests_properties(vulkan_no_spills_on_radv vulkan_spills_are_found PROPERTIES SKIP_RETURN_CODE 77)
endif()

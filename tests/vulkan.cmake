# Tests of the Vulkan plugin on whatever device there is, lavapipe in CI.

if(TARGET tandem_vulkan)
    foreach(part vulkan gpu_program gpu_memory gpu_run gpu_moe gpu_cache vulkan_fault)
        tandem_test(${part}_test SOURCES ${part}_test.c gpu_model.c cases/side.c LIBRARIES tandem_loader)
        add_dependencies(${part}_test tandem_vulkan tandem_reference)
    endforeach()
    tandem_test(vulkan_policy_test SOURCES vulkan_policy_test.c ../vulkan/attention_plan.c ../vulkan/matmul_plan.c
        ../vulkan/policy.c LIBRARIES tandem_kit)
    tandem_run(vulkan_policy 60 COMMAND vulkan_policy_test LABELS quick sanitize)
    tandem_test(vulkan_spirv_test SOURCES vulkan_spirv_test.c ../vulkan/spirv.c)
    tandem_run(vulkan_spirv 120 COMMAND vulkan_spirv_test ${SPIRV_VAL} ${PROJECT_BINARY_DIR}/vulkan/shaders LABELS quick)

    # Kernels in the shape that GPUs get, whatever the device: what users with a card will run. What a software device
    # gets of itself has its own, smaller set below; and the README's commands run in it.
    set(gpu --option vulkan.shape=gpu)
    set(validated ${gpu} --option vulkan.validation=1)
    tandem_run(vulkan 300 COMMAND vulkan_test ${gpu} LABELS quick sanitize)
    tandem_run(vulkan_program 300 COMMAND gpu_program_test ${gpu} LABELS quick sanitize)
    tandem_run(vulkan_memory 300 COMMAND gpu_memory_test ${gpu} --option vulkan.staged=1 LABELS quick sanitize)
    tandem_run(vulkan_run 900 COMMAND gpu_run_test ${gpu} LABELS quick sanitize)
    tandem_run(vulkan_moe 300 COMMAND gpu_moe_test ${gpu} LABELS quick sanitize)
    tandem_run(vulkan_cache 300 COMMAND gpu_cache_test ${gpu} LABELS quick sanitize)
    tandem_run(vulkan_fault 900 COMMAND vulkan_fault_test ${gpu} --cache ${PROJECT_BINARY_DIR}/tests/pipelines
        LABELS quick sanitize)
    tandem_run(vulkan_fault_staged 900 COMMAND vulkan_fault_test ${gpu} --option vulkan.staged=1)
    # As a card does it: device memory that the host cannot reach, and matrices in several allocations.
    tandem_run(vulkan_staged 300
        COMMAND gpu_run_test ${gpu} --option vulkan.staged=1 --option vulkan.max_segment=131072 LABELS quick)
    tandem_run(vulkan_validated 600 COMMAND vulkan_test ${validated})
    tandem_run(vulkan_program_validated 600 COMMAND gpu_program_test ${validated})
    tandem_run(vulkan_run_validated 600 COMMAND gpu_run_test ${validated} --option vulkan.staged=1)
    # Instrumented shaders, which notice addresses out of bounds. Their searches count against lavapipe's loop
    # budget, so wide cases give false alarms; and they compile slowly, so a case per shader has to do here:
    # bench/accuracy.sh runs the short list whole.
    set(instrumented ${validated} --option vulkan.gpu_assisted=1)
    tandem_run(vulkan_gpu_assisted 1500 COMMAND gpu_run_test ${instrumented})
    tandem_run(ops_vulkan_gpu_assisted 1500 COMMAND op_test vulkan --smoke ${instrumented} --without 2816
        --filter "embed Q4_0" --filter "stream d 640 x 1, 2 inputs" --filter "matmul Q4_0" --filter "matmul Q6_K"
        --filter "window 96, F16" --filter "moe_ffn Q4_0" --filter "topk 64" --filter "glu 640")

    # No load through an address that may be 0; some drivers run loads that no lane reaches.
    find_program(SPIRV_DIS spirv-dis REQUIRED)
    tandem_run(shader_loads 120 COMMAND ${TANDEM_SYSTEM_PYTHON} ${CMAKE_CURRENT_SOURCE_DIR}/shader_loads_test.py
        ${GLSLC} ${SPIRV_DIS} ${PROJECT_SOURCE_DIR}/shaders LABELS quick)
    tandem_run(shader_rounding 120 COMMAND ${TANDEM_SYSTEM_PYTHON} ${CMAKE_CURRENT_SOURCE_DIR}/shader_rounding_test.py
        ${GLSLC} ${SPIRV_DIS} ${PROJECT_SOURCE_DIR}/shaders LABELS quick)

    # ---- op cases ----
    add_dependencies(op_test tandem_vulkan tandem_reference)
    tandem_run(ops_vulkan 1800 COMMAND op_test vulkan ${gpu})
    # As a card does it; and a matrix of 2000 rows in four segments.
    tandem_run(ops_vulkan_staged 600 COMMAND op_test vulkan --stride 7 ${gpu} --option vulkan.staged=1)
    tandem_run(ops_vulkan_segments 300 COMMAND op_test vulkan --filter 2000x640 ${gpu} --option vulkan.staged=1
        --option vulkan.max_segment=196608)
    # Gate and up of the 26B in three segments.
    tandem_run(ops_vulkan_expert_segments 300 COMMAND op_test vulkan --filter "704 by 2816" ${gpu}
        --option vulkan.staged=1 --option vulkan.max_segment=1572864)
    tandem_run(ops_vulkan_validated 900 COMMAND op_test vulkan --stride 3 ${validated})
    # Subgroups of 4 and 16 lanes; 8 is the default of lavapipe.
    foreach(width 128 512)
        tandem_run(ops_vulkan_width_${width} 900 COMMAND op_test vulkan --stride 5 ${gpu}
            ENVIRONMENT LP_NATIVE_VECTOR_WIDTH=${width})
    endforeach()

    # ---- the software shape ----
    set(software --option vulkan.shape=software)
    tandem_run(vulkan_run_software 300 COMMAND gpu_run_test ${software})
    tandem_run(vulkan_moe_software 300 COMMAND gpu_moe_test ${software})
    tandem_run(ops_vulkan_software 900 COMMAND op_test vulkan --smoke ${software})

    # ---- subgroups of 32 and 64 lanes, through shared memory (shaders/subgroup.glsl): lavapipe's have 4 to 16 ----
    set(emulated ${PROJECT_BINARY_DIR}/tests/emulated)
    if(TARGET tandem_vulkan_32)
        tandem_run(shader_subgroups 60 COMMAND ${TANDEM_SYSTEM_PYTHON} ${CMAKE_CURRENT_SOURCE_DIR}/shader_subgroup_test.py
            ${PROJECT_SOURCE_DIR}/shaders ${PROJECT_BINARY_DIR}/vulkan/shaders
            ${PROJECT_BINARY_DIR}/vulkan/emulated_32 ${PROJECT_BINARY_DIR}/vulkan/emulated_64 LABELS quick)
        tandem_run(ops_vulkan_32 1800 COMMAND op_test ${emulated}/32/libtandem_vulkan.so ${gpu})
        tandem_run(ops_vulkan_64 900 COMMAND op_test ${emulated}/64/libtandem_vulkan.so --stride 9 ${gpu})
        tandem_run(vulkan_run_32 600 COMMAND gpu_run_test --plugin ${emulated}/32/libtandem_vulkan.so ${gpu})
        tandem_run(vulkan_moe_32 600 COMMAND gpu_moe_test --plugin ${emulated}/32/libtandem_vulkan.so ${gpu})
    endif()
endif()

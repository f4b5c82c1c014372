# Tests of the CUDA plugin on the simulated driver (tests/cudasim), which executes the kernels' PTX. On a machine with a
# card the same programs run against NVIDIA's driver when cuda.library is left out: tests/cudasim/README.md.

if(TARGET tandem_cuda)
    add_subdirectory(cudasim)
    add_dependencies(op_test tandem_cuda)
    # The mutant of the host side: a driver whose waits return at once, so that results are read too early.
    add_library(cuda_no_wait SHARED cuda_no_wait.c)
    target_include_directories(cuda_no_wait SYSTEM PRIVATE ${CUDA_INCLUDE_DIR})
    target_link_options(cuda_no_wait PRIVATE -Wl,--no-as-needed)
    target_link_libraries(cuda_no_wait PRIVATE cudasim)
    tandem_run(cuda_no_wait 60 COMMAND op_test cuda --option cuda.library=$<TARGET_FILE:cuda_no_wait>
        --filter "matmul Q4_0 exact" --stride 8 LABELS quick)
    set_tests_properties(cuda_no_wait PROPERTIES PASS_REGULAR_EXPRESSION "bytes outside the live rows were written")
    # Drivers and devices that are taken, and those that are refused.
    add_library(cuda_less_shared SHARED cuda_less_shared.c)
    target_include_directories(cuda_less_shared SYSTEM PRIVATE ${CUDA_INCLUDE_DIR})
    target_link_options(cuda_less_shared PRIVATE -Wl,--no-as-needed)
    target_link_libraries(cuda_less_shared PRIVATE cudasim ${CMAKE_DL_LIBS})
    add_test(NAME cuda_drivers COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/cuda_drivers_test.sh $<TARGET_FILE:tandem>
        $<TARGET_FILE:cudasim> $<TARGET_FILE:cuda_less_shared> WORKING_DIRECTORY ${PROJECT_BINARY_DIR})
    set_tests_properties(cuda_drivers PROPERTIES TIMEOUT 600 LABELS quick ENVIRONMENT "${TANDEM_TEST_ENVIRONMENT}")
    tandem_test(cuda_kernel_test SOURCES cuda_kernel_test.c ${PROJECT_SOURCE_DIR}/cuda/images.c
        LIBRARIES tandem_kit)
    target_include_directories(cuda_kernel_test PRIVATE ${PROJECT_SOURCE_DIR}/cuda)
    target_include_directories(cuda_kernel_test SYSTEM PRIVATE ${CUDA_INCLUDE_DIR})
    tandem_run(cuda_kernel 30 COMMAND cuda_kernel_test LABELS quick sanitize)
    # Mutants of kernels that ship, out of the images that the plugin has.
    foreach(kernel attention matvec)
        set(image attention_prefill_f16)
        if(kernel STREQUAL matvec)
            set(image matvec_q4_0)
        endif()
        get_property(image GLOBAL PROPERTY tandem_cuda_image_${image})
        set(sources ${kernel}_mutation_test.c mutate.c)
        list(TRANSFORM sources PREPEND ${CMAKE_CURRENT_SOURCE_DIR}/cudasim/tests/)
        cudasim_test(${kernel}_mutation_test 240 SOURCES ${sources})
        target_include_directories(cudasim_${kernel}_mutation_test PRIVATE ${PROJECT_SOURCE_DIR}/cuda/kernels)
        string(TOUPPER ${kernel} fatbin)
        target_compile_definitions(cudasim_${kernel}_mutation_test PRIVATE ${fatbin}_FATBIN="${image}")
        add_dependencies(cudasim_${kernel}_mutation_test tandem_cuda)
    endforeach()
    set(simulated --option cuda.library=$<TARGET_FILE:cudasim>)
    tandem_run(ops_cuda 900 COMMAND op_test cuda ${simulated})
    tandem_test(cuda_test SOURCES cuda_test.c gpu_model.c cases/side.c LIBRARIES tandem_loader)
    add_dependencies(cuda_test tandem_cuda cudasim)
    tandem_run(cuda 300 COMMAND cuda_test ${simulated} LABELS quick sanitize)
    get_property(tandem_cuda_all_images GLOBAL PROPERTY tandem_cuda_all_images)
    get_property(tandem_cuda_ptxas GLOBAL PROPERTY tandem_cuda_ptxas)
    get_property(tandem_cuda_fatbinary GLOBAL PROPERTY tandem_cuda_fatbinary)
    # The gate on registers, spills and stack frames.
    add_test(NAME cuda_gate COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/cuda_gate_test.sh ${CMAKE_COMMAND} ${NVCC}
        ${tandem_cuda_fatbinary} ${tandem_cuda_ptxas} $<TARGET_FILE:tandem_cuda_pack>)
    set_tests_properties(cuda_gate PROPERTIES TIMEOUT 120 LABELS quick)
    # Bytes of weights that a token reads, as the simulated driver counts them.
    tandem_test(cuda_bytes_test SOURCES cuda_bytes_test.c gpu_model.c cases/side.c LIBRARIES tandem_loader)
    add_dependencies(cuda_bytes_test tandem_cuda cudasim)
    tandem_run(cuda_bytes 300 COMMAND cuda_bytes_test ${simulated} LABELS quick)
    foreach(part gpu_program gpu_memory gpu_run gpu_moe)
        if(NOT TARGET ${part}_test)
            tandem_test(${part}_test SOURCES ${part}_test.c gpu_model.c cases/side.c LIBRARIES tandem_loader)
        endif()
        add_dependencies(${part}_test tandem_cuda tandem_reference)
    endforeach()
    tandem_run(cuda_program 300 COMMAND gpu_program_test --plugin cuda ${simulated} LABELS quick)
    tandem_run(cuda_memory 300 COMMAND gpu_memory_test --plugin cuda ${simulated} LABELS quick sanitize)
    tandem_run(cuda_run 300 COMMAND gpu_run_test --plugin cuda ${simulated} LABELS quick sanitize)
    tandem_run(cuda_moe 300 COMMAND gpu_moe_test --plugin cuda ${simulated} LABELS quick sanitize)
    # Matrices in several allocations.
    tandem_run(ops_cuda_segments 300 COMMAND op_test cuda ${simulated} --filter 2000x640
        --option cuda.max_segment=196608)
    # Other orders of warps, blocks and graph nodes: right, and the same bits.
    add_test(NAME cuda_orders COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/cuda_orders.sh $<TARGET_FILE:op_test>
        $<TARGET_FILE:cudasim> WORKING_DIRECTORY ${PROJECT_BINARY_DIR})
    set_tests_properties(cuda_orders PROPERTIES TIMEOUT 900 ENVIRONMENT "${TANDEM_TEST_ENVIRONMENT}")
    add_test(NAME cuda_models COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/cuda_models.sh $<TARGET_FILE:tandem>
        $<TARGET_FILE:cudasim> WORKING_DIRECTORY ${PROJECT_BINARY_DIR})
    set_tests_properties(cuda_models PROPERTIES TIMEOUT 900 ENVIRONMENT "${TANDEM_TEST_ENVIRONMENT}")
    foreach(version 12.2 13.0)
        tandem_run(same_tokens_cuda_${version} 900 COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/same_tokens.sh $<TARGET_FILE:tandem>
            ${PROJECT_SOURCE_DIR}/build/models/gemma3-270m-q4_k_m.gguf --plugin cuda
            --plugin-option cuda.library=$<TARGET_FILE:cudasim>
            LABELS model ENVIRONMENT CUDASIM_DRIVER_VERSION=${version})
    endforeach()
    # A case of every kernel, as a driver of CUDA 12.2 that compiles PTX has it.
    tandem_run(ops_cuda_12.2 600 COMMAND op_test cuda ${simulated} --smoke --without 2816 --without 2112
        ENVIRONMENT CUDASIM_DRIVER_VERSION=12.2 CUDASIM_ARCH=80)
    # Whether the oldest driver's compiler takes every kernel.
    add_test(NAME cuda_ptx COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/cuda_ptx_test.sh $<TARGET_FILE:tandem_cuda_pack>
        ${tandem_cuda_ptxas} ${tandem_cuda_all_images})
    set_tests_properties(cuda_ptx PROPERTIES TIMEOUT 900 SKIP_RETURN_CODE 77)
    add_test(NAME gemma4_golden_cuda COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/gemma4_test.sh $<TARGET_FILE:tandem> cuda
        WORKING_DIRECTORY ${PROJECT_BINARY_DIR})
    set_tests_properties(gemma4_golden_cuda PROPERTIES TIMEOUT 1200
        ENVIRONMENT "${TANDEM_TEST_ENVIRONMENT};PLUGIN_OPTION=cuda.library=$<TARGET_FILE:cudasim>")
endif()

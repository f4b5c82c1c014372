# Tests of the reference plugin: its sums against plain loops, and what the ABI promises.

foreach(part test cache_test attention_test ops_test moe_test traps_test)
    tandem_test(reference_${part} SOURCES reference_${part}.c LIBRARIES tandem_kit ${CMAKE_DL_LIBS} Threads::Threads)
    add_dependencies(reference_${part} tandem_reference)
    string(REPLACE "_test" "" name reference_${part})
    tandem_run(${name} 300 COMMAND reference_${part} LABELS quick sanitize threads)
endforeach()

# The two dot kernels are not in the plugin's interface; they are compiled in to be compared.
target_sources(reference_ops_test PRIVATE
    ${PROJECT_SOURCE_DIR}/backend/reference/dot.c ${PROJECT_SOURCE_DIR}/backend/reference/dot_avx2.c)

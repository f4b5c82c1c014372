# Tests of the kit, the loader, the ABI and the installed tree.

tandem_test(quants_test SOURCES quants_test.c LIBRARIES tandem_kit)
tandem_run(quants 120 COMMAND quants_test LABELS quick sanitize)
tandem_test(kit_test SOURCES kit_test.c LIBRARIES tandem_kit)
tandem_run(kit 120 COMMAND kit_test LABELS quick sanitize)
tandem_test(validate_test SOURCES validate_test.c validate_world.c LIBRARIES tandem_kit)
tandem_run(validate 60 COMMAND validate_test LABELS quick sanitize)

# ---- loader ----
set(TANDEM_TEST_PLUGINS ${PROJECT_BINARY_DIR}/tests/plugins)
add_library(tandem_not_a_plugin MODULE plugins/not_a_plugin.c)
add_library(tandem_odd MODULE plugins/odd.c plugins/stub.c)
target_link_libraries(tandem_odd PRIVATE tandem_kit)
foreach(plugin tandem_not_a_plugin tandem_odd)
    target_link_libraries(${plugin} PRIVATE tandem_warnings)
    set_target_properties(${plugin} PROPERTIES PREFIX lib LIBRARY_OUTPUT_DIRECTORY ${TANDEM_TEST_PLUGINS})
endforeach()
tandem_test(loader_test SOURCES loader_test.c LIBRARIES tandem_loader)
target_compile_definitions(loader_test PRIVATE TANDEM_TEST_PLUGINS="${TANDEM_TEST_PLUGINS}")
add_dependencies(loader_test tandem_not_a_plugin tandem_odd)
tandem_run(loader 120 COMMAND loader_test LABELS quick sanitize threads)

# ---- growth, at every plugin ----
tandem_test(growth_test SOURCES growth_test.c LIBRARIES tandem_loader)
foreach(plugin reference vulkan)
    if(TARGET tandem_${plugin})
        tandem_run(growth_${plugin} 120 COMMAND growth_test ${plugin} LABELS quick sanitize)
    endif()
endforeach()

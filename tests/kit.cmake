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

# ---- the ABI ----
add_executable(abi_layout abi_layout.c)
target_link_libraries(abi_layout PRIVATE tandem_kit tandem_warnings)
set_target_properties(abi_layout PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/tests)
tandem_run(abi_layout 30 COMMAND abi_layout LABELS quick)

# Every installed header alone, as strict C11 and C++17; that it compiles is the test.
file(GLOB headers RELATIVE ${PROJECT_SOURCE_DIR}/backend/include CONFIGURE_DEPENDS
    ${PROJECT_SOURCE_DIR}/backend/include/tandem/*.h)
file(GLOB kit_headers RELATIVE ${PROJECT_SOURCE_DIR}/backend/kit/include CONFIGURE_DEPENDS
    ${PROJECT_SOURCE_DIR}/backend/kit/include/tandem/*.h)
set(header_sources abi_layout_cxx.cpp)
foreach(header IN LISTS headers kit_headers ITEMS loader.h)
    string(MAKE_C_IDENTIFIER ${header} name)
    foreach(language c cpp)
        set(source ${CMAKE_CURRENT_BINARY_DIR}/headers/${name}.${language})
        file(CONFIGURE OUTPUT ${source} CONTENT "#include <${header}>\n#include <${header}>\n")
        list(APPEND header_sources ${source})
    endforeach()
endforeach()
add_library(abi_headers STATIC ${header_sources})
target_include_directories(abi_headers PRIVATE ${CMAKE_CURRENT_SOURCE_DIR} ${PROJECT_SOURCE_DIR}/backend)
target_link_libraries(abi_headers PRIVATE tandem_kit)
target_compile_options(abi_headers PRIVATE -Wall -Wextra -Wshadow -Wconversion -Wundef -pedantic ${werror}
    $<$<COMPILE_LANGUAGE:C>:-Wstrict-prototypes>)

# The dump is compared, and the comparison itself is tried on changed headers. To update: see backend/abi/check.sh.
find_program(ABIDIFF abidiff)
if(ABIDIFF)
    add_library(tandem_surface MODULE ${PROJECT_SOURCE_DIR}/backend/abi/surface.c)
    target_link_libraries(tandem_surface PRIVATE tandem_headers)
    target_compile_options(tandem_surface PRIVATE -g -O0)
    set_target_properties(tandem_surface PROPERTIES PREFIX lib LIBRARY_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/tests)
    set(check ${PROJECT_SOURCE_DIR}/backend/abi/check.sh)
    tandem_run(abi_dump 60 COMMAND ${check} $<TARGET_FILE:tandem_surface> LABELS quick)
    tandem_run(abi_guard 120 COMMAND ${check} --guard ${CMAKE_C_COMPILER} LABELS quick)
else()
    tandem_leave_out("The comparison of the ABI" "abidiff was not found (Debian package abigail-tools)")
endif()

# ---- what is installed is enough: a host and a plugin built outside the tree ----
if(NOT TANDEM_SANITIZE)
    tandem_run(install 300 COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/install/check.sh ${PROJECT_BINARY_DIR} ${CMAKE_C_COMPILER}
        LABELS quick)
endif()

# ---- a warning stops CI's build and no other ----
tandem_run(warnings_stop_only_ci 120 COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/warnings_test.sh ${CMAKE_C_COMPILER} ${CMAKE_CXX_COMPILER}
    LABELS quick)

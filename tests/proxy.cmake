# Plugins between the host and a real one that change one thing (proxy/proxy.h), and the test that they do.

# tandem_proxy(NAME MODE): build/tests/proxy/libtandem_proxy_NAME.so
function(tandem_proxy name mode)
    set(target tandem_proxy_${name})
    add_library(${target} MODULE proxy/proxy.c proxy/proxy_cache.c proxy/proxy_hostile.c proxy/proxy_program.c
        proxy/proxy_time.c)
    target_compile_definitions(${target} PRIVATE PROXY_NAME="proxy_${name}" PROXY_MODE=PROXY_${mode})
    target_link_options(${target} PRIVATE LINKER:--version-script=${PROJECT_SOURCE_DIR}/backend/plugin.map)
    target_link_libraries(${target} PRIVATE tandem_kit tandem_warnings ${CMAKE_DL_LIBS} m)
    set_target_properties(${target} PROPERTIES PREFIX lib LIBRARY_OUTPUT_DIRECTORY ${TANDEM_TEST_PROXIES})
endfunction()

set(TANDEM_TEST_PROXIES ${PROJECT_BINARY_DIR}/tests/proxy)
set(TANDEM_PROXIES twice garbage precision fallback scripted simulated crash hang oom driver lacks matrix cache hostile)
foreach(name IN LISTS TANDEM_PROXIES)
    string(TOUPPER ${name} mode)
    tandem_proxy(${name} ${mode})
    list(APPEND TANDEM_PROXY_TARGETS tandem_proxy_${name})
endforeach()
# Options go to a plugin by its name: two that are scripted differently want two names.
tandem_proxy(rescripted SCRIPTED)
list(APPEND TANDEM_PROXY_TARGETS tandem_proxy_rescripted)

tandem_test(proxy_test SOURCES proxy_test.c LIBRARIES tandem_host)
target_compile_definitions(proxy_test PRIVATE TANDEM_TEST_PROXIES="${TANDEM_TEST_PROXIES}")
add_dependencies(proxy_test tandem_reference ${TANDEM_PROXY_TARGETS})
tandem_run(proxies 120 COMMAND proxy_test LABELS quick sanitize)

# Plugins that crash, hang, lie or say nothing, in every slot; the large run is bench/hostile.sh.
tandem_run(hostile 300 COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/hostile_test.sh $<TARGET_FILE:tandem> ${TANDEM_TEST_PROXIES}
    ${PROJECT_BINARY_DIR}/tests/gemma4-small.gguf 24 1 LABELS quick sanitize)

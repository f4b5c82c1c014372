# Tests of sessions, the journal, the program, and the trained model.

tandem_test(session_test SOURCES session_test.c LIBRARIES tandem_host)
tandem_test(gemma4_test SOURCES gemma4_test.c LIBRARIES tandem_host)
tandem_test(journal_test SOURCES journal_test.c LIBRARIES tandem_program)
tandem_run(journal 60 COMMAND journal_test LABELS quick sanitize)
tandem_test(stats_test SOURCES stats_test.c LIBRARIES tandem_host m)
tandem_run(stats 60 COMMAND stats_test LABELS quick)
tandem_test(inspect_test SOURCES inspect_test.c LIBRARIES tandem_host)
tandem_run(inspect 60 COMMAND inspect_test LABELS quick sanitize)
tandem_test(routing_test SOURCES routing_test.c LIBRARIES tandem_host)
tandem_run(routing 60 COMMAND routing_test LABELS quick sanitize)
tandem_test(quantize_test SOURCES quantize_test.c LIBRARIES tandem_host)
tandem_run(quantize 120 COMMAND quantize_test LABELS quick sanitize threads)
tandem_test(libtandem_test SOURCES libtandem_test.c libtandem_cxx.cpp LIBRARIES libtandem)
tandem_run(libtandem 60 COMMAND libtandem_test LABELS quick sanitize)
tandem_run(cli 600 COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/cli_test.sh $<TARGET_FILE:tandem> LABELS quick sanitize)
set(files ${CMAKE_CURRENT_SOURCE_DIR}/files_test.sh $<TARGET_FILE:tandem> ${PROJECT_BINARY_DIR}/tests/proxy ${small_gemma4})
tandem_run(files_outputs 600 COMMAND ${files} outputs_of_every_kind LABELS quick)
tandem_run(files_models 600 COMMAND ${files} models_of_every_kind LABELS quick)
tandem_run(files_promises 300 COMMAND ${files} promises LABELS quick sanitize)
set(trained_model ${PROJECT_SOURCE_DIR}/build/models/gemma3-270m-q4_k_m.gguf)
# tandem_models(NAME PLUGIN [NAME=VALUE]): synthetic and trained models on a plugin, with an option of it.
function(tandem_models name plugin)
    set(option)
    set(environment)
    if(ARGN)
        set(option --option ${ARGN})
        set(environment PLUGIN_OPTION=${ARGN})
    endif()
    tandem_run(session_${name} 1200 COMMAND session_test ${plugin} ${option} LABELS quick sanitize)
    tandem_run(gemma4_${name} 1200 COMMAND gemma4_test ${plugin} ${option} LABELS quick sanitize)
    tandem_run(gemma4_golden_${name} 1200
        COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/gemma4_test.sh $<TARGET_FILE:tandem> ${plugin} LABELS model
        ENVIRONMENT ${environment})
    tandem_run(model_${name} 1200
        COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/model_test.sh $<TARGET_FILE:tandem> ${plugin} ${trained_model} LABELS model
        ENVIRONMENT ${environment})
endfunction()
# tandem_same_tokens(NAME OPTION...): 16 greedy tokens of the trained model are the reference's.
function(tandem_same_tokens name)
    tandem_run(same_tokens_${name} 1200 COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/same_tokens.sh $<TARGET_FILE:tandem>
        ${trained_model} ${ARGN} LABELS model)
endfunction()
tandem_models(reference reference)
tandem_same_tokens(reference --plugin reference)
if(TARGET tandem_vulkan)
    tandem_models(vulkan vulkan vulkan.shape=gpu) # as on a card
    tandem_same_tokens(vulkan --plugin vulkan --plugin-option vulkan.shape=gpu)
    tandem_same_tokens(vulkan_software --plugin vulkan --plugin-option vulkan.shape=software)
endif()
if(TARGET tandem_vulkan_32)
    set(wide ${PROJECT_BINARY_DIR}/tests/emulated/32/libtandem_vulkan.so)
    tandem_run(gemma4_golden_vulkan_32 900
        COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/gemma4_test.sh $<TARGET_FILE:tandem> ${wide} 26b-16-q4_k_m e2b-q4_0 LABELS model
        ENVIRONMENT PLUGIN_OPTION=vulkan.shape=gpu)
    tandem_same_tokens(vulkan_32 --plugin ${wide} --plugin-option vulkan.shape=gpu)
endif()

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
foreach(plugin reference vulkan)
    if(TARGET tandem_${plugin})
        tandem_run(session_${plugin} 600 COMMAND session_test ${plugin} LABELS quick sanitize)
        tandem_run(gemma4_${plugin} 600 COMMAND gemma4_test ${plugin} LABELS quick sanitize)
        tandem_run(gemma4_golden_${plugin} 1200
            COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/gemma4_test.sh $<TARGET_FILE:tandem> ${plugin} LABELS model)
        tandem_run(model_${plugin} 1200 COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/model_test.sh $<TARGET_FILE:tandem> ${plugin}
            ${PROJECT_SOURCE_DIR}/build/models/gemma3-270m-q4_k_m.gguf LABELS model)
        tandem_run(same_tokens_${plugin} 600 COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/same_tokens.sh $<TARGET_FILE:tandem>
            ${PROJECT_SOURCE_DIR}/build/models/gemma3-270m-q4_k_m.gguf --plugin ${plugin} LABELS model)
    endif()
endforeach()

# Tests of sessions, the journal, the program, and the trained model.

tandem_test(session_test SOURCES session_test.c LIBRARIES tandem_host)
tandem_test(journal_test SOURCES journal_test.c LIBRARIES tandem_program)
tandem_run(journal 60 COMMAND journal_test LABELS quick sanitize)
tandem_test(inspect_test SOURCES inspect_test.c LIBRARIES tandem_host)
tandem_run(inspect 60 COMMAND inspect_test LABELS quick sanitize)
tandem_test(libtandem_test SOURCES libtandem_test.c libtandem_cxx.cpp LIBRARIES libtandem)
tandem_run(libtandem 60 COMMAND libtandem_test LABELS quick sanitize)
tandem_run(cli 600 COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/cli_test.sh $<TARGET_FILE:tandem> LABELS quick sanitize)
foreach(plugin reference vulkan)
    if(TARGET tandem_${plugin})
        tandem_run(session_${plugin} 600 COMMAND session_test ${plugin} LABELS quick sanitize)
        tandem_run(model_${plugin} 1200 COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/model_test.sh $<TARGET_FILE:tandem> ${plugin}
            ${PROJECT_SOURCE_DIR}/build/models/gemma3-270m-q4_k_m.gguf LABELS model)
    endif()
endforeach()

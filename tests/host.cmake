# Tests of sessions, the journal and the program.

tandem_test(session_test SOURCES session_test.c LIBRARIES tandem_host)
foreach(plugin reference vulkan)
    if(TARGET tandem_${plugin})
        tandem_run(session_${plugin} 600 COMMAND session_test ${plugin} LABELS quick sanitize)
    endif()
endforeach()
tandem_test(journal_test SOURCES journal_test.c LIBRARIES tandem_program)
tandem_run(journal 60 COMMAND journal_test LABELS quick sanitize)
tandem_run(cli 600 COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/cli_test.sh $<TARGET_FILE:tandem> LABELS quick)

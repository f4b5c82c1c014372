# A test for each cautionary tale, named after its thread.
foreach(tale llama_cpp_10206 colibri_523 colibri_1502 llama_cpp_28456 ollama_15332 eliza_9092 llama_install_20
        llama_cpp_21984 llama_cpp_28274 ik_llama_1618 llama_cpp_21532)
    tandem_run(tale_${tale} 120 COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/tales_test.sh $<TARGET_FILE:tandem>
        ${TANDEM_TEST_PROXIES} $<TARGET_FILE_DIR:fake_nvml> tale_${tale} LABELS quick)
    set_tests_properties(tale_${tale} PROPERTIES SKIP_RETURN_CODE 77)
endforeach()

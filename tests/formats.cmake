# Tests of what is read from files: GGUF, model shapes, vocabularies; and of synthetic weights.
pkg_check_modules(CJSON REQUIRED IMPORTED_TARGET libcjson)

# The trained model, wherever the build folder is (fetch_model.sh puts it there).
set(TANDEM_TEST_MODEL ${PROJECT_SOURCE_DIR}/build/models/gemma3-270m-q4_k_m.gguf)

tandem_test(gguf_test SOURCES gguf_test.c LIBRARIES tandem_host)
tandem_run(gguf 120 COMMAND gguf_test LABELS quick sanitize)
tandem_test(gguf_file_test SOURCES gguf_file_test.c LIBRARIES tandem_host)
tandem_run(gguf_file 60 COMMAND gguf_file_test LABELS quick sanitize)
tandem_test(model_config_test SOURCES model_config_test.c LIBRARIES tandem_host)
tandem_run(model_config 120 COMMAND model_config_test ${TANDEM_TEST_MODEL} LABELS quick sanitize)
tandem_test(synth_test SOURCES synth_test.c LIBRARIES tandem_host)
tandem_run(synth 120 COMMAND synth_test LABELS quick sanitize)
tandem_test(tokenizer_rules_test SOURCES tokenizer_rules_test.c LIBRARIES tandem_host)
tandem_run(tokenizer_rules 120 COMMAND tokenizer_rules_test LABELS quick sanitize)
tandem_test(tokenizer_test SOURCES tokenizer_test.c gemma4_vocabulary.c LIBRARIES tandem_host PkgConfig::CJSON)
set(small_gemma4 ${PROJECT_BINARY_DIR}/tests/gemma4-small.gguf)
find_package(Python3 REQUIRED COMPONENTS Interpreter)
add_custom_command(OUTPUT ${small_gemma4}
    COMMAND Python3::Interpreter ${CMAKE_CURRENT_SOURCE_DIR}/golden/gemma4/vocab.py ${small_gemma4}
    DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/golden/gemma4/vocab.py)
target_sources(tokenizer_test PRIVATE ${small_gemma4})
tandem_run(tokenizer 300 COMMAND tokenizer_test ${TANDEM_TEST_MODEL} ${small_gemma4} LABELS quick sanitize)

tandem_test(gguf_fuzz SOURCES fuzz/gguf_fuzz.c LIBRARIES tandem_host)
tandem_run(gguf_fuzz 300 COMMAND gguf_fuzz 100000 LABELS quick sanitize)

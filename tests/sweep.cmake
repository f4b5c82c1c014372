# Tests of the sweep from outside.

add_library(fake_nvml SHARED fake_nvml.c)
set_target_properties(fake_nvml PROPERTIES OUTPUT_NAME nvidia-ml SOVERSION 1
    LIBRARY_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/tests/fake_nvml)
target_link_libraries(fake_nvml PRIVATE tandem_warnings)
tandem_run(sweep_tales 120 COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/sweep_tales_test.sh $<TARGET_FILE:tandem>
    $<TARGET_FILE_DIR:fake_nvml> LABELS quick)
if(TARGET tandem_vulkan)
    tandem_run(sweep_torture 300 COMMAND ${PROJECT_SOURCE_DIR}/bench/sweep_torture.sh --tiny ${PROJECT_BINARY_DIR}/torture
        LABELS quick ENVIRONMENT "TANDEM=$<TARGET_FILE:tandem>")
endif()

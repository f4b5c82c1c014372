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

tandem_test(peaks_test SOURCES peaks_test.c LIBRARIES tandem_program)
tandem_run(peaks 60 COMMAND peaks_test LABELS quick sanitize)
set(simulated_driver)
if(TARGET tandem_cuda)
    set(simulated_driver ${CMAKE_LIBRARY_OUTPUT_DIRECTORY}/cudasim/libcuda.so.1)
endif()
tandem_run(peaks_cli 60 COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/peaks_cli_test.sh $<TARGET_FILE:tandem> ${simulated_driver}
    LABELS quick)
tandem_test(compare_test SOURCES compare_test.c LIBRARIES tandem_program m)
tandem_run(compare_verdicts 60 COMMAND compare_test LABELS quick sanitize)
tandem_run(compare 180 COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/compare_test.sh $<TARGET_FILE:tandem>
    $<TARGET_FILE_DIR:fake_nvml> ${simulated_driver} LABELS quick)
tandem_run(sweep_verdict 120 COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/sweep_verdict_test.sh $<TARGET_FILE:tandem>
    ${TANDEM_TEST_PROXIES} LABELS quick)

# The README's commands print what it says: arithmetic alone, and everything.
set(readme ${CMAKE_CURRENT_SOURCE_DIR}/readme_test.py ${PROJECT_SOURCE_DIR}/README.md ${PROJECT_BINARY_DIR})
tandem_run(readme_inspect 60 COMMAND ${readme} --quick LABELS quick)
if(TARGET tandem_vulkan)
    tandem_run(readme 300 COMMAND ${readme})
endif()

# The report, drawn where the system's Python has matplotlib.
find_program(TANDEM_SYSTEM_PYTHON python3 PATHS /usr/bin NO_DEFAULT_PATH)
if(NOT TANDEM_SYSTEM_PYTHON)
    set(TANDEM_SYSTEM_PYTHON python3)
endif()
tandem_run(report 180 COMMAND ${TANDEM_SYSTEM_PYTHON} ${CMAKE_CURRENT_SOURCE_DIR}/report_test.py LABELS quick)

# tandem compare against plugins that lie or follow a script, a test a lie.
foreach(test five_per_cent_of_one_op_are_found_and_attributed one_per_cent_of_one_op_is_no_difference
        equal_scripts_are_no_difference an_op_that_runs_twice_is_slower_and_named fast_garbage_is_not_comparable
        garbage_at_depth_spoils_that_depth_alone another_precision_is_said another_cache_is_not_comparable work_on_the_processor_is_said
        what_one_side_lacks_is_said a_crash_is_a_sentence memory_that_ends_is_an_exit_code
        a_simulated_side_has_no_times)
    tandem_run(compare_${test} 120 COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/compare_proxies_test.sh $<TARGET_FILE:tandem>
        ${TANDEM_TEST_PROXIES} ${test} LABELS quick)
endforeach()

# Tests of the Vulkan plugin on devices that are not here: a layer lets the software driver pose as them.

if(TARGET tandem_vulkan)
    add_subdirectory(vulkan_layer)
    set(pose_environment VK_INSTANCE_LAYERS=VK_LAYER_TANDEM_pose VK_ADD_LAYER_PATH=${TANDEM_POSE_FOLDER})
    tandem_test(vulkan_pose_test SOURCES vulkan_pose_test.c gpu_model.c cases/side.c LIBRARIES tandem_loader)
    target_compile_definitions(vulkan_pose_test PRIVATE TANDEM_POSE_LIBRARY="$<TARGET_FILE:tandem_pose>")
    add_dependencies(vulkan_pose_test tandem_vulkan tandem_pose)
    tandem_run(vulkan_pose 1200 COMMAND vulkan_pose_test LABELS quick sanitize driver
        ENVIRONMENT "${pose_environment}")
    foreach(pose rtx3060 rtx4090 rx6700xt radeon780m iris-xe minimal)
        set(parts memory run)
        if(pose MATCHES "rtx3060|minimal") # with every optional feature, and with none
            list(APPEND parts program)
        endif()
        foreach(part IN LISTS parts)
            tandem_run(vulkan_${part}_${pose} 600 COMMAND gpu_${part}_test
                ENVIRONMENT "TANDEM_POSE=${pose};${pose_environment}")
        endforeach()
    endforeach()
    # A card with subgroups of 32 as the policy sees it, and shaders that compute with as many lanes.
    if(TARGET tandem_vulkan_32)
        tandem_run(vulkan_run_rtx3060_32 600
            COMMAND gpu_run_test --plugin ${PROJECT_BINARY_DIR}/tests/emulated/32/libtandem_vulkan.so
            ENVIRONMENT "TANDEM_POSE=rtx3060,subgroup=posed;${pose_environment}")
    endif()
endif()

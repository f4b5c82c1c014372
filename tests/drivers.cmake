# What every Vulkan driver has to pass, by the labels that tests/run.sh gives its lanes: `driver` on another Mesa, `swiftshader`
# on SwiftShader too, which is slow. Both shapes of kernels, and of the models those that show the most.

function(tandem_label label)
    foreach(name IN LISTS ARGN)
        if(NOT TEST ${name})
            message(FATAL_ERROR "The label ${label} is given to a test that does not exist: ${name}")
        endif()
        set_property(TEST ${name} APPEND PROPERTY LABELS ${label})
    endforeach()
endfunction()

if(TARGET tandem_vulkan)
    set(on_all ops_vulkan ops_vulkan_software vulkan vulkan_run vulkan_moe same_tokens_vulkan same_tokens_vulkan_software)
    tandem_label(swiftshader ${on_all})
    tandem_label(driver ${on_all} vulkan_program vulkan_memory vulkan_cache vulkan_fault vulkan_staged vulkan_run_software
        vulkan_moe_software ops_vulkan_staged session_vulkan gemma4_vulkan gemma4_golden_vulkan model_vulkan)
endif()

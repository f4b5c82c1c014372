# What another Vulkan driver has to pass, by the labels that tests/run.sh gives its lanes: `driver` on another Mesa, `swiftshader`
# on SwiftShader, which is slow. The whole op table in a card's shape, runs, and the models; what does not depend on the
# driver's compiler (planning, memory, order) is tested on this machine's alone.

function(tandem_label label)
    foreach(name IN LISTS ARGN)
        if(NOT TEST ${name})
            message(FATAL_ERROR "The label ${label} is given to a test that does not exist: ${name}")
        endif()
        set_property(TEST ${name} APPEND PROPERTY LABELS ${label})
    endforeach()
endfunction()

if(TARGET tandem_vulkan)
    set(on_all ops_vulkan vulkan_run vulkan_moe same_tokens_vulkan_software)
    tandem_label(swiftshader ${on_all})
    tandem_label(driver ${on_all} same_tokens_vulkan vulkan vulkan_cache vulkan_fault gemma4_golden_vulkan model_vulkan)
endif()

# Tests of the CPU kernels, and of weir_cpu.so as a stranger would load it.
if(TARGET weir_kernels_cpu AND TARGET weir_cpu)
    weir_test(NAME kernels_cpu SOURCES cpu_test.c LIBS weir_kernels_cpu)
    weir_test(NAME kernels_cpu_rows SOURCES cpu_rows_test.c cpu_rows_blocks.c
        cpu_rows_winograd.c LIBS weir_kernels_cpu TIMEOUT 240)
    weir_test(NAME kernels_cpu_low SOURCES cpu_low_test.c ${CMAKE_SOURCE_DIR}/backends/cpu/low.c
        ${CMAKE_SOURCE_DIR}/backends/cpu/isa.c LIBS weir_kernels_cpu m)
    weir_test(NAME kernels_cpu_plugin SOURCES cpu_plugin_test.c LIBS ${CMAKE_DL_LIBS} TIMEOUT 240)
    target_compile_definitions(test_kernels_cpu_plugin PRIVATE
        WEIR_CPU_PLUGIN="$<TARGET_FILE:weir_cpu>")
    add_dependencies(test_kernels_cpu_plugin weir_cpu)

    weir_test(NAME kernels_attention
        SOURCES attention_test.c $<TARGET_OBJECTS:weir_kernels_ref>
        LIBS weir_kernels_cpu ${CMAKE_DL_LIBS} TIMEOUT 120)
    target_compile_definitions(test_kernels_attention PRIVATE
        WEIR_CPU_PLUGIN="$<TARGET_FILE:weir_cpu>")
    add_dependencies(test_kernels_attention weir_cpu)

    foreach(name IN ITEMS blocked blocked_conv)
        weir_test(NAME kernels_cpu_${name} SOURCES cpu_${name}_test.c
            LIBS ${CMAKE_DL_LIBS} TIMEOUT 600)
        target_compile_definitions(test_kernels_cpu_${name} PRIVATE
            WEIR_CPU_PLUGIN="$<TARGET_FILE:weir_cpu>")
        add_dependencies(test_kernels_cpu_${name} weir_cpu)
    endforeach()
    if(TARGET weir_kernels_ref AND TARGET weir_backend_ref)
        weir_test(NAME kernels_cpu_operators SOURCES cpu_operators_test.c
            $<TARGET_OBJECTS:weir_kernels_ref> $<TARGET_OBJECTS:weir_backend_ref>
            LIBS m ${CMAKE_DL_LIBS} TIMEOUT 120)
        target_compile_definitions(test_kernels_cpu_operators PRIVATE
            WEIR_CPU_PLUGIN="$<TARGET_FILE:weir_cpu>")
        add_dependencies(test_kernels_cpu_operators weir_cpu)
    endif()
endif()

# Tests of the plugin over the fakes. They link the fakes, so that the plugin finds them loaded under the real
# libraries' names; nothing of them is searched for.
if(NOT TARGET weir_cuda OR NOT TARGET weir_fake_cuda)
    return()
endif()
set(weir_fakes weir_fake_cuda weir_fake_cublaslt weir_fake_cudnn weir_fake_nvrtc)

function(weir_fake_test name timeout)
    weir_test(NAME ${name} SOURCES ${ARGN} LABELS threads TIMEOUT ${timeout}
        LIBS -Wl,--no-as-needed ${weir_fakes} -Wl,--as-needed ${CMAKE_DL_LIBS})
    target_compile_definitions(test_${name} PRIVATE
        WEIR_CHAOS_FOLDER="${PROJECT_BINARY_DIR}/lib/weir"
        WORLD_PLUGIN="${PROJECT_BINARY_DIR}/lib/weir/weir_cuda.so")
    add_dependencies(test_${name} weir_cuda)
endfunction()

weir_fake_test(cuda_plugin 120 fake_plugin_test.c)
weir_fake_test(cuda_ends 120 fake_ends_test.c)
if(TARGET weir_internal AND TARGET weir_cpu)
    foreach(part IN ITEMS runs faults)
        weir_fake_test(cuda_${part} 300 fake_${part}_test.c)
        target_link_libraries(test_cuda_${part} PRIVATE weir_internal weir_test_support)
        target_compile_definitions(test_cuda_${part} PRIVATE
            WEIR_FAKE_PLUGINS="${PROJECT_BINARY_DIR}/lib/weir/weir_cuda.so:${PROJECT_BINARY_DIR}/lib/weir/weir_cpu.so")
    endforeach()
endif()
# The conformance kit over the fakes: some groups; `weir conform lib/weir/weir_cuda.so` does all.
if(TARGET weir_cli AND NOT WEIR_SANITIZE AND NOT WEIR_COVERAGE)
    foreach(group IN ITEMS load Softmax Tile Gemm)
        add_test(NAME cuda_conform_${group}
            COMMAND weir_cli conform $<TARGET_FILE:weir_cuda> --filter ${group} --cases 3)
        set_tests_properties(cuda_conform_${group} PROPERTIES TIMEOUT 240
            ENVIRONMENT "LD_LIBRARY_PATH=${PROJECT_BINARY_DIR}/lib/fake_cuda")
    endforeach()
endif()

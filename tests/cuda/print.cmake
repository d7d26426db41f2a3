# Tests of backends/print: as C here, as OpenCL where there is a device, as CUDA where there is NVRTC.
if(TARGET weir_print AND TARGET weir_kernels_ref)
    set(print_parts print_corpus.c $<TARGET_OBJECTS:weir_kernels_ref> $<TARGET_OBJECTS:weir_backend_ref>)
    weir_test(NAME print SOURCES print_test.c ${print_parts} LIBS weir_print ${CMAKE_DL_LIBS})
    target_compile_definitions(test_print PRIVATE WEIR_TEST_CC="${CMAKE_C_COMPILER}")
    set_tests_properties(print PROPERTIES WORKING_DIRECTORY ${CMAKE_CURRENT_BINARY_DIR})
endif()

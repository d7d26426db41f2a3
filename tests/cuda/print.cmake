# Tests of backends/print: as C here, as OpenCL where there is a device, as CUDA where there is NVRTC.
find_package(OpenCL QUIET)
find_package(CUDAToolkit QUIET)
if(TARGET weir_print AND TARGET weir_kernels_ref)
    set(print_parts print_corpus.c $<TARGET_OBJECTS:weir_kernels_ref> $<TARGET_OBJECTS:weir_backend_ref>)
    weir_test(NAME print SOURCES print_test.c ${print_parts} LIBS weir_print ${CMAKE_DL_LIBS})
    target_compile_definitions(test_print PRIVATE WEIR_TEST_CC="${CMAKE_C_COMPILER}")
    set_tests_properties(print PROPERTIES WORKING_DIRECTORY ${CMAKE_CURRENT_BINARY_DIR})
    # PoCL's compiler and NVRTC are not built for sanitizers: their leaks are not ours.
    if(OpenCL_FOUND AND NOT WEIR_SANITIZE)
        weir_test(NAME print_opencl SOURCES print_opencl_test.c ${print_parts}
            LIBS weir_print OpenCL::OpenCL TIMEOUT 240)
        file(MAKE_DIRECTORY ${CMAKE_CURRENT_BINARY_DIR}/pocl)
        set_tests_properties(print_opencl PROPERTIES
            ENVIRONMENT "POCL_CACHE_DIR=${CMAKE_CURRENT_BINARY_DIR}/pocl")
    endif()
    if(TARGET CUDA::nvrtc AND NOT WEIR_SANITIZE)
        file(GLOB generating CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/backends/cuda/op_*.c)
        weir_test(NAME cuda_nvrtc TIMEOUT 240 LIBS weir_print CUDA::nvrtc
            SOURCES nvrtc_test.c ${print_parts} ${PROJECT_SOURCE_DIR}/backends/cuda/recipe.c ${generating})
        # CUDA::nvrtc brings the driver's library, which is not there without a GPU and not needed.
        target_link_options(test_cuda_nvrtc PRIVATE -Wl,--as-needed)
    endif()
endif()

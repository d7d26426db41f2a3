# The own CUDA kernels and the operators' plans, on the host. Needs no CUDA toolkit.
if(TARGET weir_emulator AND TARGET weir_print)
    file(GLOB cuda_operators CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/backends/cuda/op_*.c)
    weir_test(NAME cuda_emulator TIMEOUT 600
        SOURCES emulator_test.c emulator_node.c ${PROJECT_SOURCE_DIR}/backends/cuda/recipe.c ${cuda_operators}
            $<TARGET_OBJECTS:weir_kernels_ref> $<TARGET_OBJECTS:weir_backend_ref>
        LIBS weir_emulator weir_print)
    weir_test(NAME cuda_fusion SOURCES fusion_test.c ${PROJECT_SOURCE_DIR}/backends/cuda/recipe.c ${cuda_operators}
            $<TARGET_OBJECTS:weir_kernels_ref> $<TARGET_OBJECTS:weir_backend_ref>
        LIBS weir_print)
    # Defects planted in the bodies. Compiled plainly: with a sanitizer's objects it would have to be linked.
    find_package(Python3 QUIET COMPONENTS Interpreter)
    if(Python3_FOUND AND NOT WEIR_SANITIZE AND NOT WEIR_COVERAGE)
        add_test(NAME cuda_emulator_mutants
            COMMAND Python3::Interpreter ${CMAKE_CURRENT_SOURCE_DIR}/emulator_mutants.py
                --cc ${CMAKE_C_COMPILER} --objects $<TARGET_OBJECTS:test_cuda_emulator>
                $<TARGET_OBJECTS:weir_kernels_ref> $<TARGET_OBJECTS:weir_backend_ref>
                $<TARGET_FILE:weir_emulator> $<TARGET_FILE:weir_print>
            COMMAND_EXPAND_LISTS)
        set_tests_properties(cuda_emulator_mutants PROPERTIES TIMEOUT 600)
    endif()
endif()
# What ptxas says of them; PTX is made by the build, all architectures by ./run check cuda-archs.
if(WEIR_NVCC AND NOT WEIR_SANITIZE AND NOT WEIR_COVERAGE)
    find_package(Python3 QUIET COMPONENTS Interpreter)
    if(Python3_FOUND)
        add_test(NAME cuda_archs
            COMMAND Python3::Interpreter ${CMAKE_CURRENT_SOURCE_DIR}/archs.py --nvcc ${WEIR_NVCC}
                --archs sm_90a)
        set_tests_properties(cuda_archs PROPERTIES TIMEOUT 240)
    endif()
endif()

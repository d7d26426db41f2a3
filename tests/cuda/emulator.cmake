# The own CUDA kernels and the operators' plans, on the host. Needs no CUDA toolkit.
if(TARGET weir_emulator AND TARGET weir_print)
    file(GLOB cuda_operators CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/backends/cuda/op_*.c)
    weir_test(NAME cuda_emulator TIMEOUT 240
        SOURCES emulator_test.c emulator_node.c ${PROJECT_SOURCE_DIR}/backends/cuda/recipe.c ${cuda_operators}
            $<TARGET_OBJECTS:weir_kernels_ref> $<TARGET_OBJECTS:weir_backend_ref>
        LIBS weir_emulator weir_print)
endif()

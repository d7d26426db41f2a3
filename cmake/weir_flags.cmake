# weir_flags: what every target of weir is compiled with. Link it PRIVATE.
#
# It must hold nothing that changes results between machines: no -march, no -ffast-math. Instruction sets
# are chosen by the object libraries of kernels/cpu, one each, and at run time by the plugin.
add_library(weir_flags INTERFACE)

target_include_directories(weir_flags INTERFACE ${PROJECT_SOURCE_DIR} ${PROJECT_SOURCE_DIR}/engine/include)
# _GNU_SOURCE: threads' names, affinity, dladdr. Empty, as a `#define _GNU_SOURCE` in a file would have it.
target_compile_definitions(weir_flags INTERFACE WEIR_VERSION="${PROJECT_VERSION}" _GNU_SOURCE=)
target_compile_options(weir_flags INTERFACE
    -Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes
    # A fused multiply-add is written fma(); the compiler never makes one of its own, so that a formula has
    # the same bits in a vector body, in its tail, and with either compiler.
    -ffp-contract=off
    # Messages carry __FILE__: as it lies in the tree, not where the tree lay on some machine.
    -fmacro-prefix-map=${PROJECT_SOURCE_DIR}/=)
if(WEIR_WERROR)
    target_compile_options(weir_flags INTERFACE -Werror)
endif()

if(WEIR_SANITIZE)
    target_compile_options(weir_flags INTERFACE
        -fsanitize=${WEIR_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
    target_link_options(weir_flags INTERFACE -fsanitize=${WEIR_SANITIZE})
    # gcc's flow-based warnings see the instrumentation's branches and guess wrong; the release build, which
    # has none, keeps them on.
    if(CMAKE_C_COMPILER_ID STREQUAL "GNU")
        target_compile_options(weir_flags INTERFACE -Wno-format-truncation -Wno-maybe-uninitialized)
    endif()
endif()
if(WEIR_FUZZ)
    if(NOT CMAKE_C_COMPILER_ID MATCHES "Clang")
        message(FATAL_ERROR "WEIR_FUZZ needs clang: cmake --preset fuzz")
    endif()
    target_compile_options(weir_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()
if(WEIR_COVERAGE)
    target_compile_options(weir_flags INTERFACE --coverage)
    target_link_options(weir_flags INTERFACE --coverage)
endif()

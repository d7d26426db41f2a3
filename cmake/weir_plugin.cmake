# weir_plugin(<target>): what every plugin of ours has in common. The target is a MODULE library.
#
# The file is lib/weir/<target>.so, found there by libweir.so; it exports weir_plugin_v0 and nothing else,
# and the linker refuses a symbol it does not define itself: no plugin can reach into the engine.
function(weir_plugin target)
    target_link_libraries(${target} PRIVATE weir_flags)
    set_target_properties(${target} PROPERTIES
        PREFIX ""
        LIBRARY_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/lib/weir
        C_VISIBILITY_PRESET hidden
        INSTALL_RPATH "")
    # clang leaves the symbols of a sanitizer's runtime to the executable.
    if(NOT (WEIR_SANITIZE AND CMAKE_C_COMPILER_ID MATCHES "Clang"))
        target_link_options(${target} PRIVATE -Wl,-z,defs)
    endif()
    install(TARGETS ${target} LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}/weir)
endfunction()

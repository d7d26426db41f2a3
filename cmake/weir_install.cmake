# What `cmake --install` lays out beside the targets, which their own folders install:
# headers, the CMake package (find_package(weir), target weir::weir), and weir.pc.
include(CMakePackageConfigHelpers)

install(DIRECTORY engine/include/weir DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.h")
if(TARGET weir_scheduler)
    install(DIRECTORY scheduler/include/weir DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.h")
endif()

if(TARGET weir)
    set(weir_package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/weir)
    install(EXPORT weir-targets NAMESPACE weir:: DESTINATION ${weir_package_dir})
    configure_package_config_file(cmake/weir-config.cmake.in ${PROJECT_BINARY_DIR}/weir-config.cmake
        INSTALL_DESTINATION ${weir_package_dir})
    write_basic_package_version_file(${PROJECT_BINARY_DIR}/weir-config-version.cmake
        COMPATIBILITY SameMinorVersion)
    install(FILES ${PROJECT_BINARY_DIR}/weir-config.cmake ${PROJECT_BINARY_DIR}/weir-config-version.cmake
        DESTINATION ${weir_package_dir})

    # Relative to the .pc file, so that a moved install tree still works.
    file(RELATIVE_PATH weir_pc_prefix /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
    configure_file(cmake/weir.pc.in ${PROJECT_BINARY_DIR}/weir.pc @ONLY)
    install(FILES ${PROJECT_BINARY_DIR}/weir.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
    if(TARGET weir_scheduler)
        configure_file(cmake/weir_scheduler.pc.in ${PROJECT_BINARY_DIR}/weir_scheduler.pc @ONLY)
        install(FILES ${PROJECT_BINARY_DIR}/weir_scheduler.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
    endif()
endif()

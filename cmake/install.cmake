# SPDX-License-Identifier: MIT
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

install(TARGETS vmcache EXPORT vmcacheTargets ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR}
        LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(FILES include/vmcache.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(DIRECTORY include/vmcache DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
        PATTERN ".clang-tidy" EXCLUDE)
install(FILES include/uapi/linux/exmap.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/linux)
install(EXPORT vmcacheTargets NAMESPACE vmcache:: DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/vmcache)
configure_package_config_file(cmake/vmcacheConfig.cmake.in ${PROJECT_BINARY_DIR}/vmcacheConfig.cmake
                              INSTALL_DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/vmcache)
write_basic_package_version_file(${PROJECT_BINARY_DIR}/vmcacheConfigVersion.cmake
                                 COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/vmcacheConfig.cmake
        ${PROJECT_BINARY_DIR}/vmcacheConfigVersion.cmake
        DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/vmcache)
install(FILES docs/man/libvmcache.7 DESTINATION ${CMAKE_INSTALL_MANDIR}/man7)
install(FILES docs/man/vmcache.3 DESTINATION ${CMAKE_INSTALL_MANDIR}/man3)
install(FILES docs/man/exmap.4 DESTINATION ${CMAKE_INSTALL_MANDIR}/man4)
if(VMCACHE_BUILD_TOOLS)
  install(FILES docs/man/vmcache-check.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
endif()
if(VMCACHE_BUILD_BENCH)
  install(TARGETS vmbench DESTINATION ${CMAKE_INSTALL_BINDIR})
  install(FILES docs/man/vmbench.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
endif()
# Relative, so that an installed copy may be moved.
file(RELATIVE_PATH VMCACHE_PC_TO_PREFIX /prefix/${CMAKE_INSTALL_LIBDIR}/pkgconfig /prefix)
configure_file(cmake/vmcache.pc.in ${PROJECT_BINARY_DIR}/vmcache.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/vmcache.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

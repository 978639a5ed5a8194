# SPDX-License-Identifier: MIT
# The target "uninstall", and what an installation notes for it. Included before anything that
# installs.
include(GNUInstallDirs)

# An installation may get its prefix as late as `cmake --install --prefix`.
set(folders ${CMAKE_INSTALL_BINDIR} ${CMAKE_INSTALL_INCLUDEDIR}/linux
            ${CMAKE_INSTALL_LIBDIR}/cmake ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
foreach(section RANGE 1 9)
  list(APPEND folders ${CMAKE_INSTALL_MANDIR}/man${section})
endforeach()
install(CODE "
  set(MODE note)
  set(BUILD \"${PROJECT_BINARY_DIR}\")
  set(FOLDERS \"${folders}\")
  include(\"${PROJECT_SOURCE_DIR}/cmake/uninstall_run.cmake\")")

add_custom_target(uninstall
  COMMAND ${CMAKE_COMMAND} -DMODE=remove -DBUILD=${PROJECT_BINARY_DIR}
          -DINCLUDEDIR=${CMAKE_INSTALL_INCLUDEDIR}
          -P ${PROJECT_SOURCE_DIR}/cmake/uninstall_run.cmake
  COMMENT "Removing what was installed last" VERBATIM)

# SPDX-License-Identifier: MIT
#
# crash_simulation, and a copy of it for every planted bug.
set(simulation_sources
  crash_simulation.cpp recording_storage.cpp workload.cpp
  simulation/clients.cpp simulation/log_lives.cpp simulation/model.cpp simulation/scenario.cpp)

if(NOT VMCACHE_SANITIZE STREQUAL "none")
  # Real threads: what the sanitizers are for.
  add_executable(crash_simulation
    crash_simulation.cpp simulation/clients.cpp simulation/log_lives.cpp simulation/model.cpp
    simulation/scenario.cpp simulation/real_threads.cpp)
  target_link_libraries(crash_simulation PRIVATE crash_support)
  set_target_properties(crash_simulation PROPERTIES
  RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/tests)
  set(kinds "")
  foreach(kind visible small-pool io-errors log-errors page-flush full-capacity full-device full-log
          swapped-log old-pages lost-master free-list)
    list(APPEND kinds --without ${kind})
  endforeach()
  add_test(NAME crash_simulation COMMAND crash_simulation --seed 1 --points 300 ${kinds}
           WORKING_DIRECTORY ${CMAKE_CURRENT_BINARY_DIR})
  set_tests_properties(crash_simulation PROPERTIES TIMEOUT 1800 COST 500)
  return()
endif()

# The library once more, with every atomic operation a marked point (simulation/schedule.hpp). It is
# not linked with the thread sanitizer: simulation/marked_memory.cpp takes its place.
find_package(PkgConfig REQUIRED)
find_package(fmt REQUIRED)
pkg_check_modules(LIBURING REQUIRED IMPORTED_TARGET liburing)
pkg_check_modules(ISAL REQUIRED IMPORTED_TARGET libisal)
set(marked -O1 -fsanitize=thread --param=tsan-instrument-func-entry-exit=0 -Wno-tsan)
get_target_property(library_sources vmcache SOURCES)
list(FILTER library_sources EXCLUDE REGEX "^capi/")  # nothing here calls it
list(TRANSFORM library_sources PREPEND ${PROJECT_SOURCE_DIR}/libvmcache/)
function(marked_target name)
  target_include_directories(${name} PRIVATE
    ${PROJECT_SOURCE_DIR}/include ${PROJECT_SOURCE_DIR}/libvmcache ${PROJECT_SOURCE_DIR}/tests)
  target_include_directories(${name} SYSTEM PRIVATE ${PROJECT_SOURCE_DIR}/include/uapi)
  target_compile_options(${name} PRIVATE ${marked})
  set_target_properties(${name} PROPERTIES CXX_VISIBILITY_PRESET hidden)  # as the library
  target_link_libraries(${name} PRIVATE
    Threads::Threads PkgConfig::LIBURING fmt::fmt PkgConfig::ISAL vmcache_warnings)
endfunction()
add_library(vmcache_marked STATIC ${library_sources})
marked_target(vmcache_marked)
add_library(simulation_marked OBJECT ${simulation_sources})
marked_target(simulation_marked)
add_library(simulation_schedule OBJECT
  simulation/marked_memory.cpp simulation/scheduler.cpp simulation/thread_calls.cpp)
target_include_directories(simulation_schedule PRIVATE ${PROJECT_SOURCE_DIR}/tests)
target_link_libraries(simulation_schedule PRIVATE vmcache_warnings)

# crash_simulation_executable(NAME OBJECT...): what OBJECT defines takes the place of the library's.
function(crash_simulation_executable name)
  add_executable(${name}
    $<TARGET_OBJECTS:simulation_marked> $<TARGET_OBJECTS:simulation_schedule> ${ARGN})
  target_link_libraries(${name} PRIVATE
    vmcache_marked Threads::Threads PkgConfig::LIBURING fmt::fmt PkgConfig::ISAL ${CMAKE_DL_LIBS})
endfunction()
crash_simulation_executable(crash_simulation)
set_target_properties(crash_simulation PROPERTIES
  RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/tests)
add_test(NAME crash_simulation COMMAND crash_simulation --seed 1 --points 10000
         WORKING_DIRECTORY ${CMAKE_CURRENT_BINARY_DIR})
set_tests_properties(crash_simulation PROPERTIES TIMEOUT 1800 COST 500)

# A simulation that sees nothing proves nothing: every bug of plants/ must be seen. They are built
# by a test, so that a patch that does not fit any more fails that test and not the build.
set(plants_folder ${CMAKE_CURRENT_SOURCE_DIR}/plants)
file(GLOB plant_patches CONFIGURE_DEPENDS ${plants_folder}/*.patch)
add_custom_target(crash_simulation_plants)
add_test(NAME crash_simulation.plants_are_built
         COMMAND flock ${PROJECT_BINARY_DIR}/.building ${CMAKE_COMMAND} --build
                 ${PROJECT_BINARY_DIR} --target crash_simulation_plants -- -k 0)
set_tests_properties(crash_simulation.plants_are_built PROPERTIES TIMEOUT 1800 COST 500)
foreach(patch IN LISTS plant_patches)
  get_filename_component(plant ${patch} NAME_WE)
  set(folder ${CMAKE_CURRENT_BINARY_DIR}/plants/${plant})
  # What the patch changes, and what else must be compiled with it.
  file(STRINGS ${patch} changed REGEX "^\\+\\+\\+ b/")
  list(TRANSFORM changed REPLACE "^\\+\\+\\+ b/" "")
  file(STRINGS ${patch} rebuilt REGEX "^# rebuild: ")
  list(TRANSFORM rebuilt REPLACE "^# rebuild: " "${PROJECT_SOURCE_DIR}/")
  file(STRINGS ${patch} options REGEX "^# run: ")
  list(TRANSFORM options REPLACE "^# run: " "")
  separate_arguments(options)
  set(patched ${changed})
  list(TRANSFORM patched PREPEND ${folder}/)
  set(originals ${changed})
  list(TRANSFORM originals PREPEND ${PROJECT_SOURCE_DIR}/)
  add_custom_command(OUTPUT ${patched}
                     COMMAND ${plants_folder}/apply.sh ${PROJECT_SOURCE_DIR} ${patch} ${folder}
                     DEPENDS ${patch} ${originals} ${plants_folder}/apply.sh)
  add_library(plant_${plant} OBJECT EXCLUDE_FROM_ALL ${patched} ${rebuilt})
  target_include_directories(plant_${plant} BEFORE PRIVATE ${folder}/include ${folder}/libvmcache)
  marked_target(plant_${plant})
  crash_simulation_executable(crash_simulation_${plant} $<TARGET_OBJECTS:plant_${plant}>)
  set_target_properties(crash_simulation_${plant} PROPERTIES EXCLUDE_FROM_ALL TRUE)
  add_dependencies(crash_simulation_plants crash_simulation_${plant})
  add_test(NAME crash_simulation.sees_${plant}
           COMMAND crash_simulation_${plant} --points 40000 --expect failure ${options}
           WORKING_DIRECTORY ${CMAKE_CURRENT_BINARY_DIR})
  set_tests_properties(crash_simulation.sees_${plant} PROPERTIES
    TIMEOUT 1800 DEPENDS crash_simulation.plants_are_built)
endforeach()

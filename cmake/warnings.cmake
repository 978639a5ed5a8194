# SPDX-License-Identifier: MIT
option(VMCACHE_WERROR "Warnings are errors in our own targets" OFF)
# Our own targets link vmcache_warnings; what embeds us is not held to it.
add_library(vmcache_warnings INTERFACE)
target_compile_options(vmcache_warnings INTERFACE
  -Wall -Wextra -Wshadow -Wconversion -Wno-sign-conversion
  $<$<COMPILE_LANGUAGE:CXX>:-Wnon-virtual-dtor> $<$<COMPILE_LANGUAGE:CXX>:-Wold-style-cast>)
if(VMCACHE_WERROR)
  target_compile_options(vmcache_warnings INTERFACE -Werror)
endif()

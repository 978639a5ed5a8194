# SPDX-License-Identifier: MIT
# Reading the standard library's and the test framework's headers is more than half of the time
# that it takes to compile a test or a part of vmbench. They are read once.

# precompile(TARGET HEADER...): TARGET's sources, and those of targets that call precompile_as(),
# begin with these headers. They are of the system only: what ccache has compiled in another
# checkout would take this one's headers for other files, and read them twice.
function(precompile target)
  target_precompile_headers(${target} PRIVATE ${ARGN})
  # ccache cannot tell otherwise which precompiled header a file depends on.
  target_compile_options(${target} PRIVATE $<$<CXX_COMPILER_ID:GNU>:-fpch-preprocess>)
endfunction()

# precompile_as(TARGET OTHER): both have the same options and definitions.
function(precompile_as target other)
  target_precompile_headers(${target} REUSE_FROM ${other})
  target_compile_options(${target} PRIVATE $<$<CXX_COMPILER_ID:GNU>:-fpch-preprocess>)
endfunction()

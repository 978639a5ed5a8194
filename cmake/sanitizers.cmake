# SPDX-License-Identifier: MIT
if(VMCACHE_SANITIZE STREQUAL "address")
  add_compile_options(-fsanitize=address,undefined -fno-sanitize-recover=undefined
                      -fno-omit-frame-pointer)
  add_link_options(-fsanitize=address,undefined)
elseif(VMCACHE_SANITIZE STREQUAL "thread")
  # gcc does not know atomic_thread_fence under TSan; our fences are paired with atomic loads of the
  # state word.
  add_compile_options(-fsanitize=thread -Wno-tsan -fno-omit-frame-pointer)
  add_link_options(-fsanitize=thread)
elseif(NOT VMCACHE_SANITIZE STREQUAL "none")
  message(FATAL_ERROR "VMCACHE_SANITIZE=${VMCACHE_SANITIZE}: allowed are none, address, thread")
endif()

/* SPDX-License-Identifier: MIT */
/*
 * libvmcache for C (C99) and for languages that call C. It is the C++ library
 * (vmcache/buffer_pool.hpp and others) behind opaque handles; man 3 vmcache is the overview.
 *
 * Results. Nearly every call returns 0 or an enum vmcache_error, and then vmcache_last_message()
 * says what, where, which value, and what is allowed. A call that fails has changed nothing, unless
 * it says otherwise; handles and structs that it should have given are null and all zeros. A null
 * pointer where one is needed is VMCACHE_INVALID_OPTION. No exception leaves the library; a lack of
 * memory is VMCACHE_OUT_OF_MEMORY.
 *
 * Options. A struct with options begins with its size. Set all of it to zero, then `size` to
 * sizeof of the struct, then what differs from the default: zero is the default everywhere. A newer
 * library accepts the smaller struct of an older program. A size that the library does not know is
 * VMCACHE_INVALID_OPTION.
 *
 * Handles. Each kind has a call that makes it, and a call ..._destroy() that frees it. The call
 * ..._close() ends the use of a pool, file or database and keeps the handle: later calls give
 * VMCACHE_CLOSED. ..._destroy() closes first if that was not done. It returns VMCACHE_BUSY, and the
 * handle stays, while something that was made from the handle is alive. With every other result the
 * handle is gone. A null handle is no error there.
 *
 * Threads. Any thread may make any call at any time, except that close and destroy must be the only
 * use of the handle while they run. Calls of which nothing else is said may wait for I/O.
 *
 * Processes. A handle belongs to the process that made it. In a child of fork() calls give
 * VMCACHE_WRONG_PROCESS, and ..._destroy() leaves the files alone.
 */
#ifndef VMCACHE_H
#define VMCACHE_H

#include "vmcache/c/database.h"
#include "vmcache/c/error.h"
#include "vmcache/c/file.h"
#include "vmcache/c/io.h"
#include "vmcache/c/page.h"
#include "vmcache/c/pool.h"
#include "vmcache/c/scan.h"
#include "vmcache/c/tree.h"

#endif

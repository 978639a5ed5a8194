/* SPDX-License-Identifier: MIT */
/*
 * The SQLite VFS "vmcache": the pages of main database files lie in one libvmcache pool, which all
 * connections of the process share. docs/sqlite.md says how to use it and what it promises.
 *
 * A program that links the static library calls this function once. The loadable extension
 * (vmcache_sqlite.so) calls it itself.
 */
#ifndef VMCACHE_SQLITE_H
#define VMCACHE_SQLITE_H

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Registers the VFS, on top of the VFS that is the default at the first call. If make_default is
 * not 0, databases that name no VFS use it. May be called again, for example to change
 * make_default. Returns SQLITE_OK or what sqlite3_vfs_register() returns; SQLITE_ERROR if there is
 * no default VFS. Thread-safe.
 */
int vmcache_sqlite_register(int make_default);

#ifdef __cplusplus
}
#endif

#endif

#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Another language stands on the C API: a pool, pages and a transaction through ctypes.
usage: capi_test.py LIBVMCACHE_SO FOLDER"""

import ctypes
import os
import sys

OK, INVALID_OPTION, INVALID_PAGE, BUSY, CLOSED, NOT_FOUND = 0, 1, 10, 13, 20, 64
SHARED, EXCLUSIVE = 1, 2
NO_CREATE = 1
PAGE_SIZE = 4096

LOG = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p)


class PoolOptions(ctypes.Structure):
    """struct vmcache_pool_options"""

    _fields_ = [
        ("size", ctypes.c_size_t),
        ("path", ctypes.c_char_p),
        ("paths", ctypes.POINTER(ctypes.c_char_p)),
        ("path_count", ctypes.c_size_t),
        ("stripe_bytes", ctypes.c_uint64),
        ("pool_bytes", ctypes.c_uint64),
        ("capacity_bytes", ctypes.c_uint64),
        ("files_bytes", ctypes.c_uint64),
        ("workers", ctypes.c_uint32),
        ("io_depth", ctypes.c_uint32),
        ("evict_batch", ctypes.c_uint32),
        ("frame_wait_ms", ctypes.c_uint32),
        ("memory", ctypes.c_uint32),
        ("storage", ctypes.c_uint32),
        ("flags", ctypes.c_uint64),
        ("log", LOG),
        ("log_user", ctypes.c_void_p),
    ]


class DatabaseOptions(ctypes.Structure):
    """struct vmcache_database_options"""

    _fields_ = [
        ("size", ctypes.c_size_t),
        ("pool", ctypes.POINTER(PoolOptions)),
        ("log_path", ctypes.c_char_p),
        ("log_capacity_bytes", ctypes.c_uint64),
        ("checkpoint_percent", ctypes.c_uint32),
        ("reserved", ctypes.c_uint32),
        ("flags", ctypes.c_uint64),
    ]


class Page(ctypes.Structure):
    """struct vmcache_page"""

    _fields_ = [
        ("data", ctypes.c_void_p),
        ("page_id", ctypes.c_uint64),
        ("opaque", ctypes.c_uint64 * 2),
    ]


class Library:
    """The library, whose calls are checked: vm.pool_open(...) is vmcache_pool_open(...)."""

    def __init__(self, path):
        self.lib = ctypes.CDLL(path)
        self.lib.vmcache_last_message.restype = ctypes.c_char_p
        self.lib.vmcache_error_name.restype = ctypes.c_char_p

    def message(self):
        return self.lib.vmcache_last_message().decode()

    def call(self, expected, name, *arguments):
        code = getattr(self.lib, "vmcache_" + name)(*arguments)
        if code != expected:
            got = self.lib.vmcache_error_name(code).decode()
            raise AssertionError(f"{name}: {got}, not {expected}: {self.message()}")

    def __getattr__(self, name):
        return lambda *arguments: self.call(OK, name, *arguments)


def pool_options(path, lines=None):
    options = PoolOptions(size=ctypes.sizeof(PoolOptions), path=os.fsencode(path))
    options.pool_bytes = 1 << 20
    options.capacity_bytes = 64 << 20
    if lines is not None:
        options.log = LOG(lambda user, level, line: lines.append(line.decode()))
    return options


def test_pages(vm, folder):
    """What is written is there after a close and an open."""
    path = os.path.join(folder, "python.db")
    if os.path.exists(path):
        os.unlink(path)
    lines = []
    options = pool_options(path, lines)
    pool, page = ctypes.c_void_p(), Page()
    vm.pool_open(ctypes.byref(options), ctypes.byref(pool))
    vm.allocate(pool, 0, ctypes.byref(page))
    page_id = page.page_id
    text = b"written by Python"
    ctypes.memmove(page.data, text, len(text))
    vm.pool_set_root(pool, 0, ctypes.c_uint64(page_id))
    vm.call(BUSY, "pool_destroy", pool)
    vm.unfix(ctypes.byref(page))
    vm.call(INVALID_OPTION, "unfix", ctypes.byref(page))
    assert "unfixed" in vm.message(), vm.message()
    vm.pool_checkpoint(pool)
    vm.pool_close(pool)
    vm.call(CLOSED, "pool_checkpoint", pool)
    assert "closed" in vm.message(), vm.message()
    vm.pool_destroy(pool)

    options.flags = NO_CREATE
    root = ctypes.c_uint64()
    vm.pool_open(ctypes.byref(options), ctypes.byref(pool))
    vm.pool_root(pool, 0, ctypes.byref(root))
    assert root.value == page_id
    vm.fix(pool, root, 0, SHARED, ctypes.byref(page))
    assert ctypes.string_at(page.data, len(text)) == text
    vm.unfix(ctypes.byref(page))
    vm.call(INVALID_PAGE, "fix", pool, ctypes.c_uint64(12345), 0, EXCLUSIVE, ctypes.byref(page))
    assert "12345" in vm.message(), vm.message()
    vm.pool_destroy(pool)

    options.size = 8
    vm.call(INVALID_OPTION, "pool_open", ctypes.byref(options), ctypes.byref(pool))
    assert "size is 8" in vm.message(), vm.message()
    assert pool.value is None


def test_transactions(vm, folder):
    """What was committed is there after a close and an open, what was not is not."""
    paths = [os.path.join(folder, name) for name in ("python.pages", "python.log")]
    for path in paths:
        if os.path.exists(path):
            os.unlink(path)
    pool = pool_options(paths[0])
    options = DatabaseOptions(size=ctypes.sizeof(DatabaseOptions), pool=ctypes.pointer(pool))
    options.log_path = os.fsencode(paths[1])
    options.log_capacity_bytes = 4 << 20
    database, transaction = ctypes.c_void_p(), ctypes.c_void_p()
    for round_ in range(2):
        vm.database_open(ctypes.byref(options), ctypes.byref(database))
        vm.begin(database, ctypes.byref(transaction))
        value, size = ctypes.create_string_buffer(16), ctypes.c_size_t()
        found = [transaction, 0, b"alice", 5, value, 16, ctypes.byref(size)]
        if round_ == 0:
            vm.call(NOT_FOUND, "get", *found)
            vm.put(transaction, 0, b"alice", 5, b"90", 2)
            vm.commit(transaction)
            vm.transaction_destroy(transaction)
            vm.begin(database, ctypes.byref(transaction))
            vm.put(transaction, 0, b"alice", 5, b"0", 1)
            vm.rollback(transaction)
        else:
            vm.get(*found)
            assert value.raw[: size.value] == b"90", value.raw
        vm.transaction_destroy(transaction)
        vm.database_destroy(database)


def main():
    """Returns the exit status."""
    if len(sys.argv) != 3:
        print(__doc__, file=sys.stderr)
        return 2
    vm = Library(sys.argv[1])
    for test in (test_pages, test_transactions):
        test(vm, sys.argv[2])
        print(f"{test.__name__}: {test.__doc__}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

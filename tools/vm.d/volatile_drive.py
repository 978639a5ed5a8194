#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A drive with a volatile write cache: an image file holds what was flushed, this process the rest.

volatile_drive.py serve IMAGE [--ignore-flush]   an NBD server (for QEMU) on the listening socket at
descriptor 0, for one connection; at its end IMAGE.unflushed has the cache volatile_drive.py lose
IMAGE SEED                makes of both what a power cut could have left in IMAGE

A cut leaves each sector as it was flushed or as it was at any write since. `lose` may be repeated
with other seeds until IMAGE is written to otherwise: IMAGE.unflushed has the flushed bytes, too."""

import argparse
import os
import pathlib
import random
import select
import socket
import struct
import sys

SECTOR = 512
# A drive may write back at any time; with more than this in the cache (64 MiB) it does.
_CACHED_SECTORS_MAX = 1 << 17
_TRANSFER_MAX = 32 << 20
# A flush takes its time, so that a cut often comes before its end.
_FLUSH_MS = 2

# The NBD protocol (github.com/NetworkBlockDevice/nbd, doc/proto.md), as much of it as QEMU's client
# asks for.
_GREETING = struct.pack(">8s8sH", b"NBDMAGIC", b"IHAVEOPT", 0b11)  # fixed newstyle, no zeroes
_OPTION = struct.Struct(">8sII")
_OPTION_REPLY = struct.Struct(">QIII")
_OPTION_REPLY_MAGIC = 0x3E889045565A9
_OPTION_ABORT, _OPTION_GO = 2, 7
_REPLY_ACK, _REPLY_INFO, _REPLY_UNSUPPORTED = 1, 3, 0x80000001
_INFO_EXPORT, _INFO_BLOCK_SIZE = 0, 3
_EXPORT_FLAGS = 0b101  # has flags, takes flushes
_REQUEST = struct.Struct(">IHHQQI")
_REQUEST_MAGIC = 0x25609513
_REPLY = struct.Struct(">IIQ")
_REPLY_MAGIC = 0x67446698
_READ, _WRITE, _DISCONNECT, _FLUSH = range(4)
_EINVAL = 22

_JOURNAL_ENTRY = struct.Struct(
    "<QI"
)  # sector, number of versions that follow; the first is the flushed one


class Drive:
    """The image and the cache over it."""

    def __init__(self, image, ignore_flush):
        self._image = image
        self._file = os.open(image, os.O_RDWR | os.O_CLOEXEC)
        self._ignore_flush = ignore_flush
        self._cache = {}  # sector: what was written there since the last flush, the newest last
        self._cached = 0
        self.size = os.fstat(self._file).st_size

    def read(self, offset, length):
        data = bytearray(os.pread(self._file, length, offset))
        for at in range(0, length, SECTOR):
            versions = self._cache.get((offset + at) // SECTOR)
            if versions:
                data[at : at + SECTOR] = versions[-1]
        return data

    def write(self, offset, data):
        for at in range(0, len(data), SECTOR):
            self._cache.setdefault((offset + at) // SECTOR, []).append(data[at : at + SECTOR])
        self._cached += len(data) // SECTOR
        if self._cached > _CACHED_SECTORS_MAX:
            self._write_back()

    def flush(self):
        if not self._ignore_flush:
            self._write_back()

    def _write_back(self):
        for sector, versions in self._cache.items():
            os.pwrite(self._file, versions[-1], sector * SECTOR)
        self._cache.clear()
        self._cached = 0

    def save(self):
        """Leaves the cache in the journal, for lose()."""
        with open(_journal(self._image), "wb") as file:
            for sector, versions in sorted(self._cache.items()):
                flushed = os.pread(self._file, SECTOR, sector * SECTOR)
                file.write(
                    _JOURNAL_ENTRY.pack(sector, 1 + len(versions)) + flushed + b"".join(versions)
                )


def _journal(image):
    return pathlib.Path(f"{image}.unflushed")


def lose(image, seed):
    """Returns how many sectors were not flushed, and how many of them are now other than at the
    last write."""
    choose = random.Random(seed)
    # From "all is lost" to "all but the odd sector was written back".
    kept = choose.choice((0, 0.1, 0.5, 0.9, 0.99))
    sectors, lost = 0, 0
    data = _journal(image).read_bytes()
    at = 0
    with open(image, "r+b") as file:
        while at < len(data):
            sector, count = _JOURNAL_ENTRY.unpack_from(data, at)
            at += _JOURNAL_ENTRY.size
            version = count - 1 if choose.random() < kept else choose.randrange(count - 1)
            file.seek(sector * SECTOR)
            file.write(data[at + version * SECTOR : at + (version + 1) * SECTOR])
            sectors += 1
            lost += version != count - 1
            at += count * SECTOR
    return sectors, lost


class Server:
    """Speaks NBD on a connected socket; requests are carried out one after the other."""

    def __init__(self, connection, drive):
        self._connection = connection
        self._stream = connection.makefile("rb", buffering=1 << 20)
        self._drive = drive

    def run(self):
        try:
            if self._negotiate():
                while self._request():
                    pass
        except (EOFError, ConnectionError):
            pass  # the power is gone

    def _power_ends_within(self, milliseconds):
        poll = select.poll()
        poll.register(self._connection, select.POLLRDHUP | select.POLLHUP)
        return bool(poll.poll(milliseconds))

    def _take(self, length):
        data = self._stream.read(length)
        if len(data) < length:
            raise EOFError
        return data

    def _answer_option(self, option, reply, payload=b""):
        self._connection.sendall(
            _OPTION_REPLY.pack(_OPTION_REPLY_MAGIC, option, reply, len(payload)) + payload
        )

    def _negotiate(self):
        """Returns whether requests follow."""
        self._connection.sendall(_GREETING)
        self._take(4)  # the client's flags: the same two
        while True:
            _, option, length = _OPTION.unpack(self._take(_OPTION.size))
            self._take(length)
            if option == _OPTION_GO:
                self._answer_option(
                    option,
                    _REPLY_INFO,
                    struct.pack(">HQH", _INFO_EXPORT, self._drive.size, _EXPORT_FLAGS),
                )
                self._answer_option(
                    option,
                    _REPLY_INFO,
                    struct.pack(">HIII", _INFO_BLOCK_SIZE, SECTOR, 4096, _TRANSFER_MAX),
                )
                self._answer_option(option, _REPLY_ACK)
                return True
            self._answer_option(
                option, _REPLY_ACK if option == _OPTION_ABORT else _REPLY_UNSUPPORTED
            )
            if option == _OPTION_ABORT:
                return False

    def _request(self):
        magic, _, kind, handle, offset, length = _REQUEST.unpack(self._take(_REQUEST.size))
        if magic != _REQUEST_MAGIC:
            raise ConnectionError("not an NBD request")
        payload = self._take(length) if kind == _WRITE else b""
        error, answer = 0, b""
        if kind == _DISCONNECT:
            return False
        if kind == _FLUSH:
            if self._power_ends_within(_FLUSH_MS):
                return False
            self._drive.flush()
        elif (
            kind not in (_READ, _WRITE)
            or offset % SECTOR
            or length % SECTOR
            or offset + length > self._drive.size
        ):
            error = _EINVAL
        elif kind == _READ:
            answer = self._drive.read(offset, length)
        else:
            self._drive.write(offset, payload)
        self._connection.sendall(_REPLY.pack(_REPLY_MAGIC, error, handle) + answer)
        return True


def main():
    """Returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    serve = commands.add_parser("serve")
    serve.add_argument("image")
    serve.add_argument("--ignore-flush", action="store_true")
    cut = commands.add_parser("lose")
    cut.add_argument("image")
    cut.add_argument("seed", type=int)
    options = parser.parse_args()
    if options.command == "lose":
        sectors, lost = lose(options.image, options.seed)
        print(f"{sectors} sectors were not flushed, {lost} of them lost their last write")
        return 0
    drive = Drive(options.image, options.ignore_flush)
    with socket.socket(fileno=0) as listener:
        connection, _ = listener.accept()
    Server(connection, drive).run()
    drive.save()
    return 0


if __name__ == "__main__":
    sys.exit(main())

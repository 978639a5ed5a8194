# SPDX-License-Identifier: MIT
"""The cache outside the tree: where it lies, who may change it, and how a finished part appears in
it at once."""

import contextlib
import ctypes
import fcntl
import hashlib
import json
import os
import pathlib
import shutil
import signal
import sys

_PR_SET_PDEATHSIG = 1


class VmError(Exception):
    """Something the caller must hear of; the text is the whole message."""


def say(text):
    """Tells the person what is going on, on standard error, which is not the command's output."""
    print(f"vm: {text}", file=sys.stderr, flush=True)


def die_with_parent():
    """For a child before it becomes another program: has the kernel end it when this process is
    gone, however that came about."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


class Cache:
    """The cache folder. Parts are made beside their place and renamed into it, so none is ever half
    there."""

    def __init__(self, root):
        self.root = pathlib.Path(root)
        try:
            self.root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise VmError(f"cache folder {self.root}: {error.strerror}") from error

    def path(self, *parts):
        return self.root.joinpath(*parts)

    @contextlib.contextmanager
    def lock(self, name):
        """Holds the lock of that name against other runs of this tool; it goes with the process,
        however it ends."""
        folder = self.path("locks")
        folder.mkdir(exist_ok=True)
        with open(folder / name, "w", encoding="ascii") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say(f"waiting for another run that prepares {name}")
                fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def scratch(self, *parts):
        """An empty folder beside the place of the same name, for the holder of its lock."""
        place = self.path(*parts)
        temporary = place.with_name(place.name + ".making")
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        return temporary

    @staticmethod
    def publish(temporary, place):
        """Puts a finished folder in its place."""
        if place.exists():
            shutil.rmtree(place)
        os.rename(temporary, place)

    @staticmethod
    def point(link, target):
        """Makes the symbolic link @link point at @target, in one step."""
        temporary = link.with_name(link.name + ".making")
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(target)
        os.rename(temporary, link)


def digest_of(paths, options=""):
    """Names the state of the files at and below @paths, and of the @options they are built with."""
    digest = hashlib.sha256(options.encode())
    for path in paths:
        for file in [path, *sorted(path.rglob("*"))]:
            if file.is_file():
                digest.update(f"\0{file.relative_to(path.parent)}\0".encode())
                digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def read_json(path):
    """The object in a JSON file, or None when there is no such file."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None


def write_json(path, value):
    temporary = path.with_name(path.name + ".making")
    temporary.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
    os.rename(temporary, path)

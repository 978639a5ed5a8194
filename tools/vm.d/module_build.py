# SPDX-License-Identifier: MIT
"""Builds modules (exmap.ko through the Kbuild at the top of the tree) in copies, so that no two
kernels collide."""

import fcntl
import hashlib
import os
import pathlib
import shutil
import subprocess
import sys

import toolchain
from cache import VmError, digest_of, say

# What of the tree the module is built from.
SOURCES = ("Kbuild", "kmod", "include")
# Modules of this tool's own.
OWN = pathlib.Path(__file__).resolve().parent / "modules"


def has_sources(tree):
    return (tree / "Kbuild").exists()


def _copy(sources, folder):
    """Brings the copy up to date, keeping times, so that make builds only what changed."""
    folder.mkdir(parents=True, exist_ok=True)
    # Files of ours that went away must go from the copy, files that make put there must stay.
    result = subprocess.run(
        [
            "rsync",
            "-a",
            "--delete",
            "--exclude=*.o",
            "--exclude=*.ko",
            "--exclude=*.mod",
            "--exclude=*.mod.c",
            "--exclude=.*.cmd",
            "--exclude=*.symvers",
            "--exclude=*.order",
            *map(str, sources),
            str(folder),
        ],
        check=False,
    )
    if result.returncode:
        raise VmError(f"cannot copy the module's source to {folder}")


def _make(kernel, folder, output, *more):
    """Runs make; @folder as the compiler's root sees it. All it prints goes to the log and, if it
    matters, to us. Returns the number of warnings."""
    arguments = [f"M={folder}", "W=1", f"-j{os.cpu_count() or 1}", *more, "modules"]
    if kernel.root:
        result = toolchain.run_inside(
            kernel.root, ["make", "-C", f"/{kernel.headers.relative_to(kernel.root)}", *arguments]
        )
    else:
        result = subprocess.run(
            ["make", "-C", kernel.headers, *arguments],
            env=dict(os.environ, LC_ALL="C"),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
    output.write_text(result.stdout, encoding="utf-8")
    warned = [
        line
        for line in result.stdout.splitlines()
        if "warning" in line.lower() and "the compiler differs" not in line.lower()
    ]
    if result.returncode or warned:
        print(result.stdout, end="", file=sys.stderr)
    if result.returncode:
        raise VmError(f"the module does not build for {kernel.release}")
    if warned:
        say(f"the module builds for {kernel.release} with {len(warned)} warnings")
    return len(warned)


def build_exmap(kernel, tree, folder):
    """Builds exmap.ko for @kernel in @folder; returns its path."""
    return _build(
        kernel, [tree / name for name in SOURCES if (tree / name).exists()], folder, "exmap"
    )


def check_exmap(kernel, tree, folder):
    """Has sparse look at all of exmap.ko's source, in a copy of its own in @folder; any warning is
    an error."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _copy([tree / name for name in SOURCES], folder / "source")
        # C=2: files whose object is up to date are looked at as well.
        if _make(kernel, folder / "source", folder / "sparse.log", "C=2"):
            raise VmError(f"sparse has found something (see {folder / 'sparse.log'})")


def build_test_module(kernel, source, folder):
    """Builds the module in the folder @source (a Kbuild and NAME.c for the folder's own NAME) as
    @folder/NAME.ko."""
    if not (source / "Kbuild").exists():
        raise VmError(f"{source} has no Kbuild")
    return _build(kernel, sorted(source.iterdir()), folder, source.name)


def build_own_module(kernel, name):
    """Builds a module of this tool's own, once for each state of its source; returns its path."""
    source = OWN / name
    folder = kernel.state / f"{name}-{digest_of([source])}"
    made = folder / f"{name}.ko"
    return made if made.exists() else build_test_module(kernel, source, folder)


def _place_of_copy(kernel, folder):
    """Where the source is copied to, and how the compiler's root sees that place."""
    key = hashlib.sha256(str(folder).encode()).hexdigest()[:16]
    if kernel.root:
        copy = kernel.root / "var/tmp/exmap-vm" / key
        return copy, pathlib.Path("/") / copy.relative_to(kernel.root)
    copy = folder / "source"
    if any(character.isspace() for character in str(copy)):  # Kbuild takes no such path
        copy = pathlib.Path(f"/var/tmp/exmap-vm-{os.getuid()}") / key
    return copy, copy


def _build(kernel, sources, folder, name):
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        result = folder / f"{name}.ko"
        # To ask make takes three processor seconds, a third of a boot.
        state, built_from = (
            digest_of(sources, f"{kernel.headers}\0{kernel.release}"),
            folder / ".built-from",
        )
        if result.exists() and built_from.exists() and built_from.read_text("ascii") == state:
            return result
        built_from.unlink(missing_ok=True)
        copy, seen = _place_of_copy(kernel, folder)
        _copy(sources, copy)
        warnings = _make(kernel, seen, folder / "build.log")
        made = [
            path for path in (copy / f"{name}.ko", copy / "kmod" / f"{name}.ko") if path.exists()
        ]
        if not made:
            raise VmError(
                f"the build for {kernel.release} left no {name}.ko (see {folder / 'build.log'})"
            )
        temporary = folder / f"{name}.ko.making"
        shutil.copy2(made[0], temporary)
        os.rename(temporary, result)
        if not warnings:  # those are told at each build
            built_from.write_text(state, encoding="ascii")
    return result

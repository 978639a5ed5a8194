# SPDX-License-Identifier: MIT
"""The `debug` kernel: Debian's source of Linux 6.12 with kernel/base.config and
kernel/debug.config, built once. It is found again by a hash of what went into it, is carried on
after an interruption, and appears when it is whole."""

import functools
import hashlib
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time

import apt
from cache import VmError, die_with_parent, read_json, say, write_json

SOURCE_PACKAGE = "linux-source-6.12"
SUITES = ("bookworm-backports", "bookworm-security")
CONFIGS = [
    pathlib.Path(__file__).parent / "kernel" / name for name in ("base.config", "debug.config")
]
# Part of the hash: raise it when the steps below change what comes out.
RECIPE = "1"
# Only for the progress line: what a build of these settings prints.
EXPECTED_STEPS = 2200


@functools.cache  # once a run: someone may edit the files while it builds
def _settings_hash():
    digest = hashlib.sha256(RECIPE.encode())
    for config in CONFIGS:
        digest.update(config.read_bytes())
    return digest.hexdigest()[:16]


def _link(cache):
    return cache.path("kernels", "debug", f"current-{_settings_hash()}")


def is_ready(cache):
    return _link(cache).exists()


def current(cache):
    """The (folder, release) of the debug kernel for the settings of this tree."""
    folder = _link(cache).resolve()
    return folder, read_json(folder / "kernel.json")["release"]


def _make(folder, *arguments, **options):
    return subprocess.run(
        ["make", *arguments], cwd=folder, check=False, stdin=subprocess.DEVNULL, **options
    )


def _unpack_source(root, building):
    """Puts the source of the wanted version at @building, in one step."""
    unpacking = building.with_name(building.name + ".source")
    shutil.rmtree(unpacking, ignore_errors=True)
    unpacking.mkdir(parents=True)
    package = root.download([SOURCE_PACKAGE], unpacking)[0]
    apt.unpack(package, unpacking)
    tarball = next(unpacking.glob("usr/src/linux-source-*.tar.xz"))
    say("unpacking the kernel's source")
    subprocess.run(["tar", "-xJf", tarball, "-C", unpacking], check=True)
    os.rename(next(unpacking.glob("linux-source-*/")), building)
    shutil.rmtree(unpacking)


def _wanted_lines():
    lines = [line for config in CONFIGS for line in config.read_text(encoding="utf-8").splitlines()]
    return [line for line in lines if re.fullmatch(r"CONFIG_\w+=.*|# CONFIG_\w+ is not set", line)]


def _configure(folder):
    """Makes .config, and refuses it unless every line that was asked for is in it."""
    if _make(folder, "-s", "tinyconfig", stdout=subprocess.DEVNULL).returncode:
        raise VmError("make tinyconfig failed")
    with open(folder / ".config", "a", encoding="utf-8") as file:
        file.write("\n".join(_wanted_lines()) + "\n")
    if _make(
        folder, "-s", "olddefconfig", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ).returncode:
        raise VmError("make olddefconfig failed")
    lines = set((folder / ".config").read_text(encoding="utf-8").splitlines())
    missing = [
        line
        for line in _wanted_lines()
        if line not in lines
        and not (
            line.endswith("is not set")
            and not any(have.startswith(line.split()[1] + "=") for have in lines)
        )
    ]
    if missing:
        raise VmError("the debug kernel cannot have: " + ", ".join(missing))


def _compile(folder):
    """Compiles, with a line of progress on a terminal; the whole output is kept beside the
    source."""
    say("building the debug kernel")
    log_path = folder.with_name(folder.name + ".log")
    command = ["nice", "-n", "10", "make", f"-j{os.cpu_count() or 1}", "bzImage", "modules"]
    started, steps = time.monotonic(), 0
    with open(log_path, "w", encoding="utf-8") as log, subprocess.Popen(
        command,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=die_with_parent,
    ) as build:
        for line in build.stdout:
            log.write(line)
            steps += 1
            if sys.stderr.isatty() and steps % 10 == 0:
                share = min(99, steps * 100 // EXPECTED_STEPS)
                minutes = (time.monotonic() - started) / 60
                print(
                    f"\rvm: building the debug kernel: {share} %, {minutes:.0f} min ",
                    end="",
                    file=sys.stderr,
                )
    if sys.stderr.isatty():
        print(file=sys.stderr)
    if build.returncode:
        tail = log_path.read_text(encoding="utf-8").splitlines()[-15:]
        raise VmError(
            "the debug kernel does not build (" + str(log_path) + "):\n" + "\n".join(tail)
        )


def _trim(folder):
    """Takes away what neither booting nor building a module needs."""
    for path in folder.rglob("*"):
        kept = path.relative_to(folder).parts[0] in ("scripts", "tools")
        if (
            not kept
            and path.suffix in (".o", ".a", ".cmd")
            and path.is_file()
            and not path.is_symlink()
        ):
            path.unlink()


def prepare(cache):
    """Makes the debug kernel for the settings of this tree and the newest source, unless the cache
    has it."""
    with cache.lock("kernel-debug"):
        root = apt.AptRoot(cache, "debug", SUITES)
        root.update()
        record = root.record(SOURCE_PACKAGE)
        if record is None:
            raise VmError(f"no package {SOURCE_PACKAGE} in {', '.join(SUITES)}")
        place = cache.path("kernels", "debug", f"{record['Version']}-{_settings_hash()}")
        if not place.exists():
            _build(root, place, record["Version"])
        cache.point(_link(cache), place.name)
        say(f"debug: {current(cache)[1]} is ready")


def _build(root, place, version):
    making = place.with_name(place.name + ".making")
    making.mkdir(parents=True, exist_ok=True)
    building = making / "build"
    if not building.exists():
        _unpack_source(root, building)
    _configure(building)
    _compile(building)
    _trim(building)
    release = (building / "include/config/kernel.release").read_text(encoding="ascii").strip()
    write_json(making / "kernel.json", {"release": release, "version": version})
    os.rename(making, place)

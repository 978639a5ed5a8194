# SPDX-License-Identifier: MIT
"""The Debian 13 root in which modules for kernels of trixie-backports are built: their build tools
need its glibc and its compiler. Made by debootstrap, kept in the cache."""

import os
import shutil
import subprocess

import apt
from cache import VmError, read_json, say, write_json


def root(cache):
    return cache.path("roots", "trixie")


def run_inside(folder, command):
    """Runs @command in the root at @folder, with /proc for it alone; returns the finished process
    with its output."""
    environment = {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "LC_ALL": "C",
        "DEBIAN_FRONTEND": "noninteractive",
    }
    script = 'mount --rbind /proc "$0/proc" && exec chroot "$0" "$@"'
    return subprocess.run(
        ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, folder, *command],
        env=environment,
        stdin=subprocess.DEVNULL,
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _inside(folder, *command):
    result = run_inside(folder, command)
    if result.returncode:
        tail = "\n".join(result.stdout.splitlines()[-10:])
        raise VmError(f"in the Debian 13 root, {' '.join(command)} failed:\n{tail}")


def _bootstrap(cache, place):
    if os.geteuid() != 0:
        raise VmError("Linux 7.3 needs a Debian 13 root made by debootstrap, and that needs root")
    if shutil.which("debootstrap") is None:
        raise VmError("debootstrap is missing (scripts/packages.sh vm)")
    folder = cache.scratch("roots", "trixie")
    say("making a Debian 13 root with debootstrap (about 2 minutes)")
    result = subprocess.run(
        [
            "debootstrap",
            "--variant=minbase",
            f"--keyring={apt.KEYRING}",
            "trixie",
            folder,
            apt.mirrors()[0],
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if result.returncode:
        raise VmError("debootstrap failed:\n" + "\n".join(result.stdout.splitlines()[-10:]))
    lines = apt.source_lines(("trixie", "trixie-backports"))
    (folder / "etc/apt/sources.list").write_text("\n".join(lines) + "\n", encoding="utf-8")
    # No services, whatever a package's scripts may want.
    (folder / "usr/sbin/policy-rc.d").write_text("#!/bin/sh\nexit 101\n", encoding="ascii")
    (folder / "usr/sbin/policy-rc.d").chmod(0o755)
    cache.publish(folder, place)


def prepare(cache, headers, version):
    """Makes the root and installs those headers, with the compiler they name, in it."""
    with cache.lock("root-trixie"):
        place = root(cache)
        if not place.exists():
            _bootstrap(cache, place)
        done = read_json(place / "exmap-vm.json") or []
        if [headers, version] in done:
            return
        say(f"installing {headers} in the Debian 13 root")
        _inside(place, "apt-get", "update", "-qq")
        _inside(
            place,
            "apt-get",
            "install",
            "-qq",
            "-y",
            "--no-install-recommends",
            "make",
            "binutils",
            "libc6-dev",
            f"{headers}={version}",
        )
        _inside(place, "apt-get", "clean")
        write_json(place / "exmap-vm.json", done + [[headers, version]])

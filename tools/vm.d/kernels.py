# SPDX-License-Identifier: MIT
"""The kernels that a machine can boot, by the names given to --kernel, each out of Debian's
packages."""

import dataclasses
import pathlib
import re
import shutil
import subprocess

import apt
import boot_image
import debug_kernel
import toolchain
from cache import VmError, read_json, say, write_json

NAMES = ("6.1", "6.12", "7.3", "debug")
FOLLOW_IMAGE = r"linux-(image|base|binary|modules)-\d"
FOLLOW_HEADERS = r"linux-(headers|kbuild)-\d"

# name: the suites, the places to look for its meta packages (image, headers), most wanted first.
_SUITES = {
    "6.1": ("bookworm", "bookworm-updates", "bookworm-security"),
    "6.12": ("bookworm-backports", "bookworm-security"),
    "7.3": ("trixie-backports",),
}
_METAS = {
    "6.1": (("linux-image-amd64", "linux-headers-amd64"),),
    "6.12": (
        ("linux-image-6.12-amd64", "linux-headers-6.12-amd64"),
        ("linux-image-amd64", "linux-headers-amd64"),
    ),
    "7.3": (("linux-image-amd64", "linux-headers-amd64"),),
}


@dataclasses.dataclass
class Kernel:
    """A kernel in the cache."""

    name: str
    release: str  # as `uname -r` has it
    image: pathlib.Path  # what QEMU boots
    modules: pathlib.Path | None  # lib/modules/RELEASE, or None where all is built in
    headers: pathlib.Path  # what `make -C` takes; inside the toolchain's root where there is one
    root: pathlib.Path | None  # a root of its own for the compiler (7.3), else None
    state: pathlib.Path  # a folder of its own for what is made from it (initial file systems)


def apt_root(cache, name):
    return apt.AptRoot(cache, name, _SUITES[name])


def _resolve(root, name):
    """The versioned (image, headers) packages and the version of a kernel."""
    for image_meta, headers_meta in _METAS[name]:
        if root.record(image_meta) is None:
            continue
        chosen = []
        for kind, meta in (("image", image_meta), ("headers", headers_meta)):
            wanted = [
                package
                for package in root.depends(meta)
                if re.fullmatch(rf"linux-{kind}-{re.escape(name)}[.].*-amd64", package)
            ]
            if wanted:
                chosen.append(wanted[0])
        if len(chosen) == 2:
            return chosen[0], chosen[1], root.record(chosen[0])["Version"]
    raise VmError(f"Debian has no Linux {name} in {', '.join(_SUITES[name])} any more")


def _relocate_headers(folder):
    """Points the unpacked headers, made for /usr/src, at where they lie."""
    for makefile in (folder / "usr/src").glob("linux-headers-*-amd64/Makefile"):
        text = makefile.read_text(encoding="utf-8")
        makefile.write_text(
            re.sub(r"(?<![\w.])/usr/src/", f"{folder}/usr/src/", text), encoding="utf-8"
        )


def _unpack(root, packages, folder):
    downloads = folder / "packages"
    downloads.mkdir()
    for file in root.download(packages, downloads):
        apt.unpack(file, folder)
    shutil.rmtree(downloads)


def _fetch(cache, name):
    """Downloads and unpacks the newest kernel of that name, unless it is here; returns its
    folder."""
    with cache.lock(f"kernel-{name}"):
        root = apt_root(cache, name)
        root.update()
        image, headers, version = _resolve(root, name)
        place = cache.path("kernels", name, version)
        if not place.exists():
            folder = cache.scratch("kernels", name, version)
            _unpack(root, root.closure([image], FOLLOW_IMAGE), folder)
            release = image.removeprefix("linux-image-")
            if _SUITES[name][0].startswith("bookworm"):
                _unpack(root, root.closure([headers], FOLLOW_HEADERS), folder)
            if not (folder / "lib/modules").exists():
                (folder / "lib").symlink_to("usr/lib")  # where depmod looks
            subprocess.run(["depmod", "-b", folder, release], check=True)
            write_json(
                folder / "kernel.json", {"release": release, "version": version, "headers": headers}
            )
            cache.publish(folder, place)
            _relocate_headers(place)
        if name == "7.3":
            toolchain.prepare(cache, read_json(place / "kernel.json")["headers"], version)
        cache.point(cache.path("kernels", name, "current"), version)
        say(f"{name}: {image} {version} is ready")


def prepare(cache, name):
    """Brings the cache's kernel of that name up to date (downloads, and for `debug` builds)."""
    if name == "debug":
        debug_kernel.prepare(cache)
    else:
        _fetch(cache, name)


def find(cache, name):
    """The kernel of that name; prepares it where the cache does not have it yet."""
    if name == "debug":
        return _find_debug(cache)
    link = cache.path("kernels", name, "current")
    if not link.exists():
        say(f"{name} is not in the cache ({cache.root}) yet")
        _fetch(cache, name)
    folder = link.resolve()
    facts = read_json(folder / "kernel.json")
    release = facts["release"]
    root = toolchain.root(cache) if name == "7.3" else None
    modules = _modules_of(folder, release)
    image = folder / "boot" / f"vmlinuz-{release}"
    if not image.exists():
        image = modules / "vmlinuz"  # where 7.x has it
    return Kernel(
        name,
        release,
        boot_image.unpacked(image, folder),
        modules,
        (root or folder) / "usr/src" / facts["headers"],
        root,
        folder,
    )


def _modules_of(folder, release):
    place = folder / "lib/modules" / release
    if (place / "modules.dep").exists():
        return place
    raise VmError(f"{folder}: no modules.dep for {release}")


def _find_debug(cache):
    if not debug_kernel.is_ready(cache):
        say(
            "the debug kernel for these settings is not in the cache yet: "
            "building it (about half an hour)"
        )
        debug_kernel.prepare(cache)
    folder, release = debug_kernel.current(cache)
    return Kernel(
        "debug",
        release,
        folder / "build/arch/x86/boot/bzImage",
        None,
        folder / "build",
        None,
        folder,
    )

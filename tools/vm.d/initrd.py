# SPDX-License-Identifier: MIT
"""The guest's initial file system: our init, the kernel modules that reach the host's files, and
the run's settings."""

import lzma
import os
import pathlib
import struct
import subprocess

from cache import VmError, digest_of

GUEST = pathlib.Path(__file__).parent / "guest"
# In this order; what each depends on comes before it.
MODULES = ("virtio_pci", "virtio_console", "9pnet_virtio", "9p")
# Of a machine with drives.
DRIVE_MODULES = ("nvme", "crc32c_generic", "ext4", "loop")
# ext4 asks for it by another name than its own; newer kernels have it built in and without a name.
NOT_EVERYWHERE = ("crc32c_generic",)
# The end of a signed module, behind a struct module_signature, whose last field is the length of
# the signature before it (Linux's include/linux/module_signature.h).
_SIGNED = b"~Module signature appended~\n"
_SIGNATURE_HEAD = 12
COMPILE = (
    "gcc",
    "-std=gnu17",
    "-D_GNU_SOURCE",
    "-Os",
    "-static",
    "-Wall",
    "-Wextra",
    "-Wno-unused-result",
)


def _entry(name, mode, data=b"", device=(0, 0)):
    """One entry of a cpio archive of the "newc" kind; @device is major and minor of a device
    file."""
    encoded = name.encode() + b"\0"
    fields = (0, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(encoded), 0)
    header = b"070701" + b"".join(b"%08X" % field for field in fields) + encoded
    header += b"\0" * (-len(header) % 4)
    return header + data + b"\0" * (-len(data) % 4)


def _archive(entries):
    return b"".join(entries) + _entry("TRAILER!!!", 0)


def _build_init(folder):
    """Compiles the guest's init, once for each state of its source and of the compiler's
    options."""
    sources = sorted(GUEST.glob("*.c"))
    program = folder / f"init-{digest_of([GUEST], ' '.join(COMPILE))}"
    if not program.exists():
        folder.mkdir(parents=True, exist_ok=True)
        temporary = folder / f"{program.name}.{os.getpid()}"
        if subprocess.run([*COMPILE, "-o", temporary, *sources], check=False).returncode:
            raise VmError("the guest's init does not compile (scripts/packages.sh build vm)")
        os.rename(temporary, program)
    return program


def _module_name(path):
    return pathlib.PurePath(path).name.split(".ko")[0].replace("-", "_")


def _module_order(folder, wanted):
    """Files of the modules @wanted and of all they need, in an order that loads."""
    paths, needs = {}, {}
    for line in (folder / "modules.dep").read_text(encoding="utf-8").splitlines():
        path, rest = line.split(":", 1)
        paths[_module_name(path)] = path
        needs[_module_name(path)] = [_module_name(other) for other in rest.split()]
    builtin = {
        _module_name(line)
        for line in (folder / "modules.builtin").read_text(encoding="utf-8").split()
    }
    order = []
    for name in (name.replace("-", "_") for name in wanted):
        if name in builtin or (name in NOT_EVERYWHERE and name not in paths):
            continue
        if name not in paths:
            raise VmError(f"this kernel has no module {name}")
        # modules.dep has the closest first, so the reverse loads.
        order += [paths[other] for other in [*reversed(needs[name]), name]]
    return list(dict.fromkeys(order))


def _read_module(path):
    """A module's bytes without its signature, which nobody asks for, and whose check takes 30 ms
    in emulation."""
    data = path.read_bytes()
    if path.suffix == ".xz":
        data = lzma.decompress(data)
    elif path.suffix != ".ko":
        raise VmError(f"{path}: modules compressed like this cannot be read")
    if data.endswith(_SIGNED):
        end = len(data) - len(_SIGNED)
        (size,) = struct.unpack_from(">I", data, end - 4)
        data = data[: end - _SIGNATURE_HEAD - size]
    return data


def _options_of(module, arguments):
    """A module's parameters out of the kernel's arguments (MODULE.PARAMETER=VALUE), as modprobe
    takes them."""
    words = (word.partition(".") for word in arguments.split())
    return [rest for owner, _, rest in words if rest and owner.replace("-", "_") == module]


def _base_entries(kernel, program, own_modules, drives, extra_modules, arguments):
    entries = [
        _entry("dev", 0o40755),
        _entry("dev/console", 0o20600, device=(5, 1)),
        _entry("modules", 0o40755),
        _entry("init", 0o100755, program.read_bytes()),
    ]
    lines = []
    for path in own_modules:
        entries.append(_entry(f"modules/{path.name}", 0o100644, path.read_bytes()))
        lines.append(f"{path.name}\n")
    if kernel.modules:
        wanted = [*MODULES, *(DRIVE_MODULES if drives else ()), *extra_modules]
        for path in _module_order(kernel.modules, wanted):
            name = _module_name(path)
            entries.append(
                _entry(f"modules/{name}.ko", 0o100644, _read_module(kernel.modules / path))
            )
            lines.append(" ".join([f"{name}.ko", *_options_of(name, arguments)]) + "\n")
    elif extra_modules:
        raise VmError(f"the {kernel.name} kernel has everything built in; --load is for the others")
    entries.append(_entry("modules.list", 0o100644, "".join(lines).encode()))
    return entries


def build(cache, kernel, settings, own_modules, drives, extra_modules, arguments):
    """The bytes of the initial file system; @settings are (key, value) pairs for init
    (guest/agent.h), @own_modules are files of ours, loaded before all others, @drives whether the
    machine has any, @extra_modules names of the kernel's modules, and @arguments the kernel's."""
    program = _build_init(cache.path("guest"))
    text = b"".join(
        f"{key}={value}".encode("utf-8", "surrogateescape") + b"\0" for key, value in settings
    )
    return _archive(
        [
            *_base_entries(kernel, program, own_modules, drives, extra_modules, arguments),
            _entry("run.conf", 0o100644, text),
        ]
    )

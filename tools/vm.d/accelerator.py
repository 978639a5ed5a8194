# SPDX-License-Identifier: MIT
"""Whether KVM runs guests here. That /dev/kvm opens says little: on some hosts it interprets a
guest's instructions."""

import os
import pathlib
import subprocess
import tempfile

from cache import read_json, write_json

# A 64 KiB firmware that counts down from 50 million in real mode and then writes 0x11 to the exit
# device. The processor does that in a tenth of a second, an interpreter of instructions takes more
# than the limit.
_COUNT = 50_000_000
_EXIT_PORT = b"\xf4\x00"
_CODE = (
    b"\x66\xb9"
    + _COUNT.to_bytes(4, "little")  # mov ecx, count
    + b"\x66\x49\x75\xfc"  # again: dec ecx; jnz again
    + b"\xb0\x11\xba"
    + _EXIT_PORT
    + b"\xee"  # mov al, 0x11; mov dx, port; out dx, al
    + b"\xf4"
)  # hlt
_RESET_VECTOR = 0xFFF0
_CODE_PLACE = 0xFF00
_EXIT_STATUS = (0x11 << 1) | 1
_LIMIT_SECONDS = 3


def why_not_kvm(cache):
    """None when KVM runs guests at the processor's speed, else the reason why not. Tried once a
    boot of the host."""
    boot = pathlib.Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    known = read_json(cache.path("kvm.json"))
    if known and known["boot"] == boot:
        return known["reason"]
    reason = _try_kvm()
    write_json(cache.path("kvm.json"), {"boot": boot, "reason": reason})
    return reason


def _try_kvm():
    if not os.path.exists("/dev/kvm"):
        return "there is no /dev/kvm"
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return "/dev/kvm is not open to this user"
    firmware = bytearray(0x10000)
    firmware[_CODE_PLACE : _CODE_PLACE + len(_CODE)] = _CODE
    jump = _CODE_PLACE - (_RESET_VECTOR + 3)
    firmware[_RESET_VECTOR : _RESET_VECTOR + 3] = b"\xe9" + (jump & 0xFFFF).to_bytes(2, "little")
    with tempfile.TemporaryDirectory(prefix="exmap-vm.") as folder:
        path = pathlib.Path(folder) / "probe.bin"
        path.write_bytes(firmware)
        command = [
            "qemu-system-x86_64",
            "-accel",
            "kvm",
            "-cpu",
            "host",
            "-M",
            "pc",
            "-nodefaults",
            "-no-user-config",
            "-display",
            "none",
            "-m",
            "16",
            "-device",
            "isa-debug-exit,iobase=0xf4,iosize=0x04",
            "-bios",
            str(path),
        ]
        try:
            result = subprocess.run(
                command,
                timeout=_LIMIT_SECONDS,
                stdin=subprocess.DEVNULL,
                check=False,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        except subprocess.TimeoutExpired:
            return "/dev/kvm is there but does not run a guest at the processor's speed"
    return (
        None if result.returncode == _EXIT_STATUS else "/dev/kvm is there but does not run a guest"
    )

# SPDX-License-Identifier: MIT
"""The machine's NVMe drives: their options, their images, and QEMU's arguments for them."""

import contextlib
import dataclasses
import pathlib
import socket
import subprocess
import sys

from cache import VmError, die_with_parent, say

_VOLATILE_DRIVE = pathlib.Path(__file__).parent / "volatile_drive.py"
_WRITE_OUT_SECONDS = 60


@dataclasses.dataclass
class Drive:
    """One NVMe drive."""

    size: int  # bytes
    poll: bool = False  # wants poll queues
    hotplug: bool = False  # can be pulled
    volatile: bool = False  # forgets at the end what was not flushed
    ignore_flush: bool = False  # volatile, and a flush changes nothing
    errors: pathlib.Path | None = None  # a blkdebug file with errors to inject
    image: pathlib.Path | None = (
        None  # a file that stays; else an empty one that goes with the machine
    )
    iops: int = 0  # transfers a second that it makes at most; 0: as many as the host
    shared_iops: int = 0  # the same of it and of all others with this number, together


def parse_size(text):
    """Bytes of a size such as 512M or 2G."""
    units = {"K": 10, "M": 20, "G": 30, "T": 40}
    digits, unit = (text[:-1], text[-1].upper()) if text[-1:].isalpha() else (text, "")
    if not digits.isascii() or not digits.isdigit() or int(digits) == 0 or unit not in (*units, ""):
        raise ValueError(f"'{text}' is not a size (a whole number with K, M, G or T)")
    return int(digits) << units.get(unit, 0)


def _parse_iops(text):
    # QEMU's throttle takes no more; below 100 a second it lets less than ten through before the
    # first has to wait.
    if not text.isascii() or not text.isdigit() or not 100 <= int(text) <= 10**9:
        raise ValueError(f"'{text}' is not a number of transfers a second (100 to 1000000000)")
    return int(text)


def parse_drive(text):
    """A Drive out of SIZE[,OPTION]..."""
    size, *options = text.split(",")
    drive = Drive(parse_size(size))
    if drive.size % 4096:
        raise ValueError(f"'{size}': a drive has whole blocks of 4096 bytes")
    for option in options:
        if option in ("poll", "hotplug", "volatile"):
            setattr(drive, option, True)
        elif option == "ignore-flush":
            drive.volatile = drive.ignore_flush = True
        elif option.startswith("errors="):
            drive.errors = pathlib.Path(option.removeprefix("errors=")).absolute()
            if not drive.errors.is_file():
                raise VmError(f"no file {drive.errors} with errors to inject")
        elif option.startswith("image="):
            drive.image = pathlib.Path(option.removeprefix("image=")).absolute()
        elif option.startswith("iops="):
            drive.iops = _parse_iops(option.removeprefix("iops="))
        elif option.startswith("shared-iops="):
            drive.shared_iops = _parse_iops(option.removeprefix("shared-iops="))
        else:
            raise ValueError(
                f"'{option}' is not an option of a drive (poll, hotplug, volatile, ignore-flush, "
                "errors=FILE, image=FILE, iops=N, shared-iops=N)"
            )
    if drive.volatile and not drive.image:
        raise ValueError(
            f"'{text}': a volatile drive needs image=FILE to leave what was flushed in"
        )
    if drive.iops and drive.shared_iops:
        raise ValueError(f"'{text}': iops=N or shared-iops=N, not both")
    return drive


def image_of(folder, name, drive):
    """The path of a drive's image, which is made if it is not there."""
    image = drive.image or folder / f"{name}.img"
    if image.exists():
        if image.stat().st_size != drive.size:
            raise VmError(
                f"{image} has {image.stat().st_size} bytes, and the drive was to have {drive.size}"
            )
    else:
        with open(image, "wb") as file:
            file.truncate(drive.size)
    return image


def _socket_of(folder, name):
    return folder / f"{name}.nbd"


def _limit(name, iops):
    return ["-object", f"throttle-group,id={name},x-iops-total={iops}"]


def _shared_limit(iops):
    return f"shared-limit-{iops}"


def shared_limits(drives):
    """QEMU's arguments for what @drives have in common; they come before the drives' own."""
    numbers = sorted({drive.shared_iops for drive in drives if drive.shared_iops})
    return [argument for iops in numbers for argument in _limit(_shared_limit(iops), iops)]


def arguments(folder, name, drive, slot):
    """QEMU's arguments for the drive of that serial number; @slot is a number of its own."""
    under = f"{name}-file"
    if drive.volatile:
        result = [
            "-blockdev",
            f"driver=nbd,node-name={under},server.type=unix,"
            f"server.path={quote(_socket_of(folder, name))},export=drive",
        ]
    else:
        # What is written need not outlive the host, so no flush reaches its disk.
        result = [
            "-blockdev",
            f"driver=file,node-name={under},filename={quote(image_of(folder, name, drive))},"
            "aio=threads,cache.direct=off,cache.no-flush=on,discard=unmap",
        ]
    if drive.errors:
        result += [
            "-blockdev",
            f"driver=blkdebug,node-name={name}-errors,image={under},config={quote(drive.errors)}",
        ]
        under = f"{name}-errors"
    if drive.iops:
        result += _limit(f"{name}-limit", drive.iops)
    if drive.iops or drive.shared_iops:
        limit = f"{name}-limit" if drive.iops else _shared_limit(drive.shared_iops)
        result += [
            "-blockdev",
            f"driver=throttle,node-name={name}-throttled,throttle-group={limit},file={under}",
        ]
        under = f"{name}-throttled"
    result += ["-blockdev", f"driver=raw,node-name={name}-raw,file={under},discard=unmap"]
    device = f"nvme,id={name},drive={name}-raw,serial={name}"
    if drive.hotplug:
        result += ["-device", f"pcie-root-port,id={name}-port,chassis={slot},slot={slot}"]
        device += f",bus={name}-port"
    return [*result, "-device", device]


@contextlib.contextmanager
def volatile_drives_served(folder, drives):
    """Serves the volatile ones of @drives, (name, Drive) pairs, until the machine is gone;
    afterwards their images are complete."""
    with contextlib.ExitStack() as stack:
        for name, drive in drives:
            if drive.volatile:
                stack.enter_context(_served(folder, name, drive))
        yield


@contextlib.contextmanager
def _served(folder, name, drive):
    path = _socket_of(folder, name)
    image = image_of(folder, name, drive)
    command = [
        sys.executable,
        _VOLATILE_DRIVE,
        "serve",
        image,
        *(["--ignore-flush"] if drive.ignore_flush else []),
    ]
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        server = (
            subprocess.Popen(  # pylint: disable=consider-using-with,subprocess-popen-preexec-fn
                command, stdin=listener, preexec_fn=die_with_parent, start_new_session=True
            )
        )
    try:
        yield
    finally:
        # If nobody ever came, this is the connection that it waits for.
        with socket.socket(socket.AF_UNIX) as nobody, contextlib.suppress(OSError):
            nobody.connect(str(path))
        try:
            status = server.wait(_WRITE_OUT_SECONDS)
        except subprocess.TimeoutExpired:
            server.kill()
            status = server.wait()
        if status:
            say(f"the server of drive {name} ended with status {status}: {image} is of no use")


def quote(path):
    """A path inside one of QEMU's comma-separated options."""
    return str(path).replace(",", ",,")

# SPDX-License-Identifier: MIT
"""The virtual machine: QEMU's command line."""

import dataclasses
import pathlib
import subprocess

from cache import VmError


@dataclasses.dataclass
class Drive:
    """One NVMe drive."""
    size: int            # bytes
    poll: bool           # wants poll queues
    errors: pathlib.Path | None  # a blkdebug file with errors to inject


@dataclasses.dataclass
class Machine:
    """What a machine is made of."""
    image: pathlib.Path
    cpus: int
    memory: int          # bytes
    accelerator: str     # kvm, tcg or icount
    cpu_model: str
    drives: list
    tmp: int             # bytes of the drive for /tmp, or 0
    append: list         # kernel arguments
    shares: list         # (9p tag, path) the guest may write

    def kernel_arguments(self):
        arguments = ["console=ttyS0", "panic=-1", "oops=panic", "mitigations=off", "nokaslr", "printk.time=1",
                     "random.trust_cpu=on",
                     # The log is read off the console: nothing may keep a report from it.
                     "ignore_loglevel", "log_buf_len=4M",
                     # Emulation on a busy host is slow; what takes a minute there still moves.
                     "rcupdate.rcu_cpu_stall_timeout=120", "watchdog_thresh=60",
                     "sysctl.kernel.hung_task_timeout_secs=120"]
        if any(drive.poll for drive in self.drives):
            arguments.append(f"nvme.poll_queues={self.cpus}")
        return " ".join(arguments + self.append)

    def _accelerator(self):
        return {"kvm": ["-accel", "kvm"],
                "tcg": ["-accel", "tcg,thread=multi"],
                "icount": ["-accel", "tcg,thread=single", "-icount", "shift=0,sleep=off"]}[self.accelerator]

    def _shares(self):
        arguments = ["-fsdev", "local,id=root,path=/,security_model=none,readonly=on,multidevs=remap",
                     "-device", "virtio-9p-pci,fsdev=root,mount_tag=root"]
        for tag, path in self.shares:
            arguments += ["-fsdev", f"local,id={tag},path={_quote(path)},security_model=none,multidevs=remap",
                          "-device", f"virtio-9p-pci,fsdev={tag},mount_tag={tag}"]
        return arguments

    def _drives(self, folder):
        arguments = []
        for number, drive in enumerate(self.drives):
            arguments += _drive(folder, f"data{number}", drive)
        if self.tmp:
            arguments += _drive(folder, "tmp", Drive(self.tmp, False, None))
            result = subprocess.run(["mkfs.ext4", "-q", "-F", folder / "tmp.img"], check=False, text=True,
                                    stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            if result.returncode:
                raise VmError(f"mkfs.ext4: {result.stdout.strip()}")
        return arguments

    def command(self, folder, initrd, port):
        """QEMU's arguments; @folder takes the drives' images, @port is the socket that init talks to."""
        return ["qemu-system-x86_64", *self._accelerator(), "-M", "q35", "-cpu", self.cpu_model,
                "-smp", str(self.cpus), "-m", f"{self.memory >> 20}M", "-nodefaults", "-no-user-config",
                "-display", "none", "-no-reboot", "-serial", "stdio",
                "-device", "isa-debug-exit,iobase=0xf4,iosize=0x04",
                "-chardev", f"socket,id=port,path={_quote(port)}", "-device", "virtio-serial-pci",
                "-device", "virtserialport,chardev=port,name=exmap-vm",
                *self._shares(), *self._drives(folder),
                "-kernel", str(self.image), "-initrd", str(initrd), "-append", self.kernel_arguments()]


def _drive(folder, name, drive):
    """QEMU's arguments for one NVMe drive of that serial number; makes its image in @folder."""
    image = folder / f"{name}.img"
    with open(image, "wb") as file:
        file.truncate(drive.size)
    # What is written need not outlive the machine, so no flush reaches the host's disk.
    arguments = ["-blockdev", f"driver=file,node-name={name}-file,filename={_quote(image)},aio=threads,"
                 "cache.direct=off,cache.no-flush=on,discard=unmap"]
    under = f"{name}-file"
    if drive.errors:
        arguments += ["-blockdev", f"driver=blkdebug,node-name={name}-errors,image={under},"
                      f"config={_quote(drive.errors)}"]
        under = f"{name}-errors"
    return arguments + ["-blockdev", f"driver=raw,node-name={name}-raw,file={under},discard=unmap",
                        "-device", f"nvme,drive={name}-raw,serial={name}"]


def _quote(path):
    """A path inside one of QEMU's comma-separated options."""
    return str(path).replace(",", ",,")


def parse_size(text):
    """Bytes of a size such as 512M or 2G."""
    units = {"K": 10, "M": 20, "G": 30, "T": 40}
    digits, unit = (text[:-1], text[-1].upper()) if text[-1:].isalpha() else (text, "")
    if not digits.isascii() or not digits.isdigit() or int(digits) == 0 or unit not in (*units, ""):
        raise ValueError(f"'{text}' is not a size (a whole number with K, M, G or T)")
    return int(digits) << units.get(unit, 0)


def parse_drive(text):
    """A Drive out of SIZE[,poll][,errors=FILE]."""
    size, *options = text.split(",")
    drive = Drive(parse_size(size), False, None)
    if drive.size % 4096:
        raise ValueError(f"'{size}': a drive has whole blocks of 4096 bytes")
    for option in options:
        if option == "poll":
            drive.poll = True
        elif option.startswith("errors="):
            drive.errors = pathlib.Path(option.removeprefix("errors=")).absolute()
            if not drive.errors.is_file():
                raise VmError(f"no file {drive.errors} with errors to inject")
        else:
            raise ValueError(f"'{option}' is not an option of a drive (poll, errors=FILE)")
    return drive

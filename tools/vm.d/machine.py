# SPDX-License-Identifier: MIT
"""The virtual machine: QEMU's command line."""

import dataclasses
import pathlib
import subprocess

import drives
from cache import VmError


# Parts of Debian's kernels that nothing here asks for, and whose start takes a third of a boot in
# emulation: certificates for modules, a random number generator that tests itself, BPF's types,
# tracing set up at boot. A kernel that lacks one ignores its name.
_NOT_STARTED = (
    "load_system_certificate_list",
    "jent_mod_init",
    "bpf_tcp_ca_kfunc_init",
    "bpf_dummy_struct_ops_init",
    "init_kprobe_trace",
)


@dataclasses.dataclass
class Machine:
    """What a machine is made of."""

    image: pathlib.Path
    cpus: int
    memory: int  # bytes
    accelerator: str  # kvm, tcg or icount
    cpu_model: str
    drives: list  # of drives.Drive
    tmp: int  # bytes of the drive for /tmp, or 0
    append: list  # kernel arguments
    shares: list  # (9p tag, path) the guest may write

    def kernel_arguments(self):
        arguments = [
            "console=ttyS0",
            "panic=-1",
            "oops=panic",
            "mitigations=off",
            "nokaslr",
            "printk.time=1",
            "random.trust_cpu=on",
            # The log is read off the console: nothing may keep a report from it.
            "ignore_loglevel",
            "log_buf_len=4M",
            # Emulation on a busy host is slow; what takes a minute there still moves.
            "rcupdate.rcu_cpu_stall_timeout=120",
            "watchdog_thresh=60",
            # The kernel would count ticks in a short loop, find none, and panic.
            "no_timer_check",
            "sysctl.kernel.hung_task_timeout_secs=120",
            f"initcall_blacklist={','.join(_NOT_STARTED)}",
        ]
        if any(drive.poll for drive in self.drives):
            arguments.append(f"nvme.poll_queues={self.cpus}")
        return " ".join(arguments + self.append)

    def has_drives(self):
        return bool(self.drives or self.tmp)

    def may_stumble(self):
        """Whether it may run into a breakpoint that its kernel has taken away
        (modules/stale_breakpoint). That module sees to it as soon as it is loaded; a boot may have
        ended before. Seen in 5 of some 260 boots of 7.3 on a busy host (QEMU 7.2)."""
        return self.accelerator == "tcg" and self.cpus > 1

    def _accelerator(self):
        return {
            "kvm": ["-accel", "kvm"],
            "tcg": ["-accel", "tcg,thread=multi"],
            "icount": ["-accel", "tcg,thread=single", "-icount", "shift=0,sleep=off"],
        }[self.accelerator]

    def _shares(self):
        arguments = [
            "-fsdev",
            "local,id=root,path=/,security_model=none,readonly=on,multidevs=remap",
            "-device",
            "virtio-9p-pci,fsdev=root,mount_tag=root",
        ]
        for tag, path in self.shares:
            arguments += [
                "-fsdev",
                f"local,id={tag},path={drives.quote(path)},security_model=none,multidevs=remap",
                "-device",
                f"virtio-9p-pci,fsdev={tag},mount_tag={tag}",
            ]
        return arguments

    def named_drives(self):
        """(serial number, Drive) pairs of those that were asked for."""
        return [(f"data{number}", drive) for number, drive in enumerate(self.drives)]

    def _drives(self, folder):
        arguments = drives.shared_limits(self.drives)
        for slot, (name, drive) in enumerate(self.named_drives(), 1):
            arguments += drives.arguments(folder, name, drive, slot)
        if self.tmp:
            drive = drives.Drive(self.tmp)
            result = subprocess.run(
                ["mkfs.ext4", "-q", "-F", drives.image_of(folder, "tmp", drive)],
                check=False,
                text=True,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
            if result.returncode:
                raise VmError(f"mkfs.ext4: {result.stdout.strip()}")
            arguments += drives.arguments(folder, "tmp", drive, 0)
        return arguments

    def command(self, folder, initrd, port, control=None):
        """QEMU's arguments; @folder takes the drives' images, @port is the socket that init talks
        to, @control a control.Control or None."""
        return [
            "qemu-system-x86_64",
            *self._accelerator(),
            "-M",
            "q35",
            "-cpu",
            self.cpu_model,
            "-smp",
            str(self.cpus),
            "-m",
            f"{self.memory >> 20}M",
            "-nodefaults",
            "-no-user-config",
            "-display",
            "none",
            "-no-reboot",
            "-serial",
            "stdio",
            "-device",
            "isa-debug-exit,iobase=0xf4,iosize=0x04",
            "-chardev",
            f"socket,id=port,path={drives.quote(port)}",
            "-device",
            "virtio-serial-pci",
            "-device",
            "virtserialport,chardev=port,name=exmap-vm",
            *(control.arguments() if control else []),
            *self._shares(),
            *self._drives(folder),
            "-kernel",
            str(self.image),
            "-initrd",
            str(initrd),
            "-append",
            self.kernel_arguments(),
        ]

# SPDX-License-Identifier: MIT
"""Options of tools/vm, and what each of them sets in motion."""

import argparse
import contextlib
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile

import accelerator
import control
import drives
import initrd
import kernel_log
import kernels
import machine
import module_build
import session
from cache import Cache, VmError, say

TREE = pathlib.Path(__file__).resolve().parents[2]
STATUS_USAGE = 2
_BOOTS_MORE = 2  # after one that an emulator's flaw has ended (Machine.may_stumble)

DESCRIPTION = """Runs COMMAND inside a virtual machine that has this tree, its build folder and
exmap.ko. The exit status is COMMAND's; 122: the power was cut; 123: the guest's kernel reported a
bug; 124: the time limit;
125: the machine could not be set up; 130: ended by Ctrl-C."""


def _size(text):
    try:
        return drives.parse_size(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _drive(text):
    try:
        return drives.parse_drive(text)
    except (ValueError, VmError) as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _count(text):
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 16:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of CPUs (1 to 16)")
    return int(text)


def _seconds(text):
    try:
        value = float(text)
    except ValueError:
        value = 0
    if not 0 < value < 1e6:
        raise argparse.ArgumentTypeError(f"'{text}' is not a time in seconds")
    return value


def _add_machine_options(parser):
    group = parser.add_argument_group("the machine")
    group.add_argument(
        "--kernel", choices=kernels.NAMES, default="6.1", help="the kernel to boot (6.1)"
    )
    group.add_argument("--cpus", type=_count, metavar="N", help="processors (2; 1 with --icount)")
    group.add_argument(
        "--memory", type=_size, metavar="SIZE", help="memory (2G; 4G for the debug kernel)"
    )
    group.add_argument(
        "--nvme",
        type=_drive,
        action="append",
        default=[],
        metavar="SIZE[,OPTION]...",
        help="an empty NVMe drive; may be repeated. Their serial numbers are data0, data1, ...; in "
        "the guest /dev/vm/dataN is the block device, /dev/vm/dataN-char the character device. "
        "Options: poll: with poll queues. hotplug: COMMAND can have it pulled. errors=FILE: a "
        "blkdebug file of "
        "QEMU. image=FILE: its content, which stays. volatile: FILE gets what was flushed, and "
        "FILE.unflushed the rest. ignore-flush: volatile, and nothing is ever flushed. iops=N: at "
        "most "
        "N transfers a second. shared-iops=N: at most N of all such drives together",
    )
    group.add_argument(
        "--tmp",
        type=_size,
        default=0,
        metavar="SIZE",
        help="/tmp is an ext4 file system of that size on an NVMe drive, for direct I/O (else a "
        "tmpfs)",
    )
    group.add_argument(
        "--icount",
        action="store_true",
        help="count instructions: one processor, and one instruction takes one nanosecond",
    )
    group.add_argument(
        "--accel",
        choices=("auto", "tcg", "kvm"),
        default="auto",
        help="auto: KVM where it really runs guests, else emulation",
    )
    group.add_argument(
        "--cpu", default="", metavar="MODEL", help="QEMU's processor model (qemu64; host with KVM)"
    )
    group.add_argument(
        "--append", action="append", default=[], metavar="ARGS", help="more kernel arguments"
    )
    group.add_argument(
        "--load",
        action="append",
        default=[],
        metavar="MODULE",
        help="one more module of the kernel to load at the start; may be repeated",
    )


def _add_run_options(parser):
    group = parser.add_argument_group("the run")
    group.add_argument(
        "--timeout", type=_seconds, default=600, metavar="S", help="time limit in seconds (600)"
    )
    group.add_argument(
        "--cut-power",
        type=_seconds,
        metavar="S",
        help="kill the machine S seconds after COMMAND's first output; the exit status is then 122",
    )
    group.add_argument("--no-module", action="store_true", help="do without exmap.ko")
    group.add_argument(
        "--module-options", default="", metavar="TEXT", help="parameters for exmap.ko"
    )
    group.add_argument(
        "--test-module",
        type=pathlib.Path,
        action="append",
        default=[],
        metavar="FOLDER",
        help="build the module NAME of this FOLDER/NAME as build/kmod/KERNEL/NAME/NAME.ko, for "
        "COMMAND to load; may be repeated",
    )
    group.add_argument(
        "--no-leak-check", action="store_true", help="debug kernel: no kmemleak scan at the end"
    )
    group.add_argument(
        "--build",
        type=pathlib.Path,
        default=TREE / "build",
        metavar="FOLDER",
        help="the build folder, which the guest may write (build)",
    )
    group.add_argument(
        "--out",
        type=pathlib.Path,
        action="append",
        default=[],
        metavar="FOLDER",
        help="one more folder that the guest may write; may be repeated",
    )
    group.add_argument(
        "--cwd",
        metavar="FOLDER",
        help="COMMAND's working folder (the one that this is started in); "
        "/tmp is one it can write to",
    )
    group.add_argument(
        "--env",
        action="append",
        default=[],
        metavar="NAME[=VALUE]",
        help="an environment variable for COMMAND; may be repeated",
    )
    group.add_argument(
        "--log", type=pathlib.Path, metavar="FILE", help="keep the guest's kernel log"
    )


def _parser():
    cache_home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    parser = argparse.ArgumentParser(
        prog="vm",
        description=DESCRIPTION,
        allow_abbrev=False,
        usage="tools/vm [OPTION]... -- COMMAND [ARGUMENT]...\n"
        "       tools/vm [OPTION]... --shell | --prepare [KERNEL...] | "
        "--build-module KERNEL",
    )
    _add_machine_options(parser)
    _add_run_options(parser)
    parser.add_argument(
        "--cache",
        type=pathlib.Path,
        default=pathlib.Path(cache_home) / "exmap-vm",
        metavar="FOLDER",
        help="where kernels are kept ($XDG_CACHE_HOME/exmap-vm)",
    )
    parser.add_argument(
        "--shell", action="store_true", help="an interactive shell instead of COMMAND"
    )
    parser.add_argument(
        "--prepare",
        nargs="*",
        metavar="KERNEL",
        choices=(*kernels.NAMES, []),
        help="bring the cache up to date for these kernels (all), and run nothing",
    )
    parser.add_argument(
        "--build-module",
        choices=kernels.NAMES,
        metavar="KERNEL",
        help="build exmap.ko for that kernel into build/kmod/KERNEL, and run nothing",
    )
    parser.add_argument(
        "--sparse",
        action="store_true",
        help="with --build-module: have sparse look at the source instead of building it",
    )
    return parser


def _split(arguments):
    """What is before and what is after the first `--`."""
    if "--" in arguments:
        place = arguments.index("--")
        return arguments[:place], arguments[place + 1 :]
    return arguments, []


def _check(parser, options, command):
    modes = [
        bool(command),
        options.shell,
        options.prepare is not None,
        options.build_module is not None,
    ]
    if sum(modes) == 0:
        parser.error("no COMMAND (put it after --)")
    if sum(modes) > 1:
        parser.error("one of COMMAND, --shell, --prepare and --build-module, not several")
    if options.sparse and options.build_module in (None, "7.3"):
        parser.error(
            "--sparse needs --build-module, with a kernel whose headers build outside the Debian "
            "13 root (6.1, 6.12, debug)"
        )
    if options.icount and (options.cpus or 1) != 1:
        parser.error("--icount counts on one processor; leave --cpus out")
    if options.icount and options.accel == "kvm":
        parser.error("--icount needs emulation, not KVM")
    if options.shell and not (sys.stdin.isatty() and sys.stdout.isatty()):
        parser.error("--shell needs a terminal")
    for folder in options.out:
        if not folder.is_dir():
            parser.error(f"--out {folder}: no such folder")


def _choose_accelerator(options, cache):
    if options.icount:
        return "icount"
    if options.accel == "tcg":
        return "tcg"
    reason = accelerator.why_not_kvm(cache)
    if reason is None:
        return "kvm"
    if options.accel == "kvm":
        raise VmError(f"no KVM: {reason}")
    say(f"no KVM ({reason}): running in emulation, whose times mean nothing")
    return "tcg"


def _build_module(kernel, build):
    """The path of exmap.ko, or None where the tree has no module yet."""
    if not module_build.has_sources(TREE):
        say("this tree has no Kbuild: no exmap.ko to build")
        return None
    return module_build.build_exmap(kernel, TREE, build / "kmod" / kernel.name)


def _environment(names):
    wanted = {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/tmp",
        "USER": "root",
        "EXMAP_VM": "1",
    }
    wanted |= {name: os.environ[name] for name in ("TERM", "LANG") if name in os.environ}
    for item in names:
        name, separator, value = item.partition("=")
        if separator or name in os.environ:
            wanted[name] = value if separator else os.environ[name]
        else:
            raise VmError(f"--env {name}: not in the environment")
    return wanted


def _settings(options, command, module, shares):
    """What init is told: (key, value) pairs."""
    cwd = os.path.abspath(options.cwd or ".")
    settings = [("cwd", cwd)] + [
        ("keep", path) for path in (TREE, cwd, *(path for _, path in shares))
    ]
    settings += [("share", f"{tag}:{path}") for tag, path in shares]
    settings += [("env", f"{name}={value}") for name, value in _environment(options.env).items()]
    settings += [
        ("drive", f"data{number}" + (",poll" if drive.poll else ""))
        for number, drive in enumerate(options.nvme)
    ]
    if options.tmp:
        settings.append(("drive", "tmp"))
    if any(drive.hotplug for drive in options.nvme):
        settings.append(("control", 1))
    if module:
        settings += [("module", module), ("module_options", options.module_options)]
    if options.shell:
        settings.append(("terminal", 1))
    if options.kernel == "debug" and not options.no_leak_check:
        settings.append(("leak_check", 1))
    return settings + [("arg", argument) for argument in command]


def _machine(options, cache, kernel, shares):
    kind = _choose_accelerator(options, cache)
    memory = options.memory or (4 if kernel.name == "debug" else 2) << 30
    cpus = options.cpus or (1 if kind == "icount" else 2)
    model = options.cpu or ("host" if kind == "kvm" else "qemu64")
    return machine.Machine(
        kernel.image, cpus, memory, kind, model, options.nvme, options.tmp, options.append, shares
    )


def _boot(options, guest, initial, log_file):
    """Boots once, and runs the command if it comes that far: how that ended, and the kernel's
    log."""
    with contextlib.ExitStack() as stack:
        # Short, because a socket's path is; and not in the guest's way.
        folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="exmap-vm.")))
        initial_file = folder / "initrd"
        initial_file.write_bytes(initial)
        log = kernel_log.KernelLog(log_file)
        asked = None
        if any(drive.hotplug for drive in options.nvme):
            asked = stack.enter_context(contextlib.closing(control.Control(folder)))
        stack.enter_context(drives.volatile_drives_served(folder, guest.named_drives()))
        arguments = guest.command(folder, initial_file, folder / "port", asked)
        limits = session.Limits(options.timeout, options.cut_power)
        run = session.Session(arguments, folder / "port", log, limits, options.shell, asked)
        return run.run(), log


def _run(options, command):
    cache = Cache(options.cache.absolute())
    kernel = kernels.find(cache, options.kernel)
    options.build.mkdir(parents=True, exist_ok=True)
    build = options.build.resolve()
    module = None if options.no_module else _build_module(kernel, build)
    for source in options.test_module:
        source = source.resolve()
        module_build.build_test_module(kernel, source, build / "kmod" / kernel.name / source.name)
    folders = dict.fromkeys([build, *(folder.resolve() for folder in options.out)])
    shares = [(f"share{number}", folder) for number, folder in enumerate(folders)]
    settings = _settings(options, command or ["/bin/bash"], module, shares)

    guest = _machine(options, cache, kernel, shares)
    own = [module_build.build_own_module(kernel, "stale_breakpoint")] if guest.may_stumble() else []
    initial = initrd.build(
        cache,
        kernel,
        settings,
        own,
        guest.has_drives(),
        options.load,
        guest.kernel_arguments(),
    )

    with open(options.log, "wb") if options.log else contextlib.nullcontext() as log_file:
        outcome, log = _boot(options, guest, initial, log_file)
        for _ in range(_BOOTS_MORE):
            if outcome.started or not (guest.may_stumble() and log.died_of_breakpoint()):
                break
            say(
                "an emulated processor stumbled over a breakpoint that its kernel had taken away: "
                "booting again"
            )
            outcome, log = _boot(options, guest, initial, log_file)
        return session.explain(outcome, log, options.timeout)


def _dispatch(options, command):
    if options.prepare is None and options.build_module is None:
        return _run(options, command)
    cache = Cache(options.cache.absolute())
    if options.prepare is not None:
        for name in options.prepare or kernels.NAMES:
            kernels.prepare(cache, name)
        return 0
    kernel = kernels.find(cache, options.build_module)
    build = options.build.absolute()
    if options.sparse:
        module_build.check_exmap(kernel, TREE, build / "kmod" / kernel.name / "sparse")
    elif path := _build_module(kernel, build):
        say(f"built {path}")
    return 0


def main(arguments):
    """Returns the exit status."""
    own, command = _split(arguments)
    parser = _parser()
    options = parser.parse_args(own)
    _check(parser, options, command)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    signal.signal(
        signal.SIGTERM, signal.default_int_handler
    )  # so that what was begun is cleaned up
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    for program in ("qemu-system-x86_64", "depmod", "mkfs.ext4", "gcc", "rsync"):
        if shutil.which(program) is None:
            say(f"{program} is missing: as root, scripts/packages.sh build vm")
            return session.STATUS_TOOL
    try:
        return _dispatch(options, command)
    except VmError as error:
        say(f"ERROR: {error}")
        return session.STATUS_TOOL
    except (OSError, subprocess.CalledProcessError) as error:
        say(f"ERROR: {error}")
        return session.STATUS_TOOL
    except KeyboardInterrupt:
        say("interrupted")
        return session.STATUS_INTERRUPT

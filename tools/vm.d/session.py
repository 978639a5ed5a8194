# SPDX-License-Identifier: MIT
"""One run: starts QEMU, talks to the guest's init (guest/protocol.h has the frames), and says how
it ended."""

import dataclasses
import errno
import fcntl
import os
import selectors
import signal
import socket
import struct
import subprocess
import termios
import time
import tty

from cache import VmError, die_with_parent, say

_HEADER = struct.Struct("<cI")
_STDIN_WINDOW = 65536
_READ_BYTES = 65536
_QUIT_SECONDS = 5
_GRACE_SECONDS = 10
_DUMP_SECONDS = 3

STATUS_POWER_CUT = 122
STATUS_TIME_LIMIT = 124
STATUS_TOOL = 125
STATUS_KERNEL = 123
STATUS_INTERRUPT = 130


@dataclasses.dataclass
class Limits:
    """When a run is ended from outside, in seconds."""

    timeout: float
    cut_power: float | None = None  # after the command's first output


@dataclasses.dataclass
class Outcome:
    """How a run ended."""

    status: int | None = None  # the command's exit status, None when the guest never said
    started: bool = False  # whether the command was started
    failure: str = ""  # why the guest could not be set up
    findings: str = ""  # what init found wrong after the command
    timed_out: bool = False
    power_cut: bool = False
    interrupted: int = 0  # the signal that ended the run, if one did
    output_gone: bool = False  # whoever read our output has closed it
    machine_errors: str = ""  # what QEMU itself complained of


class Session:
    """Runs one machine to its end."""

    def __init__(self, command, port_path, log, limits, terminal, control=None):
        self._command = command
        self._log = log
        self._terminal = terminal
        self._control = control
        self._deadline = time.monotonic() + limits.timeout
        self._cut_power = limits.cut_power
        self._power_ends = None  # when the power is to be cut, once that is known
        self._outcome = Outcome()
        self._selector = selectors.PollSelector()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(port_path))
        self._listener.listen(1)
        self._port = None
        self._buffer = b""
        self._window = _STDIN_WINDOW
        self._stdin_watched = False
        self._stdin_open = True
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._signals = []
        self._grace_deadline = None
        self._process = None
        self._process_fd = -1

    # The whole run

    def run(self):
        """Returns the Outcome."""
        previous = {
            number: signal.signal(number, self._on_signal)
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGWINCH)
        }
        saved_terminal = termios.tcgetattr(0) if self._terminal else None
        try:
            self._start()
            while self._process.poll() is None and self._step():
                pass
            self._end()
        finally:
            if saved_terminal:
                termios.tcsetattr(0, termios.TCSADRAIN, saved_terminal)
            for number, handler in previous.items():
                signal.signal(number, handler)
            if self._process and self._process.poll() is None:
                self._process.kill()
                self._process.wait()
            if self._process_fd >= 0:
                os.close(self._process_fd)
        return self._outcome

    def _start(self):
        try:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                preexec_fn=die_with_parent,
                start_new_session=True,  # the terminal's Ctrl-C is not for QEMU
            )
        except FileNotFoundError as error:
            raise VmError(f"{self._command[0]} is missing (scripts/packages.sh vm)") from error
        self._selector.register(self._listener, selectors.EVENT_READ, self._on_connect)
        self._selector.register(self._wake_read, selectors.EVENT_READ, self._on_wake)
        if self._control:
            self._control.watch(self._selector)
        # All its pipes may be closed a moment before it can be waited for.
        self._process_fd = os.pidfd_open(self._process.pid)
        self._selector.register(self._process_fd, selectors.EVENT_READ, lambda: False)
        for stream, handler in (
            (self._process.stdout, self._on_console),
            (self._process.stderr, self._on_complaint),
        ):
            os.set_blocking(stream.fileno(), False)
            self._selector.register(stream, selectors.EVENT_READ, handler)

    def _step(self):
        """Waits for the next events and handles them. Returns False when the run is over."""
        now = time.monotonic()
        if now >= self._deadline and not self._outcome.timed_out:
            # Before the end, let the kernel tell where everyone waits.
            self._outcome.timed_out = True
            self._deadline = now + _DUMP_SECONDS
            self._send(b"d")
        if self._power_ends and now >= self._power_ends:
            self._outcome.power_cut = True
            self._process.kill()
            return False
        deadline = min(filter(None, (self._deadline, self._grace_deadline, self._power_ends)))
        if now >= deadline:
            return False
        self._watch_stdin()
        for key, _ in self._selector.select(deadline - now):
            if key.data() is False:
                return False
        return True

    def _end(self):
        """Lets QEMU go, and takes in the last of its log."""
        if self._outcome.status is not None or self._outcome.failure:
            try:
                self._process.wait(_QUIT_SECONDS)
            except subprocess.TimeoutExpired:
                pass
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        if self._port:
            self._read_port_to_its_end()
        os.set_blocking(self._process.stdout.fileno(), True)
        os.set_blocking(self._process.stderr.fileno(), True)
        self._log.feed(self._process.stdout.read())
        self._log.finish()
        self._outcome.machine_errors += self._process.stderr.read().decode("utf-8", "replace")

    def _read_port_to_its_end(self):
        try:
            while data := self._port.recv(_READ_BYTES, socket.MSG_DONTWAIT):
                self._take_bytes(data)
        except OSError:
            pass

    # Events; a handler returns False when the run is over

    def _on_connect(self):
        self._port, _ = self._listener.accept()
        self._selector.unregister(self._listener)
        self._selector.register(self._port, selectors.EVENT_READ, self._on_port)

    def _on_port(self):
        try:
            data = self._port.recv(_READ_BYTES)
        except ConnectionResetError:
            data = b""
        if not data:
            self._selector.unregister(self._port)
            return None
        return self._take_bytes(data)

    def _on_console(self):
        data = os.read(self._process.stdout.fileno(), _READ_BYTES)
        if not data:
            self._selector.unregister(self._process.stdout)
            return
        self._log.feed(data)

    def _on_complaint(self):
        data = os.read(self._process.stderr.fileno(), _READ_BYTES)
        if not data:
            self._selector.unregister(self._process.stderr)
            return
        self._outcome.machine_errors += data.decode("utf-8", "replace")

    def _on_signal(self, number, _frame):
        self._signals.append(number)
        try:
            os.write(self._wake_write, b"s")
        except BlockingIOError:
            pass

    def _on_wake(self):
        os.read(self._wake_read, 4096)
        while self._signals:
            number = self._signals.pop(0)
            if number == signal.SIGWINCH:
                self._send_size()
                continue
            first = not self._outcome.interrupted
            self._outcome.interrupted = number
            if not first or not self._outcome.started:
                return False
            # The command gets it, and some time to end by itself.
            self._send(b"s", struct.pack("<I", number))
            self._grace_deadline = time.monotonic() + _GRACE_SECONDS
        return None

    def _watch_stdin(self):
        """Reads standard input only while the guest takes it, and never from behind another job's
        terminal."""
        wanted = (
            self._stdin_open
            and self._outcome.started
            and self._window > 0
            and self._in_foreground()
        )
        if wanted and not self._stdin_watched:
            self._selector.register(0, selectors.EVENT_READ, self._on_stdin)
        elif self._stdin_watched and not wanted:
            self._selector.unregister(0)
        self._stdin_watched = wanted

    @staticmethod
    def _in_foreground():
        try:
            return os.tcgetpgrp(0) == os.getpgrp()
        except OSError as error:
            return error.errno == errno.ENOTTY

    def _on_stdin(self):
        try:
            data = os.read(0, self._window)
        except OSError:
            data = b""
        if data:
            self._window -= len(data)
            self._send(b"i", data)
        else:
            self._stdin_open = False
            self._send(b"z")

    # Frames

    def _send(self, kind, payload=b""):
        if self._port is None:
            return
        try:
            self._port.sendall(_HEADER.pack(kind, len(payload)) + payload)
        except OSError:
            pass  # the guest is gone, and what ended it is found out elsewhere

    def _take_bytes(self, data):
        self._buffer += data
        while len(self._buffer) >= _HEADER.size:
            kind, length = _HEADER.unpack_from(self._buffer)
            end = _HEADER.size + length
            if len(self._buffer) < end:
                break
            payload, self._buffer = self._buffer[_HEADER.size : end], self._buffer[end:]
            if self._take_frame(kind, payload) is False:
                return False
        return None

    def _take_frame(self, kind, payload):
        outcome = self._outcome
        if kind == b"o":
            if self._cut_power and not self._power_ends:
                self._power_ends = time.monotonic() + self._cut_power
            return self._write(1, payload)
        if kind == b"e":
            return self._write(2, payload)
        if kind == b"r":
            outcome.started = True
            if self._terminal:
                tty.setraw(0, termios.TCSADRAIN)  # what was typed ahead counts
                self._send_size()
        elif kind == b"c":
            self._window += struct.unpack("<I", payload)[0]
        elif kind == b"k":
            outcome.findings += payload.decode("utf-8", "replace")
        elif kind == b"f":
            outcome.failure = payload.decode("utf-8", "replace")
        elif kind == b"q":
            outcome.status = struct.unpack("<I", payload)[0]
        else:
            raise VmError(f"the guest sent a frame of unknown kind {kind!r}")
        if kind in b"fq":
            self._send(b"b")
            return False
        return None

    def _write(self, fd, data):
        try:
            while data:
                data = data[os.write(fd, data) :]
        except BrokenPipeError:
            self._outcome.output_gone = True
            return False
        return None

    def _send_size(self):
        if self._terminal and self._outcome.started:
            rows, columns, _, _ = struct.unpack(
                "HHHH", fcntl.ioctl(0, termios.TIOCGWINSZ, b"\0" * 8)
            )
            self._send(b"w", struct.pack("<II", rows, columns))


def explain(outcome, log, timeout_seconds):
    """Says on standard error what went wrong, if anything did; returns the exit status of the
    tool."""
    mended = log.breakpoints_mended()
    if mended:
        say(f"the emulated processors ran {mended} breakpoints that were gone; they were seen to")
    reports = log.reports()
    for text in reports:
        say("the guest's kernel reported:\n" + text)
    if len(log.report_starts) > len(reports):
        say(f"{len(log.report_starts)} lines of the kernel log start a report")
    if outcome.findings:
        say("found after the command:\n" + outcome.findings)
    if outcome.timed_out:
        say(
            f"TIME LIMIT: the guest did not end within {timeout_seconds:g} s; "
            f"the end of its log:\n{log.tail(60)}"
        )
        return STATUS_TIME_LIMIT
    if reports or outcome.findings:
        ending = (
            "ended the guest"
            if outcome.status is None
            else f"the command's exit status was {outcome.status}"
        )
        say(f"FAILED: a kernel report ({ending})")
        return STATUS_KERNEL
    if outcome.status is not None:
        return outcome.status
    if outcome.power_cut:
        say("the power was cut")
        return STATUS_POWER_CUT
    if outcome.interrupted:
        say(f"ended by {signal.Signals(outcome.interrupted).name}")
        return 128 + outcome.interrupted
    if outcome.output_gone:
        return 128 + signal.SIGPIPE
    if outcome.failure:
        say(
            f"the guest could not be set up: {outcome.failure}\nthe end of its log:\n{log.tail(15)}"
        )
    else:
        say(
            "the guest ended without an exit status; QEMU said: "
            f"{outcome.machine_errors.strip() or 'nothing'}\n"
            f"the end of its log:\n{log.tail(15)}"
        )
    return STATUS_TOOL

# SPDX-License-Identifier: MIT
"""What the command in the guest may ask of the machine: lines written to /dev/vm/host.

pull NAME    takes the drive NAME (data0, data1, ...), which was made with `hotplug`, out of its
slot"""

import json
import selectors
import socket

from cache import say

_LINE_BYTES_MAX = 4096
_ANSWER_SECONDS = 30


class Control:
    """Takes the lines, and asks QEMU by its monitor (QMP)."""

    def __init__(self, folder):
        self._monitor_path = folder / "qmp"
        self._requests_path = folder / "host"
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self._requests_path))
        self._listener.listen(1)
        self._requests = None
        self._text = b""
        self._monitor = None

    def arguments(self):
        """QEMU's, after those that make the virtio-serial device."""
        return [
            "-chardev",
            f"socket,id=qmp,path={self._monitor_path},server=on,wait=off",
            "-mon",
            "chardev=qmp,mode=control",
            "-chardev",
            f"socket,id=host,path={self._requests_path}",
            "-device",
            "virtserialport,chardev=host,name=exmap-vm.host",
        ]

    def watch(self, selector):
        """Registers what it listens to; data of a key is the handler."""
        selector.register(self._listener, selectors.EVENT_READ, lambda: self._accept(selector))

    def close(self):
        for stream in (self._listener, self._requests, self._monitor):
            if stream:
                stream.close()

    def _accept(self, selector):
        self._requests, _ = self._listener.accept()
        selector.unregister(self._listener)
        selector.register(self._requests, selectors.EVENT_READ, lambda: self._take(selector))

    def _take(self, selector):
        try:
            data = self._requests.recv(_LINE_BYTES_MAX)
        except ConnectionResetError:
            data = b""
        if not data:
            selector.unregister(self._requests)
            return
        *lines, self._text = (self._text + data).split(b"\n")
        self._text = self._text[:_LINE_BYTES_MAX]
        for line in lines:
            self._carry_out(line.decode("utf-8", "replace").split())

    def _carry_out(self, words):
        if len(words) != 2 or words[0] != "pull":
            say(f"the guest asked for '{' '.join(words)}'; allowed is: pull NAME")
            return
        try:
            answer = self._ask("device_del", {"id": words[1]})
        except (OSError, ValueError) as error:
            answer = {"error": {"desc": error}}
        if "error" in answer:
            say(f"drive {words[1]} cannot be pulled: {answer['error']['desc']}")

    def _ask(self, command, arguments):
        if self._monitor is None:
            connection = socket.socket(socket.AF_UNIX)
            connection.settimeout(_ANSWER_SECONDS)
            connection.connect(str(self._monitor_path))
            self._monitor = connection.makefile("rw", encoding="utf-8")
            self._monitor.readline()  # its greeting
            self._exchange({"execute": "qmp_capabilities"})
        return self._exchange({"execute": command, "arguments": arguments})

    def _exchange(self, request):
        self._monitor.write(json.dumps(request) + "\n")
        self._monitor.flush()
        while True:
            answer = json.loads(self._monitor.readline())
            if "event" not in answer:
                return answer

# SPDX-License-Identifier: MIT
"""The guest kernel's log: kept whole, and watched for what must fail a run."""

import re

# Each is looked for at the start of a message, as the kernel prints it, so that a program's own
# words do not count.
_REPORTS = re.compile(
    r"(WARNING: |BUG: |BUG \S+ \(|kernel BUG at |Oops\b|int3: |Kernel panic|(traps: )?PANIC: "
    r"|Unable to handle"
    r"|general protection fault[,:]|stack segment: |invalid opcode: "
    r"|KASAN: |UBSAN: |watchdog: BUG|Bad page (state|map)|list_(add|del) corruption|refcount_t: "
    r"|INFO: task .* blocked for more than|INFO: rcu|rcu: INFO: .*stall"
    r"|INFO: trying to register non-static key"
    r"|DEBUG_LOCKS_WARN_ON|Voluntary context switch within RCU"
    r"|kmemleak: \d+ new suspected memory leaks|unreferenced object 0x)"
)
_BREAKPOINT = re.compile(r"(Oops: )?int3: ")
_MENDED = "stale_breakpoint: the breakpoint at "
_STAMP = re.compile(r"^(?:<\d+>)?\[\s*\d+\.\d+\](?:\[[^]]*\])? ")
_END = re.compile(r"---\[ end (trace|Kernel panic)|^=+$")
_CONTEXT_LINES = 2
_REPORT_LINES_MAX = 90
_REPORTS_SHOWN_MAX = 3


class KernelLog:
    """Takes the serial console's bytes as they come."""

    def __init__(self, file=None):
        self._file = file
        self._rest = b""
        self.lines = []
        self.report_starts = []

    def feed(self, data):
        if self._file:
            self._file.write(data)
            self._file.flush()
        *whole, self._rest = (self._rest + data).split(b"\n")
        for line in whole:
            self._take(line.decode("utf-8", "replace").rstrip("\r"))

    def finish(self):
        if self._rest:
            self.feed(b"\n")

    def _take(self, line):
        stamp = _STAMP.match(line)
        if stamp and _REPORTS.match(line, stamp.end()):
            self.report_starts.append(len(self.lines))
        self.lines.append(line)

    def died_of_breakpoint(self):
        """Whether the first report is an oops at a breakpoint that nobody has set."""
        if not self.report_starts:
            return False
        return bool(_BREAKPOINT.match(_STAMP.sub("", self.lines[self.report_starts[0]])))

    def breakpoints_mended(self):
        """How many the emulator ran that were gone, and that modules/stale_breakpoint saw to."""
        return sum(1 for line in self.lines if _MENDED in line)

    def reports(self):
        """The text of the first reports, each with the lines before and after that belong to it."""
        texts, shown_to = [], -1
        for start in self.report_starts:
            if start < shown_to:
                continue
            if len(texts) == _REPORTS_SHOWN_MAX:
                break
            end = start + 1
            while end < min(len(self.lines), start + _REPORT_LINES_MAX):
                end += 1
                if end - start > 4 and _END.search(_STAMP.sub("", self.lines[end - 1])):
                    break
            texts.append("\n".join(self.lines[max(0, start - _CONTEXT_LINES) : end]))
            shown_to = end
        return texts

    def tail(self, count):
        return "\n".join(self.lines[-count:])

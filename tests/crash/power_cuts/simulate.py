#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Cuts the power under a program's files at many moments, and has each result checked.

recorder.c has written down what the program did to the files of a folder. For a moment in that
trace, this makes a folder as a power cut could have left it:

- What a sync that had returned covers is there: all writes and sizes of the file that had ended
  when the sync began. A sync of the folder covers names.
- Of every other write each sector of 512 bytes may be there or not, in any order; or all of them,
  or none.
- Of the changes of a file's size that no sync covers, the first ones may be there, in their order.
  So it is with names. What lies in a part of a file that was never written is zeros.

A checker then gets the folder and the last line that the program had printed before the cut. It
fails if what was promised is not there.
"""

import argparse
import collections
import pathlib
import random
import shutil
import struct
import subprocess
import sys
import tempfile
import time

SECTOR = 512
HEADER = struct.Struct("<II4Q")  # struct event of recorder.c
FOLDER = 0

Event = collections.namedtuple("Event", "kind file id offset length data")


def read_trace(path):
    content = path.read_bytes()
    events = []
    at = 0
    while at < len(content):
        kind, file, number, offset, length, size = HEADER.unpack_from(content, at)
        at += HEADER.size
        events.append(Event(chr(kind), file, number, offset, length, content[at : at + size]))
        at += size
    return events


class Moment:
    """What a cut right before events[end] leaves open."""

    def __init__(self, events, end):
        self.events = events[:end]
        # By id: where a write or sync ended; other events end where they are.
        ended = {event.id: n for n, event in enumerate(self.events) if event.kind == "E"}
        # By file: up to which event a sync covers it.
        covered = {}
        for n, event in enumerate(self.events):
            if event.kind == "S" and event.id in ended:
                covered[event.file] = n
        self.is_durable = [False] * end
        for n, event in enumerate(self.events):
            names = event.kind in "CU"
            until = covered.get(FOLDER if names else event.file, -1)
            self.is_durable[n] = ended.get(event.id, end) < until if event.id else n < until
        self.is_gone = {
            event.file
            for n, event in enumerate(self.events)
            if event.kind == "U" and self.is_durable[n]
        }

    def is_settled(self, n):
        """Whether neither this cut nor a later one leaves open what becomes of events[n]."""
        event = self.events[n]
        return self.is_durable[n] or event.kind in "SEP" or event.file in self.is_gone

    def printed(self):
        """How many bytes of its output the program had printed."""
        return max((event.offset for event in self.events if event.kind == "P"), default=0)


def some_first_ones(numbers, choose):
    """The first few of them, as a set."""
    return set(numbers[: choose.randint(0, len(numbers))])


class Content:
    """A file, as it comes to be."""

    def __init__(self, content=b""):
        self.bytes = bytearray(content)

    def resize(self, size):
        if size < len(self.bytes):
            del self.bytes[size:]
        else:
            self.bytes.extend(bytes(size - len(self.bytes)))

    def write(self, offset, data, may_grow, has_sector):
        if may_grow and offset + len(data) > len(self.bytes):
            self.resize(offset + len(data))
        end = min(offset + len(data), len(self.bytes))
        at = offset
        while at < end:
            until = min(end, (at // SECTOR + 1) * SECTOR)
            if has_sector():
                self.bytes[at:until] = data[at - offset : until - offset]
            at = until


class Settled:
    """The files after all events before the first one that a cut leaves open. Moments come in their
    order, so this only grows."""

    def __init__(self):
        self.end = 0
        self.contents = collections.defaultdict(Content)
        self.names = {}

    def advance(self, moment):
        while self.end < len(moment.events) and moment.is_settled(self.end):
            self._apply(moment.events[self.end])
            self.end += 1

    def _apply(self, event):
        content = self.contents[event.file]
        if event.kind == "W":
            content.write(event.offset, event.data, True, lambda: True)
        elif event.kind == "Z":
            length = max(0, min(event.length, len(content.bytes) - event.offset))
            content.write(event.offset, bytes(length), False, lambda: True)
        elif event.kind == "T":
            content.resize(event.offset)
        elif event.kind == "C":
            self.names[event.file] = event.data.decode()
        elif event.kind == "U":
            self.names.pop(event.file, None)
            del self.contents[event.file]


def sectors_of(choose):
    """A way for a write to be there in part: all, nothing, or each sector by chance."""
    how = choose.randrange(4)
    if how < 2:
        return lambda: how == 1
    return lambda: choose.random() < 0.5


def files_after(moment, settled, choose):
    """By name: the content of each file that is there."""
    events = list(enumerate(moment.events))[settled.end :]
    # How far each file has grown as the program saw it: which writes change a size.
    seen = {file: len(content.bytes) for file, content in settled.contents.items()}
    changes_size = set()
    for n, event in events:
        if event.kind == "T":
            changes_size.add(n)
            seen[event.file] = event.offset
        elif event.kind == "W" and event.offset + event.length > seen.get(event.file, 0):
            changes_size.add(n)
            seen[event.file] = event.offset + event.length
    open_sizes = collections.defaultdict(list)
    open_names = []
    for n, event in events:
        if moment.is_durable[n]:
            continue
        if n in changes_size:
            open_sizes[event.file].append(n)
        elif event.kind in "CU":
            open_names.append(n)
    happened = some_first_ones(open_names, choose)
    for numbers in open_sizes.values():
        happened |= some_first_ones(numbers, choose)

    contents = collections.defaultdict(Content)
    for file, content in settled.contents.items():
        contents[file] = Content(content.bytes)
    names = dict(settled.names)
    for n, event in events:
        durable = moment.is_durable[n]
        content = contents[event.file]
        there = durable or n in happened
        if event.kind == "W":
            content.write(
                event.offset,
                event.data,
                there and n in changes_size,
                (lambda: True) if durable else sectors_of(choose),
            )
        elif event.kind == "Z":
            content.write(
                event.offset,
                bytes(max(0, min(event.length, len(content.bytes) - event.offset))),
                False,
                (lambda: True) if durable else sectors_of(choose),
            )
        elif event.kind == "T" and there:
            content.resize(event.offset)
        elif event.kind == "C" and there:
            names[event.file] = event.data.decode()
        elif event.kind == "U" and there:
            names.pop(event.file, None)
    return {name: contents[file].bytes for file, name in names.items()}


def lay(folder, files):
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)


def last_line(output, printed):
    """The last whole line of what had been printed."""
    lines = output[:printed].split(b"\n")[:-1]
    return lines[-1].decode() if lines else ""


def record(recorder, program, folder, work):
    trace = work / "trace"
    output = work / "output"
    with output.open("wb") as out:
        subprocess.run(
            [argument.replace("FOLDER", str(folder)) for argument in program],
            stdout=out,
            check=True,
            env={
                "LD_PRELOAD": str(recorder),
                "RECORDER_FOLDER": str(folder),
                "RECORDER_TRACE": str(trace),
                "PATH": "/usr/bin:/bin",
            },
        )
    return read_trace(trace), output.read_bytes()


def moments_of(events, points, choose):
    """Where to cut: at every begin and end of a write or sync, or at `points` of these."""
    all_of_them = [n for n, event in enumerate(events) if event.kind in "WSECUTZ"]
    all_of_them.append(len(events))
    if len(all_of_them) <= points:
        return all_of_them
    return sorted(choose.sample(all_of_them, points))


def progress(text):
    if sys.stderr.isatty():
        print(f"\r{text}\033[K", end="", file=sys.stderr, flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--recorder", type=pathlib.Path, required=True, help="recorder.c, built")
    parser.add_argument("--points", type=int, default=1000, help="cuts (1000)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--keep", type=pathlib.Path, help="leave the folder that failed here, as it was cut"
    )
    parser.add_argument("--program", nargs="+", required=True, help="FOLDER: the folder it uses")
    parser.add_argument(
        "--check", nargs="+", required=True, help="FOLDER, and PRINTED: what was last printed"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=".") as name:
        work = pathlib.Path(name).resolve()
        (work / "files").mkdir()
        recorder = options.recorder.resolve()
        events, output = record(recorder, options.program, work / "files", work)
        choose = random.Random(options.seed)
        moments = moments_of(events, options.points, choose)
        settled = Settled()
        begun = time.monotonic()
        for count, end in enumerate(moments):
            moment = Moment(events, end)
            settled.advance(moment)
            files = files_after(moment, settled, random.Random(f"{options.seed} {end}"))
            folder = work / "cut"
            lay(folder, files)
            line = last_line(output, moment.printed())
            words = {"FOLDER": str(folder), "PRINTED": line}
            check = [words.get(argument, argument) for argument in options.check]
            result = subprocess.run(check, capture_output=True, text=True, check=False)
            if result.returncode != 0:
                print(f"\ncut {end} of {len(events)}, seed {options.seed}, after '{line}':")
                print(result.stdout + result.stderr)
                if options.keep:
                    lay(options.keep, files)
                sys.exit(1)
            if time.monotonic() - begun > 2:
                progress(f"{count + 1} of {len(moments)} cuts")
    progress("")
    print(f"{len(moments)} cuts in {len(events)} events, 0 lost")


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Runs SQLite's test files with testfixture, each in a folder of its own, and prints a table.

Called by scripts/sqlite.sh. Exit status 1 if a test fails that adapters/sqlite/testfixture/
cannot_apply.txt does not name.
"""

import argparse
import concurrent.futures
import fnmatch
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

FIXTURE = Path(__file__).resolve().parent.parent / "adapters/sqlite/testfixture"
# A file may take this long on a busy machine; alone the longest takes three minutes.
TIMEOUT_S = 1200
ALWAYS = ["ioerr*", "wal*", "mmap*", "walthread"]
CI = (
    "select1 insert update delete trans trans2 savepoint vacuum vacuum2 autovacuum incrvacuum2 "
    "attach2 backup pager1 journal1 journal2 jrnlmode exclusive lock lock5 rollback stmt shared "
    "pagesize io sync multiplex4 chunksize fallocate manydb temptable "
    "mmap1 mmap2 mmap3 mmap4 mmapfault ioerr3 ioerr4 ioerr6 rollbackfault savepointfault "
    "wal wal2 wal3 wal4 wal5 wal6 wal64k wal7 wal8 wal9 walbak walcksum walhook walmode "
    "walpersist walprotocol waloverwrite walshared thread001 thread1"
).split()


def rules():
    """Reads cannot_apply.txt: patterns of files, and of tests, with their reasons."""
    files, tests = [], []
    for line in (FIXTURE / "cannot_apply.txt").read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        what, why = line.split(None, 1)
        if what.startswith("file:"):
            files.append((what.removeprefix("file:"), why))
        else:
            tests.append((what, why))
    return files, tests


def reason(name, patterns):
    return next((why for pattern, why in patterns if fnmatch.fnmatchcase(name, pattern)), None)


class Result:
    """What one file has said."""

    def __init__(self, name, seconds, status, output):
        self.name = name
        self.seconds = seconds
        self.output = output
        found = re.search(r"^(\d+) errors out of (\d+) tests", output, re.MULTILINE)
        self.ended = found is not None
        self.tests = int(found[2]) if found else 0
        failures = re.findall(r"^! ?Failures on these tests: (.*)$", output, re.MULTILINE)
        self.failed = sorted(set(" ".join(failures).split()))
        simulated = re.findall(r"^vmcache: (\d+) simulated errors", output, re.MULTILINE)
        self.simulated = sum(map(int, simulated))
        # A file that does not apply to this build of SQLite returns without a word.
        self.skipped = status == 0 and not self.ended
        if not self.ended and not self.skipped:
            self.failed.append("(ends with status {})".format(status))


def run(options, path):
    folder = Path(tempfile.mkdtemp(prefix=path.stem + ".", dir=options.work))
    began = time.monotonic()
    environment = dict(os.environ, VMCACHE_TESTFIXTURE_VFS="" if options.stock else options.vfs)
    command = [options.source / "testfixture", FIXTURE / "run_one.tcl", path]
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=TIMEOUT_S,
            check=False,
        )
        status, output = done.returncode, done.stdout
    except subprocess.TimeoutExpired as late:
        status, output = "timeout", late.stdout or b""
    shutil.rmtree(folder, ignore_errors=True)
    return Result(path.stem, time.monotonic() - began, status, output.decode(errors="replace"))


def suite(options, name):
    command = [options.source / "testfixture", FIXTURE / "list_suite.tcl"]
    command += [options.source / "test/permutations.test", name]
    environment = dict(os.environ, VMCACHE_TESTFIXTURE_VFS="")
    lines = subprocess.run(
        command, cwd=options.work, env=environment, stdout=subprocess.PIPE, check=True, text=True
    ).stdout.splitlines()
    return [Path(line) for line in lines]


def chosen(options):
    names = list(options.tests)
    paths = []
    if options.ci:
        names += CI
    if options.suite:
        paths += suite(options, options.suite)
    if not names and not paths:
        names = ALWAYS
        paths = suite(options, "veryquick")
    for name in names:
        found = sorted((options.source / "test").glob(name + ".test"))
        if not found:
            sys.exit("sqlite.sh: no test file is named '{}'".format(name))
        paths += found
    return list(dict.fromkeys(paths))


def main():
    parser = argparse.ArgumentParser(prog="scripts/sqlite.sh")
    parser.add_argument("--source", type=Path, required=True)
    parser.add_argument("--vfs", required=True)
    parser.add_argument("--ci", action="store_true")
    parser.add_argument("--stock", action="store_true")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--suite")
    parser.add_argument("--table", type=Path, help="write the table there, too")
    parser.add_argument("tests", nargs="*")
    options = parser.parse_args()
    if options.jobs < 1:
        parser.error("--jobs {}: at least 1".format(options.jobs))
    files, tests = rules()
    lines = []

    def say(line):
        print(line, flush=True)
        lines.append(line)

    # Not in /tmp, which may be a tmpfs.
    options.work = Path(tempfile.mkdtemp(prefix="tests.", dir=options.source.parent))
    total = {"files": 0, "tests": 0, "failed": 0, "cannot": 0, "left out": 0, "simulated": 0}
    bad = []
    say(
        "{:<22} {:>7} {:>7} {:>7} {:>9} {:>6}  remarks".format(
            "file", "tests", "failed", "n/a", "simulated", "s"
        )
    )
    try:
        to_run = []
        for path in chosen(options):
            why = None if options.stock else reason(path.stem, files)
            if why is None:
                to_run.append(path)
            else:
                total["left out"] += 1
                say("{:<22} {:>39}  {}".format(path.stem, "not run", why))
        with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
            for result in pool.map(lambda path: run(options, path), to_run):
                whys = {name: reason(name, tests) for name in result.failed}
                if options.stock:
                    whys = dict.fromkeys(whys)
                failed = [name for name, why in whys.items() if why is None]
                cannot = len(whys) - len(failed)
                remarks = failed[:5] or sorted({why for why in whys.values() if why})
                if result.skipped:
                    remarks = ["says itself that it does not apply"]
                say(
                    "{:<22} {:>7} {:>7} {:>7} {:>9} {:>6.1f}  {}".format(
                        result.name,
                        result.tests,
                        len(failed),
                        cannot,
                        result.simulated,
                        result.seconds,
                        "; ".join(remarks),
                    )
                )
                total["files"] += 1
                total["tests"] += result.tests
                total["failed"] += len(failed)
                total["cannot"] += cannot
                total["simulated"] += result.simulated
                if failed:
                    bad.append(result)
    finally:
        shutil.rmtree(options.work, ignore_errors=True)
    say(
        "{files} files, {tests} tests, {failed} failed, {cannot} cannot apply, "
        "{left out} files not run, {simulated} I/O errors simulated".format(**total)
    )
    for result in bad:
        print("\nFAILED {}: the end of what it said\n{}".format(result.name, result.output[-1500:]))
    if options.table:
        options.table.write_text("\n".join(lines) + "\n")
    # As scripts/test.sh counts.
    passed = total["tests"] - total["failed"] - total["cannot"]
    print("{} passed, {failed} failed, {cannot} skipped".format(passed, **total))
    sys.exit(1 if bad else 0)


main()

#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""SQLite's own benchmarks on the VFS vmcache and on SQLite's own, each in the same memory: a
control group limits the process, its page cache with it.

Called by scripts/sqlite.sh --bench. Prints a table, and writes OUT.json with all samples, OUT.tsv,
OUT.svg and OUT.png. Each cell is the median of its repetitions. These are interleaved: each
repetition runs all systems, and begins with another one.
"""

import argparse
import contextlib
import datetime
import json
import os
import pathlib
import platform
import re
import statistics
import subprocess
import sys
import time

TREE = pathlib.Path(__file__).resolve().parent.parent
MIB = 1 << 20
ALL_BY_MMAP = 2147418112  # the most that SQLite allows
ROW_BYTES = 1000
ROW_SPACE = 4096 / 4  # of a database: four rows lie in a page
# By name: VFS, PRAGMA mmap_size.
SYSTEMS = {
    "unix": ("unix", 0),
    "mmap_size": ("unix", ALL_BY_MMAP),
    "unix-excl": ("unix-excl", 0),
    "unix-excl, mmap_size": ("unix-excl", ALL_BY_MMAP),
    "vmcache": ("vmcache", ALL_BY_MMAP),
}


class MemoryGroup:
    """A control group of version 1 or 2 that limits what is run in it, its page cache too."""

    def __init__(self, limit):
        own = pathlib.Path("/proc/self/cgroup").read_text(encoding="utf-8")
        mounts = pathlib.Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()
        for _, mount, kind, options, *_ in (line.split() for line in mounts):
            root = pathlib.Path(mount)
            if kind == "cgroup" and "memory" in options.split(","):
                limit_file = "memory.limit_in_bytes"
            elif kind == "cgroup2" and "memory" in (
                (root / "cgroup.controllers").read_text(encoding="utf-8").split()
            ):
                with contextlib.suppress(OSError):
                    (root / "cgroup.subtree_control").write_text("+memory", encoding="utf-8")
                limit_file = "memory.max"
            else:
                continue
            self.path = root / f"sqlite-bench-{os.getpid()}"
            self.path.mkdir()
            (self.path / limit_file).write_text(str(limit), encoding="utf-8")
            self.description = f"{kind} {limit_file} = {limit}"
            return
        raise SystemExit(f"sqlite_bench.py: needs root and a memory control group; here:\n{own}")

    def enter(self):
        (self.path / "cgroup.procs").write_text(str(os.getpid()), encoding="utf-8")

    def remove(self):
        for _ in range(100):
            try:
                self.path.rmdir()
                return
            except OSError:  # the kernel takes a moment to let go of the last process
                time.sleep(0.01)


def forget(path):
    """Nothing of the file stays in the page cache."""
    if not path.exists():
        return
    with path.open("rb") as file:
        os.fdatasync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


class Bench:
    """Runs programs, each in a control group of its own."""

    def __init__(self, options):
        self.options = options
        self.folder = options.folder.resolve()
        self.folder.mkdir(parents=True, exist_ok=True)
        self.limit = options.memory * MIB
        # What the process needs beside its pages.
        self.pool_mib = options.memory - max(8, options.memory // 16)
        self.programs = options.source / "vmcache-bench"
        self.groups = ""

    def build(self):
        """SQLite's programs, with its library as Debian has built it."""
        self.programs.mkdir(exist_ok=True)
        opener = TREE / "bench/sqlite/open_as_told.c"
        for name in ("speedtest1", "kvtest"):
            program = self.programs / name
            source = self.options.source / "test" / f"{name}.c"
            if program.exists() and program.stat().st_mtime > opener.stat().st_mtime:
                continue
            changed = [f"-Dsqlite3_open{kind}=bench_open{kind}" for kind in ("", "_v2")]
            subprocess.run(
                ["gcc", "-O2", "-w", *changed, "-c", source, "-o", f"{program}.o"], check=True
            )
            subprocess.run(
                ["gcc", "-O2", f"{program}.o", opener, "-o", program, "-lsqlite3"], check=True
            )

    def parameters(self, system, heap_mib):
        """Of a URI, for a program that needs so much more memory beside the pool."""
        vfs, _ = SYSTEMS[system]
        pool_mib = self.pool_mib - heap_mib
        return f"vfs={vfs}" + (f"&pool_mib={pool_mib}" if vfs == "vmcache" else "")

    def run(self, database, *command, **environment):
        """What the program prints."""
        forget(database)
        group = MemoryGroup(self.limit)
        self.groups = group.description
        try:
            done = subprocess.run(
                [str(word) for word in command],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
                env=os.environ | environment,
                preexec_fn=group.enter,  # pylint: disable=subprocess-popen-preexec-fn
            )
        finally:
            group.remove()
        if done.returncode != 0:
            raise SystemExit(
                f"sqlite_bench.py: {command[0]} ended with status {done.returncode}"
                f" ({' '.join(map(str, command))}):\n{done.stdout[-2000:]}"
            )
        return done.stdout

    def run_theirs(self, system, database, warm, *command, heap_mib=0):
        """One of SQLite's programs, which opens databases as the environment says."""
        environment = {"BENCH_PARAMETERS": self.parameters(system, heap_mib)}
        if SYSTEMS[system][0] == "vmcache":
            environment["BENCH_EXTENSION"] = str(self.options.extension.resolve())
        if warm:
            environment["BENCH_WARM"] = warm
        return self.run(database, *command, **environment)

    def key_values(self, times):
        """A database of kvtest's that is so many times as large as the memory."""
        rows = int(times * self.limit / ROW_SPACE)
        path = self.folder / f"kv-{self.options.memory}-{times}.db"
        if not path.exists():
            begun = path.with_suffix(".making")
            begun.unlink(missing_ok=True)
            command = [self.programs / "kvtest", "init", begun, "--count", rows]
            subprocess.run(
                [*map(str, command), "--size", str(ROW_BYTES)], check=True, stdout=subprocess.PIPE
            )
            begun.rename(path)
        return path


class Speedtest:
    """speedtest1: seconds for all of it."""

    unit, better, digits = "s", min, 2

    def __init__(self, size, where):
        self.name = f"speedtest1 --size {size}, {where}"
        self.size = size

    def __call__(self, bench, system):
        database = bench.folder / "speedtest1.db"
        mmap = SYSTEMS[system][1]
        said = bench.run_theirs(
            system,
            database,
            "",
            *(bench.programs / "speedtest1", "--size", self.size),
            *(["--mmap", mmap] if mmap else []),
            database,
            heap_mib=8,
        )
        database.unlink(missing_ok=True)
        return {"figure": float(re.search(r"TOTAL\.* +([0-9.]+)s", said)[1])}


class Kvtest:
    """kvtest run --random: microseconds a read, all in one transaction."""

    unit, better, digits = "us", min, 1

    def __init__(self, times, count, where):
        self.name = f"kvtest --random, {where}"
        self.times = times
        self.count = count

    def __call__(self, bench, system):
        database = bench.key_values(self.times)
        said = bench.run_theirs(
            system,
            database,
            "select sum(length(v)) from kv",
            *(bench.programs / "kvtest", "run", database, "--random", "--count", self.count),
            *("--mmap", SYSTEMS[system][1]),
        )
        return {"figure": float(re.search(r"Microseconds per BLOB read: ([0-9.]+)", said)[1])}


class Reads:
    """kvtest's queries, each a transaction, by several threads: thousands a second."""

    unit, better, digits = "k/s", max, 1

    def __init__(self, times, threads, where):
        connections = "1 connection" if threads == 1 else f"{threads} connections"
        self.name = f"reads, {connections}, {where}"
        self.times = times
        self.threads = threads

    def __call__(self, bench, system):
        database = bench.key_values(self.times)
        vfs, mmap = SYSTEMS[system]
        own = ["--parameters", f"pool_mib={bench.pool_mib}"] if vfs == "vmcache" else []
        said = bench.run(
            database,
            *(bench.options.reads, database, "--vfs", vfs, "--mmap", mmap, *own),
            *("--threads", self.threads, "--seconds", bench.options.seconds),
        )
        found = re.search(
            r"([0-9.]+) queries/s, ([0-9.]+) us of processor and ([0-9.]+) pages read each, "
            r"([0-9.]+) MiB resident, ([0-9.]+) MiB in caches",
            said,
        )
        return {
            "figure": float(found[1]) / 1000,
            "processor_us": float(found[2]),
            "pages_read": float(found[3]),
            "resident_mib": float(found[4]),
            "caches_mib": float(found[5]),
        }


def workloads(options):
    inside, outside = "in memory", "2 x memory"
    seconds = options.seconds
    small, large = (int(size) for size in options.sizes.split(","))
    found = [
        Speedtest(small, inside),
        Speedtest(large, outside),
        Kvtest(0.5, 100_000 * seconds, inside),
        Kvtest(2, 1_000 * seconds, outside),
    ]
    for times, where in ((0.5, inside), (2, outside)):
        found += [Reads(times, threads, where) for threads in (1, 2, 8)]
    return [each for each in found if re.search(options.only, each.name)]


def median(samples, key="figure"):
    return statistics.median(sample[key] for sample in samples)


def table(rows):
    """Lines of the table, in Markdown."""
    lines = ["| | " + " | ".join(SYSTEMS) + " | vmcache / best of the others |"]
    lines.append("|---" * (len(SYSTEMS) + 2) + "|")
    for workload, results in rows:
        figures = {name: median(samples) for name, samples in results.items()}
        others = [figure for name, figure in figures.items() if name != "vmcache"]
        best = workload.better(others)
        ratio = figures["vmcache"] / best if workload.better is max else best / figures["vmcache"]
        cells = [f"{figures[name]:.{workload.digits}f}" for name in SYSTEMS]
        lines.append(f"| {workload.name} ({workload.unit}) | {' | '.join(cells)} | {ratio:.2f} |")
    return lines


def cost_lines(rows):
    """For reads: processor time and pages read, of each query."""
    for workload, results in rows:
        if isinstance(workload, Reads):
            cells = (
                f"{name} {median(samples, 'processor_us'):.1f} us, "
                f"{median(samples, 'pages_read'):.2f} pages"
                for name, samples in results.items()
            )
            yield f"a query of {workload.name}: {'; '.join(cells)}"


def memory_lines(rows):
    """For reads: what the pages of 8 connections take beside those of one."""
    by_place = {}
    for workload, results in rows:
        if isinstance(workload, Reads):
            by_place.setdefault(workload.times, {})[workload.threads] = results
    for times, by_threads in by_place.items():
        if not {1, 8} <= by_threads.keys():
            continue
        for name in SYSTEMS:
            one, eight = (
                {key: median(by_threads[n][name], key) for key in ("resident_mib", "caches_mib")}
                for n in (1, 8)
            )
            yield (
                f"data {times} x memory, {name}: resident {one['resident_mib']:.1f} MiB with 1"
                f" connection, {eight['resident_mib']:.1f} with 8; in SQLite's page caches"
                f" {one['caches_mib']:.1f} and {eight['caches_mib']:.1f}"
            )


def write(options, bench, rows):
    """All samples, what the plot needs, and the plot."""
    options.out.parent.mkdir(parents=True, exist_ok=True)
    record = {
        "command": " ".join(sys.argv),
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "kernel": platform.release(),
        "processors": os.cpu_count(),
        "load": os.getloadavg(),
        "memory_limit": bench.groups,
        "pool_mib": bench.pool_mib,
        "results": [
            {"workload": workload.name, "unit": workload.unit, "samples": results}
            for workload, results in rows
        ],
    }
    options.out.with_suffix(".json").write_text(json.dumps(record, indent=1), encoding="utf-8")
    lines = ["\t".join(["workload", *SYSTEMS])]
    for workload, results in rows:
        if isinstance(workload, Reads):
            figures = (f"{median(results[name]):.3f}" for name in SYSTEMS)
            lines.append("\t".join([workload.name.removeprefix("reads, "), *figures]))
    if len(lines) < 7:
        return  # the plot is of all of them
    data = options.out.with_suffix(".tsv")
    data.write_text("\n".join(lines) + "\n", encoding="utf-8")
    subtitle = (
        f"random rows of {ROW_BYTES} bytes by key, a transaction each; {options.memory} MiB of"
        f" memory for each system; median of {options.repeat}"
    )
    subprocess.run(
        [
            "gnuplot",
            *("-e", f"data='{data}'; output='{options.out}'; subtitle='{subtitle}'"),
            TREE / "bench/plots/sqlite.gp",
        ],
        check=True,
    )


def main():
    """Returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--source", type=pathlib.Path, required=True, help="of SQLite")
    parser.add_argument("--extension", type=pathlib.Path, required=True, help="vmcache_sqlite.so")
    parser.add_argument("--reads", type=pathlib.Path, required=True, help="sqlite_reads")
    parser.add_argument("--memory", type=int, default=64, help="MiB for each system (64)")
    parser.add_argument("--seconds", type=int, default=5, help="of a measurement of reads (5)")
    parser.add_argument("--repeat", type=int, default=5, help="repetitions (5)")
    parser.add_argument("--sizes", default="120,480", help="of speedtest1, in memory and beyond")
    parser.add_argument("--only", default="", help="workloads whose name has this, a pattern")
    parser.add_argument("--folder", type=pathlib.Path, default=TREE / "build/results/sqlite-data")
    parser.add_argument("--out", type=pathlib.Path, default=TREE / "build/results/sqlite")
    options = parser.parse_args()
    bench = Bench(options)
    bench.build()
    rows = [(workload, {name: [] for name in SYSTEMS}) for workload in workloads(options)]
    names = list(SYSTEMS)
    for repetition in range(options.repeat):
        for workload, results in rows:
            for name in names[repetition % len(names) :] + names[: repetition % len(names)]:
                results[name].append(workload(bench, name))
                print(
                    f"{workload.name}: {name}: {results[name][-1]['figure']:.2f} {workload.unit}",
                    file=sys.stderr,
                )
    write(options, bench, rows)
    print("\n".join(table(rows)))
    print()
    print("\n".join([*cost_lines(rows), *memory_lines(rows)]))
    print(f"{bench.groups}, pool_mib {bench.pool_mib}; load {os.getloadavg()[0]:.1f} at the end")
    return 0


if __name__ == "__main__":
    sys.exit(main())

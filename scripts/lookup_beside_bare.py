#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Lookups in a B+tree 4 x as large as its pool, on exmap memory over NVMe passthrough, beside the
bare loop that does nothing but read (rung passthrough-all): page reads a second of one thread, or
with --icount instructions a page read, at the same depth. To be run in a machine of tools/vm with
two drives alike; both sides take turns, and medians are shown:

tools/vm --kernel 6.12 --nvme 256M,poll --nvme 256M,poll -- scripts/lookup_beside_bare.py tools/vm
--kernel 6.12 --nvme 256M,poll,iops=8000 --nvme 256M,poll,iops=8000 -- scripts/lookup_beside_bare.py
tools/vm --kernel 6.12 --icount --nvme 256M,poll --nvme 256M,poll -- scripts/lookup_beside_bare.py
--icount """

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

VMBENCH = pathlib.Path(__file__).resolve().parents[1] / "build/release/bench/vmbench"
SHARE_WANTED = 0.85  # of the bare loop's reads


def run(*arguments):
    """The first row that a command of vmbench reports."""
    with tempfile.NamedTemporaryFile(suffix=".json") as report:
        done = subprocess.run(
            [VMBENCH, *arguments, "--json", report.name],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            sys.exit(f"vmbench {' '.join(arguments)}: {done.stdout}{done.stderr}")
        row = json.loads(pathlib.Path(report.name).read_text(encoding="utf-8"))["rows"][0]
    if "reason" in row:
        sys.exit(f"vmbench {' '.join(arguments)}: {row['reason']}")
    return row


def bare(options, depth):
    """The rung that has every feature of the ring."""
    amount = (
        ["--ios", "20000", "--icount-clock"]
        if options.icount
        else ["--seconds", str(options.seconds)]
    )
    row = run(
        "io",
        "--devices",
        options.bare,
        "--rungs",
        "passthrough-all",
        "--threads",
        "1",
        "--depth",
        str(depth),
        "--batch",
        str(max(depth // 4, 1)),
        "--span",
        f"{options.data}MiB",
        "--content-will-be-lost",
        "--no-reference",
        *amount,
    )
    return row["instructions_per_io" if options.icount else "iops"]


def lookups(options, depth):
    """As many tasks as the bare loop has reads in flight."""
    amount = (
        ["--icount-clock", "--seconds", "0.15"]
        if options.icount
        else ["--seconds", str(options.seconds)]
    )
    row = run(
        "lookup",
        "--system",
        "vmcache",
        "--memory",
        "exmap",
        "--devices",
        options.lookup,
        "--data",
        f"{options.data}MiB",
        "--pool",
        f"{options.data // 4}MiB",
        "--tasks",
        str(depth),
        "--keep",
        "--memory-limit",
        "none",
        *amount,
    )
    for part in ("NVMe passthrough", "polled completions", "registered frames", "exmap"):
        if part not in row["pool"]:
            sys.exit(f"the pool is without {part}: {row['pool']}")
    return row["instructions_per_page_read" if options.icount else "page_reads_per_s"]


def main():
    """Prints a line a depth, and writes all figures where --json says."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--bare", default="/dev/vm/data0", help="the bare loop's drive: its content is lost"
    )
    parser.add_argument(
        "--lookup", default="/dev/vm/data1-char", help="an empty drive for the database"
    )
    parser.add_argument("--depths", default="1,8,32,128")
    parser.add_argument("--data", type=int, default=32, help="MiB of records (32)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1)
    parser.add_argument("--icount", action="store_true", help="the machine counts instructions")
    parser.add_argument("--json", type=pathlib.Path)
    options = parser.parse_args()
    unit = "instructions a page read" if options.icount else "page reads/s"
    print(
        f"Linux {os.uname().release}, {os.cpu_count()} processors, {unit}, "
        f"medians of {options.rounds} rounds "
        "(lowest to highest)"
    )
    results = []
    for depth in map(int, options.depths.split(",")):
        rounds = [(bare(options, depth), lookups(options, depth)) for _ in range(options.rounds)]
        ours, theirs = [pair[1] for pair in rounds], [pair[0] for pair in rounds]
        middle = [statistics.median(side) for side in (theirs, ours)]
        share = middle[0] / middle[1] if options.icount else middle[1] / middle[0]
        results.append({"depth": depth, "bare": theirs, "lookup": ours, "share": share})
        print(
            f"depth {depth:3}: passthrough-all {middle[0]:7.0f} "
            f"({min(theirs):.0f} to {max(theirs):.0f}), "
            "lookup "
            f"{middle[1]:7.0f} ({min(ours):.0f} to {max(ours):.0f}): {share:.0%} "
            f"(aim {SHARE_WANTED:.0%})",
            flush=True,
        )
    if options.json:
        text = json.dumps(
            {
                "kernel": os.uname().release,
                "unit": unit,
                "data_mib": options.data,
                "results": results,
            },
            indent=2,
        )
        options.json.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

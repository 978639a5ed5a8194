#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What scripts/ladder.sh makes of the JSON of `vmbench io`.
usage: ladder_report.py merge OUT.json PART.json...    one ladder out of its parts, from the top rung down
       ladder_report.py tsv LADDER.json                rung, instructions an I/O, fio's, for bench/plots/ladder.gp
       ladder_report.py write OUT.md LADDER.json...    the tables"""

import json
import pathlib
import sys

HEAD = """<!-- SPDX-License-Identifier: MIT -->
<!-- written by scripts/ladder.sh (scripts/ladder_report.py); change it there -->
# The I/O ladder: what each layer between a database and its SSD costs

Random 4 KiB transfers through one layer after the other, each by a small loop of `vmbench io` that does nothing else
(`bench/vmbench/io/`); beside each, `fio` with the same settings. `scripts/ladder.sh` makes all of it again. Every block carries its
number and every read is checked. Raw figures with kernel, date and commands (fio's too, a row) are in the JSON named above each table.

## How to read it

- **Times under emulation are not device speeds.** The virtual machines run on QEMU's TCG: a "drive" is a file in the host's page cache, the
  processor is some 20 times slower than the one below it, and costs are turned around (an interrupt is cheap, a poll is dear). What
  holds there is the *number of instructions*, of user and kernel together, on one processor (`tools/vm --icount`).
- **Instructions an I/O** leave out what was only waiting. Idle time is told by a process that runs only when nothing else does, so it is exact.
  On polled rungs, asking a ring that has neither something to submit nor a completion is counted apart, as *empty polls*: that says
  how slow the emulated drive is, not what the I/O costs. A slow drive still shows: the polls that find something find fewer at a time.
- **fio's own work** is its count with `--ioengine=null`, which does no I/O; the bench's own (picking a place, checking the block, the
  histogram) is counted in the same way. What is left of both stands side by side: the interface's work, in user space and kernel. fio's
  count is the difference of a long and a short run, since starting it costs more than a thousand I/Os. Its empty polls cannot be told
  from the rest, so polled rungs have no reference there.
- What is left of fio's has its engine's code, too: in user space some 140 instructions an I/O for `io_uring`, where the bench's loop takes
  70 and the library's queue 170, on a file 195 (`valgrind --tool=callgrind`, each beyond its null engine).
- Both keep to the same depth and batch: they wait for a batch, then fill all places that are free and submit them in one call. The bench waits in that
  call, fio in one more: 0.02 calls an I/O against 0.05 (`strace -c -f -e io_uring_enter` on a file, depth 128, batch 32). The batch is a quarter of the depth.
- Files and devices are opened with `O_NOATIME` by the bench, the library and fio: without it, a read is some 200 instructions more.
- The depth is 128, so that the drives are never late and nobody sleeps: a sleep is some 6 000 instructions, and 0.03 of them an I/O, as
  *switches* tells, would be 3 % of a rung. At a depth of 32 fio, which is slower,
  sleeps less than the bench.
- Counted rows are medians of several rounds, in which bench and fio take turns; how many, and the lowest and highest, are in the JSON
  (`rounds`, `rounds_from`, `rounds_to`).
- fio's ring is always `SINGLE_ISSUER|DEFER_TASKRUN`, so for the plain rungs its twin is `uring-deferred`.
- `pread`, `pread-direct` and `mmap` wait for each I/O, so going to sleep and waking up is in their count, some 40 % of it. An
  emulated drive answers before or after the caller has gone to sleep, as its host pleases. So these three have drives of their own that make no more
  than 400 transfers a second together (`tools/vm --nvme SIZE,shared-iops=400`) and so answer late; *switches* are context switches an
  I/O, bench / fio, and where both are near 1, both have slept for each. (A block that comes a second time is in the page cache and needs none.)
- `mmap` takes its pages out of the mapping at the end, in the count: fio's has that, too, since it ends within it. These three use 256 MiB of the file: over
  more, page tables would be made for a larger share of the bench's transfers than of fio's, whose runs are longer. A fault has two costs, some
  2 500 instructions apart, and keeps to one of them for most of a run.
- Counts of rungs with interrupts and a queue differ by some 3 % from run to run, those of polled ones with the speed of the drive.
- On polled passthrough several threads are pinned, fio's too, each to a CPU with a poll queue of its own: Linux can oops where two rings poll one
  hardware queue (`libvmcache/storage/poll_queues.hpp`).
- kcycles an I/O: time stamp counter x cores used. Cores: CPU time of the process and of io_uring's threads for it, over elapsed time.
- `uring*` and `passthrough*` stripe over both drives in the bench (64 KiB), `uring-md` leaves that to md (RAID 0 of the same chunk, made by
  sysfs, without metadata), `uring-fs` and what stands above it go to a file on ext4 on that array. `vmcache-*` go through the library's
  own storage, which stripes too. A machine without such drives runs the `uring*` rungs on the file.

## Limits

- No NVMe drive and no hardware counter was at hand outside the emulation; no figure here is a device's.
- Times, on this machine as in emulation, were taken with nothing else running on the two cores, the bench and fio one after the other. In emulation
  QEMU's threads for processors and drives share these cores, so that with two threads, above all polling ones, little is left for the drives.
- One processor under `--icount`: rungs with a thread of the kernel's that polls for submissions are only in the tables of times.
- User-space NVMe is not in the tree yet. ext4 stands for the file system; md is assembled without mdadm.
"""

KINDS = {"instructions": "instructions counted", "times": "times in emulation", "host": "this machine"}


def merge(out, parts):
    """Writes one report with the rows of all and each one's command."""
    reports = [json.loads(pathlib.Path(part).read_text(encoding="utf-8")) for part in parts]
    context = dict(reports[0]["context"])
    context["command"] = [report["context"]["command"] for report in reports]
    merged = {"context": context, "rows": [row for report in reports for row in report["rows"]]}
    pathlib.Path(out).write_text(json.dumps(merged, indent=2) + "\n", encoding="utf-8")


def tsv(path):
    """Prints the rungs that were counted."""
    print("rung\tinstructions\tfio")
    for row in json.loads(pathlib.Path(path).read_text(encoding="utf-8"))["rows"]:
        if row["instructions_per_io"] is not None:
            fio = row["reference_instructions_per_io"]
            print(row["rung"], row["instructions_per_io"], "NaN" if fio is None else fio, sep="\t")


def show(value, digits=0, unit=1):
    return "-" if value is None else f"{value / unit:,.{digits}f}".replace(",", " ")


def table(heads, lines):
    rows = [heads, ["---"] * len(heads), *lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows) + "\n"


def counted_table(rows):
    """Instructions, and what fio needs for the same."""
    plain = next((row["instructions_per_io"] for row in rows if row["rung"] == "uring"), None)
    lines = []
    for row in rows:
        ours, fio = row["instructions_per_io"], row["reference_instructions_per_io"]
        own = row.get("reference_own_instructions_per_io")
        ours_alone = ours - row.get("own_instructions_per_io", 0)
        empty = row.get("empty_poll_instructions_per_io")
        share = None if plain is None else 100 * ours / plain
        kernel = None if fio is None or own is None else fio - own
        switches = " / ".join("-" if row.get(key) is None else f"{row[key]:.2f}"
                              for key in ("switches_per_io", "reference_switches_per_io"))
        beside = "-" if kernel is None else f"{100 * (ours_alone / kernel - 1):+.1f} %"
        lines.append([f"`{row['rung']}`", str(row["on"]), show(ours), show(share), show(empty), show(ours_alone), show(fio),
                      show(kernel), beside, switches])
    return table(["rung", "on", "instructions an I/O", "% of `uring`", "empty polls", "without the bench's own", "fio",
                  "fio without its own", "the bench beside fio, each without its own", "switches"], lines)


def timed_table(rows):
    """Times, whatever they are worth where they were taken."""
    return table(["rung", "threads", "depth", "kIOPS", "fio kIOPS", "kcycles an I/O", "cores", "p50 us", "p99 us"],
                 [[f"`{row['rung']}`", str(row["threads"]), str(row["depth"]), show(row["iops"], 1, 1000),
                   show(row["reference_iops"], 1, 1000), show(row["cycles_per_io"], 1, 1000), show(row["cores"], 2),
                   show(row["p50_us"], 0), show(row["p99_us"], 0)] for row in rows])


def any_of(numbers):
    """`3 or 5`"""
    return " or ".join(map(str, sorted(numbers)))


def section(path):
    """A ladder's heading, machine, table, and what is missing from it."""
    report = json.loads(path.read_text(encoding="utf-8"))
    context, rows = report["context"], report["rows"]
    name, _, kind = path.stem.removeprefix("ladder-").rpartition("-")
    title = f"Linux {name}, {KINDS[kind]}" if name else KINDS.get(kind, kind).capitalize()
    given = [row for row in rows if "reason" not in row]
    commands = context["command"] if isinstance(context["command"], list) else [context["command"]]
    rounds, ios = ({row.get(key, 1) for row in given} for key in ("rounds", "ios"))  # the groups differ
    of = f", medians of {any_of(rounds)} rounds" if rounds != {1} else ""
    amount = f"{any_of(ios)} I/Os a row{of}" if context["ios_a_row"] else f"{context['seconds_a_row']} s a row"
    text = [f"## {title}\n\n`{path.name}`: {context['kernel']}, {context['cpus']} x {context['cpu']}, {context['date']}, "
            f"{amount}, depth and batch as in the command:\n"]
    text.append("```\n" + "\n".join(commands) + "\n```\n")
    text.append(counted_table(given) if kind == "instructions" else timed_table(given))
    missing = {}
    for row in rows:
        if "reason" in row:
            missing.setdefault(row["reason"], []).append(f"`{row['rung']}`")
    if missing:
        text.append("Missing:\n\n" + "\n".join(f"- {', '.join(dict.fromkeys(names))}: {reason}"
                                               for reason, names in missing.items()) + "\n")
    return "\n".join(text)


def write(out, ladders):
    """The whole page: counts before times, the host last."""
    order = {"instructions": 0, "times": 1, "host": 2}
    paths = sorted(map(pathlib.Path, ladders), key=lambda path: (order[path.stem.rpartition("-")[2]], path.stem))
    pathlib.Path(out).write_text(HEAD + "\n" + "\n".join(section(path) for path in paths), encoding="utf-8")


def main(arguments):
    actions = {"merge": lambda rest: merge(rest[0], rest[1:]), "tsv": lambda rest: tsv(rest[0]),
               "write": lambda rest: write(rest[0], rest[1:])}
    if len(arguments) < 2 or arguments[0] not in actions:
        print(__doc__, file=sys.stderr)
        return 2
    actions[arguments[0]](arguments[1:])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

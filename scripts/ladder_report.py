#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What scripts/ladder.sh makes of the JSON of `vmbench io`.

usage:
  ladder_report.py merge OUT.json PART.json...
    one ladder out of its parts, from the top rung down
  ladder_report.py tsv LADDER.json
    rung, instructions an I/O, fio's, for bench/plots/ladder.gp
  ladder_report.py write OUT.md LADDER.json...
    the tables
"""

import json
import pathlib
import sys
import textwrap

COLUMNS = 100
HEAD = pathlib.Path(__file__).resolve().parents[1] / "bench" / "ladder_intro.md"

KINDS = {
    "instructions": "instructions counted",
    "times": "times in emulation",
    "host": "this machine",
}


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
        switches = " / ".join(
            "-" if row.get(key) is None else f"{row[key]:.2f}"
            for key in ("switches_per_io", "reference_switches_per_io")
        )
        beside = "-" if kernel is None else f"{100 * (ours_alone / kernel - 1):+.1f} %"
        lines.append(
            [
                f"`{row['rung']}`",
                str(row["on"]),
                show(ours),
                show(share),
                show(empty),
                show(ours_alone),
                show(fio),
                show(kernel),
                beside,
                switches,
            ]
        )
    return table(
        [
            "rung",
            "on",
            "instructions an I/O",
            "% of `uring`",
            "empty polls",
            "without the bench's own",
            "fio",
            "fio without its own",
            "the bench beside fio, each without its own",
            "switches",
        ],
        lines,
    )


def timed_table(rows):
    """Times, whatever they are worth where they were taken."""
    return table(
        [
            "rung",
            "threads",
            "depth",
            "kIOPS",
            "fio kIOPS",
            "kcycles an I/O",
            "cores",
            "p50 us",
            "p99 us",
        ],
        [
            [
                f"`{row['rung']}`",
                str(row["threads"]),
                str(row["depth"]),
                show(row["iops"], 1, 1000),
                show(row["reference_iops"], 1, 1000),
                show(row["cycles_per_io"], 1, 1000),
                show(row["cores"], 2),
                show(row["p50_us"], 0),
                show(row["p99_us"], 0),
            ]
            for row in rows
        ],
    )


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
    rounds, ios = (
        {row.get(key, 1) for row in given} for key in ("rounds", "ios")
    )  # the groups differ
    of = f", medians of {any_of(rounds)} rounds" if rounds != {1} else ""
    amount = (
        f"{any_of(ios)} I/Os a row{of}"
        if context["ios_a_row"]
        else f"{context['seconds_a_row']} s a row"
    )
    made = textwrap.fill(
        f"`bench/results/{path.name}`: {context['kernel']}, "
        f"{context['cpus']} x {context['cpu']}, {context['date']}, "
        f"{amount}, depth and batch as in the command:",
        width=COLUMNS,
        break_long_words=False,
        break_on_hyphens=False,
    )
    text = [f"## {title}\n\n{made}\n"]
    text.append("```\n" + "\n".join(commands) + "\n```\n")
    text.append(counted_table(given) if kind == "instructions" else timed_table(given))
    missing = {}
    for row in rows:
        if "reason" in row:
            missing.setdefault(row["reason"], []).append(f"`{row['rung']}`")
    if missing:
        text.append(
            "Missing:\n\n"
            + "\n".join(
                textwrap.fill(
                    f"- {', '.join(dict.fromkeys(names))}: {reason}",
                    width=COLUMNS,
                    subsequent_indent="  ",
                    break_long_words=False,
                    break_on_hyphens=False,
                )
                for reason, names in missing.items()
            )
            + "\n"
        )
    return "\n".join(text)


def write(out, ladders):
    """The whole page: counts before times, the host last."""
    order = {"instructions": 0, "times": 1, "host": 2}
    paths = sorted(
        map(pathlib.Path, ladders),
        key=lambda path: (order[path.stem.rpartition("-")[2]], path.stem),
    )
    pathlib.Path(out).write_text(
        HEAD.read_text(encoding="utf-8") + "\n" + "\n".join(section(path) for path in paths),
        encoding="utf-8",
    )


def main(arguments):
    actions = {
        "merge": lambda rest: merge(rest[0], rest[1:]),
        "tsv": lambda rest: tsv(rest[0]),
        "write": lambda rest: write(rest[0], rest[1:]),
    }
    if len(arguments) < 2 or arguments[0] not in actions:
        print(__doc__, file=sys.stderr)
        return 2
    actions[arguments[0]](arguments[1:])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

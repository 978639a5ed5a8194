#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Draws docs/architecture.svg from the #include lines of the library, and checks their direction.

A box is a part of the library. An arrow means that a file of one part includes one of another;
an arrow that others imply is left out. Parts stand in layers. An include may stay within a part or
point to a lower layer. Any other include is printed and makes the exit status 1, and so does a
drawing that is not up to date.

usage: scripts/architecture.py [--write]
"""

import collections
import math
import os
import pathlib
import re
import sys

TREE = pathlib.Path(__file__).resolve().parents[1]
DRAWING = TREE / "docs/architecture.svg"

# From the top. A part is a name, what it is, and the files that it has, as prefixes of their paths:
# the longest one that fits decides.
LAYERS = [
    [
        ("tools", "vmcache-check", ["tools/check/"]),
        ("C API", "include/vmcache.h", ["libvmcache/capi/"]),
    ],
    [
        (
            "recovery",
            "log, transactions, recovery",
            [
                "libvmcache/recovery/",
                "include/vmcache/database.hpp",
                "include/vmcache/write_ahead_log.hpp",
                "include/vmcache/log.hpp",
            ],
        )
    ],
    [
        (
            "btree",
            "B+tree",
            ["libvmcache/btree/", "include/vmcache/detail/btree/", "include/vmcache/btree.hpp"],
        )
    ],
    [("pool", "states, replacement, write-back", ["libvmcache/pool/"])],
    [
        ("memory", "anonymous memory, exmap", ["libvmcache/memory/"]),
        ("storage", "files, devices, io_uring", ["libvmcache/storage/"]),
    ],
    [("base", "errors, checksums, logging", ["libvmcache/"])],
    [("public headers", "include/vmcache/", ["include/vmcache/"])],
]
FOLDERS = ("include", "libvmcache", "tools/check")
INCLUDE = re.compile(r'^\s*#\s*include\s*"([^"]+)"', re.MULTILINE)

PREFIXES = [
    (prefix, name, depth)
    for depth, layer in enumerate(LAYERS)
    for name, _, prefixes in layer
    for prefix in prefixes
]

BOX_WIDTH, BOX_HEIGHT = 220, 50
COLUMN_WIDTH, ROW_HEIGHT = 300, 110
WIDTH = 2 * COLUMN_WIDTH + 200


def part_of(path):
    """The part's name and the depth of its layer; None for a file that belongs to none."""
    fitting = [entry for entry in PREFIXES if path.startswith(entry[0])]
    return max(fitting, key=lambda entry: len(entry[0]))[1:] if fitting else None


def find_header(spelling, includer):
    for folder in (os.path.dirname(includer), *FOLDERS):
        path = os.path.normpath(os.path.join(folder, spelling))
        if (TREE / path).is_file():
            return path
    return None


def includes():
    """All pairs of a file and a file of ours that it includes, as paths relative to the tree."""
    for folder in FOLDERS:
        for file in sorted((TREE / folder).rglob("*.[ch]pp")):
            name = file.relative_to(TREE).as_posix()
            for spelling in INCLUDE.findall(file.read_text(encoding="utf-8")):
                header = find_header(spelling, name)
                if header:
                    yield name, header


def arrows():
    """All arrows as pairs of parts, and the includes that must not be there."""
    pairs, wrong = set(), []
    for name, header in includes():
        source, target = part_of(name), part_of(header)
        if source is None or target is None or source == target:
            continue
        pairs.add((source[0], target[0]))
        if target[1] <= source[1]:
            wrong.append(f"{name}: includes {header}: {source[0]} is not above {target[0]}")
    return pairs, wrong


def without_implied(pairs):
    """The arrows from which the others follow. All point down, so there are no circles."""
    below = collections.defaultdict(set)
    for layer in reversed(LAYERS):
        for name, _, _ in layer:
            for target in (to for source, to in pairs if source == name):
                below[name] |= {target} | below[target]
    return {
        (source, target)
        for source, target in pairs
        if not any(target in below[other] for start, other in pairs if start == source)
    }


def centres():
    """The centre of each part's box."""
    return {
        name: (
            WIDTH / 2 + (column - (len(layer) - 1) / 2) * COLUMN_WIDTH,
            BOX_HEIGHT / 2 + 10 + depth * ROW_HEIGHT,
        )
        for depth, layer in enumerate(LAYERS)
        for column, (name, _, _) in enumerate(layer)
    }


def arrow(source, target, bend):
    """An arrow down to the next layer, or from side to side, round the layers between."""
    (x1, y1), (x2, y2) = source, target
    if bend:
        side = math.copysign(BOX_WIDTH / 2, bend)
        x1, x2 = x1 + side, x2 + side
        path = f"{x1 + bend:.0f},{y1:.0f} {x2 + bend:.0f},{y2:.0f}"
    else:
        y1, y2 = y1 + BOX_HEIGHT / 2, y2 - BOX_HEIGHT / 2
        middle = (y1 + y2) / 2
        path = f"{x1:.0f},{middle:.0f} {x2:.0f},{middle:.0f}"
    return f'<path d="M{x1:.0f},{y1:.0f} C{path} {x2:.0f},{y2:.0f}" marker-end="url(#head)"/>'


def box(centre, name, what):
    x, y = centre
    return (
        f'<rect x="{x - BOX_WIDTH / 2:.0f}" y="{y - BOX_HEIGHT / 2:.0f}" '
        f'width="{BOX_WIDTH}" height="{BOX_HEIGHT}" rx="6"/>'
        f'<text x="{x:.0f}" y="{y - 4:.0f}" class="name">{name}</text>'
        f'<text x="{x:.0f}" y="{y + 14:.0f}">{what}</text>'
    )


def bend_of(source, target, depth):
    """How far an arrow swings aside, to go round the layers that it passes."""
    passed = depth[target] - depth[source] - 1
    return 90 if passed == 1 else -80 * passed


def drawing(pairs):
    depth = {name: row for row, layer in enumerate(LAYERS) for name, _, _ in layer}
    place = centres()
    lines = [
        "<!-- SPDX-License-Identifier: MIT -->",
        "<!-- Made by scripts/architecture.py. -->",
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} '
        f'{len(LAYERS) * ROW_HEIGHT - 40}" font-family="sans-serif" font-size="12" '
        'text-anchor="middle">',
        "<style>rect{fill:#eef3fa;stroke:#345}path{fill:none;stroke:#678}"
        ".name{font-size:15px;font-weight:bold}</style>",
        '<defs><marker id="head" markerWidth="8" markerHeight="8" refX="7" refY="4" orient="auto">'
        '<path d="M0,0 L8,4 L0,8 z" style="fill:#678;stroke:none"/></marker></defs>',
        f'<rect width="{WIDTH}" height="100%" style="fill:#fff;stroke:none"/>',
    ]
    for source, target in sorted(without_implied(pairs)):
        lines.append(arrow(place[source], place[target], bend_of(source, target, depth)))
    for layer in LAYERS:
        for name, what, _ in layer:
            lines.append(box(place[name], name, what))
    return "\n".join([*lines, "</svg>", ""])


def main():
    pairs, wrong = arrows()
    for line in wrong:
        print(line)
    if wrong:
        return 1
    content = drawing(pairs)
    if "--write" in sys.argv[1:]:
        DRAWING.write_text(content, encoding="utf-8")
    elif not DRAWING.is_file() or DRAWING.read_text(encoding="utf-8") != content:
        print("docs/architecture.svg is not up to date: run scripts/architecture.py --write")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The shared library exports the C symbols of its Debian package's list, C++ that public headers
declare, and nothing else. Each function of the C headers is in the list.
usage: symbols.py LIBVMCACHE_SO [--write]      --write adds what is missing in the list"""

import pathlib
import re
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
TREE = HERE.parents[1]
LIST = TREE / "packaging/debian/libvmcache0.symbols"


def exported(library, *options):
    """The names of what it defines."""
    listing = subprocess.run(
        ["nm", "--dynamic", "--defined-only", "--format=posix", *options, library],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout
    # NAME TYPE VALUE SIZE, where a demangled name has spaces; the versions' own symbols are "A".
    pattern = re.compile(r"(.*?)(?: ([A-Za-z])(?: [0-9a-f]+)*)$")
    found = (pattern.match(line) for line in listing.splitlines())
    return sorted(match[1].replace("@@", "@") for match in found if match and match[2] != "A")


def declared_classes():
    """What the public headers declare in namespace vmcache."""
    text = "".join(
        header.read_text(encoding="utf-8")
        for header in sorted((TREE / "include/vmcache").rglob("*.hpp"))
    )
    # A forward declaration is no documented API.
    defined = set(re.findall(r"^ *(?:class|struct)(?: \[\[\w+\]\])? (\w+)[^;]*?\{", text, re.M))
    functions = set(re.findall(r"\b(\w+)\(", text))
    return defined, functions


def project_version():
    """Three numbers, as a text."""
    text = (TREE / "CMakeLists.txt").read_text(encoding="utf-8")
    return re.search(r"^project\(vmcache VERSION ([0-9.]+)", text, re.M)[1]


def listed_symbols():
    """From symbol@node to the version that it came with."""
    text = LIST.read_text(encoding="utf-8")
    return dict(re.findall(r"^ (vmcache_\w+@\w+) ([0-9.]+)$", text, re.M))


def wrong_versions():
    """C++ is bound to the minor version in three places, which must agree."""
    major, minor, _ = project_version().split(".")
    expected = {
        LIST: [
            f"| libvmcache0 (>= {major}.{minor}), libvmcache0 (<< {major}.{int(minor) + 1}~)",
            f" (symver)VMCACHE_CXX_{major}.{minor} {major}.{minor}.0 1",
        ],
        TREE / "libvmcache/libvmcache.map": [f"VMCACHE_CXX_{major}.{minor} {{"],
    }
    return [
        f"{path.relative_to(TREE)}: this line is missing: {line}"
        for path, lines in expected.items()
        for line in lines
        if line not in path.read_text(encoding="utf-8").splitlines()
    ]


def add_missing(library):
    """Those that are listed stay as they are."""
    symbols = listed_symbols()
    version = project_version()
    for name in exported(library):
        if name.startswith("vmcache_"):
            symbols.setdefault(name, version)
    text = LIST.read_text(encoding="utf-8")
    head = "".join(line for line in text.splitlines(True) if not line.startswith(" vmcache_"))
    lines = [f" {name} {symbols[name]}\n" for name in sorted(symbols)]
    LIST.write_text(head + "".join(lines), encoding="utf-8")


def problems(library):
    """What is wrong, a text each."""
    found = wrong_versions()
    names = exported(library)
    c_names = [name for name in names if name.startswith("vmcache_")]
    listed = listed_symbols()
    found += [f"{name}: exported, and not in {LIST.name}" for name in set(c_names) - set(listed)]
    found += [f"{name}: in {LIST.name}, and not exported" for name in set(listed) - set(c_names)]
    headers = "".join(
        header.read_text(encoding="utf-8")
        for header in sorted((TREE / "include/vmcache/c").glob("*.h"))
    )
    declared = set(re.findall(r"^VMCACHE_API[^;(]*?\**(vmcache_\w+)\(", headers, re.M))
    found += [
        f"{name}: declared, and not in {LIST.name}"
        for name in declared - {name.split("@")[0] for name in listed}
    ]
    classes, functions = declared_classes()
    for name in exported(library, "--demangle"):
        name = name.split("@")[0]
        if name.startswith("vmcache_"):
            continue
        plain = re.sub(r"^(typeinfo name|typeinfo|vtable|VTT) for ", "", name)
        owner = re.match(r"vmcache::(?:(?:btree|detail)::)?(\w+)", plain)
        if owner is None or owner[1] not in classes | functions:
            found.append(f"{name}: exported, and no public header declares it")
        elif re.match(r"vmcache::\w+::(Impl|State|Detached)\b", plain):
            found.append(f"{name}: exported, and private to its class")
    return c_names, found


def main():
    """Returns the exit status."""
    arguments = sys.argv[1:]
    if not arguments or len(arguments) > 2 or arguments[1:] not in ([], ["--write"]):
        print(__doc__, file=sys.stderr)
        return 2
    if arguments[1:]:
        add_missing(arguments[0])
        return 0
    c_names, found = problems(arguments[0])
    for problem in sorted(found):
        print(problem)
    print(f"{len(c_names)} symbols of C, {len(found)} problems")
    return 1 if found or not c_names else 0


if __name__ == "__main__":
    sys.exit(main())

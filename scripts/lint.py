# SPDX-License-Identifier: MIT
"""Runs the checks of scripts/lint.sh and remembers what passed.

A check looks at one file at a time, or at the tree as a whole. What passed is remembered as an
empty file whose name is a hash of everything that the result depends on: the tool's version, its
settings, and the content of the files. The cache lies outside the tree."""

import argparse
import concurrent.futures
import functools
import hashlib
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys
import time

TREE = pathlib.Path(__file__).resolve().parents[1]
CACHE_HOME = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"))
PASSED = CACHE_HOME / "vmcache-lint"
KERNELS = CACHE_HOME / "exmap-vm" / "kernels"

MAX_COLUMNS = 100
MAX_SUBJECT = 72
# Commit subjects are checked after this commit, where the rule begins.
SUBJECTS_AFTER = "a48260c"

# Words that codespell takes for misspelled ones.
SPELLED_RIGHT = "damon,iput,kno,fo,inout,ans,exat"
# compat.h compares kernel versions on purpose.
CHECKPATCH_IGNORE = "LINUX_VERSION_CODE,CONSTANT_COMPARISON"
# The tracing macros have a layout of their own.
CHECKPATCH_IGNORE_TRACE = CHECKPATCH_IGNORE + ",PARENTHESIS_ALIGNMENT,OPEN_ENDED_LINE"

CXX = r"\.(cpp|hpp)$"
KERNEL_C = r"^(kmod|include/uapi|tools/vm\.d/modules|tests/vm/planted)/.*\.[ch]$"
TIDY = r"^(libvmcache|tools/check)/.*\.cpp$"
PYTHON = r"\.py$|^tools/vm$"
SHELL = r"\.sh$|^\.ci/run$"
NO_COMMENTS = (
    r"^LICENSES/|\.(json|png|svg|patch|unseen)$|\.gitignore$|/fixtures/"
    r"|^packaging/debian/(changelog|copyright|exmap-dkms\.dkms|source/format)$"
)
NOT_PROSE = r"^LICENSES/|\.(json|png|svg|patch|unseen)$|/fixtures/"
# The debug kernel is known by a hash of its settings, so that any change builds it anew.
NO_COLUMNS = NOT_PROSE + r"|^tools/vm\.d/kernel/|\.blkdebug$"


class Finding(Exception):
    """A check has found something; the text is what is printed."""


@functools.cache
def tracked_files():
    """What git knows of, and what it would add: paths relative to the tree, without what is
    deleted."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=TREE,
        check=True,
        stdout=subprocess.PIPE,
    ).stdout.decode()
    return [
        name for name in sorted(set(filter(None, listing.split("\0")))) if (TREE / name).is_file()
    ]


@functools.cache
def content(name):
    return (TREE / name).read_bytes()


@functools.cache
def version_of(*command):
    return subprocess.run(
        [*command, "--version"], check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ).stdout


def digest(*parts):
    """A hash of the parts, each told apart from the next."""
    total = hashlib.sha256()
    for part in parts:
        data = part if isinstance(part, bytes) else str(part).encode()
        total.update(len(data).to_bytes(8, "little") + data)
    return total.hexdigest()


def run(command, **options):
    """Raises Finding with what the command printed if it fails."""
    result = subprocess.run(
        command,
        cwd=TREE,
        check=False,
        stdin=subprocess.DEVNULL,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        **options,
    )
    if result.returncode:
        raise Finding(result.stdout.strip() or f"{shlex.join(command)}: {result.returncode}")
    return result.stdout


class Check:
    """One kind of check: which files it looks at, how, and what else its result depends on."""

    def __init__(self, name, what, perform, key=lambda name: (), only=".", but="(?!)", batch=1):
        self.name = name
        self.what = what
        self.perform = perform
        self.key = key
        self.only = re.compile(only)
        self.but = re.compile(but)
        self.batch = batch  # files that one call of `perform` looks at

    def files(self):
        return [
            name for name in tracked_files() if self.only.search(name) and not self.but.search(name)
        ]

    def passed_marker(self, name):
        key = digest(self.name, content("scripts/lint.py"), name, content(name), *self.key(name))
        return PASSED / key[:2] / key[2:]


# A function a check. It is given a file's name, and raises Finding.


def check_format(name):
    run(["clang-format", "--dry-run", "-Werror", "--style=file", name])


# clang-tidy: the result depends on all headers of ours that a file includes.

INCLUDE = re.compile(rb'^\s*#\s*include\s*["<]([^">]+)[">]', re.MULTILINE)
INCLUDE_FOLDERS = ("include", "include/uapi", "libvmcache", "tools/check")


def find_header(spelling, includer):
    for folder in (os.path.dirname(includer), *INCLUDE_FOLDERS):
        path = os.path.normpath(os.path.join(folder, spelling))
        if (TREE / path).is_file():
            return path
    return None


def includes_of(name):
    """The files of ours that `name` includes, directly or not."""
    seen, left = set(), [name]
    while left:
        current = left.pop()
        for spelling in INCLUDE.findall(content(current)):
            header = find_header(spelling.decode(), current)
            if header and header not in seen:
                seen.add(header)
                left.append(header)
    return sorted(seen)


BUILD = TREE / "build" / "release"


@functools.cache
def compile_commands():
    """By file: the library's and the tools' own, and not those of the copies that are made for a
    test. clang-tidy finds them in BUILD/lint. Configures the release build where that has not been
    done since a file of CMake's was changed; a build may be running there."""
    made = BUILD / "compile_commands.json"
    if not made.is_file() or any(
        (TREE / name).stat().st_mtime > made.stat().st_mtime
        for name in tracked_files()
        if re.search(r"CMake|\.cmake$", name)
    ):
        run(["cmake", "--preset", "release", "--log-level=WARNING"])
        made.touch()
    own = {}
    for entry in json.loads(made.read_text(encoding="utf-8")):
        name = os.path.relpath(entry["file"], TREE)
        if re.search(TIDY, name) and "-fsanitize" not in entry["command"]:
            own[name] = entry
    (BUILD / "lint").mkdir(exist_ok=True)
    place = BUILD / "lint" / "compile_commands.json"
    # In one step: several threads of this program and clang-tidy may look at it.
    temporary = place.with_suffix(".making")
    temporary.write_text(json.dumps(list(own.values())), encoding="utf-8")
    temporary.rename(place)
    return {name: entry["command"] for name, entry in own.items()}


def tidy_key(name):
    # The folder's own name is no part of the result.
    command = compile_commands().get(name, "").replace(str(TREE), "")
    return [
        version_of("clang-tidy"),
        content(".clang-tidy"),
        command,
        *(content(header) for header in includes_of(name)),
    ]


def check_tidy(name):
    if name not in compile_commands():
        raise Finding(f"{name}: is part of no build")
    output = run(
        ["clang-tidy", "-p", str(BUILD / "lint"), "--quiet", "--warnings-as-errors=*", name]
    )
    if "warning:" in output or "error:" in output:
        raise Finding(output)


@functools.cache
def checkpatch():
    """The kernel's own script, out of the source of the debug kernel that tools/vm has built."""

    def found():
        return sorted(KERNELS.glob("debug/current-*/build/scripts/checkpatch.pl"))

    if not found():
        print("lint: checkpatch.pl comes with the debug kernel, which is built first", flush=True)
        subprocess.run(["tools/vm", "--prepare", "debug"], cwd=TREE, check=True)
    return found()[-1]


def check_checkpatch(name):
    ignore = CHECKPATCH_IGNORE_TRACE if name.endswith("trace.h") else CHECKPATCH_IGNORE
    run(
        [
            "perl",
            str(checkpatch()),
            "--no-tree",
            "--strict",
            "--terse",
            "--no-summary",
            f"--max-line-length={MAX_COLUMNS}",
            "--ignore",
            ignore,
            "-f",
            name,
        ]
    )


def sparse_key(_):
    """All of the module is checked in one go, so each of its files depends on all of them."""
    return [
        version_of("sparse"),
        *(
            content(name)
            for name in tracked_files()
            if re.search(KERNEL_C, name) or name.endswith("Kbuild")
        ),
    ]


def check_sparse(_):
    run(["tools/vm", "--build-module", "6.12", "--sparse"])


def check_shell(name):
    run(["shellcheck", "--external-sources", name])


def check_python(name):
    run(["black", "--check", "--quiet", f"--line-length={MAX_COLUMNS}", name])
    run(["flake8", f"--max-line-length={MAX_COLUMNS}", "--extend-ignore=W503,E203", name])


def python_key(_):
    return [version_of("black"), version_of("flake8")]


def check_spelling(*names):
    run(["codespell", f"--ignore-words-list={SPELLED_RIGHT}", *names])


def check_spdx(name):
    head = b"\n".join(content(name).split(b"\n")[:5])
    if b"SPDX-License-Identifier: " not in head:
        raise Finding(f"{name}: no SPDX-License-Identifier in the first five lines")


def may_be_long(name, line, in_block):
    """Tables, addresses and commands that a reader copies cannot be broken."""
    if name.endswith(".md") and (in_block or line.startswith(("|", "    "))):
        return True
    return re.search(r"https?:/{2}", line) is not None


def check_columns(name):
    in_block = False
    found = []
    for number, line in enumerate(content(name).decode("utf-8").splitlines(), 1):
        if line.startswith("```"):
            in_block = not in_block
        columns = len(line.expandtabs(8))
        if columns > MAX_COLUMNS and not may_be_long(name, line, in_block):
            found.append(f"{name}:{number}: {columns} columns; allowed are {MAX_COLUMNS}")
    if found:
        raise Finding("\n".join(found))


def check_architecture(name):
    run(["python3", name])


def architecture_key(_):
    """The drawing, and every file whose includes it shows."""
    return [
        content(name)
        for name in tracked_files()
        if name == "docs/architecture.svg" or name.startswith(INCLUDE_FOLDERS)
    ]


def version_key(*command):
    return lambda _: [version_of(*command)]


CHECKS = [
    Check(
        "format",
        "clang-format",
        check_format,
        only=CXX,
        key=lambda _: [version_of("clang-format"), content(".clang-format")],
    ),
    Check(
        "tidy",
        "clang-tidy over library and tools, with their headers",
        check_tidy,
        only=TIDY,
        key=tidy_key,
    ),
    Check("checkpatch", "the kernel's style checker", check_checkpatch, only=KERNEL_C),
    Check(
        "sparse", "the kernel's static checker", check_sparse, only="^kmod/Kbuild$", key=sparse_key
    ),
    Check("shell", "shellcheck", check_shell, only=SHELL, key=version_key("shellcheck")),
    Check("python", "black and flake8", check_python, only=PYTHON, key=python_key),
    Check(
        "spelling",
        "codespell",
        check_spelling,
        but=NOT_PROSE,
        key=version_key("codespell"),
        batch=40,
    ),
    Check("spdx", "a licence line in every file", check_spdx, but=NO_COMMENTS),
    Check(
        "includes",
        "includes that point down only, as docs/architecture.svg shows",
        check_architecture,
        only=r"^scripts/architecture\.py$",
        key=architecture_key,
    ),
    Check("columns", f"lines of at most {MAX_COLUMNS} columns", check_columns, but=NO_COLUMNS),
]


def check_subjects():
    """Commit subjects. Not cached: it is one call. Returns the findings."""
    known = subprocess.run(
        ["git", "merge-base", "--is-ancestor", SUBJECTS_AFTER, "HEAD"],
        cwd=TREE,
        check=False,
        stderr=subprocess.DEVNULL,
    )
    if known.returncode:
        return [f"git history does not reach back to {SUBJECTS_AFTER}: subjects cannot be checked"]
    log = run(["git", "log", "--no-merges", "--format=%h %s", f"{SUBJECTS_AFTER}..HEAD"])
    findings = []
    for line in log.splitlines():
        commit, _, subject = line.partition(" ")
        if len(subject) > MAX_SUBJECT:
            findings.append(
                f"commit {commit}: the subject has {len(subject)} characters; "
                f"allowed are {MAX_SUBJECT}"
            )
    return findings


def perform_batch(check, names):
    """Returns what is found in these files, "" for nothing, and remembers the files without
    findings."""
    text = ""
    try:
        check.perform(*names)
    except Finding as finding:
        text = str(finding)
    for name in names:
        # A tool that is given several files begins its lines with their names.
        alone = len(names) == 1
        if not text or not (alone or re.search(rf"^(\./)?{re.escape(name)}:", text, re.MULTILINE)):
            marker = check.passed_marker(name)
            marker.parent.mkdir(parents=True, exist_ok=True)
            marker.touch()
    return text


def run_check(check):
    """Returns the findings, how many files have some, and how many were looked at anew."""
    fresh = [name for name in check.files() if not check.passed_marker(name).exists()]
    batches = [fresh[at : at + check.batch] for at in range(0, len(fresh), check.batch)]
    findings = []
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        found = pool.map(lambda names: perform_batch(check, names), batches)
        for number, text in enumerate(found, 1):
            if text:
                findings.append(text)
            if sys.stderr.isatty():
                print(f"\rlint: {check.name} {number} of {len(batches)} ", end="", file=sys.stderr)
    if fresh and sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr)
    failed = sum(not check.passed_marker(name).exists() for name in fresh)
    return findings, failed, len(fresh)


def main():
    names = [check.name for check in CHECKS] + ["subjects"]
    parser = argparse.ArgumentParser(
        prog="scripts/lint.sh",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="checks:\n"
        + "".join(f"  {check.name:<11} {check.what}\n" for check in CHECKS)
        + f"  subjects    commit subjects of at most {MAX_SUBJECT} characters, "
        + f"after {SUBJECTS_AFTER}",
    )
    parser.add_argument("checks", nargs="*", metavar="CHECK", help="only these (all)")
    wanted = parser.parse_args().checks or names
    for name in wanted:
        if name not in names:
            parser.error(f"no check '{name}' (allowed: {' '.join(names)})")

    passed = failed = 0
    for check in CHECKS:
        if check.name not in wanted:
            continue
        started = time.monotonic()
        findings, with_findings, fresh = run_check(check)
        failed += with_findings
        passed += len(check.files()) - with_findings
        for finding in findings:
            print(finding)
        print(
            f"lint: {check.name}: {len(check.files())} files, {fresh} looked at anew, "
            f"{with_findings} with findings, {time.monotonic() - started:.0f} s",
            flush=True,
        )
    if "subjects" in wanted:
        findings = check_subjects()
        failed += len(findings)
        passed += not findings
        print("\n".join([*findings, f"lint: subjects: {len(findings)} findings"]))
    print(f"{passed} passed, {failed} failed, 0 skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The commands printed in README.md and docs/ are ones that work: the program is there, it knows
the options, a filter matches some test. Those that take a moment are run.
usage: commands.py BUILD_FOLDER"""

import os
import pathlib
import re
import shlex
import subprocess
import sys

TREE = pathlib.Path(__file__).resolve().parents[2]
PAGES = ["README.md", "SUPPORT.md", "CONTRIBUTING.md", "bench/README.md"]
PAGES += [str(page.relative_to(TREE)) for page in sorted((TREE / "docs").glob("*.md"))]
BEGINS = re.compile(r"^(scripts|tools|tests|build)/\S+|^(cmake|ctest|make|insmod)( |$)")
# Parts of a command that stand for something else.
PLACEHOLDER = re.compile(r"(^|/)[A-Z]+($|[/.])|[\[\]<>*]|…")
OF_ALL_TESTS = ("--memory", "--device", "--gtest_filter", "--gtest_brief")
# Where a program's options are declared, if not in itself.
SOURCES = {
    "tools/vm": ["tools/vm.d/cli.py"],
    "scripts/sqlite.sh": ["scripts/sqlite.sh", "scripts/sqlite_bench.py"],
}
RUN = re.compile(r"^build/release/(tests/\S*_test --gtest_filter|examples/hello)")


def printed():
    """(page, line number, command)"""
    for page in PAGES:
        fence, waiting, began = None, "", 0
        for number, line in enumerate((TREE / page).read_text(encoding="utf-8").splitlines(), 1):
            if line.startswith("```"):
                fence = line[3:].strip() if fence is None else None
                continue
            if fence is None and not line.startswith("    "):
                for code in re.findall(r"`([^`]+)`", line):
                    if BEGINS.match(code):
                        yield page, number, code
                continue
            if fence not in (None, "", "sh"):
                continue
            began = began if waiting else number
            waiting += line.strip()
            if waiting.endswith("\\"):
                waiting = waiting[:-1]
                continue
            command, waiting = waiting, ""
            if BEGINS.match(command):
                yield page, began, command


class Program:
    """A command's first word, in the tree or in the build folder."""

    def __init__(self, build, word):
        self.word = word
        in_build = word.removeprefix("build/release/")
        self.path = TREE / word if in_build == word else build / in_build
        self.is_test = word.endswith("_test")

    def knows(self, option, arguments):
        if option == "--help" or self.is_test and option in OF_ALL_TESTS:
            return True
        if self.word.startswith("build/"):
            commands = [word for word in arguments[:1] if re.fullmatch("[a-z-]+", word)]
            # crash_simulation and its like say how they are used when asked for nonsense.
            text = subprocess.run(
                [self.path, *commands, "--help"],
                check=False,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=60,
            ).stdout
        else:
            files = SOURCES.get(self.word, [self.word])
            text = "".join((TREE / file).read_text(encoding="utf-8") for file in files)
        return re.search(re.escape(option) + r"(?![\w-])", text) is not None


def matches_a_test(program, option):
    listing = subprocess.run(
        [program.path, "--gtest_list_tests", option], check=True, stdout=subprocess.PIPE
    ).stdout
    return b"\n  " in listing


def problems_of(build, command):
    """What is wrong with a command, a text each."""
    try:
        words = shlex.split(command, comments=True)
    except ValueError as error:
        return [str(error)]
    if words[0] in ("cmake", "make", "insmod"):
        return []  # run by test.sh, tests/install and tools/vm
    if words[0] == "ctest":
        if "-R" not in words:
            return []
        listing = subprocess.run(
            ["ctest", "--test-dir", build, "-N", "-R", words[words.index("-R") + 1]],
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        ).stdout
        return ["matches no test"] if "Total Tests: 0" in listing else []
    if "&&" in words:
        words = words[: words.index("&&")]
    program = Program(build, words[0])
    if PLACEHOLDER.search(words[0]) or words[0].endswith("/"):
        return []
    if not program.path.exists():
        return ["there is no such program"]
    if not os.access(program.path, os.X_OK) or program.path.is_dir():
        return []  # a file that is spoken of
    found = []
    arguments = words[1:]
    inner = []
    if "--" in arguments:
        arguments, inner = (
            arguments[: arguments.index("--")],
            arguments[arguments.index("--") + 1 :],
        )
    for word in arguments:
        option = re.match(r"\[?(--[\w-]+)", word)
        if option and not program.knows(option[1], arguments):
            found.append(f"{program.word} knows no option {option[1]}")
        if word.startswith("--gtest_filter") and not matches_a_test(program, word):
            found.append(f"{word} matches no test")
    if inner and BEGINS.match(inner[0]):
        found += problems_of(build, shlex.join(inner))
    if not found and RUN.match(command):
        status = subprocess.run(
            [program.path, *arguments], check=False, stdout=subprocess.DEVNULL
        ).returncode
        if status:
            found.append(f"exit status {status}")
    return found


def main():
    """Returns the exit status."""
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    build = pathlib.Path(sys.argv[1]).resolve()
    checked, wrong = 0, 0
    for page, number, command in printed():
        checked += 1
        for problem in problems_of(build, command):
            wrong += 1
            print(f"{page}:{number}: {command}\n  {problem}")
    print(f"{checked} commands, {wrong} problems")
    return 1 if wrong or checked < 20 else 0


if __name__ == "__main__":
    sys.exit(main())

# SPDX-License-Identifier: MIT
"""Debian packages by name, from the mirror that this machine's own sources name, through an apt
state of our own: nothing is installed, and the machine's lists, cache and settings are only
read."""

import glob
import os
import re
import subprocess
import sys

from cache import VmError, say

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
SUITE = re.compile(
    r"^(bullseye|bookworm|trixie|forky|sid|stable|testing|unstable|oldstable)"
    r"(-updates|-security|-backports)?$"
)


def _one_line_entries(text):
    for line in text.splitlines():
        match = re.match(r"\s*deb\s+(?:\[[^]]*\]\s+)?(\S+)\s+(\S+)\s+(.*)", line)
        if match:
            yield [match[1]], [match[2]], match[3].split()


def _stanza_entries(text):
    for stanza in re.split(r"\n\s*\n", text):
        fields = {}
        for line in stanza.splitlines():
            if not line.startswith("#") and ":" in line and not line[:1].isspace():
                key, value = line.split(":", 1)
                fields[key.strip().lower()] = value.split()
        if "deb" in fields.get("types", []) and fields.get("enabled", ["yes"])[0].lower() != "no":
            yield fields.get("uris", []), fields.get("suites", []), fields.get("components", [])


def _host_entries():
    files = ["/etc/apt/sources.list", *sorted(glob.glob("/etc/apt/sources.list.d/*"))]
    for name in files:
        if not os.path.isfile(name):
            continue
        with open(name, encoding="utf-8") as file:
            text = file.read()
        yield from _stanza_entries(text) if name.endswith(".sources") else _one_line_entries(text)


def mirrors():
    """The (main, security) archive addresses out of this machine's sources."""
    found = {}
    for addresses, suites, components in _host_entries():
        for suite in suites:
            match = SUITE.match(suite.split("/")[0])
            if match and "main" in components and addresses:
                found.setdefault("security" if match[2] == "-security" else "main", addresses[0])
    if "main" not in found:
        raise VmError("no Debian mirror in this machine's /etc/apt/sources.list or sources.list.d")
    return found["main"], found.get("security")


def source_lines(suites):
    """Lines for a sources.list with these suites."""
    main, security = mirrors()
    lines = []
    for suite in suites:
        address = security if suite.endswith("-security") else main
        if address is None:
            say(f"this machine's sources name no security archive: going without {suite}")
        else:
            lines.append(f"deb [signed-by={KEYRING}] {address} {suite} main")
    return lines


class AptRoot:
    """An apt state of our own with some suites. Call it with the apt lock of the cache held."""

    def __init__(self, cache, name, suites):
        self.name = name
        self.folder = cache.path("apt", name)
        for part in ("state/lists/partial", "cache/archives/partial"):
            (self.folder / part).mkdir(parents=True, exist_ok=True)
        (self.folder / "status").touch()
        (self.folder / "sources.list").write_text(
            "\n".join(source_lines(suites)) + "\n", encoding="utf-8"
        )
        self.options = []
        for key, value in {
            "Dir::Etc::SourceList": self.folder / "sources.list",
            "Dir::Etc::SourceParts": "/dev/null",
            "Dir::Etc::Preferences": "/dev/null",
            "Dir::Etc::PreferencesParts": "/dev/null",
            "Dir::State": self.folder / "state",
            "Dir::State::status": self.folder / "status",
            "Dir::Cache": self.folder / "cache",
            "APT::Sandbox::User": "",
            "Debug::NoLocking": "1",
        }.items():
            self.options += ["-o", f"{key}={value}"]

    def _run(self, command, folder=None):
        quiet = [] if sys.stderr.isatty() else ["-qq"]
        result = subprocess.run(
            [*command[:1], *self.options, *quiet, *command[1:]],
            cwd=folder,
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr.fileno(),
        )
        if result.returncode:
            raise VmError(
                f"{' '.join(command[:2])} failed for {self.name} (exit status {result.returncode})"
            )

    def update(self):
        say(f"reading the package lists ({self.name})")
        self._run(["apt-get", "update", "--error-on=any"])

    def record(self, package):
        """The fields of a package's newest version, or None."""
        text = subprocess.run(
            ["apt-cache", *self.options, "show", "--no-all-versions", package],
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        ).stdout
        fields = {}
        for line in text.splitlines():
            if line and not line[0].isspace() and ": " in line:
                key, value = line.split(": ", 1)
                fields.setdefault(key, value)
        return fields or None

    def depends(self, package):
        """Names of the packages it depends on, the first of each alternative."""
        record = self.record(package)
        if record is None:
            raise VmError(f"no package {package} in {self.name}")
        names = [
            re.split(r"[ (|:]", part.strip())[0] for part in record.get("Depends", "").split(",")
        ]
        return [name for name in names if name]

    def closure(self, packages, follow):
        """@packages and all they depend on whose names match the pattern @follow."""
        found, waiting = [], list(packages)
        while waiting:
            package = waiting.pop(0)
            if package not in found:
                found.append(package)
                waiting += [name for name in self.depends(package) if re.match(follow, name)]
        return found

    def download(self, packages, folder):
        """Puts the .deb files of @packages into @folder; apt checks their signatures and sums."""
        say(f"downloading {', '.join(packages)}")
        self._run(["apt-get", "download", *packages], folder)
        return sorted(folder.glob("*.deb"))


def unpack(package_file, folder):
    """Unpacks a .deb; its scripts are not run."""
    if subprocess.run(["dpkg-deb", "-x", package_file, folder], check=False).returncode:
        raise VmError(f"cannot unpack {package_file.name}")

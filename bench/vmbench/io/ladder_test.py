#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What `vmbench io` promises, on files: each rung gives transfers or a reason, and wrong bytes are
noticed. usage: ladder_test.py VMBENCH [TEST...]"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

KEYS = {
    "rung",
    "op",
    "threads",
    "depth",
    "iops",
    "cycles_per_io",
    "instructions_per_io",
    "cores",
    "p50_us",
    "p99_us",
    "reference_iops",
    "reference_instructions_per_io",
}
SYNCHRONOUS = {"pread", "pread-direct", "mmap"}
BLOCK = 4096
VMBENCH = ""


class Ladder(unittest.TestCase):
    """Runs vmbench io in a folder of its own, below the working folder: /tmp may have no direct
    I/O."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="ladder-test.", dir=".")
        self.addCleanup(folder.cleanup)
        self.file = pathlib.Path(folder.name) / "file"
        self.json = pathlib.Path(folder.name) / "rows.json"

    def io(self, *options, status=0):
        """Its rows, after an end with that status, or what it said."""
        command = [
            VMBENCH,
            "io",
            "--devices",
            str(self.file),
            "--span",
            "4MiB",
            "--json",
            str(self.json),
            *options,
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        said = done.stdout + done.stderr
        self.assertEqual(done.returncode, status, said)
        return json.loads(self.json.read_text(encoding="utf-8"))["rows"] if status == 0 else said

    def check_rows(self, rows, op):
        """Each row has all keys, and either figures that can be or a reason."""
        for row in rows:
            self.assertLessEqual(KEYS, row.keys(), row)
            self.assertEqual(row["op"], op)
            if "reason" in row:
                self.assertTrue(row["reason"])
                self.assertIsNone(row["iops"])
                continue
            self.assertTrue(row["verified"], row)
            self.assertGreater(row["iops"], 0, row)
            self.assertGreater(row["cycles_per_io"], 0, row)
            self.assertLessEqual(row["p50_us"], row["p99_us"], row)
            self.assertTrue(row["instructions_per_io"] or row["instructions_reason"], row)
            self.assertEqual(row["depth"], 1 if row["rung"] in SYNCHRONOUS else 16)
        given = {row["rung"] for row in rows if "reason" not in row}
        self.assertLessEqual({"pread", "mmap"}, given)

    def test_every_rung_gives_transfers_or_a_reason(self):
        rows = self.io("--ios", "600", "--depth", "16", "--threads", "1,2", "--no-reference")
        self.check_rows(rows, "read")
        helped = subprocess.run(
            [VMBENCH, "io", "--help"], capture_output=True, text=True, check=True
        ).stdout
        listed = [
            line.split()[0]
            for line in helped.split("Rungs:")[1].splitlines()
            if line.startswith("  ")
        ]
        listed = listed[: listed.index("vmcache-pool-registered") + 1]
        self.assertEqual(list(dict.fromkeys(row["rung"] for row in rows)), listed)
        self.assertFalse(self.file.exists(), "a file that was made must be removed")

    def test_every_rung_writes_what_is_read_back(self):
        self.check_rows(
            self.io("--write", "--ios", "600", "--depth", "16", "--threads", "2", "--no-reference"),
            "write",
        )

    def test_fio_stands_beside_a_rung(self):
        row = self.io("--rungs", "pread", "--seconds", "0.2", "--threads", "1")[0]
        self.assertTrue(row["reference_iops"] or row["reference_reason"], row)

    def test_a_wrong_block_ends_the_run(self):
        self.io("--rungs", "pread", "--ios", "100", "--threads", "1", "--no-reference", "--keep")
        with open(self.file, "r+b") as file:  # block 9 where block 5 belongs
            file.seek(9 * BLOCK)
            other = file.read(BLOCK)
            file.seek(5 * BLOCK)
            file.write(other)
            os.fsync(file.fileno())
        said = self.io(
            "--rungs", "pread", "--ios", "30000", "--threads", "1", "--no-reference", status=1
        )
        self.assertIn("block 5 of ", said)
        self.assertIn("the read brought block 9", said)

    def test_foreign_content_is_kept_unless_given_up(self):
        content = os.urandom(4 << 20)
        self.file.write_bytes(content)
        said = self.io("--write", "--rungs", "pread", "--ios", "100", "--threads", "1", status=1)
        self.assertIn("--content-will-be-lost", said)
        rows = self.io("--rungs", "pread", "--ios", "100", "--threads", "1", "--no-reference")
        self.assertFalse(rows[0]["verified"])
        self.assertEqual(self.file.read_bytes(), content)
        rows = self.io(
            "--rungs",
            "pread",
            "--ios",
            "100",
            "--threads",
            "1",
            "--no-reference",
            "--content-will-be-lost",
        )
        self.assertTrue(rows[0]["verified"])

    def test_bad_options_change_nothing(self):
        for options in (
            ["--size", "1000"],
            ["--stripe", "5000"],
            ["--ios", "3"],
            ["--rungs", "nosuch"],
            ["--icount-clock"],
            ["--depth", "0"],
        ):
            done = subprocess.run(
                [VMBENCH, "io", "--devices", str(self.file), *options],
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            self.assertNotEqual(done.returncode, 0, options)
            self.assertIn(options[0], done.stdout + done.stderr)
            self.assertFalse(self.file.exists(), options)
        done = subprocess.run(
            [VMBENCH, "io", "--devices", "/dev/null"], capture_output=True, text=True, check=False
        )
        self.assertEqual(done.returncode, 1)
        self.assertIn("neither a file, nor a block device", done.stderr)


if __name__ == "__main__":
    VMBENCH = str(pathlib.Path(sys.argv.pop(1)).resolve())
    unittest.main()

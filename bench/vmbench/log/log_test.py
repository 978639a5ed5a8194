#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What `vmbench log` promises: a row for each thing asked, with figures that can be, and no file
left behind. usage: log_test.py VMBENCH [TEST...]"""

import json
import pathlib
import subprocess
import sys
import tempfile
import unittest

VMBENCH = ""
MIB = 1 << 20


class LogCosts(unittest.TestCase):
    """Runs vmbench log in a folder of its own, below the working folder: /tmp may have no direct
    I/O."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="log-test.", dir=".")
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def vmbench(self, *options, status=0):
        command = [VMBENCH, "log", "--file", str(self.folder / "db"), *options]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        self.assertEqual(done.returncode, status, done.stdout + done.stderr)
        return done.stdout + done.stderr

    def rows(self, part, *options, data="2MiB", seconds="0.05"):
        """The rows of one part on little data, after a short time."""
        path = self.folder / "rows.json"
        self.vmbench(
            "--parts",
            part,
            "--data",
            data,
            "--log-capacity",
            "16MiB",
            "--seconds",
            seconds,
            "--rounds",
            "2",
            "--json",
            str(path),
            *options
        )
        rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
        path.unlink()
        self.assertEqual(list(self.folder.iterdir()), [], "files that were made must be removed")
        return rows

    def test_commits_stand_beside_the_device(self):
        rows = self.rows("commits", "--threads", "1,3")
        self.assertEqual([row["threads"] for row in rows], [1, 3])
        for row in rows:
            self.assertGreater(row["commits_per_s"], 0, row)
            self.assertGreater(row["device_flushes_per_s"], 0, row)
            self.assertLessEqual(row["p50_us"], row["p99_us"], row)
            self.assertLessEqual(row["p99_us"], row["max_us"], row)
            self.assertLessEqual(
                row["commits_per_flush"], row["threads"] + 1, row
            )  # no more wait than there are
            self.assertGreater(row["log_bytes_per_commit"], 128, row)  # the record is in it

    def test_ycsb_stands_beside_a_pool_without_a_log(self):
        rows = self.rows(
            "ycsb", "--threads", "1", "--waiters", "4", "--group", "64", "--tasks", "32"
        )
        self.assertEqual([row["tasks"] for row in rows], [None, None, 32, None])
        # Tasks of one thread that wait share a flush.
        self.assertGreater(rows[2]["commits_per_flush"], 2)
        self.assertEqual(rows[0]["system"], "no log")
        self.assertIsNone(rows[0]["ratio"])
        for row in rows[1:]:
            self.assertAlmostEqual(row["ratio"] * rows[0]["ops_per_s"], row["ops_per_s"], delta=1)
            self.assertGreater(row["log_bytes_per_update"], 128, row)
            self.assertGreater(row["durable_p99_us"], 0, row)

    def test_a_checkpoint_writes_the_pages_that_updates_have_changed(self):
        rows = self.rows("checkpoint", "--threads", "1", "--group", "64")
        self.assertEqual(len(rows), 1)
        self.assertGreater(rows[0]["pages_written"], 0)
        self.assertGreater(rows[0]["ratio"], 0)

    def test_checksums_are_measured_on_pages_that_are_read(self):
        # Each window has to have some look-ups, on a busy machine, too.
        rows = self.rows("checksums", "--tasks", "16", data="8MiB", seconds="0.5")
        self.assertEqual([row["system"] for row in rows], ["neither", "sealed and checked"])
        for row in rows:
            self.assertGreater(row["page_reads"], 0, row)
        self.assertGreater(rows[1]["ratio"], 0)

    def test_recovery_never_has_more_log_than_an_interval(self):
        tsv = self.folder / "recovery.tsv"
        path = self.folder / "rows.json"
        self.vmbench(
            "--parts",
            "recovery",
            "--data",
            "2MiB",
            "--intervals",
            "1MiB,2MiB",
            "--tsv",
            str(tsv),
            "--json",
            str(path),
        )
        rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
        self.assertEqual({row["interval_bytes"] for row in rows}, {MIB, 2 * MIB})
        for row in rows:
            self.assertGreater(row["changes"], 0, row)
            # What one commit may add after it has found the log just less than half full.
            self.assertLess(row["log_bytes_found"], row["interval_bytes"] + 64 * 1024, row)
        self.assertGreater(
            max(row["checkpoints"] for row in rows), 2, "the log must have gone round"
        )
        self.assertEqual(len(tsv.read_text(encoding="utf-8").split("\n\n\n")), 2)

    def test_bad_options_change_nothing(self):
        for options in (
            ["--parts", "nosuch"],
            ["--threads", "0"],
            ["--data", "1000"],
            ["--intervals", "1000"],
        ):
            done = subprocess.run(
                [VMBENCH, "log", "--file", str(self.folder / "db"), *options],
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            self.assertNotEqual(done.returncode, 0, options)
            self.assertIn(options[0], done.stdout + done.stderr)
        precious = self.folder / "db.log"
        precious.write_text("precious", encoding="utf-8")
        self.assertIn("exists", self.vmbench("--parts", "commits", status=105))
        self.assertEqual(precious.read_text(encoding="utf-8"), "precious")


if __name__ == "__main__":
    VMBENCH = str(pathlib.Path(sys.argv.pop(1)).resolve())
    unittest.main()

#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""examples/kvserver beside redis-server, with redis-benchmark as the client of both.
usage: kvserver_bench.py [--rounds N] [--folder FOLDER] [--out FILE] [PART...]
parts: memory durable disk   (all of them if none is named)
Servers take turns, and each figure is the median of the rounds. Needs build/release, redis-server,
redis-tools and fio. Writes the raw results as JSON, and prints tables."""

import argparse
import csv
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
KVSERVER = f"{ROOT}/build/release/examples/kvserver"
CONNECTIONS = 50
KEYS = 100_000  # in memory; with redis-benchmark's values of 3 bytes

# Larger than memory: 1 GiB of values in 256 MiB.
DISK_KEYS = 1_000_000
DISK_VALUE = 1000
DISK_POOL_MIB = 256


def say(text):
    print(text, file=sys.stderr, flush=True)


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


class Server:
    """A server in a folder of its own until stop()."""

    def __init__(self, name, command, folder):
        self.name = name
        self.port = free_port()
        os.makedirs(folder, exist_ok=True)
        self.process = subprocess.Popen(
            [word.format(port=self.port, folder=folder) for word in command],
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for _ in range(600):
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
                return
            except OSError:
                time.sleep(0.1)
        raise SystemExit(f"kvserver_bench.py: {name} does not listen on port {self.port}")

    def read_pages(self):
        """Pages that kvserver has read."""
        said = subprocess.run(
            ["redis-cli", "-p", str(self.port), "info"], capture_output=True, text=True, check=True
        ).stdout
        return int(said.split("read_pages:")[1].split()[0])

    def stop(self):
        self.process.terminate()
        self.process.wait()


def kvserver(workers, durability, pool_mib=512):
    command = [KVSERVER, "{folder}", "--port", "{port}", "--workers", str(workers)]
    return command + ["--durability", durability, "--pool", str(pool_mib)]


def redis_server(threads, durable):
    command = ["redis-server", "--port", "{port}", "--save", "", "--dir", "{folder}"]
    reads = "yes" if threads > 1 else "no"
    command += ["--io-threads", str(threads), "--io-threads-do-reads", reads]
    return command + (["--appendonly", "yes", "--appendfsync", "always"] if durable else [])


def benchmark(server, tests, pipeline, requests, keys=KEYS, value=3):
    """{test: (requests a second, p99 in ms)}"""
    said = subprocess.run(
        ["redis-benchmark", "-p", str(server.port), "-c", str(CONNECTIONS), "-P", str(pipeline)]
        + ["-n", str(requests), "-r", str(keys), "-d", str(value), "-t", tests, "--csv"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    rows = csv.DictReader(said.splitlines())
    return {row["test"]: (float(row["rps"]), float(row["p99_latency_ms"])) for row in rows}


def compare(part, commands, folder, rounds, requests):
    """Rows of {part, system, test, pipeline, requests_per_s, p99_ms}."""
    servers = [Server(name, command, f"{folder}/{name}") for name, command in commands.items()]
    samples = {}
    try:
        for server in servers:  # every key is there, and every page in memory
            benchmark(server, "set", 16, 4 * KEYS)
        for number in range(rounds):
            for pipeline in (1, 16):
                for server in servers:
                    say(f"{part}: {number + 1} of {rounds}, pipeline {pipeline}, {server.name}")
                    found = benchmark(server, "set,get", pipeline, requests[pipeline])
                    for test, figures in found.items():
                        samples.setdefault((server.name, test, pipeline), []).append(figures)
    finally:
        for server in servers:
            server.stop()
    return [
        {
            "part": part,
            "system": system,
            "test": test,
            "pipeline": pipeline,
            "requests_per_s": statistics.median(rps for rps, _ in found),
            "p99_ms": statistics.median(p99 for _, p99 in found),
        }
        for (system, test, pipeline), found in samples.items()
    ]


def load(server):
    """DISK_KEYS values under the names that redis-benchmark asks for."""
    with subprocess.Popen(
        ["redis-cli", "-p", str(server.port), "--pipe"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
    ) as pipe:
        value = b"v" * DISK_VALUE
        for number in range(DISK_KEYS):
            key = b"key:%012d" % number
            pipe.stdin.write(
                b"*3\r\n$3\r\nSET\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n"
                % (len(key), key, DISK_VALUE, value)
            )
        pipe.stdin.close()
    if pipe.returncode != 0:
        raise SystemExit("kvserver_bench.py: redis-cli --pipe failed")


def fio(file, seconds):
    """4 KiB reads a second at random places, 256 in flight, past the page cache."""
    said = subprocess.run(
        ["fio", "--name=reads", f"--filename={file}", "--readonly", "--direct=1", "--rw=randread"]
        + ["--bs=4k", "--ioengine=io_uring", "--iodepth=256", f"--runtime={seconds}"]
        + ["--time_based", "--norandommap", "--output-format=json"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return json.loads(said)["jobs"][0]["read"]["iops"]


def beyond_memory(folder, rounds):
    """GETs of data four times as large as the pool, and fio on the same file."""
    home = f"{folder}/disk"
    say("disk: loading")
    server = Server("kvserver", kvserver(1, "none", DISK_POOL_MIB), home)
    load(server)
    server.stop()
    server = Server("kvserver", kvserver(1, "none", DISK_POOL_MIB), home)
    samples = {"kvserver": [], "reads": [], "p99": [], "fio": []}
    try:
        for number in range(rounds):
            say(f"disk: round {number + 1} of {rounds}")
            before, begin = server.read_pages(), time.monotonic()
            rps, p99 = benchmark(server, "get", 16, 300_000, DISK_KEYS)["GET"]
            samples["reads"].append((server.read_pages() - before) / (time.monotonic() - begin))
            samples["kvserver"].append(rps)
            samples["p99"].append(p99)
            samples["fio"].append(fio(f"{home}/pages", 5))
    finally:
        server.stop()
    middle = {name: statistics.median(found) for name, found in samples.items()}
    return [
        {
            "part": "disk",
            "system": "kvserver",
            "test": "GET",
            "pipeline": 16,
            "requests_per_s": middle["kvserver"],
            "p99_ms": middle["p99"],
            "page_reads_per_s": middle["reads"],
            "fio_reads_per_s": middle["fio"],
        }
    ]


PARTS = {
    "memory": lambda folder, rounds: compare(
        "memory",
        {
            "kvserver, 1 Worker": kvserver(1, "none"),
            "redis, 1 thread": redis_server(1, False),
            "kvserver, 2 Workers": kvserver(2, "none"),
            "redis, 2 threads": redis_server(2, False),
        },
        folder,
        rounds,
        {1: 100_000, 16: 500_000},
    ),
    "durable": lambda folder, rounds: compare(
        "durable",
        {
            "kvserver, group": kvserver(1, "group"),
            "redis, always": redis_server(1, True),
        },
        folder,
        rounds,
        {1: 40_000, 16: 200_000},
    ),
    "disk": beyond_memory,
}


def show(rows):
    print("| data | system | | pipeline | requests/s | p99, ms |\n|---|---|---|---|---|---|")
    for row in rows:
        print(
            f"| {row['part']} | {row['system']} | {row['test']} | {row['pipeline']} "
            f"| {row['requests_per_s'] / 1000:.0f} k | {row['p99_ms']:.1f} |"
        )
    for row in rows:
        if "fio_reads_per_s" in row:
            print(
                f"\nPage reads a second: {row['page_reads_per_s']:.0f}; fio: "
                f"{row['fio_reads_per_s']:.0f}"
            )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[[], *PARTS], metavar="PART")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", default=None, help="for the data, some 3 GiB (default: here)")
    parser.add_argument("--out", default="kvserver.json")
    options = parser.parse_args()
    folder = tempfile.mkdtemp(dir=options.folder or os.getcwd())
    rows = []
    try:
        for part in options.parts or PARTS:
            rows += PARTS[part](folder, options.rounds)
    finally:
        shutil.rmtree(folder)
    with open(options.out, "w", encoding="ascii") as file:
        json.dump(rows, file, indent=1)
    show(rows)


if __name__ == "__main__":
    main()

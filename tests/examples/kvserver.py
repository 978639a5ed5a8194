#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Real clients of examples/kvserver: python3-redis, redis-cli, redis-benchmark, twemproxy.
usage: kvserver.py KVSERVER FOLDER [--seed N] [--requests N] [--test NAME]
       kvserver.py KVSERVER FOLDER --minutes N --check VMCACHE_CHECK
A random part is repeated with its seed, which is printed. The second form is no test of ctest's:
for so many minutes it kills servers and clients under load, and checks what is left."""

import argparse
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

try:
    import redis
except ImportError:
    print("skip: there is no python3-redis for this interpreter")
    sys.exit(77)

MAX_KEY = 1024
MAX_VALUE = 256 << 10


class Server:
    """A kvserver in a folder of its own, as long as the with-block."""

    def __init__(self, options, *arguments, folder=None):
        self.folder = folder or tempfile.mkdtemp(dir=options.folder)
        self.command = [options.kvserver, self.folder, "--port", "0", "--pool", "16"]
        self.command += ["--log", "16", *arguments]

    def __enter__(self):
        self.process = subprocess.Popen(
            self.command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        line = self.process.stdout.readline()
        if not line.startswith("ready: port "):
            raise AssertionError(f"{line!r}, {self.process.communicate()}")
        self.port = int(line.split()[2].rstrip(","))
        return self

    def __exit__(self, kind, *_):
        if self.process.poll() is None:
            status = self.end(signal.SIGTERM)
            assert kind or status == 0, f"status {status} after SIGTERM"

    def end(self, number):
        """Sends the signal, and returns the exit status."""
        self.process.send_signal(number)
        self.output = self.process.communicate(timeout=120)
        return self.process.returncode

    def client(self, **options):
        return redis.Redis(port=self.port, socket_timeout=60, **options)

    def raw(self):
        return socket.create_connection(("127.0.0.1", self.port), timeout=60)

    def again(self, options, *arguments):
        return Server(options, *arguments, folder=self.folder)


def refused(call, *words):
    """Whether the server answers with an error that has the words."""
    try:
        call()
    except redis.ResponseError as error:
        assert all(word in str(error) for word in words), error
        return True
    return False


def model_step(rng, model, queue):
    """Queues a random command; returns what its answer must be. Changes the model."""
    key = f"key:{rng.randrange(200)}".encode()
    value = bytes(rng.getrandbits(8) for _ in range(rng.choice([0, 3, 50, 3000])))
    old = model.get(key)
    kind = rng.randrange(12)
    if kind < 3:
        queue.get(key)
        return old
    if kind < 5:
        queue.set(key, value)
        model[key] = value
        return True
    if kind == 5:
        queue.set(key, value, nx=True)
        model.setdefault(key, value)
        return True if old is None else None
    if kind == 6:
        queue.set(key, value, xx=True)
        if old is not None:
            model[key] = value
        return True if old is not None else None
    if kind == 7:
        other = f"key:{rng.randrange(200)}".encode()
        count = len({key, other} & model.keys())
        queue.delete(key, other)
        model.pop(key, None)
        model.pop(other, None)
        return count
    if kind == 8:
        queue.append(key, b"+")
        model[key] = (old or b"") + b"+"
        return len(model[key])
    if kind == 9:
        keys = [f"key:{rng.randrange(200)}".encode() for _ in range(5)]
        queue.mget(keys)
        return [model.get(each) for each in keys]
    if kind == 10:
        pairs = {f"key:{rng.randrange(200)}".encode(): value for _ in range(3)}
        queue.mset(pairs)
        model.update(pairs)
        return True
    queue.strlen(key)
    return len(old or b"")


def answers_as_a_dictionary_would(options):
    """Random commands in pipelines and transactions, beside a model; then a restart and a kill."""
    rng = random.Random(options.seed)
    model = {}
    with Server(options) as server:
        client = server.client()
        for _ in range(300):
            queue = client.pipeline(transaction=rng.random() < 0.3)
            expected = [model_step(rng, model, queue) for _ in range(rng.randrange(1, 40))]
            assert queue.execute() == expected
        assert client.dbsize() == len(model)
        assert set(client.scan_iter(count=7)) == set(model)
        assert set(client.scan_iter(match="key:1?")) == {
            key for key in model if len(key) == 6 and key[4:5] == b"1"
        }
    with server.again(options) as server:
        client = server.client()
        assert client.dbsize() == len(model)
        assert all(client.get(key) == value for key, value in model.items())
        server.end(signal.SIGKILL)
    with server.again(options) as server:
        client = server.client()
        assert client.dbsize() == len(model)
        assert all(client.get(key) == value for key, value in model.items())
        client.flushdb()
        assert client.dbsize() == 0 and not list(client.scan_iter())


def each_command_says_what_is_wrong(options):
    with Server(options) as server:
        client = server.client()
        client.set("word", "x")
        assert refused(lambda: client.incr("word"), "not an integer")
        client.set("number", (1 << 63) - 1)
        assert refused(lambda: client.incr("number"), "out of range")
        assert client.decr("number") == (1 << 63) - 2
        assert client.decrby("number", 5) == (1 << 63) - 7
        assert refused(lambda: client.set("a", "b", ex=10), "expire")
        assert refused(lambda: client.execute_command("GET"), "wrong number")
        assert refused(lambda: client.execute_command("NOSUCH", "x"), "unknown command", "NOSUCH")
        assert refused(lambda: client.execute_command("SELECT", "1"), "allowed: 0")
        assert refused(lambda: client.execute_command("SCAN", "77"), "cursor")
        assert refused(lambda: client.execute_command("EXEC"), "without MULTI")
        assert refused(lambda: client.set("k" * (MAX_KEY + 1), "v"), str(MAX_KEY))
        assert refused(lambda: client.set("k", "v" * (MAX_VALUE + 1)), str(MAX_VALUE))
        client.set("k" * MAX_KEY, "v" * MAX_VALUE)
        assert client.strlen("k" * MAX_KEY) == MAX_VALUE
        assert client.get("k" * (MAX_KEY + 1)) is None
        assert client.type("word") == b"string" and client.type("none") == b"none"
        assert client.ttl("word") == -1 and client.ttl("none") == -2
        assert client.exists("word", "word", "none") == 2
        queue = client.pipeline()
        queue.execute_command("NOSUCH")
        queue.set("never", "x")
        assert refused(queue.execute)
        assert client.get("never") is None
        assert client.info()["connected_clients"] >= 1
        # RESP3: a null of its own, and maps.
        with server.raw() as raw:
            raw.sendall(b"HELLO 3\r\nGET none\r\nQUIT\r\n")
            said = b"".join(iter(lambda: raw.recv(4096), b""))
            assert said.startswith(b"%4\r\n") and said.endswith(b"_\r\n+OK\r\n"), said


def no_increment_is_lost(options):
    """Two Workers, eight clients, one key: conflicts are tried again."""
    with Server(options, "--workers", "2") as server:
        errors = []

        def work():
            try:
                client = server.client()
                for _ in range(20):
                    queue = client.pipeline(transaction=False)
                    for _ in range(20):
                        queue.incr("counter")
                    queue.execute()
            except redis.RedisError as error:
                errors.append(error)

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not errors, errors
        assert server.client().get("counter") == b"3200"


def what_was_answered_survives_a_kill(options):
    """A killed server has every change that it had answered."""
    with Server(options, "--workers", "2") as server:
        done = []

        def work(name):
            client = server.client()
            try:
                for n in range(100_000):
                    client.set(f"{name}:{n}", n)
                    done.append((name, n))
            except redis.RedisError:
                pass

        threads = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
        for thread in threads:
            thread.start()
        while len(done) < 1000:
            time.sleep(0.01)
        server.end(signal.SIGKILL)
        for thread in threads:
            thread.join()
    with server.again(options) as server:
        client = server.client()
        for name, n in done:
            assert client.get(f"{name}:{n}") == str(n).encode(), (name, n)
        assert client.dbsize() == sum(1 for _ in client.scan_iter(count=1000))


def limits_hold(options):
    with Server(
        options, "--max-connections", "20", "--max-request-bytes", "10000", "--idle-seconds", "1"
    ) as server:
        with server.raw() as raw:
            raw.sendall(b"*1\r\n$20000\r\n")
            assert b"--max-request-bytes" in raw.recv(4096)
            assert raw.recv(4096) == b""
        idle = [server.raw() for _ in range(20)]
        for raw in idle:
            raw.sendall(b"PING\r\n")
        answers = [raw.recv(100) for raw in idle]
        assert answers == [b"+PONG\r\n"] * 20
        with server.raw() as raw:
            assert b"max number of clients" in raw.recv(100)
        for raw in idle:
            assert raw.recv(100) == b""  # silent for too long
            raw.close()
        assert server.client().ping()


def a_thousand_idle_connections_cost_little(options):
    with Server(options) as server:
        idle = [server.raw() for _ in range(1000)]
        client = server.client()
        assert all(client.set(f"k{n}", n) for n in range(100))
        with open(f"/proc/{server.process.pid}/status", encoding="ascii") as status:
            kib = [int(line.split()[1]) for line in status if line.startswith("VmRSS")][0]
        print(f"# {kib} KiB resident with 1000 connections and a pool of 16384 KiB")
        for raw in idle:
            raw.close()


def no_input_breaks_it(options):
    """Requests that are valid, cut, changed or random bytes."""
    rng = random.Random(options.seed)
    names = [
        b"GET",
        b"SET",
        b"DEL",
        b"MGET",
        b"MSET",
        b"INCR",
        b"APPEND",
        b"SCAN",
        b"MULTI",
        b"EXEC",
        b"DISCARD",
        b"HELLO",
        b"CONFIG",
        b"TYPE",
        b"DBSIZE",
        b"QUIT",
        b"get",
        b"",
    ]
    words = [
        b"a",
        b"b",
        b"3",
        b"-1",
        b"MATCH",
        b"*",
        b"[a-",
        b"COUNT",
        b"NX",
        b"GET",
        b"\0\r\n",
        b"9223372036854775808",
        b"x" * 2000,
    ]

    def request():
        parts = [rng.choice(names)] + rng.choices(words, k=rng.randrange(6))
        made = b"*%d\r\n" % len(parts)
        made += b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)
        if rng.random() < 0.1:
            made = b" ".join(parts) + b"\r\n"
        return made

    def damaged(data):
        data = bytearray(data)
        for _ in range(rng.randrange(1, 4)):
            at = rng.randrange(len(data))
            kind = rng.randrange(3)
            if kind == 0:
                data[at] = rng.randrange(256)
            elif kind == 1:
                del data[at : at + rng.randrange(1, 9)]
            else:
                data[at:at] = bytes(rng.choices(b"\r\n$*-0123456789a", k=rng.randrange(1, 5)))
            if not data:
                break
        return bytes(data)

    with Server(options, "--durability", "none", "--max-request-bytes", "20000") as server:
        sent = 0
        while sent < options.requests:
            batch = [request() for _ in range(rng.randrange(1, 200))]
            data = b"".join(batch)
            if rng.random() < 0.5:
                data = damaged(data)
            sent += len(batch)
            with server.raw() as raw:
                reader = threading.Thread(target=drain, args=(raw,))
                reader.start()
                try:
                    raw.sendall(data)
                    raw.shutdown(socket.SHUT_WR)
                except OSError:
                    pass  # it has closed the connection
                reader.join()
        assert server.client().ping()
        print(f"# {sent} requests, seed {options.seed}")


def drain(raw):
    try:
        while raw.recv(65536):
            pass
    except OSError:
        pass


def redis_cli_and_benchmark_work(options):
    with Server(options, "--durability", "none") as server:
        cli = ["redis-cli", "-p", str(server.port)]
        script = "SET a 1\nINCR a\nMULTI\nGET a\nSTRLEN a\nEXEC\nDBSIZE\n"
        said = subprocess.run(cli, input=script, capture_output=True, text=True, check=True).stdout
        assert said.split() == "OK 2 OK QUEUED QUEUED 2 1 1".split(), said
        scan = subprocess.run([*cli, "--scan"], capture_output=True, text=True, check=True).stdout
        assert scan.split() == ["a"]
        for pipeline in ("1", "16"):
            said = subprocess.run(
                [
                    "redis-benchmark",
                    "-p",
                    str(server.port),
                    "-t",
                    "ping,set,get,incr,mset",
                    "-n",
                    "20000",
                    "-P",
                    pipeline,
                    "-r",
                    "1000",
                    "-q",
                ],
                capture_output=True,
                text=True,
                check=True,
            )
            lines = said.stdout.replace("\r", "\n").split("\n")
            assert sum("requests per second" in line for line in lines) >= 6, said
            assert "rror" not in said.stdout + said.stderr, said


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def twemproxy_shards_over_two(options):
    """Keys spread over two servers; when one is killed, the other's keys are still served."""
    with Server(options) as one, Server(options) as two:
        port, stats_port = free_port(), free_port()
        config = os.path.join(options.folder, "nutcracker.yml")
        with open(config, "w", encoding="ascii") as file:
            file.write(
                f"pool:\n  listen: 127.0.0.1:{port}\n  redis: true\n  hash: fnv1a_64\n"
                "  distribution: ketama\n  timeout: 2000\n  auto_eject_hosts: false\n  servers:\n"
                f"   - 127.0.0.1:{one.port}:1 one\n   - 127.0.0.1:{two.port}:1 two\n"
            )
        proxy = subprocess.Popen(
            ["nutcracker", "-c", config, "-s", str(stats_port), "-a", "127.0.0.1"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            client = redis.Redis(port=port, socket_timeout=60)
            for _ in range(100):
                try:
                    client.get("a")
                    break
                except redis.ConnectionError:
                    time.sleep(0.05)
            for n in range(500):
                client.set(f"key:{n}", n)
            assert client.mget([f"key:{n}" for n in range(500)]) == [
                str(n).encode() for n in range(500)
            ]
            sizes = (one.client().dbsize(), two.client().dbsize())
            assert sum(sizes) == 500 and min(sizes) > 50, sizes
            subprocess.run(
                [
                    "redis-benchmark",
                    "-p",
                    str(port),
                    "-t",
                    "set,get",
                    "-n",
                    "5000",
                    "-P",
                    "4",
                    "-q",
                ],
                check=True,
                stdout=subprocess.DEVNULL,
            )
            served = {n for n in range(500) if one.client().exists(f"key:{n}")}
            two.end(signal.SIGKILL)
            for n in range(500):
                try:
                    assert client.get(f"key:{n}") == str(n).encode() and n in served
                except redis.RedisError:
                    assert n not in served
        finally:
            proxy.terminate()
            proxy.wait()


TESTS = [
    answers_as_a_dictionary_would,
    each_command_says_what_is_wrong,
    no_increment_is_lost,
    what_was_answered_survives_a_kill,
    limits_hold,
    a_thousand_idle_connections_cost_little,
    no_input_breaks_it,
    redis_cli_and_benchmark_work,
    twemproxy_shards_over_two,
]


def kills_for_minutes(options):
    """redis-benchmark against a server; clients are killed, the server ends by SIGTERM or SIGKILL,
    and vmcache-check finds nothing wrong with what it leaves."""
    rng = random.Random(options.seed)
    end = time.monotonic() + 60 * options.minutes
    folder, rounds = None, 0
    while time.monotonic() < end:
        workers = str(rng.randrange(1, 3))
        with Server(options, "--workers", workers, folder=folder) as server:
            folder = server.folder
            clients = [
                subprocess.Popen(
                    ["redis-benchmark", "-p", str(server.port), "-t", "set,get,incr,mset", "-r"]
                    + ["20000", "-n", "100000000", "-P", rng.choice(["1", "16"]), "-q"],
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                )
                for _ in range(3)
            ]
            time.sleep(rng.uniform(0.5, 3))
            clients[0].kill()
            time.sleep(rng.uniform(0, 1))
            number = rng.choice([signal.SIGTERM, signal.SIGKILL])
            status = server.end(number)
            assert number == signal.SIGKILL or status == 0, (status, server.output)
            for client in clients:
                client.kill()
                client.wait()
        with Server(options, folder=folder) as server:
            client = server.client()
            assert client.dbsize() == sum(1 for _ in client.scan_iter(count=1000))
        checked = subprocess.run(
            [options.check, f"{folder}/pages", "--log", f"{folder}/log"],
            capture_output=True,
            text=True,
        )
        assert checked.returncode == 0, checked.stdout + checked.stderr
        rounds += 1
        print(f"# round {rounds}: {number.name}, sound", flush=True)


NEEDS = {
    redis_cli_and_benchmark_work: ["redis-cli", "redis-benchmark"],
    twemproxy_shards_over_two: ["nutcracker", "redis-benchmark"],
}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kvserver")
    parser.add_argument("folder")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--test", choices=[test.__name__ for test in TESTS])
    parser.add_argument("--minutes", type=float, default=0)
    parser.add_argument("--check", metavar="VMCACHE_CHECK")
    options = parser.parse_args()
    shutil.rmtree(options.folder, ignore_errors=True)
    os.makedirs(options.folder)
    print(f"# seed {options.seed}", flush=True)
    for test in [kills_for_minutes] if options.minutes else TESTS:
        if options.minutes or options.test in (None, test.__name__):
            missing = [tool for tool in NEEDS.get(test, []) if not shutil.which(tool)]
            if missing:
                print(f"skip  {test.__name__}: there is no {' '.join(missing)}", flush=True)
                continue
            begin = time.monotonic()
            test(options)
            print(f"ok    {test.__name__} ({time.monotonic() - begin:.1f} s)", flush=True)
    shutil.rmtree(options.folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())

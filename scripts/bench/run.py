#!/usr/bin/env python3
"""Measures the service beside its peers and prints tables in Markdown. `make bench` builds first, then calls this.

Needs redis-server and wrk; webdis (a Debian package) is measured if it is there. Everything runs on loopback, on ports
of its own, and is ended with this program. Peers are measured in turns, three rounds, and medians are printed.
"""

import http.client
import json
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROUNDS = 3
SECONDS = 5
CONNECTIONS = 64
VALUE = b"x" * 200
SERIES, SAMPLES_EACH = 1_000, 1_000
RANGE_POINTS = 17_568
# 2026-01-01T00:00:00Z, and a quarter of an hour.
START_MS, STEP_MS = 1_767_225_600_000, 900_000

RELEASE = Path(os.environ.get("CARGO_TARGET_DIR", "target")) / "release"
TICKS = os.sysconf("SC_CLK_TCK")


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Processes:
    """What was started here, and is ended here."""

    def __init__(self):
        self.started = []

    def start(self, command, **environment):
        process = subprocess.Popen(
            command, env={**os.environ, **environment}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self.started.append(process)
        return process

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in reversed(self.started):
            process.terminate()
        for process in self.started:
            process.wait(timeout=35)


def eventually(what, condition, limit=30):
    deadline = time.monotonic() + limit
    while not condition():
        if time.monotonic() > deadline:
            sys.exit(f"never happened: {what}")
        time.sleep(0.005)


def request(port, method, path, body=None, headers=None):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    connection.request(method, path, body, headers or {}, encode_chunked=hasattr(body, "__next__"))
    response = connection.getresponse()
    return response.status, response.read()


def answers(port, path):
    try:
        return request(port, "GET", path)[0] == 200
    except OSError:
        return False


def expect_success(port, method, path, body, headers):
    status, answer = request(port, method, path, body, headers)
    if not 200 <= status < 300:
        sys.exit(f"{method} {path}: {status} {answer.decode(errors='replace')}")
    return answer


def cpu_seconds(process):
    fields = Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def resident_mib(process):
    return int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{process.pid}/status").read_text())[1]) / 1024


def load(url, process):
    """One round: requests per second, CPU seconds per 100,000 requests, p99 in milliseconds."""
    before = cpu_seconds(process)
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{SECONDS}s", "--latency", url]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in text:
        sys.exit(f"{url} did not answer 2xx:\n{text}")
    requests = int(re.search(r"(\d+) requests in", text)[1])
    number, unit = re.search(r"99%\s+([\d.]+)(us|ms|s)", text).groups()
    return (
        float(re.search(r"Requests/sec:\s+([\d.]+)", text)[1]),
        (cpu_seconds(process) - before) / requests * 100_000,
        float(number) * {"us": 0.001, "ms": 1, "s": 1_000}[unit],
    )


def table(head, rows):
    print(f"\n| {' | '.join(head)} |\n|{'---|' * len(head)}")
    for row in rows:
        print(f"| {' | '.join(row)} |")


def start_service(processes, redis_port):
    port = free_port()
    started = time.monotonic()
    service = processes.start(
        [str(RELEASE / "gridtokenx-redis"), "serve"],
        REDIS_URL=f"redis://127.0.0.1:{redis_port}/0",
        PORT=str(port),
        LOG_LEVEL="warn",
    )
    eventually("the service is ready", lambda: answers(port, "/health/ready"))
    return service, port, time.monotonic() - started


def start_webdis(processes, redis_port, folder):
    port = free_port()
    config = {
        "redis_host": "127.0.0.1", "redis_port": redis_port, "http_host": "127.0.0.1", "http_port": port,
        "threads": os.cpu_count(), "daemonize": False, "verbosity": 0, "logfile": f"{folder}/webdis.log",
    }
    path = Path(folder, "webdis.json")
    path.write_text(json.dumps(config))
    webdis = processes.start(["webdis", str(path)])
    eventually("webdis answers", lambda: answers(port, "/PING"))
    expect_success(port, "PUT", "/SET/bench", VALUE, {})
    return webdis, port


def compare_reads(peers):
    rounds = {name: [] for name, _, _ in peers}
    for _ in range(ROUNDS):
        for name, url, process in peers:
            rounds[name].append(load(url, process))
    medians = {name: [statistics.median(column) for column in zip(*results)] for name, results in rounds.items()}
    rows = [(name, f"{rate:,.0f}", f"{cpu:.2f}", f"{p99:.2f}") for name, (rate, cpu, p99) in medians.items()]
    table(("GET of 200 bytes", "requests/s", "CPU s per 100,000", "p99 ms"), rows)
    rate, cpu, _ = medians[peers[0][0]]
    for name, _, _ in peers[1:]:
        print(f"\nAgainst {name}: {rate / medians[name][0]:.2f} times the requests/s, "
              f"{cpu / medians[name][1]:.2f} times the CPU.")


def csv_rows(names, count):
    yield b"series,timestamp,value\n"
    for name in names:
        rows = (f"{name},{START_MS + at * STEP_MS},{(at * 7919 % 5000) / 1000}\n" for at in range(count))
        yield "".join(rows).encode()


def measure_ingest(service, port):
    # Made before the clock starts: the generator is not what is measured.
    pieces = list(csv_rows([f"energy:generation:bench-{at:04}" for at in range(SERIES)], SAMPLES_EACH))
    peak, done = [resident_mib(service)], threading.Event()

    def watch():
        while not done.wait(0.02):
            peak.append(resident_mib(service))

    watcher = threading.Thread(target=watch)
    watcher.start()
    started = time.monotonic()
    expect_success(port, "POST", "/timeseries/samples", iter(pieces), {"Content-Type": "text/csv"})
    took = time.monotonic() - started
    done.set()
    watcher.join()
    samples = SERIES * SAMPLES_EACH
    table(
        ("bulk ingest", "samples/s", "seconds", "RSS before, MiB", "RSS at most, MiB"),
        [(f"{samples:,} in {SERIES:,} series", f"{samples / took:,.0f}", f"{took:.2f}", f"{peak[0]:.1f}", f"{max(peak):.1f}")],
    )


def time_of_range(port, series):
    """Seconds until all points have come, page by page; what the client does with them is not counted."""
    seconds, cursor, count = 0.0, "", 0
    while cursor is not None:
        path = f"/timeseries/{series}/range?from={START_MS}&to={START_MS + RANGE_POINTS * STEP_MS}{cursor}"
        started = time.monotonic()
        answer = expect_success(port, "GET", path, None, {})
        seconds += time.monotonic() - started
        page = json.loads(answer)
        count += len(page["samples"])
        cursor = page["next_cursor"] and f"&cursor={page['next_cursor']}"
    if count != RANGE_POINTS:
        sys.exit(f"{count} points came back instead of {RANGE_POINTS}")
    return seconds


class RawRedis:
    """Commands over a bare socket; an answer is known by its length, so that nothing is parsed while time runs."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port))

    def send(self, *parts):
        parts = [part if isinstance(part, bytes) else str(part).encode() for part in parts]
        framed = b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)
        self.socket.sendall(b"*%d\r\n%s" % (len(parts), framed))

    def receive(self, length):
        while length > 0:
            length -= len(self.socket.recv(min(length, 1 << 20)))


def measure_range(port, redis_port):
    series = "energy:generation:bench-range"
    expect_success(port, "POST", "/timeseries/samples", csv_rows([series], RANGE_POINTS), {"Content-Type": "text/csv"})
    redis, length = RawRedis(redis_port), len(b"*%d\r\n" % RANGE_POINTS)
    for at in range(RANGE_POINTS):
        stamp = START_MS + at * STEP_MS
        member = f"{stamp}:{(at * 7919 % 5000) / 1000}".encode()
        redis.send("ZADD", "bench:zset", stamp, member)
        redis.receive(len(b":1\r\n"))
        length += len(b"$%d\r\n%s\r\n" % (len(member), member))
    ours, theirs = [], []
    for _ in range(21):
        ours.append(time_of_range(port, series))
        started = time.monotonic()
        redis.send("ZRANGEBYSCORE", "bench:zset", START_MS, "+inf")
        redis.receive(length)
        theirs.append(time.monotonic() - started)
    our, their = statistics.median(ours) * 1_000, statistics.median(theirs) * 1_000
    table(
        (f"range of {RANGE_POINTS:,} points", "ms", "ratio"),
        [("the service, JSON", f"{our:.1f}", f"{our / their:.2f}"),
         ("ZRANGEBYSCORE, raw socket", f"{their:.1f}", "1")],
    )


def main():
    if not shutil.which("wrk"):
        sys.exit("wrk is not installed: it makes the load (Debian package `wrk`)")
    with tempfile.TemporaryDirectory() as folder, Processes() as processes:
        redis_port = free_port()
        processes.start(["redis-server", "--port", str(redis_port), "--save", "", "--dir", folder])
        eventually("redis answers", lambda: socket.socket().connect_ex(("127.0.0.1", redis_port)) == 0)
        service, port, ready_after = start_service(processes, redis_port)
        time.sleep(1)
        binary = (RELEASE / "gridtokenx-redis").stat().st_size / (1 << 20)
        table(
            ("start to ready, s", "idle RSS, MiB", "binary, MiB"),
            [(f"{ready_after:.2f}", f"{resident_mib(service):.1f}", f"{binary:.1f}")],
        )
        expect_success(port, "PUT", "/cache/bench?ttl_ms=3600000", VALUE, {"Content-Type": "text/plain"})
        peers = [("the service", f"http://127.0.0.1:{port}/cache/bench", service)]
        if shutil.which("webdis"):
            webdis, webdis_port = start_webdis(processes, redis_port, folder)
            peers.append(("webdis", f"http://127.0.0.1:{webdis_port}/GET/bench", webdis))
        bare_port = free_port()
        bare = processes.start([str(RELEASE / "examples" / "bare_axum"), str(bare_port)])
        eventually("bare axum answers", lambda: answers(bare_port, "/value"))
        peers.append(("bare axum", f"http://127.0.0.1:{bare_port}/value", bare))
        compare_reads(peers)
        measure_ingest(service, port)
        measure_range(port, redis_port)


if __name__ == "__main__":
    main()

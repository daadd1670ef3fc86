#!/usr/bin/env python3
"""Shows what cache warming does: starts a PostgreSQL with 10,000 profiles and a service, and reads profiles as users do.

    make demo-warming
    python3 scripts/demo_warming.py --binary target/debug/gridtokenx-redis

The reads follow Zipf's law. Before, no profile is cached, and every first read fetches one. After, the task has cached all.
It fails unless at least 85 of 100 reads are hits afterwards.
"""

import argparse
import bisect
import contextlib
import glob
import http.client
import itertools
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

PROFILES = 10_000
READS = 5_000
SCHEMA = f"""
CREATE TABLE profiles (id uuid PRIMARY KEY, name text, updated_at timestamptz NOT NULL DEFAULT now());
INSERT INTO profiles SELECT md5(n::text)::uuid, 'user ' || n FROM generate_series(1, {PROFILES}) n;
CREATE VIEW warm_profiles AS
  SELECT id, jsonb_build_object('id', id, 'name', name) AS value, updated_at, updated_at AS last_seen FROM profiles;
CREATE ROLE warming LOGIN;
GRANT SELECT ON warm_profiles TO warming;
"""


def program(name):
    found = glob.glob(f"/usr/lib/postgresql/*/bin/{name}")
    path = found[0] if found else shutil.which(name)
    if path is None:
        sys.exit(f"{name} is not installed: run scripts/setup_tests.sh postgres")
    return path


def unprivileged():
    """PostgreSQL refuses to run as root."""
    return ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.geteuid() == 0 else []


@contextlib.contextmanager
def running(command, end=signal.SIGTERM, **options):
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **options)
    try:
        yield process
    finally:
        process.send_signal(end)
        process.wait()


def wait_for(what, condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            sys.exit(f"{what}: not within {seconds} s")
        time.sleep(0.1)


class Service:
    def __init__(self, port):
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)

    def call(self, method, path, body=None):
        try:
            headers = {"Content-Type": "application/json"}
            self.connection.request(method, path, None if body is None else json.dumps(body), headers)
            response = self.connection.getresponse()
            return response, response.read()
        except (OSError, http.client.HTTPException):
            self.connection.close()
            return None, b""

    def is_ready(self):
        response, _ = self.call("GET", "/health/ready")
        return response is not None and response.status == 200

    def hit_rate(self, ids, seed):
        """The share of reads that are hits, in percent."""
        weights = list(itertools.accumulate(1 / rank for rank in range(1, len(ids) + 1)))
        chance, hits = random.Random(seed), 0
        for _ in range(READS):
            profile = ids[bisect.bisect(weights, chance.random() * weights[-1])]
            response, _ = self.call("GET", f"/warming/values/user:profile:{profile}")
            if response is None or response.status != 200:
                sys.exit("a read failed")
            hits += response.headers["Cache-State"] == "hit"
        return 100 * hits / READS


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", default="target/release/gridtokenx-redis")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="gtx-demo-") as folder:
        if os.geteuid() == 0:
            shutil.chown(folder, "postgres")
        os.chmod(folder, 0o755)
        data = os.path.join(folder, "data")
        initdb = [program("initdb"), "-D", data, "-U", "postgres", "--auth=trust", "-E", "UTF8", "--no-sync"]
        subprocess.run(unprivileged() + initdb, check=True, stdout=subprocess.DEVNULL, cwd=folder)
        settings = ["-c", f"unix_socket_directories={folder}", "-c", "listen_addresses=", "-c", "fsync=off"]
        postgres = unprivileged() + [program("postgres"), "-D", data, *settings]
        psql = ["psql", "-X", "-q", "-A", "-t", "-d", f"host={folder} user=postgres dbname=postgres", "-c"]
        with running(postgres, end=signal.SIGINT, cwd=folder):
            answers = lambda: subprocess.run(psql + ["SELECT 1"], capture_output=True).returncode == 0
            wait_for("PostgreSQL starts", answers)
            subprocess.run(psql + [SCHEMA], check=True)
            listed = subprocess.run(psql + ["SELECT id FROM profiles ORDER BY md5(name)"], capture_output=True, text=True)
            ids = listed.stdout.split()
            demo(arguments.binary, folder, ids)


def demo(binary, folder, ids):
    url_file, config = os.path.join(folder, "url"), os.path.join(folder, "config.toml")
    with open(url_file, "w", encoding="utf-8") as file:
        file.write(f"host={folder} user=warming dbname=postgres")
    with open(config, "w", encoding="utf-8") as file:
        file.write(f'[warming.database]\nurl_file = "{url_file}"\n')
        file.write(f'[redis.embedded]\ndata_dir = "{folder}/redis"\n')
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {"PATH": os.environ["PATH"], "PORT": str(port), "LOG_LEVEL": "warn"}
    with running([binary, "--config", config, "serve"], env=environment):
        service = Service(port)
        wait_for("the service starts", service.is_ready)
        service.call("POST", "/warming/tasks/warm_user_profiles/pause", {})
        # The run that began before the pause ends, and what it cached is deleted.
        wait_for("the first run ends", lambda: b'"run"' not in service.call("GET", "/warming/tasks/warm_user_profiles")[1])
        for profile in ids:
            service.call("DELETE", f"/cache/user:profile:{profile}")
        print(f"before: {service.hit_rate(ids, 1):5.1f} % of {READS:,} reads are hits")
        for profile in ids:
            service.call("DELETE", f"/cache/user:profile:{profile}")
        started = time.monotonic()
        asked = json.loads(service.call("POST", "/warming/tasks/warm_user_profiles/run", {"wait_ms": 30_000})[1])
        run = asked.get("run")
        if run is None or run["result"] != "succeeded":
            sys.exit(f"the run did not succeed: {asked}")
        print(f"warming: {run['new'] + run['unchanged']:,} profiles in {time.monotonic() - started:.1f} s")
        rate = service.hit_rate(ids, 2)
        print(f"after:  {rate:5.1f} % of {READS:,} reads are hits")
        if rate < 85:
            sys.exit("fewer than 85 % of the reads are hits")


if __name__ == "__main__":
    main()

"""Holds a lock with redis-py as a test tells it: a command as JSON on each line in, an answer as JSON on each line out.

Usage: redis_py.py SOCKET, the unix socket of the Redis that keeps the lock.

Commands: acquire {key, ttl_ms, wait_ms}, extend {ttl_ms}, release {}, and contend {key, ttl_ms, rounds, name}, which
goes through the critical section again and again. Every answer has `ok`; a false one may say why in `error`. Of a
contention, `intruders` counts the rounds in which somebody else was in the critical section as well.
"""

import json
import sys
import time

from redis import Redis
from redis.exceptions import LockError

# As patient as a test can be with a busy machine.
CONTENTION_PATIENCE_SECONDS = 60
POLL_SECONDS = 0.005


class Peer:
    def __init__(self, socket):
        self.redis = Redis(unix_socket_path=socket)
        self.held = None

    def acquire(self, key, ttl_ms, wait_ms):
        lock = self.redis.lock(key, timeout=ttl_ms / 1000, sleep=POLL_SECONDS)
        acquired = lock.acquire(blocking=wait_ms > 0, blocking_timeout=wait_ms / 1000 if wait_ms > 0 else None)
        if acquired:
            self.held = lock
        return {"ok": acquired}

    def extend(self, ttl_ms):
        return {"ok": self.held.extend(ttl_ms / 1000, replace_ttl=True)}

    def release(self):
        self.held.release()
        return {"ok": True}

    def contend(self, key, ttl_ms, rounds, name):
        intruders = 0
        for _ in range(rounds):
            if not self.acquire(key, ttl_ms, CONTENTION_PATIENCE_SECONDS * 1000)["ok"]:
                return {"ok": False, "error": "the lock was not to be had"}
            intruders += not self.is_alone(key, name)
            self.release()
            # Whoever never pauses never lets go of it: the next attempt would come before anybody else's.
            time.sleep(POLL_SECONDS)
        return {"ok": True, "intruders": intruders}

    def is_alone(self, key, name):
        """Goes through the critical section."""
        entered = self.redis.set(f"inside:{key}", name, nx=True)
        self.redis.rpush(f"visits:{key}", name)
        stayed = self.redis.get(f"inside:{key}") == name.encode()
        self.redis.delete(f"inside:{key}")
        return entered and stayed


def main():
    peer = Peer(sys.argv[1])
    for line in sys.stdin:
        command = json.loads(line)
        try:
            answer = getattr(peer, command.pop("do"))(**command)
        except LockError as error:
            answer = {"ok": False, "error": type(error).__name__}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()

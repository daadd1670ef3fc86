"""Waits until an HTTP request succeeds, then sends it COUNT times over 64 connections.

    load.py ADDRESS COUNT METHOD PATH [BODY CONTENT_TYPE]

Each connection waits for a response before it sends the next request. A status other than 2xx ends the program with an
error.
"""

import selectors
import socket
import sys
import time

CONNECTIONS = 64
# A process under valgrind is about 50 times slower than usual.
START_SECONDS = 120
IDLE_SECONDS = 60


def connect(address):
    connection = socket.create_connection(address)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def request_bytes(method, path, body, content_type):
    lines = [f"{method} {path} HTTP/1.1", "host: localhost"]
    if body:
        lines += [f"content-type: {content_type}", f"content-length: {len(body)}"]
    return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()


def complete_status(received):
    """The status of a response that has arrived completely, otherwise None."""
    head, separator, body = received.partition(b"\r\n\r\n")
    if not separator:
        return None
    status_line, *fields = head.split(b"\r\n")
    headers = {name.lower(): value for name, _, value in (field.partition(b":") for field in fields)}
    if len(body) < int(headers.get(b"content-length", 0)):
        return None
    return int(status_line.split()[1])


def is_ready(address, request):
    """Sends one request and returns whether it succeeds."""
    try:
        with connect(address) as connection:
            connection.settimeout(IDLE_SECONDS)
            connection.sendall(request)
            received = b""
            while complete_status(received) is None:
                piece = connection.recv(65536)
                if not piece:
                    return False
                received += piece
            return complete_status(received) in range(200, 300)
    except OSError:
        return False


def wait_until_ready(address, request):
    deadline = time.monotonic() + START_SECONDS
    while not is_ready(address, request):
        if time.monotonic() > deadline:
            sys.exit(f"load: no success within {START_SECONDS} s")
        # The server is still starting, and nothing reports that it has finished.
        time.sleep(0.2)


def run(address, count, request):
    remaining = count
    open_requests = 0
    with selectors.DefaultSelector() as selector:
        for connection in [connect(address) for _ in range(min(CONNECTIONS, count))]:
            selector.register(connection, selectors.EVENT_READ, bytearray())
            connection.sendall(request)
            remaining -= 1
            open_requests += 1
        while open_requests:
            ready = selector.select(IDLE_SECONDS)
            if not ready:
                sys.exit(f"load: no response for {IDLE_SECONDS} s")
            for key, _ in ready:
                piece = key.fileobj.recv(65536)
                if not piece:
                    sys.exit("load: the server closed a connection")
                received = key.data
                received += piece
                status = complete_status(bytes(received))
                if status is None:
                    continue
                if status not in range(200, 300):
                    sys.exit(f"load: unexpected response: {received.decode(errors='replace')}")
                received.clear()
                open_requests -= 1
                if remaining:
                    key.fileobj.sendall(request)
                    remaining -= 1
                    open_requests += 1


def main():
    address, count, method, path, body, content_type = (sys.argv[1:] + ["", ""])[:6]
    host, _, port = address.rpartition(":")
    address, request = (host, int(port)), request_bytes(method, path, body, content_type)
    wait_until_ready(address, request)
    run(address, int(count), request)


main()

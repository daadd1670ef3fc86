"""Serves the page, the client library and the service's WebSocket at one address, and publishes simulated events.

Usage: serve.py --library FILE [--service HOST:PORT] [--port PORT] [--idle]

`--library` is `dist/centrifuge.js` of npm's `centrifuge`. With `--idle`, nothing is published. A page of another address
needs the setting `http.cors_origins` of the service; this program is a proxy, as there is one in most deployments.
"""

import argparse
import itertools
import json
import random
import socket
import sys
import threading
import time
import urllib.request
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

PAGE = Path(__file__).parent
SYMBOLS = ["ENERGY", "REC", "CARBON"]


class Handler(SimpleHTTPRequestHandler):
    def __init__(self, *arguments):
        super().__init__(*arguments, directory=PAGE)

    def do_GET(self):
        if self.path.startswith("/connection/"):
            return self.forward()
        if self.path == "/centrifuge.js":
            body = self.server.library.read_bytes()
            self.send_response(200)
            self.send_header("Content-Type", "text/javascript")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            return None
        return super().do_GET()

    def forward(self):
        """Passes the request on to the service, then all bytes in both directions."""
        self.close_connection = True
        with socket.create_connection(self.server.service) as service:
            service.sendall(f"{self.requestline}\r\n{self.headers}".encode("latin-1"))
            threading.Thread(target=copy, args=(self.connection, service), daemon=True).start()
            copy(service, self.connection)

    def log_message(self, *_):
        pass


def copy(source, target):
    try:
        while data := source.recv(64 << 10):
            target.sendall(data)
    except OSError:
        pass
    for end in (source, target):
        try:
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


def price(symbol, channel):
    data = {"symbol": symbol, "price": f"{random.uniform(3, 4):.2f}", "change_percent": f"{random.uniform(-1, 1):.2f}"}
    return {"channel": channel, "message_type": "PriceUpdate", "key": symbol, "data": data}


def order(number):
    data = {"order_id": f"order-{number}", "user_id": "ann", "symbol": random.choice(SYMBOLS), "side": "buy",
            "price": f"{random.uniform(3, 4):.2f}", "quantity": "10", "filled_quantity": "0", "status": "open",
            "timestamp": int(time.time() * 1000)}
    return {"channel": "orders:ann", "message_type": "Created", "data": data}


def publish(service):
    """Publishes prices ten times a second, and an order every second."""
    for number in itertools.count():
        messages = [price(symbol, channel) for symbol in SYMBOLS for channel in ("market:events", "market:prices")]
        if number % 10 == 0:
            messages.append(order(number // 10))
        body = json.dumps({"messages": messages}).encode()
        request = urllib.request.Request(f"http://{service}/pubsub", body, {"Content-Type": "application/json"})
        try:
            urllib.request.urlopen(request, timeout=5).close()
        except OSError as error:
            print(f"could not publish: {error}", file=sys.stderr)
        time.sleep(0.1)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--library", type=Path, required=True)
    parser.add_argument("--service", default="localhost:4040")
    parser.add_argument("--port", type=int, default=8040)
    parser.add_argument("--idle", action="store_true")
    arguments = parser.parse_args()
    server = ThreadingHTTPServer(("127.0.0.1", arguments.port), Handler)
    server.daemon_threads = True
    host, _, port = arguments.service.rpartition(":")
    server.library, server.service = arguments.library, (host, int(port))
    if not arguments.idle:
        threading.Thread(target=publish, args=(arguments.service,), daemon=True).start()
    print(f"http://127.0.0.1:{server.server_port}/", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()

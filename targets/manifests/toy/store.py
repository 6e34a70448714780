"""A small replicated key-value store: one primary, and followers that it sends its writes to *after* it has acknowledged
them. Any node answers a read from its own copy, unless --reads primary has it ask the primary. Writes go to the primary,
whichever node gets them.

    store.py --node n2 --listen 10.77.0.2:7000 --primary 10.77.0.1:7000 --follower 10.77.0.3:7000 --data FOLDER

It is made to be broken: with --reads any a read may be stale, and that is what duress finds.
"""

import argparse
import json
import os
import queue
import socket
import socketserver
import threading
import time


def address(text):
    host, port = text.rsplit(":", 1)
    return host, int(port)


def ask(to, request, timeout=2.0):
    with socket.create_connection(to, timeout) as connection:
        file = connection.makefile("rw")
        file.write(json.dumps(request) + "\n")
        file.flush()
        return json.loads(file.readline())


class Store:
    def __init__(self, options):
        self.options = options
        self.is_primary = options.primary == options.listen
        self.lock = threading.Lock()
        self.values = {}
        self.path = os.path.join(options.data, "writes.jsonl")
        self.replay()
        self.log = open(self.path, "a")
        # To each follower, in order, in the background.
        self.followers = {follower: queue.Queue() for follower in options.follower}
        if self.is_primary:
            for follower, waiting in self.followers.items():
                threading.Thread(target=self.replicate, args=(follower, waiting), daemon=True).start()

    def replay(self):
        if not os.path.exists(self.path):
            return
        whole = 0
        for line in open(self.path, "rb"):
            if line.endswith(b"\n"):
                whole += len(line)
                key, value = json.loads(line)
                self.values[key] = value
        # A write that was cut short was not acknowledged.
        os.truncate(self.path, whole)

    def apply(self, key, value):
        self.values[key] = value
        self.log.write(json.dumps([key, value]) + "\n")
        self.log.flush()
        os.fsync(self.log.fileno())

    def replicate(self, follower, waiting):
        to = address(follower)
        while True:
            # A follower that comes back gets everything first.
            try:
                with self.lock:
                    while not waiting.empty():
                        waiting.get()
                    everything = list(self.values.items())
                ask(to, {"op": "replicate", "writes": everything})
                while True:
                    try:
                        writes = [waiting.get(timeout=1.0)]
                    except queue.Empty:
                        writes = []
                    while not waiting.empty():
                        writes.append(waiting.get())
                    ask(to, {"op": "replicate", "writes": writes})
            except (OSError, ValueError):
                time.sleep(0.05)

    def change(self, request):
        """A write on the primary: acknowledged as soon as the primary has it."""
        key = request["key"]
        with self.lock:
            value = self.values.get(key)
            if request["op"] == "write":
                value = request["value"]
            elif request["op"] == "add":
                value = (value or 0) + request["delta"]
            elif value != request["old"]:
                return {"result": "mismatch"}
            else:
                value = request["new"]
            self.apply(key, value)
            for waiting in self.followers.values():
                waiting.put((key, value))
        return {"result": "ok"}

    def answer(self, request):
        if request["op"] == "read" and (self.is_primary or self.options.reads == "any"):
            with self.lock:
                return {"result": "ok", "value": self.values.get(request["key"])}
        if request["op"] == "replicate":
            with self.lock:
                for key, value in request["writes"]:
                    if self.values.get(key) != value:
                        self.apply(key, value)
            return {"result": "ok"}
        if self.is_primary:
            return self.change(request)
        try:
            connection = socket.create_connection(address(self.options.primary), 0.5)
        except OSError:
            return {"result": "unavailable"}
        with connection:
            file = connection.makefile("rw")
            file.write(json.dumps(request) + "\n")
            file.flush()
            return json.loads(file.readline())


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--node")
    parser.add_argument("--listen")
    parser.add_argument("--primary")
    parser.add_argument("--follower", action="append", default=[])
    parser.add_argument("--data")
    parser.add_argument("--reads", choices=["any", "primary"], default="any")
    store = Store(parser.parse_args())

    class Handler(socketserver.StreamRequestHandler):
        def handle(self):
            for line in self.rfile:
                answer = store.answer(json.loads(line))
                self.wfile.write((json.dumps(answer) + "\n").encode())

    class Server(socketserver.ThreadingTCPServer):
        allow_reuse_address = True
        request_queue_size = 256
        daemon_threads = True

    options = store.options
    role = "primary" if store.is_primary else "follower"
    print(f"{options.node} listens on {options.listen} as {role}", flush=True)
    Server(address(options.listen), Handler).serve_forever()


main()

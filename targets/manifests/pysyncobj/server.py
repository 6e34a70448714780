"""A key-value server on PySyncObj: registers over HTTP, every operation through the replicated log.

    GET /KEY                    200 with the value as JSON; the read is a command of the log too, so that it is linearizable
    PUT /KEY      VALUE         200
    POST /KEY     [OLD, NEW]    200, or 409 if the value is not OLD
    GET /status                 role, leader and term
    503: certainly not done; 500: perhaps
"""

import argparse
import json
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from pysyncobj import FAIL_REASON, SyncObj, SyncObjConf, replicated

# Before the command is in the leader's log.
NOT_DONE = (FAIL_REASON.QUEUE_FULL, FAIL_REASON.MISSING_LEADER, FAIL_REASON.REQUEST_DENIED)


class Registers(SyncObj):
    def __init__(self, own, others, data):
        conf = SyncObjConf(
            journalFile=os.path.join(data, "journal"),
            fullDumpFile=os.path.join(data, "dump"),
            flushJournal=True,
            autoTickPeriod=0.005,
            appendEntriesUseBatch=True,
            connectionRetryTime=0.2,
            connectionTimeout=1.6,
            leaderFallbackTimeout=2.0,
        )
        self.values = {}
        super().__init__(own, others, conf)

    @replicated
    def read(self, key):
        return self.values.get(key)

    @replicated
    def write(self, key, value):
        self.values[key] = value

    @replicated
    def cas(self, key, old, new):
        if self.values.get(key) != old:
            return False
        self.values[key] = new
        return True


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--own")
    parser.add_argument("--peer", action="append", default=[])
    parser.add_argument("--listen")
    parser.add_argument("--data")
    options = parser.parse_args()
    registers = Registers(options.own, options.peer, options.data)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self, status, value):
            body = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def done(self, command, *arguments):
            """Carries out a command; returns whether it was done, and its result."""
            ended, outcome = threading.Event(), []

            def callback(result, error):
                outcome.extend([error, result])
                ended.set()

            command(*arguments, callback=callback)
            if not ended.wait(5):
                self.answer(500, "no outcome in time")
            elif outcome[0] != FAIL_REASON.SUCCESS:
                self.answer(503 if outcome[0] in NOT_DONE else 500, f"fail reason {outcome[0]}")
            else:
                return True, outcome[1]
            return False, None

        def body(self):
            return json.loads(self.rfile.read(int(self.headers["Content-Length"])))

        def do_GET(self):
            if self.path == "/status":
                leader = registers._getLeader()
                status = registers.getStatus()
                name = None if leader is None else getattr(leader, "id", str(leader))
                self.answer(200, {"leader": name, "term": status["raft_term"]})
                return
            done, value = self.done(registers.read, self.path[1:])
            if done:
                self.answer(200, value)

        def do_PUT(self):
            done, _ = self.done(registers.write, self.path[1:], self.body())
            if done:
                self.answer(200, None)

        def do_POST(self):
            done, swapped = self.done(registers.cas, self.path[1:], *self.body())
            if done:
                self.answer(200 if swapped else 409, None)

        def log_message(self, *_):
            pass

        def handle(self):
            try:
                super().handle()
            except OSError:
                # The client has gone.
                pass

    class Server(ThreadingHTTPServer):
        request_queue_size = 256
        daemon_threads = True

    host, port = options.listen.rsplit(":", 1)
    Server((host, int(port)), Handler).serve_forever()


main()

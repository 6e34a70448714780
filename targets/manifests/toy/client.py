"""The client of the toy store. duress starts it, and speaks to it through duress_client.py."""

import json
import socket

from duress_client import Client, Fail, Info, Mismatch, run


class Toy(Client):
    def open(self):
        self.socket = socket.create_connection(self.address, self.timeout)
        self.file = self.socket.makefile("rw")

    def close(self):
        self.socket.close()

    def ask(self, **request):
        try:
            self.file.write(json.dumps(request) + "\n")
            self.file.flush()
            answer = json.loads(self.file.readline())
        except (OSError, ValueError) as error:
            # The request may have arrived: it may have been done.
            raise Info(f"no answer: {error!r}")
        if answer["result"] == "unavailable":
            raise Fail("the node has no connection to the primary")
        return answer

    # The workload register
    def read(self, key):
        value = self.ask(op="read", key=key)["value"]
        if self.vocabulary == "counter":
            return value or 0
        return value

    def write(self, key, value):
        self.ask(op="write", key=key, value=value)

    def cas(self, key, old, new):
        if self.ask(op="cas", key=key, old=old, new=new)["result"] == "mismatch":
            raise Mismatch()

    # The workload counter
    def add(self, key, delta):
        self.ask(op="add", key=key, delta=delta)


run(Toy)

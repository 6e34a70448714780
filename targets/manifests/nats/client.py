"""A client of JetStream, for duress.

There is one stream. A set is its subject set.KEY, a partition of a log is log.KEY, and the offset of a message is its
sequence number in the stream. What is published is done when the stream acknowledges it. Messages are read from the
stream's leader, one after the other. Consumers of the log remember their positions themselves: there are no groups.
"""

import base64
import json
import sys
import time

from connection import Connection, Lost, NoResponders
from duress_client import Client, Fail, Info, run

NO_MESSAGE = 10037
# The servers agree that there is no such stream, although it was created before clients began: its messages are gone too.
NO_STREAM = 10059
# Those that the workload has unless asked for others.
PARTITIONS = [f"t{topic}-{partition}" for topic in range(2) for partition in range(3)]
# The most messages of one partition that a poll answers.
POLLED_MAX = 20


class JetStream(Client):
    connection = None

    def open(self):
        self.positions, self.assigned = {}, []
        self.connection = Connection(self.address, self.timeout)

    def close(self):
        if self.connection:
            self.connection.close()
        self.connection = None

    def ask(self, subject, body, deadline):
        try:
            if self.connection is None:
                self.connection = Connection(self.address, max(deadline - time.monotonic(), 0.001))
        except (OSError, Lost) as error:
            raise Fail(f"cannot connect: {error!r}")
        try:
            return self.connection.request(subject, body, deadline)
        except NoResponders as error:
            raise Fail(str(error))
        except Lost as error:
            self.close()
            raise Info(str(error))

    def deadline(self):
        return time.monotonic() + self.timeout

    def publish(self, subject, body, deadline):
        """Return the message's sequence number. Any error may come after the proposal to the stream's log."""
        answer = self.ask(subject, body, deadline)
        if "error" in answer:
            raise Info(answer["error"]["description"])
        return answer["seq"]

    def message(self, question, deadline):
        """Return the sequence number of the message that `question` asks for, and its content; None if there is none."""
        try:
            answer = self.ask("$JS.API.STREAM.MSG.GET.DURESS", question, deadline)
        except Info as error:
            raise Fail(str(error))
        if answer.get("error", {}).get("err_code") in (NO_MESSAGE, NO_STREAM):
            return None
        if "error" in answer:
            raise Fail(answer["error"]["description"])
        return answer["message"]["seq"], json.loads(base64.b64decode(answer["message"]["data"]))

    def messages(self, subject, begin, most, deadline):
        """Return the messages of `subject` from the sequence number `begin` on, as pairs of it and the content."""
        found = []
        while len(found) < most:
            message = self.message({"seq": begin, "next_by_subj": subject}, deadline)
            if message is None:
                break
            found.append(message)
            begin = message[0] + 1
        return found

    # The workload set
    def add(self, key, element):
        self.publish(f"set.{key}", element, self.deadline())

    def read(self, key):
        return [element for _, element in self.messages(f"set.{key}", 1, float("inf"), self.deadline())]

    # The workload log
    def send(self, micros):
        sent, deadline = [], self.deadline()
        for act, key, value in micros:
            try:
                sent.append([act, key, [self.publish(f"log.{key}", value, deadline), value]])
            except Fail as error:
                # Those before it are in the stream.
                raise Info(str(error)) if sent else error
        return sent

    def assign(self, value):
        keys = value["keys"] if isinstance(value, dict) else value
        if isinstance(value, dict):
            self.positions.update({key: 1 for key in keys})
        self.assigned = keys
        return value

    def seek(self, offsets):
        self.positions.update({key: max(offset, 1) for key, offset in offsets.items()})
        return offsets

    def crash(self, _):
        raise Info("dead")

    def poll(self, micros):
        deadline = self.deadline()
        begin = {key: self.positions.get(key, 1) for key in self.assigned}
        polled = {key: self.messages(f"log.{key}", begin[key], POLLED_MAX, deadline) for key in begin}
        polled = {key: messages for key, messages in polled.items() if messages}
        self.positions.update({key: messages[-1][0] + 1 for key, messages in polled.items()})
        return [["poll", polled]]

    def end_offsets(self, _):
        deadline = self.deadline()
        last = {key: self.message({"last_by_subj": f"log.{key}"}, deadline) for key in PARTITIONS}
        return {key: message[0] + 1 if message else 0 for key, message in last.items()}


def create(address):
    host, port = address.rsplit(":", 1)
    stream = {"name": "DURESS", "subjects": ["set.>", "log.>"], "num_replicas": 3, "storage": "file"}
    answer = Connection((host, int(port)), 5).request("$JS.API.STREAM.CREATE.DURESS", stream, time.monotonic() + 5)
    if "error" in answer:
        sys.exit(answer["error"]["description"])


if sys.argv[1:2] == ["create"]:
    create(sys.argv[2])
else:
    run(JetStream)

"""A client of JetStream, for duress.

A set is the subject set.KEY of the stream SETS. An add publishes its element, and is done when the stream acknowledges
it. A read asks the stream for each message of the subject, one after the other.
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


class JetStream(Client):
    def open(self):
        self.connection = Connection(self.address, self.timeout)

    def close(self):
        self.connection.close()

    def add(self, key, element):
        # Any error may come after the proposal to the stream's log.
        answer = self.ask(f"set.{key}", element)
        if "error" in answer:
            raise Info(answer["error"]["description"])

    def read(self, key):
        elements, sequence = [], 1
        deadline = time.monotonic() + self.timeout
        while True:
            question = {"seq": sequence, "next_by_subj": f"set.{key}"}
            answer = self.ask("$JS.API.STREAM.MSG.GET.SETS", question, deadline)
            code = answer.get("error", {}).get("err_code")
            if code == NO_MESSAGE or (code == NO_STREAM and not elements):
                return elements
            if "error" in answer:
                raise Fail(answer["error"]["description"])
            elements.append(json.loads(base64.b64decode(answer["message"]["data"])))
            sequence = answer["message"]["seq"] + 1

    def ask(self, subject, body, deadline=None):
        try:
            return self.connection.request(subject, body, deadline or time.monotonic() + self.timeout)
        except NoResponders as error:
            raise Fail(str(error))
        except Lost as error:
            raise Info(str(error))


def create(address):
    host, port = address.rsplit(":", 1)
    stream = {"name": "SETS", "subjects": ["set.>"], "num_replicas": 3, "storage": "file", "retention": "limits"}
    answer = Connection((host, int(port)), 5).request("$JS.API.STREAM.CREATE.SETS", stream, time.monotonic() + 5)
    if "error" in answer:
        sys.exit(answer["error"]["description"])


if sys.argv[1:2] == ["create"]:
    create(sys.argv[2])
else:
    run(JetStream)

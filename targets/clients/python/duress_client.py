"""A client of a system under test, for duress: one file, no dependencies, Python 3.8 or later.

    from duress_client import Client, Fail, Info, Mismatch, run

    class Mine(Client):
        def open(self): ...                       # connect to self.address, within self.timeout seconds
        def read(self, key): return value         # or None
        def write(self, key, value): ...
        def cas(self, key, old, new): ...         # raise Mismatch where the value is not old
        def close(self): ...

    run(Mine)

A method for each operation of the vocabularies that the manifest says the client speaks: `register` has read, write and
cas; `set` and `counter` have read and add; `list-append` and `rw-register` have txn(self, operations), which returns
them with the answers of reads filled in; `bank` has create(self, balances), transfer(self, transfer) and read(self, accounts);
`fenced-mutex` has acquire(self, key, lease), which returns the fencing token, and release(self, key, token). A method that
returns has done it. It raises

    Fail      when it certainly was not done and never will be: nothing was sent, or the system refused it;
    Mismatch  when a comparison failed, which is a Fail;
    Info      when it may have been done: no answer in time, a connection that broke.

With `processes = "per-host"` in the manifest one process serves several clients, each on a thread of its own.

Any other exception is an Info, and its traceback is kept with the run; in `open` it is a Fail. After an Info, and after any
other exception, the connection is closed, and opened again for the next operation.
"""

import json
import queue
import sys
import threading
import traceback

VERSION = 1


class Fail(Exception):
    """The operation certainly was not done, and never will be."""


class Mismatch(Fail):
    """The comparison of a compare-and-set failed."""


class Info(Exception):
    """The operation may have been done."""


class Client:
    """A client of one node: subclass it, with one method for each operation."""

    #: The vocabulary of its operations, as the manifest's `speaks` names it.
    vocabulary = None
    #: The name of its node.
    node = None
    #: The address of its node, as (host, port).
    address = None
    #: The addresses of all nodes, by name.
    nodes = {}
    #: How long an operation may take, in seconds.
    timeout = 1.0

    def open(self):
        """Connect to the node."""

    def close(self):
        """Close the connection. It may never have been opened."""


def _address(text):
    host, port = text.rsplit(":", 1)
    return host.strip("[]"), int(port)


def _arguments(request):
    value = request.get("value")
    key = [request["key"]] if "key" in request else []
    if request["f"] == "read":
        return key if value is None else key + [value]
    if request["f"] == "cas":
        return key + list(value)
    return key + [value]


class _Session:
    """One client after the other, as the harness opens and closes them."""

    def __init__(self, make):
        self.make = make
        self.request = None
        self.client = None

    def connect(self):
        client = self.make()
        client.vocabulary = self.request.get("vocabulary")
        client.node = self.request["node"]
        client.address = _address(self.request["address"])
        client.nodes = {name: _address(address) for name, address in self.request["nodes"].items()}
        client.timeout = self.request["timeout_ms"] / 1000
        client.open()
        self.client = client

    def disconnect(self):
        client, self.client = self.client, None
        if client is not None:
            try:
                client.close()
            except Exception:
                traceback.print_exc()

    def answer(self, request):
        if request["type"] == "open":
            self.disconnect()
            self.request = request
        try:
            if self.client is None:
                self.connect()
        except Exception as error:
            return {"type": "fail", "error": f"cannot open the connection: {error!r}"}
        if request["type"] == "open":
            return {"type": "ok"}
        try:
            operation = getattr(self.client, request["f"].replace("-", "_"))
        except AttributeError:
            return {"type": "fail", "error": f"the client has no method {request['f']}"}
        try:
            return {"type": "ok", "value": operation(*_arguments(request))}
        except Mismatch as error:
            return {"type": "fail", "error": str(error) or "the comparison failed", "mismatch": True}
        except Fail as error:
            return {"type": "fail", "error": str(error)}
        except Info as error:
            self.disconnect()
            return {"type": "info", "error": str(error)}
        except Exception as error:
            traceback.print_exc()
            self.disconnect()
            return {"type": "info", "error": repr(error)}


class _Thread:
    """A client of a process that serves several, on a thread of its own."""

    def __init__(self, make, say):
        self.requests = queue.SimpleQueue()
        self.session = _Session(make)
        self.say = say
        # A client that waits for its system must not keep the process.
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            request = self.requests.get()
            if request["type"] == "close":
                return self.session.disconnect()
            answer = self.session.answer(request)
            self.say({**answer, "id": request["id"], "client": request["client"]})


def run(make):
    """Serve the harness with the clients that `make` makes, until it closes the standard input."""
    # The client's own prints must not come between the answers.
    out, sys.stdout = sys.stdout, sys.stderr
    lock = threading.Lock()

    def say(line):
        text = json.dumps(line) + "\n"
        with lock:
            out.write(text)
            out.flush()

    say({"type": "hello", "version": VERSION})
    session, threads = _Session(make), {}
    for line in sys.stdin:
        request = json.loads(line)
        number = request.get("client")
        if number is not None:
            if number not in threads:
                threads[number] = _Thread(make, say)
            threads[number].requests.put(request)
            if request["type"] == "close":
                del threads[number]
        elif request["type"] == "close":
            session.disconnect()
        else:
            say({**session.answer(request), "id": request["id"]})
    session.disconnect()

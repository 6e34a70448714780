"""One connection to a NATS server, in the client protocol of NATS, with requests one at a time."""

import json
import os
import socket
import time


class NoResponders(Exception):
    """Nothing listens to the subject: the message went nowhere."""


class Lost(Exception):
    """No answer: the time is over, or the connection is broken."""


class Connection:
    def __init__(self, address, timeout):
        self.socket = socket.create_connection(address, timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""
        self.inbox = f"_INBOX.{os.urandom(12).hex()}"
        self.number = 0
        deadline = time.monotonic() + timeout
        self._line(deadline)  # INFO
        options = {"verbose": False, "pedantic": False, "lang": "python", "version": "0", "protocol": 1}
        options.update(headers=True, no_responders=True)
        self._send(f"CONNECT {json.dumps(options)}\r\nSUB {self.inbox}.* 1\r\nPING\r\n".encode(), deadline)
        while self._line(deadline) != "PONG":
            pass

    def close(self):
        self.socket.close()

    def request(self, subject, body, deadline):
        """Publish `body` and return the one answer, decoded. Every earlier request has been answered, or was given up."""
        self.number += 1
        reply = f"{self.inbox}.{self.number}"
        data = json.dumps(body).encode()
        self._send(f"PUB {subject} {reply} {len(data)}\r\n".encode() + data + b"\r\n", deadline)
        while True:
            line = self._line(deadline)
            words = line.split()
            if line == "PING":
                self._send(b"PONG\r\n", deadline)
            elif words[0] == "-ERR":
                raise Lost(line)
            elif words[0] in ("MSG", "HMSG"):
                message = self._bytes(int(words[-1]) + 2, deadline)[:-2]
                headers = int(words[-2]) if words[0] == "HMSG" else 0
                if words[1] != reply:
                    continue
                if message[:headers].startswith(b"NATS/1.0 503"):
                    raise NoResponders(f"nothing listens to {subject}")
                return json.loads(message[headers:])

    def _send(self, data, deadline):
        self._wait_until(deadline)
        try:
            self.socket.sendall(data)
        except OSError as error:
            raise Lost(repr(error))

    def _line(self, deadline):
        while b"\r\n" not in self.buffer:
            self._receive(deadline)
        line, self.buffer = self.buffer.split(b"\r\n", 1)
        return line.decode()

    def _bytes(self, length, deadline):
        while len(self.buffer) < length:
            self._receive(deadline)
        data, self.buffer = self.buffer[:length], self.buffer[length:]
        return data

    def _receive(self, deadline):
        self._wait_until(deadline)
        try:
            data = self.socket.recv(1 << 16)
        except OSError as error:
            raise Lost(repr(error))
        if not data:
            raise Lost("the server closed the connection")
        self.buffer += data

    def _wait_until(self, deadline):
        left = deadline - time.monotonic()
        if left <= 0:
            raise Lost("no answer in time")
        self.socket.settimeout(left)

"""Values under keys, kept on disk in one of several ways; the manifest says which of them are wrong."""

import json, os, sys, threading, zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

address, folder, storage = sys.argv[1:]
path = os.path.join(folder, "state")
lock = threading.Lock()


def sync_folder():
    handle = os.open(folder, os.O_RDONLY)
    os.fsync(handle)
    os.close(handle)


class Log:
    """One line for each write, with a checksum; a torn end is cut off."""

    def __init__(self):
        self.data, whole = {}, 0
        self.file = open(path, "a+b")
        self.file.seek(0)
        for line in self.file:
            checksum, _, change = line.partition(b" ")
            if not line.endswith(b"\n") or checksum != b"%08x" % zlib.crc32(change):
                break
            self.data.update([json.loads(change)])
            whole += len(line)
        self.file.truncate(whole)
        os.fsync(self.file.fileno())
        sync_folder()

    def write(self, key, value):
        change = json.dumps([key, value]).encode() + b"\n"
        self.file.write(b"%08x %s" % (zlib.crc32(change), change))
        self.file.flush()
        os.fsync(self.file.fileno())
        self.data[key] = value


class Sqlite:
    """A table of a database."""

    def __init__(self):
        import sqlite3

        self.base = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        # A commit in FULL ends with the removal of the journal, which only EXTRA syncs.
        self.base.execute("PRAGMA synchronous = " + ("FULL" if storage == "sqlite-full" else "EXTRA"))
        self.base.execute("CREATE TABLE IF NOT EXISTS kept (key TEXT PRIMARY KEY, value TEXT)")
        self.data = dict(self.base.execute("SELECT key, value FROM kept"))

    def write(self, key, value):
        self.base.execute("INSERT OR REPLACE INTO kept VALUES (?, ?)", (key, value))
        self.data[key] = value


class Whole:
    """The whole state, of more than one block of the disk, for each write."""

    def __init__(self):
        self.data = {}
        if os.path.exists(path):
            with open(path) as file:
                self.data = json.load(file)["data"]
        else:
            self.keep()
            sync_folder()

    def write(self, key, value):
        self.data[key] = value
        self.keep()

    def keep(self):
        target = path if storage == "in-place" else path + ".new"
        with open(target, "r+" if os.path.exists(target) else "w") as file:
            data = [f'"{key}": {json.dumps(value):<500}' for key, value in sorted(self.data.items())]
            file.write(f'{{"data": {{{", ".join(data)}}}}}')
            file.truncate()
            file.flush()
            if storage != "rename-unsynced-file":
                os.fsync(file.fileno())
        if storage != "in-place":
            os.rename(target, path)
        if storage == "rename-unsynced-file":
            sync_folder()


store = {"log": Log, "sqlite-extra": Sqlite, "sqlite-full": Sqlite}.get(storage, Whole)()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, status, body=b""):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        value = store.data.get(self.path)
        self.answer(404) if value is None else self.answer(200, value.encode())

    def do_PUT(self):
        value = self.rfile.read(int(self.headers["Content-Length"])).decode()
        with lock:
            store.write(self.path, value)
        self.answer(200)

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True


host, _, port = address.rpartition(":")
Server((host, int(port)), Handler).serve_forever()

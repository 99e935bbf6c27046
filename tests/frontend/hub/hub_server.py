"""A hub on loopback for tests: serves folders as repositories, as far as `exoc pull` sees it, and misbehaves on demand.

Usage: hub_server.py ROOT. ROOT/ORG/NAME/... are the files of a repository; ROOT/behaviour.json (read at every request) may say
  {"token": "secret",        access needs it          "cut_after": 1000,    every answer with a file breaks off there
   "fail": 2,                so many 503s come first  "ignore_range": true, ranges are answered from the start
   "damage": "PATH",         a byte of it is flipped  "page": 2,            files of one page of the list
   "stall": "PATH"}          it sends half and waits
Prints its port and one line per request on stdout; ends when stdin does.
"""
import hashlib
import json
import os
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlparse

ROOT = sys.argv[1]
LARGE = 1000  # bytes; larger files are "LFS": named by their SHA-256 and served from another address
failures = 0
lock = threading.Lock()


def behaviour():
    try:
        with open(os.path.join(ROOT, "behaviour.json")) as file:
            return json.load(file)
    except FileNotFoundError:
        return {}


def read(path):
    with open(path, "rb") as file:
        return file.read()


def describe(folder, name):
    data = read(os.path.join(folder, name))
    git = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
    entry = {"type": "file", "path": name, "size": len(data), "oid": git}
    if len(data) > LARGE:
        entry["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 134}
    return entry


def files_of(folder):
    names = []
    for base, _, files in os.walk(folder):
        names += [os.path.relpath(os.path.join(base, name), folder) for name in files]
    return sorted(names)


def commit_of(folder):
    return hashlib.sha1(repr([describe(folder, name) for name in files_of(folder)]).encode()).hexdigest()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, body, headers=()):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def refuses(self, how):
        global failures
        with lock:
            if failures < how.get("fail", 0):
                failures += 1
                self.answer(503, b"busy", [("Retry-After", "0")])
                return True
        return False

    def do_GET(self):
        print(self.path, self.headers.get("Range", "-"), self.headers.get("Authorization", "-"), flush=True)
        how = behaviour()
        url = urlparse(self.path)
        parts = [unquote(part) for part in url.path.strip("/").split("/")]
        if parts[0] == "cdn":
            return self.send_file(os.path.join(ROOT, *parts[1:]), "/".join(parts[3:]), how)
        if self.refuses(how):
            return None
        if how.get("token") and self.headers.get("Authorization") != "Bearer " + how["token"]:
            return self.answer(401, b"Invalid credentials")
        if parts[:2] == ["api", "models"]:
            return self.send_api(parts[2:], parse_qs(url.query), how)
        return self.send_resolved(parts, how)

    def send_api(self, parts, query, how):
        folder = os.path.join(ROOT, *parts[:2])
        if not os.path.isdir(folder):
            return self.answer(404, b'{"error":"Repository not found"}')
        commit = commit_of(folder)
        if parts[2] == "revision":
            known = parts[3] in ("main", commit)
            return self.answer(200 if known else 404, json.dumps({"sha": commit}).encode())
        names = files_of(folder)
        entries = [{"type": "directory", "path": "some", "oid": "0" * 40, "size": 0}] + [describe(folder, n) for n in names]
        first, page = int(query.get("cursor", ["0"])[0]), how.get("page", 1000)
        headers = []
        if first + page < len(entries):
            here = "http://%s%s" % (self.headers["Host"], urlparse(self.path).path)
            headers = [("Link", '<%s?recursive=true&cursor=%d>; rel="next"' % (here, first + page))]
        return self.answer(200, json.dumps(how.get("list", entries[first : first + page])).encode(), headers)

    def send_resolved(self, parts, how):
        repository, name = parts[:2], parts[4:]
        path = os.path.join(ROOT, *repository, *name)
        if parts[2] != "resolve" or not os.path.isfile(path):
            return self.answer(404, b"Entry not found")
        if os.path.getsize(path) > LARGE:   # another host, as far as tokens go
            port = self.server.server_address[1]
            return self.answer(302, b"", [("Location", "http://localhost:%d/cdn/%s" % (port, "/".join(repository + name)))])
        return self.send_file(path, "/".join(name), how)

    def send_file(self, path, name, how):
        data = bytearray(read(path))
        if how.get("damage") == name:
            data[len(data) // 2] ^= 1
        begin, end = 0, len(data)
        span = self.headers.get("Range")
        partial = span and not how.get("ignore_range")
        if partial:
            begin, last = (int(x) for x in span.removeprefix("bytes=").split("-"))
            end = last + 1
        self.send_response(206 if partial else 200)
        if partial:
            self.send_header("Content-Range", "bytes %d-%d/%d" % (begin, end - 1, len(data)))
        self.send_header("Content-Length", str(end - begin))
        self.end_headers()
        body = bytes(data[begin:end])
        if how.get("stall") == name:
            self.wfile.write(body[: len(body) // 2])
            time.sleep(20)
        cut = how.get("cut_after")
        self.wfile.write(body if cut is None else body[:cut])
        if cut is not None and cut < len(body):
            self.close_connection = True
        return None


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
server.daemon_threads = True
print(server.server_address[1], flush=True)
threading.Thread(target=server.serve_forever, daemon=True).start()
sys.stdin.read()

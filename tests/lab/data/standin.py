"""A stand-in for the Hugging Face hub: serves data sets' files to the real client, over HTTP on this machine."""

import hashlib
import json
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import unquote, urlsplit

COMMIT = "a" * 40


class Hub(BaseHTTPRequestHandler):
    """Answers what the client asks; `root` holds <owner>/<name>/<files>, and every revision is the same."""

    root: Path
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = [unquote(part) for part in urlsplit(self.path).path.strip("/").split("/")]
        api = parts[0] == "api"
        name = "/".join(parts[api + 1 : api + 3])
        what, *rest = parts[api + 3 :] or ["info"]
        if parts[api] != "datasets" or not (self.root / name).is_dir():
            self.answer(404, b"", {"X-Error-Code": "RepoNotFound"})
        elif what == "tree":
            every = "**/*" if "recursive=true" in self.path.lower() else "*"
            self.json([self.entry(file, name) for file in sorted((self.root / name).joinpath(*rest[1:]).glob(every))])
        elif api:  # info, or the same under revision/<revision>
            self.json({"id": name, "sha": COMMIT, "siblings": []})
        elif (file := (self.root / name).joinpath(*rest[1:])).is_file():  # resolve/<revision>/<path>
            body = file.read_bytes()
            self.answer(200, body, {"ETag": f'"{hashlib.sha1(body).hexdigest()}"', "X-Repo-Commit": COMMIT})
        else:
            self.answer(404, b"", {"X-Error-Code": "EntryNotFound"})

    do_HEAD = do_GET

    def entry(self, file, name):
        path = file.relative_to(self.root / name).as_posix()
        return {
            "type": "directory" if file.is_dir() else "file",
            "path": path,
            "oid": path,
            "size": file.stat().st_size,
        }

    def json(self, value):
        self.answer(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def answer(self, status, body, headers):
        self.send_response(status)
        for header, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(header, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *arguments):
        self.server.asked.append(self.path)


@contextmanager
def hub(root: Path):
    """Serve the data sets below `root`; gives the address for HF_ENDPOINT, and the paths that are asked for."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Here", (Hub,), {"root": root}))
    server.asked = []
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", server.asked
    finally:
        server.shutdown()
        server.server_close()

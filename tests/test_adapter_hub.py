"""Adapters by name: fetched from and pushed to a stand-in for the hub, by the real client in a process of its own."""

import hashlib
import json
import os
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from test_hosts import CONFIG, host

from apt_minimal import attach, load_adapter, save_adapter
from apt_minimal.hub import model_card

COMMIT = "b" * 40


class Hub(BaseHTTPRequestHandler):
    """One repository, me/mine, whose files are in `server.folder`."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.server.asked.append(self.path)
        path = self.path.split("?")[0].strip("/").split("/")
        file, there = self.server.folder / path[-1], list(self.server.folder.iterdir())
        if path[0] == "api" and path[4:5] == ["tree"]:
            files = [{"type": "file", "path": f.name, "oid": f.name, "size": f.stat().st_size} for f in there]
            self.answer(200, json.dumps(files).encode())
        elif path[0] == "api" and path[1:4] == ["models", "me", "mine"]:
            names = [{"rfilename": file.name} for file in there]
            self.answer(200, json.dumps({"id": "me/mine", "sha": COMMIT, "siblings": names}).encode())
        elif path[:2] == ["me", "mine"] and file.is_file():
            self.answer(200, file.read_bytes())
        else:
            self.answer(404, b"", {"X-Error-Code": "RepoNotFound"})

    do_HEAD = do_GET

    def do_POST(self):
        self.server.asked.append(self.path)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path.endswith("/preupload/main"):
            files = [file | {"uploadMode": "regular", "shouldIgnore": False} for file in json.loads(body)["files"]]
            self.answer(200, json.dumps({"files": files}).encode())
        elif "/commit/main" in self.path:
            lines = [json.loads(line) for line in body.splitlines()]
            self.server.pushed = sorted(line["value"]["path"] for line in lines if line["key"] == "file")
            reply = {
                "commitUrl": f"http://127.0.0.1:{self.server.server_port}/me/mine/commit/{COMMIT}",
                "commitOid": COMMIT,
                "success": True,
            }
            self.answer(200, json.dumps(reply).encode())
        else:
            here = f"http://127.0.0.1:{self.server.server_port}/me/mine"
            self.answer(200, json.dumps({"url": here, "name": "me/mine"}).encode())

    def answer(self, status, body, headers=()):
        self.send_response(status)
        etag = hashlib.sha1(body).hexdigest()
        for header, value in {"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT, **dict(headers)}.items():
            self.send_header(header, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def hub(tmp_path):
    folder = tmp_path / "there"
    folder.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.folder, server.asked, server.pushed = folder, [], []
    Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def elsewhere(code, hub, tmp_path, **environment):
    """Run code in a process that knows no other hub."""
    here = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[1])])
    own = {"HF_ENDPOINT": f"http://127.0.0.1:{hub.server_port}", "HF_HOME": str(tmp_path / "home"), "PYTHONPATH": here}
    own |= {"HF_HUB_OFFLINE": "0", "HF_TOKEN": "hf_made_up", "HF_HUB_DISABLE_XET": "1"} | environment
    start = "from test_hosts import host\nfrom apt_minimal import *\n"
    command = [sys.executable, "-W", "ignore", "-c", start + code]
    return subprocess.run(command, env=os.environ | own, capture_output=True, text=True, timeout=300)


@pytest.mark.slow
def test_an_adapter_is_loaded_by_its_name_and_offline_from_the_cache(hub, tmp_path):
    save_adapter(attach(host("bert"), CONFIG), hub.folder)
    load = "print(len(prefixes(load_adapter(host('bert'), 'me/mine'))))"
    found = elsewhere(load, hub, tmp_path)
    assert found.stdout == "3\n", found.stderr[-500:]
    assert {path.rsplit("/", 1)[-1] for path in hub.asked} >= {"adapter.json", "adapter.safetensors"}
    hub.asked.clear()
    again = elsewhere(load, hub, tmp_path, HF_HUB_OFFLINE="1")
    assert again.stdout == "3\n" and hub.asked == []


@pytest.mark.slow
def test_an_adapter_is_pushed_with_its_card_and_nothing_else(hub, tmp_path):
    save_adapter(attach(host("bert"), CONFIG), tmp_path / "mine")
    (tmp_path / "mine" / "notes.txt").write_text("private")
    found = elsewhere(f"print(push_adapter({str(tmp_path / 'mine')!r}, 'me/mine'))", hub, tmp_path)
    assert found.stdout.endswith(f"/commit/{COMMIT}\n"), found.stderr[-500:]
    assert hub.pushed == ["README.md", "adapter.json", "adapter.safetensors"]


def test_offline_a_name_that_is_not_in_the_cache_is_one_clear_error():
    with pytest.raises(FileNotFoundError, match="there is no folder me/unknown, nor did the hub give such an adapter"):
        load_adapter(host("bert"), "me/unknown")


def test_the_card_says_what_on_which_backbone_and_how_to_load_it():
    config = {"prefix_length": (4, 0), "token_gate": True, "layer_gate": False}
    backbone = {"name": "bert-base", "architecture": "BertModel", "hidden_size": 32, "num_hidden_layers": 2}
    card = model_card({"config": config, "backbone": backbone, "labels": []}, "conll2004", {"f1": 0.71234})
    for words in ("base_model: bert-base", "per layer: 4, 0; gates: token_gate", "task: conll2004", "f1: 0.7123"):
        assert words in card
    assert 'BertModel.from_pretrained("bert-base")' in card

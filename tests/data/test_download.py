"""Downloads from a real server on this machine that knows ranges, breaks off, and serves what was altered."""

from __future__ import annotations

import gzip
import hashlib
import io
import re
import ssl
import tarfile
import threading
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from equimodal.data import download
from equimodal.data.download import Archive, Download
from equimodal.errors import ConfigError, DataError

CONTENT = bytes(range(256)) * 2000
PACKED = gzip.compress(CONTENT, compresslevel=0, mtime=0)  # 512 kB
WAVS = {f"{digit}_anna_0.wav": bytes([digit]) * 50 for digit in range(3)}


class Server(ThreadingHTTPServer):
    """Serves `files`; `breaks` says after how many bytes the next answers break off."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.breaks: list[int] = []
        self.ranges = True
        self.asked: list[str | None] = []

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/{name}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        content = self.server.files.get(self.path[1:])
        asked = self.headers.get("Range")
        self.server.asked.append(asked)
        if content is None:
            self.send_error(404)
            return
        start = 0
        if asked and self.server.ranges:
            match = re.fullmatch(r"bytes=(\d+)-", asked)
            assert match is not None
            start = int(match[1])
            if start >= len(content):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(content)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        stop = self.server.breaks.pop(0) if self.server.breaks else len(content)
        self.wfile.write(content[start : start + stop])

    def log_message(self, *args: object) -> None:
        """Says nothing."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def one(server: Server, name: str = "a.gz") -> dict[str, tuple[Download]]:
    return {"toy": (Download((server.url(name),), "toy/a.gz", sha256(CONTENT)),)}


def left(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}


def test_a_file_arrives_and_is_not_fetched_twice(server: Server, tmp_path: Path) -> None:
    server.files["a.gz"] = PACKED
    seen: list[tuple[str, int, int | None]] = []
    report = lambda name, done, total: seen.append((name, done, total))
    assert download.get("toy", tmp_path, sources=one(server), progress=report) == [
        tmp_path / "toy/a.gz"
    ]
    assert (tmp_path / "toy/a.gz").read_bytes() == PACKED
    assert left(tmp_path) == {"toy/a.gz"}
    assert seen[-1] == ("a.gz", len(PACKED), len(PACKED))
    download.get("toy", tmp_path, sources=one(server))
    assert len(server.asked) == 1


def test_a_download_that_breaks_off_goes_on_where_it_stopped(
    server: Server, tmp_path: Path
) -> None:
    server.files["a.gz"] = PACKED
    server.breaks = [200_000]
    with pytest.raises(DataError, match=r"broke off after 200000 of .* 200000 bytes are kept"):
        download.get("toy", tmp_path, sources=one(server), attempts=1)
    assert [path.stat().st_size for path in tmp_path.rglob("*.part")] == [200_000]
    server.breaks = [100_000]  # breaks off again, and is taken up within the same call
    download.get("toy", tmp_path, sources=one(server), attempts=2)
    assert server.asked == [None, "bytes=200000-", "bytes=300000-"]
    assert (tmp_path / "toy/a.gz").read_bytes() == PACKED


def test_a_server_without_ranges_starts_anew(server: Server, tmp_path: Path) -> None:
    server.files["a.gz"] = PACKED
    server.ranges = False
    server.breaks = [200_000]
    download.get("toy", tmp_path, sources=one(server))
    assert (tmp_path / "toy/a.gz").read_bytes() == PACKED


def test_what_was_downloaded_whole_but_not_yet_named_is_used(
    server: Server, tmp_path: Path
) -> None:
    server.files["a.gz"] = PACKED
    server.breaks = [200_000]
    with pytest.raises(DataError):
        download.get("toy", tmp_path, sources=one(server), attempts=1)
    (part,) = tmp_path.rglob("*.part")
    part.write_bytes(PACKED)
    download.get("toy", tmp_path, sources=one(server))
    assert left(tmp_path) == {"toy/a.gz"}
    assert server.asked[-1] == f"bytes={len(PACKED)}-"


@pytest.mark.parametrize(
    "altered", [gzip.compress(CONTENT + b"x"), PACKED[:-9] + b"?" * 9, b"<html>"]
)
def test_an_altered_file_is_refused_and_not_kept(
    server: Server, tmp_path: Path, altered: bytes
) -> None:
    server.files["a.gz"] = altered
    with pytest.raises(DataError, match=r"a\.gz has been altered or damaged"):
        download.get("toy", tmp_path, sources=one(server))
    assert left(tmp_path) == set()


def test_the_next_address_is_tried(server: Server, tmp_path: Path) -> None:
    server.files["b.gz"] = PACKED
    urls = (server.url("a.gz"), server.url("b.gz"))
    download.get("toy", tmp_path, sources={"toy": (Download(urls, "a.gz", sha256(CONTENT)),)})
    assert left(tmp_path) == {"a.gz"}
    with pytest.raises(DataError, match="Not Found"):
        download.get("toy", tmp_path, sources=one(server))


@pytest.mark.parametrize("first", ["breaks off", "altered"])
def test_another_address_does_not_go_on_where_the_first_stopped(
    server: Server, tmp_path: Path, first: str
) -> None:
    """Mirrors compress differently: the same contents are other bytes."""
    server.files |= {"a.gz": PACKED[:-9] + b"?" * 9, "b.gz": gzip.compress(CONTENT, 1, mtime=9)}
    server.breaks = [200_000] if first == "breaks off" else []
    urls = (server.url("a.gz"), server.url("b.gz"))
    sources = {"toy": (Download(urls, "a.gz", sha256(CONTENT)),)}
    download.get("toy", tmp_path, sources=sources, attempts=1)
    assert server.asked == [None, None]
    assert (tmp_path / "a.gz").read_bytes() == server.files["b.gz"]
    assert left(tmp_path) == {"a.gz"}


def test_what_breaks_off_within_encryption_is_no_full_disk(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.files["a.gz"] = PACKED
    urlopen, broken = urllib.request.urlopen, []

    def breaking(*args: Any, **options: Any) -> Any:
        response = urlopen(*args, **options)
        if not broken:
            response.read = lambda size: broken.append(size) or _fails()
        return response

    monkeypatch.setattr(urllib.request, "urlopen", breaking)
    with pytest.raises(DataError, match=r"a.gz: the connection broke off \(.*record layer"):
        download.get("toy", tmp_path, sources=one(server), attempts=1)
    download.get("toy", tmp_path, sources=one(server), attempts=1)
    assert left(tmp_path) == {"toy/a.gz"}


def _fails() -> None:
    raise ssl.SSLError(1, "record layer failure")


def archive(extra: str | None = None) -> bytes:
    buffer = io.BytesIO()
    names = {f"fsdd-1.0/recordings/{name}": content for name, content in WAVS.items()}
    names |= {"fsdd-1.0/README.md": b"text", "fsdd-1.0/old/recordings/9_x_0.wav": b"no"}
    names |= {extra: b"evil"} if extra else {}
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in names.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def spoken(server: Server) -> dict[str, tuple[Archive]]:
    lines = "".join(f"{sha256(content)}  {name}\n" for name, content in sorted(WAVS.items()))
    source = Archive(
        (server.url("f.tar.gz"),), "fsdd/recordings", "recordings", ".wav", sha256(lines.encode())
    )
    return {"toy": (source,)}


def test_an_archive_is_unpacked_to_its_folder(server: Server, tmp_path: Path) -> None:
    server.files["f.tar.gz"] = archive()
    server.breaks = [100]
    download.get("toy", tmp_path, sources=spoken(server))
    assert left(tmp_path) == {f"fsdd/recordings/{name}" for name in WAVS}
    download.get("toy", tmp_path, sources=spoken(server))
    assert server.asked == [None, "bytes=100-"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (archive("../../evil.wav"), "leads out of the folder"),
        (archive("/evil.wav"), "leads out of the folder"),
        (archive("fsdd-1.0/recordings/8_anna_0.wav"), "not those that were published"),
        (archive()[:60], "not a whole tar archive"),
    ],
    ids=["above", "absolute", "other files", "cut off"],  # the bytes hold the time of day
)
def test_an_archive_that_is_not_as_published_leaves_nothing(
    server: Server, tmp_path: Path, content: bytes, reason: str
) -> None:
    server.files["f.tar.gz"] = content
    with pytest.raises(DataError, match=reason):
        download.get("toy", tmp_path / "root", sources=spoken(server))
    assert left(tmp_path) == set()


def test_the_hash_of_a_folder_is_that_of_the_published_page(shared_data: Path) -> None:
    assert download.FSDD.there(shared_data)
    assert all(source.there(shared_data) for source in download.MNIST)


def test_what_cannot_be_downloaded_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'avmnist'"):
        download.get("avmist", tmp_path)
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match="cannot be stored"):
        download.get("mnist3d", tmp_path / "file")

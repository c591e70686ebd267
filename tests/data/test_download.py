from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import json
import logging
import lzma
import socket
import tarfile
import threading
import warnings
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from harness.data.sources.download import DownloadSource
from harness.data.sources.qlib_bin import write_qlib_bin
from harness.errors import ConfigError, DataError
from tests.data.small_panel import small_panel

FIELDS = ("open", "high", "low", "close", "volume")


@dataclass
class Server:
    """What a local server offers, and how often it was asked."""

    address: str
    content: dict[str, bytes]
    cut: int = 0
    requests: int = 0
    etags: tuple[str, ...] = ()  # of each request, the last one of all that follow; with them it breaks off half-way


@pytest.fixture
def server(monkeypatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    offered = Server("", {})

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            offered.requests += 1
            body = offered.content.get(self.path)
            if body is None:
                self.send_error(404)
                return
            start, cut = 0, offered.cut
            if offered.etags:
                etag = offered.etags[min(offered.requests, len(offered.etags)) - 1]
                if self.headers.get("Range") and self.headers.get("If-Range") == etag:
                    start = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
                cut = (len(body) - start) // 2 if len(body) - start > 400 else 0  # half of it is several batches
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(body) - start))
            if offered.etags:
                self.send_header("ETag", etag)
                self.send_header("Accept-Ranges", "bytes")
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
            self.end_headers()
            self.wfile.write(body[start : len(body) - cut])

        def log_message(self, *_) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as http:
        offered.address = f"http://127.0.0.1:{http.server_port}"
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        yield offered
        http.shutdown()
        thread.join(timeout=5)


@pytest.fixture(scope="module")
def archive(tmp_path_factory) -> bytes:
    folder = tmp_path_factory.mktemp("release") / "qlib_bin"
    write_qlib_bin(small_panel(), folder, universe="csi300")
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tape:
        tape.add(folder, "qlib_bin")
    return buffer.getvalue()


def _source(server, tmp_path, name="data.tar.gz", **options) -> DownloadSource:
    given: dict[str, Any] = {"fields": FIELDS, "benchmark": "SH000300", "timeout": 5.0} | options
    return DownloadSource(url=f"{server.address}/{name}", folder=str(tmp_path / "data"), **given)


def _tar(entries: list[tarfile.TarInfo]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tape:
        for entry in entries:
            entry.size = 1 if entry.isreg() else 0
            tape.addfile(entry, io.BytesIO(b"x") if entry.isreg() else None)
    return buffer.getvalue()


def _nothing_left(tmp_path: Path) -> bool:
    return list(tmp_path.iterdir()) == []


def test_an_archive_is_fetched_checked_and_read(server, tmp_path, archive):
    server.content["/data.tar.gz"] = archive
    source = _source(server, tmp_path, sha256=hashlib.sha256(archive).hexdigest())
    assert source.load().fingerprint == small_panel().fingerprint
    assert [entry.name for entry in tmp_path.iterdir()] == ["data"]


def test_it_is_fetched_once_only(server, tmp_path, archive):
    server.content["/data.tar.gz"] = archive
    source = _source(server, tmp_path)
    source.load(), source.load(), source.inputs()
    assert server.requests == 1


def test_a_zip_without_a_folder_of_its_own_is_read_too(server, tmp_path):
    write_qlib_bin(small_panel(), tmp_path / "made", universe="csi300")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as bundle:
        for file in sorted((tmp_path / "made").rglob("*")):
            bundle.write(file, file.relative_to(tmp_path / "made"))
    server.content["/data.zip"] = buffer.getvalue()
    assert _source(server, tmp_path, "data.zip").load().fingerprint == small_panel().fingerprint


def test_inputs_record_the_digest_of_what_arrived_and_follow_later_changes(server, tmp_path, archive):
    server.content["/data.tar.gz"] = archive
    source = _source(server, tmp_path)
    before = source.inputs()
    assert before["archive"] == hashlib.sha256(archive).hexdigest()
    receipt = json.loads((tmp_path / "data" / "download.json").read_text())
    assert receipt == {"sha256": before["archive"], "url": source.url}
    (tmp_path / "data" / "features" / "sh600000" / "close.day.bin").write_bytes(b"12345678")
    assert source.inputs()["features"] != before["features"]


def test_another_checksum_is_refused_and_nothing_kept(server, tmp_path, archive):
    server.content["/data.tar.gz"] = archive
    with pytest.raises(DataError, match="another checksum") as caught:
        _source(server, tmp_path, sha256="0" * 64).load()
    assert server.address in str(caught.value.where)
    assert _nothing_left(tmp_path)


@pytest.mark.parametrize("sha256", [None, "0" * 64])
def test_a_connection_that_breaks_off_is_refused_and_nothing_kept(server, tmp_path, archive, sha256):
    server.content["/data.tar.gz"], server.cut = archive, 100
    with pytest.raises(DataError, match="download failed") as caught:
        _source(server, tmp_path, sha256=sha256).load()
    assert server.address in str(caught.value.where)
    assert _nothing_left(tmp_path)


@pytest.mark.parametrize("known", [True, False])
def test_a_connection_that_breaks_off_is_taken_up_where_it_broke(server, tmp_path, archive, known, monkeypatch):
    monkeypatch.setattr("harness.data.sources.fetch.BATCH", 64)  # what arrives in whole batches is kept
    server.content["/data.tar.gz"], server.etags = archive, ('"one"',)
    sha256 = hashlib.sha256(archive).hexdigest()
    source = _source(server, tmp_path, sha256=sha256 if known else None)
    assert source.load().fingerprint == small_panel().fingerprint
    assert source.inputs()["archive"] == sha256
    assert server.requests > 2


def test_a_file_that_changes_while_it_is_fetched_is_not_pieced_together(server, tmp_path, archive, monkeypatch):
    monkeypatch.setattr("harness.data.sources.fetch.BATCH", 64)
    server.content["/data.tar.gz"], server.etags = archive, ('"one"', '"two"')
    with pytest.raises(DataError, match="download failed") as caught:
        _source(server, tmp_path).load()
    assert "the file has changed while it was fetched" in str(caught.value)
    assert server.requests == 2
    assert _nothing_left(tmp_path)


def test_a_weak_etag_does_not_say_that_the_bytes_are_the_same(server, tmp_path, archive, monkeypatch):
    monkeypatch.setattr("harness.data.sources.fetch.BATCH", 64)
    server.content["/data.tar.gz"], server.etags = archive, ('W/"one"',)
    with pytest.raises(DataError, match="download failed"):
        _source(server, tmp_path).load()
    assert server.requests == 1


def test_a_missing_file_is_refused_with_the_address(server, tmp_path):
    with pytest.raises(DataError, match="download failed") as caught:
        _source(server, tmp_path).load()
    assert "404" in str(caught.value)
    assert f"{server.address}/data.tar.gz" in str(caught.value)
    assert _nothing_left(tmp_path)


def test_a_refused_connection_is_told_with_the_address(monkeypatch, tmp_path):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{unused.getsockname()[1]}/data.tar.gz"
    with pytest.raises(DataError, match="download failed") as caught:
        DownloadSource(url=address, folder=str(tmp_path / "data"), timeout=5.0).load()
    assert address in str(caught.value.where)
    assert _nothing_left(tmp_path)


@pytest.mark.parametrize("size", [0, 200, -200])
def test_an_archive_that_was_cut_before_it_was_offered_is_refused(server, tmp_path, archive, size):
    server.content["/data.tar.gz"] = archive[:size]
    with pytest.raises(DataError, match="cannot be unpacked"):
        _source(server, tmp_path).load()
    assert _nothing_left(tmp_path)


def _link(name: str, target: str) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = tarfile.SYMTYPE, target
    return entry


@pytest.mark.parametrize(
    "entry",
    [
        tarfile.TarInfo("../outside"),
        tarfile.TarInfo("/outside"),
        tarfile.TarInfo("a/../../outside"),
        _link("a", "/etc"),
    ],
    ids=lambda entry: entry.name,
)
def test_an_archive_that_reaches_outside_its_folder_is_refused(server, tmp_path, entry):
    server.content["/data.tar.gz"] = _tar([entry])
    with pytest.raises(DataError, match="unsafe entry"):
        _source(server, tmp_path).load()
    assert _nothing_left(tmp_path)


def _of_type(kind: bytes, name: str = "qlib_bin/x", target: str = "") -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = kind, target
    return entry


def _zip(*names: str, mode: int = 0o100644, content: bytes = b"x") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as bundle, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a name that is there twice
        for name in names:
            entry = zipfile.ZipInfo(name)
            entry.external_attr, entry.compress_type = mode << 16, zipfile.ZIP_DEFLATED
            bundle.writestr(entry, content)
    return buffer.getvalue()


def _flipped(content: bytes, at: int) -> bytes:
    return content[:at] + bytes([content[at] ^ 0xFF]) + content[at + 1 :]


def _encrypted() -> bytes:
    content = bytearray(_zip("a"))
    for mark, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(mark) + place] |= 1
    return bytes(content)


BROKEN = {
    "a hard link": (lambda _: _tar([_of_type(tarfile.LNKTYPE, target="/etc/passwd")]), "unsafe entry"),
    "a device": (lambda _: _tar([_of_type(tarfile.CHRTYPE)]), "unsafe entry"),
    "a pipe": (lambda _: _tar([_of_type(tarfile.FIFOTYPE)]), "unsafe entry"),
    "a link in a zip": (lambda _: _zip("a", mode=0o120777, content=b"/etc/passwd"), "unsafe entry"),
    "a way out of a zip": (lambda _: _zip("../outside"), "unsafe entry"),
    "a drive": (lambda _: _zip("C:/outside"), "unsafe entry"),
    "backslashes": (lambda _: _zip("a\\..\\..\\outside"), "unsafe entry"),
    "one name twice": (lambda _: _tar([tarfile.TarInfo("a/b"), tarfile.TarInfo("a/./b")]), "there twice"),
    "one name twice in a zip": (lambda _: _zip("a/b", "a/b"), "there twice"),
    "a file that is a folder too": (
        lambda _: _tar([tarfile.TarInfo("a"), tarfile.TarInfo("a/b")]),
        "cannot be unpacked",
    ),
    "an encrypted zip": (lambda _: _encrypted(), "cannot be unpacked"),
    "a damaged zip": (lambda _: _flipped(_zip("a", content=bytes(range(256))), 60), "cannot be unpacked"),
    "a damaged gzip": (lambda archive: _flipped(archive, len(archive) // 2), "cannot be unpacked"),
    "another checksum at the end": (lambda archive: _flipped(archive, len(archive) - 8), "cannot be unpacked"),
    "a cut xz": (lambda archive: lzma.compress(gzip.decompress(archive))[:-300], "cannot be unpacked"),
    "a damaged bz2": (lambda archive: _flipped(bz2.compress(gzip.decompress(archive)), 400), "cannot be unpacked"),
    "a tar without its end": (
        lambda _: gzip.compress(gzip.decompress(_tar([tarfile.TarInfo("a")]))[:1024]),
        "closing block",
    ),
    "a web page": (lambda _: b"\n<!DOCTYPE html><html><body>log in</body></html>", "web page"),
    "a packed table": (lambda _: gzip.compress(b"a,b\n1,2\n"), "cannot be unpacked"),
    "text": (lambda _: b"moved to another place", "cannot be unpacked"),
    "nothing": (lambda _: b"", "empty"),
    "an empty zip": (lambda _: _zip(), "no data in qlib's format"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_an_archive_that_is_broken_or_unsafe_is_refused_and_nothing_kept(server, tmp_path, archive, name):
    make, says = BROKEN[name]
    server.content["/data.tar.gz"] = make(archive)
    with pytest.raises(DataError, match=says):
        _source(server, tmp_path).load()
    assert _nothing_left(tmp_path)


def test_a_bomb_is_stopped_at_the_limit(server, tmp_path):
    for content in (_zip("a", content=bytes(3_000_000)), _zip(*(f"{i}" for i in range(3000)), content=b"")):
        server.content["/data.zip"] = content
        with pytest.raises(DataError, match="unpacks to more") as caught:
            _source(server, tmp_path, "data.zip", max_gigabytes=0.001).load()
        assert "data.max_gigabytes" in str(caught.value)
        assert _nothing_left(tmp_path)


def test_a_download_is_stopped_at_the_limit(server, tmp_path):
    server.content["/data.tar.gz"] = bytes(3_000_000)
    with pytest.raises(DataError, match="download is larger"):
        _source(server, tmp_path, max_gigabytes=0.001).load()
    assert _nothing_left(tmp_path)


def test_after_a_broken_download_the_same_command_starts_afresh(server, tmp_path, archive):
    source = _source(server, tmp_path)
    server.content["/data.tar.gz"] = archive[:300]
    with pytest.raises(DataError, match="cannot be unpacked"):
        source.load()
    server.content["/data.tar.gz"] = archive
    assert source.load().fingerprint == small_panel().fingerprint


def test_an_archive_of_something_else_is_refused(server, tmp_path):
    server.content["/data.tar.gz"] = _tar([tarfile.TarInfo("readme.txt")])
    with pytest.raises(DataError, match="no data in qlib's format") as caught:
        _source(server, tmp_path).load()
    assert "readme.txt" in str(caught.value)
    assert _nothing_left(tmp_path)


def test_a_folder_that_was_not_downloaded_is_not_taken_for_one(server, tmp_path):
    write_qlib_bin(small_panel(), tmp_path / "data", universe="csi300")
    with pytest.raises(DataError, match="not written by a download"):
        _source(server, tmp_path).load()
    assert server.requests == 0


def test_a_folder_from_elsewhere_or_of_another_version_is_refused(server, tmp_path, archive):
    server.content["/data.tar.gz"] = archive
    source = _source(server, tmp_path)
    source.load()
    for other in (replace(source, url=f"{server.address}/other.tar.gz"), replace(source, sha256="0" * 64)):
        with pytest.raises(DataError, match="holds something else"):
            other.load()


def test_nothing_is_printed_where_nobody_watches(server, tmp_path, archive, capfd):
    server.content["/data.tar.gz"] = archive
    _source(server, tmp_path).load()
    assert logging.getLogger().level == logging.WARNING
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "change",
    [{"max_gigabytes": 0.0}, {"url": "ftp://host/file"}, {"sha256": "abc"}, {"timeout": 0.0}, {"fields": ("open",)}],
    ids=str,
)
def test_impossible_values_are_refused(change):
    with pytest.raises(ConfigError):
        DownloadSource(**{"url": "https://host/file", "folder": "x"} | change)

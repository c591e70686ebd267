from __future__ import annotations

import hashlib
import io
import json
import logging
import socket
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pooch
import pytest

from harness.data.download import DownloadSource
from harness.data.qlib_bin import write_qlib_bin
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
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: len(body) - offered.cut])

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
    given = {"fields": FIELDS, "benchmark": "SH000300", "timeout": 5.0} | options
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


def test_the_logger_of_the_library_is_left_as_it_was(server, tmp_path, archive, capfd):
    server.content["/data.tar.gz"] = archive
    logger = pooch.get_logger()
    before = logger.level
    _source(server, tmp_path).load()
    assert logger.level == before
    assert logging.getLogger().level == logging.WARNING
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "change",
    [{"url": "ftp://host/file"}, {"sha256": "abc"}, {"timeout": 0.0}, {"fields": ("open",)}],
    ids=str,
)
def test_impossible_values_are_refused(change):
    with pytest.raises(ConfigError):
        DownloadSource(**{"url": "https://host/file", "folder": "x"} | change)

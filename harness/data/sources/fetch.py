"""Fetch one file: with progress, taken up where a connection broke off."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path, PurePosixPath
from types import SimpleNamespace
from typing import Any

import pooch
import requests
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from harness.errors import ConfigError, DataError

BATCH = 1 << 20  # bytes that are moved at once
_TRIES = 20  # connections that one download may take, each of which brings something


def check_address(url: str, sha256: str | None) -> None:
    """Refuse an address or a checksum that nothing can be fetched by.

    Raises:
        ConfigError: For either.
    """
    if not url.startswith(("http://", "https://")):
        raise ConfigError("This address cannot be fetched.", where="data.url", got=url, expected="http(s)://…")
    if sha256 is not None and (len(sha256) != 64 or set(sha256) - set("0123456789abcdef")):
        raise ConfigError("Not a SHA-256.", where="data.sha256", got=sha256, expected="64 hex digits, or null")


def refused(url: str, what: str, got: str | None, expected: str, hint: str | None = None) -> DataError:
    """Return the error of a download of which nothing was kept."""
    return DataError(f"{what}. Nothing was kept.", where=url, got=got, expected=expected, hint=hint)


def fetch(url: str, target: Path, timeout: float, expected: str, take: Callable[[int], None] = lambda _: None) -> None:
    """Write what the address sends; progress is drawn on a terminal's standard error only.

    A connection that breaks off is taken up where it broke, if the server can and the file is still the same.

    Args:
        expected: What the file is, for an error.
        take: Told the bytes of each batch before it is written; may raise.

    Raises:
        DataError: When it cannot be fetched.
    """
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    bar = Progress(*columns, TimeRemainingColumn(), console=console, disable=not console.is_terminal)
    task = bar.add_task(PurePosixPath(url).name, total=None)
    start, etag = 0, ""

    def announced(response: requests.Response, **_: object) -> None:
        nonlocal etag
        found = response.headers
        if start and response.ok and not found.get("content-range", "").startswith(f"bytes {start}-"):
            response.close()
            raise requests.ConnectionError("the rest is not offered: the file has changed while it was fetched")
        is_exact = "content-encoding" not in found and not found.get("etag", "").startswith("W/")
        etag = found.get("etag", "") if is_exact and found.get("accept-ranges") == "bytes" else ""
        bar.update(task, total=start + int(found.get("content-length", 0)) or None)

    def write(batch: bytes) -> None:
        take(len(batch))
        file.write(batch)
        bar.advance(task, len(batch))

    with target.open("wb") as file, bar:
        for _ in range(_TRIES):
            # Of a file that is still the same, what follows the bytes that have arrived.
            rest = {"Range": f"bytes={start}-", "If-Range": etag} if start else {}
            options: dict[str, Any] = {"hooks": {"response": announced}, "headers": rest}
            download = pooch.HTTPDownloader(chunk_size=BATCH, timeout=timeout, **options)
            try:
                download(url, SimpleNamespace(write=write, flush=file.flush), None)
                return
            except requests.RequestException as error:
                if error.response is not None:
                    error.response.close()
                failure, has_more, start = error, file.tell() > start, file.tell()
            if not (etag and has_more):
                break
    what, got = "The download failed", f"{type(failure).__name__}: {failure}"
    hint = "check the address and the connection, then run again"
    raise refused(url, what, got, f"{expected}, sent within data.timeout", hint) from failure

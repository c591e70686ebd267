"""Passwords out of texts: the one function that stands wherever a text leaves the program."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from contextlib import suppress
from typing import IO, Any
from urllib.parse import unquote, urlsplit

_HIDDEN = "***"
_NAMES = (
    r"(?:pass(?:word|wd|phrase)?|pwd|token|secret|credentials?|sig(?:nature)?|(?:api|access|private|secret)[_-]?key)"
)
# user:password@ may hold any sign, a colon before a port is none of it; a user alone ends before the path.
_LOGIN = re.compile(r"(?<=://)(?:[^\s/?#@:'\"]*:(?!\d{1,5}(?:[/?#\s'\"]|$))[^\s'\"<>]*@|[^\s/?#@'\"<>]+@)")
_QUERY = re.compile(rf"(?i)(?<![\w])((?:[\w.\-]*[_.\-])?{_NAMES}=)(?:\"[^\"]*\"|'[^']*'|[^\s&;'\"#<>,)\]}}]+)")
# The same names as keys of JSON and, on a line of their own, of YAML.
_JSON = re.compile(rf'(?i)("(?:[\w.\-]*[_.\-])?{_NAMES}":\s*)"(?:[^"\\]|\\.)+"')
_YAML = re.compile(rf"(?im)^(\s*(?:- )?(?:[\w.\-]*[_.\-])?{_NAMES}: )(?!null$|~$|\*\*\*$)(?![\d.]+$)\S+$")
_KEY = re.compile(rf"(?i)(?:[\w.\-]*[_.\-])?{_NAMES}")
_HEADER = re.compile(r"(?i)\b(bearer|basic)\s+[a-z0-9+/=._~\-]{8,}")
# Variables of the environment that hold nothing but a secret, and those that hold an address with one.
_SECRETS = ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "DATABRICKS_TOKEN")
_ADDRESSES = ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI")
# A shorter secret would take ordinary words out of texts.
_SHORTEST = 4
# Other variables are secret by their names; what is short, a path or a number is none.
_SHORTEST_OF_OTHERS = 8


def redacted(text: str) -> str:
    """Return the text without passwords, tokens and keys; what is left out stands as ``***``.

    Left out are user and password of every address, the values of ``password=``, ``token=`` and their like, headers of
    authorisation, and, wherever they stand, the secrets of MLflow's variables in the environment and of every other
    variable that is called ``…PASSWORD``, ``…TOKEN``, ``…SECRET``, ``…API_KEY`` or the like.
    """
    for secret in _known():
        text = text.replace(secret, _HIDDEN)
    if "://" in text:
        text = _LOGIN.sub(f"{_HIDDEN}@", text)
    text = _YAML.sub(rf"\1'{_HIDDEN}'", _JSON.sub(rf'\1"{_HIDDEN}"', text))
    return _HEADER.sub(rf"\1 {_HIDDEN}", _QUERY.sub(rf"\1{_HIDDEN}", text))


def without_secrets(value: object, name: str = "") -> object:
    """Return JSON-able data whose texts are redacted; a text whose key is called like a secret is left out whole."""
    if isinstance(value, Mapping):
        return {key: without_secrets(item, str(key)) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_secrets(item, name) for item in value]
    if isinstance(value, str):
        return _HIDDEN if value and _KEY.fullmatch(name) else redacted(value)
    return value


class RedactedStream:
    """A text stream whose writes are redacted; everything else is the inner stream's."""

    def __init__(self, inner: IO[str]) -> None:
        self._inner = inner

    def write(self, text: str) -> int:
        """Write a text without its secrets; return the length of the one that was given."""
        self._inner.write(redacted(text))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def _known() -> list[str]:
    """Return the secrets of the environment, the longest first."""
    found: set[str] = set()
    for name, value in os.environ.items():
        if name in _ADDRESSES:
            with suppress(ValueError):
                password = urlsplit(value).password or ""
                found |= {password, unquote(password)}
        is_plain = len(value) < _SHORTEST_OF_OTHERS or "/" in value[:2] or value.replace(".", "").isdigit()
        if name in _SECRETS or (_KEY.fullmatch(name) and not is_plain):
            found.add(value)
    return sorted((secret for secret in found if len(secret) >= _SHORTEST), key=lambda s: (-len(s), s))

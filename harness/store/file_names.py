r"""Names from data as names of files: one reversible escape, qlib's own where qlib has one.

=============================================  ======================  =========================================
name                                           file name               why
=============================================  ======================  =========================================
``CON PRN AUX NUL COM0…9 LPT0…9``, any case    ``_qlib_`` + name       devices on Windows; as qlib writes them
``ADA/USDT``                                   ``ADA%2FUSDT``          ``/ \ : * ? " < > | %``, control characters
``.hidden``                                     ``%2Ehidden``           a leading dot hides a file or leads upwards
``CON.A``                                      ``%43ON.A``             a device too, of which qlib does not know
``BRK.``, ``A `` (a dot or a blank at the end) ``BRK%2E``, ``A%20``    Windows drops it
``_qlib_con``                                  ``%5Fqlib_con``         or it would be taken for ``CON``
=============================================  ======================  =========================================

Everything else, dots, blanks, accents and emoji inside a name too, stays as it is.
"""

from __future__ import annotations

import os
import re
import sys
import unicodedata
from collections.abc import Iterable
from urllib.parse import unquote

LONGEST = 255
"""Bytes that a name may have on the file systems in use."""

_QLIB = "_qlib_"
_DEVICES = {"CON", "PRN", "AUX", "NUL"} | {f"{port}{number}" for port in ("COM", "LPT") for number in range(10)}
_UNSAFE = re.compile(r'^\.|^_(?=qlib_)|[/\\:*?"<>|%\x00-\x1f\x7f]|[. ]$', re.IGNORECASE)


def file_name(name: str) -> str:
    """Return the file name of a name; different names have different file names."""
    if name.upper() in _DEVICES:
        return _QLIB + name
    if name.upper().split(".")[0] in _DEVICES:
        return f"%{ord(name[0]):02X}" + _UNSAFE.sub(_escaped, name[1:])
    return _UNSAFE.sub(_escaped, name)


def name_of_file(name: str) -> str:
    """Return the name of which this is the `file_name`."""
    device = name[len(_QLIB) :]
    if name.startswith(_QLIB) and device.upper() in _DEVICES:
        return device
    return unquote(name)


def fault_of_file(file: str) -> str | None:
    """Return why no file can be called `file` here, or None when one can."""
    try:
        length = len(os.fsencode(file))
    except UnicodeEncodeError:
        return f"cannot be written in {sys.getfilesystemencoding()}, this locale's encoding (PYTHONUTF8=1 changes it)"
    return f"has {length} bytes, more than {LONGEST}" if length > LONGEST else None


def file_twins(names: Iterable[str]) -> list[tuple[str, str]]:
    """Return the pairs of names whose files are one file on some system.

    macOS and Windows ignore the case of file names, and macOS how an accent is composed.
    """
    seen: dict[str, str] = {}
    twins = []
    for name in names:
        folded = unicodedata.normalize("NFC", unicodedata.normalize("NFC", file_name(name)).casefold())
        if folded in seen:
            twins.append((seen[folded], name))
        seen.setdefault(folded, name)
    return twins


def _escaped(found: re.Match[str]) -> str:
    return f"%{ord(found[0]):02X}"

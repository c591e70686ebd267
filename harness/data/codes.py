"""Instrument codes: any text that every file format can hold as it is, byte for byte."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Collection, Iterable, Sequence

from harness.data.text_files import SHOWN
from harness.errors import DataError, closest

CODE = "text without tabs, line ends or other control characters, and without blanks at its ends"

# Control characters, halves of surrogate pairs, separators of lines and paragraphs: none survives every text file.
_LOST = {"Cc", "Cs", "Zl", "Zp"}


def fault_of(code: str) -> str | None:
    """Return why a code cannot be kept as it is, or None when it can."""
    if not code:
        return "is empty"
    if code != code.strip():
        return "has blanks at its ends"
    for character in code:
        if character == "\ufeff":
            return "holds a byte order mark (U+FEFF)"
        if unicodedata.category(character) in _LOST:
            return f"holds the control character U+{ord(character):04X}"
    return None


def check_codes(codes: Sequence[str], *, where: str) -> None:
    """Raise a DataError for codes that some reader or writer would change.

    Blanks inside, digits only, ``NA``, ``TRUE``, slashes, accents and emoji are all fine: a code is text, never a
    number, a truth value or a missing value.
    """
    faults = [(code, fault) for code in codes if (fault := fault_of(code)) is not None]
    if faults:
        what = f"{len(faults)} instrument code(s) cannot be kept as they are."
        got = "; ".join(f"{code!r} {fault}" for code, fault in faults[:SHOWN])
        hint = "in pandas: frame[column] = frame[column].str.strip()"
        raise DataError(what, where=where, got=got, expected=CODE, hint=hint)


def like(code: str, known: Iterable[str]) -> str | None:
    """Return a hint that names the known code which `code` was probably meant to be, and what to change, if any."""
    names = list(known)
    for plain, difference in (*_REWRITTEN, (str.casefold, "upper and lower case: write it as the prices do")):
        if same := [name for name in names if plain(name) == plain(code)]:
            return f"`{code}` and `{same[0]}` differ in {difference}"
    return closest(code, names)


def rewritten(codes: Iterable[str], known: Collection[str]) -> list[str]:
    """Return those of the `codes` that are known ones as some program wrote them, sorted: see `like`, but for case."""
    forms = [(plain, {plain(name) for name in known}) for plain, _ in _REWRITTEN]
    return sorted(code for code in codes if any(plain(code) in there for plain, there in forms))


def _without_zeros(code: str) -> str:
    whole = code.removesuffix(".0")
    return whole.lstrip("0") or "0" if whole.isdigit() else code


_REWRITTEN: tuple[tuple[Callable[[str], str], str], ...] = (
    (_without_zeros, "leading zeros: keep codes as text in both files, such as dtype=str in pandas"),
    (
        lambda code: "".join(character for character in code if unicodedata.category(character) != "Cf"),
        "invisible characters: remove them, as with str.replace('\\u200b', '')",
    ),
    (
        lambda code: unicodedata.normalize("NFC", code),
        "Unicode normalisation: write it as the prices do, as with unicodedata.normalize",
    ),
)

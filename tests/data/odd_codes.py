"""Codes that some reader, writer or file system would change: what the tests of the data floor share."""

from __future__ import annotations

from hypothesis import strategies as st

ODD = (
    "000001",
    "1",
    "1_000",
    "1e5",
    "0x10",
    "-0.0",
    "TRUE",
    "no",
    "NA",
    "NaN",
    "null",
    "None",
    "N/A",
    "NaT",
    "inf",
    "2019-01-01",
    "20190301",
    "BTCUSDT",
    "T",
    "ADA/USDT",
    "a\\b",
    "BRK.B",
    "BRK B",
    ".",
    "..",
    "../up",
    "CON",
    "nul.a",
    "COM1",
    "_qlib_prn",
    "_QLIB_aux",
    "100%",
    "%2F",
    "%41",
    "A:B",
    "#1",
    "^GSPC",
    "=cmd",
    "a,b",
    '"quoted"',
    "'",
    "trailing.",
    "é",
    "ﬁ",
    "中文",
    "🚀🧑‍🚀",
    "x" * 80,
)
FINE = st.text(
    st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"], exclude_characters="\ufeff"), min_size=1, max_size=12
).filter(lambda code: code == code.strip())


def codes(count: int = 6) -> st.SearchStrategy[tuple[str, ...]]:
    """Return sorted tuples of distinct codes, odd ones often."""
    one = st.one_of(st.sampled_from(ODD), FINE)
    return st.lists(one, min_size=1, max_size=count, unique=True).map(lambda found: tuple(sorted(found)))

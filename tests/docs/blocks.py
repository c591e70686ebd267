"""The code blocks of a page, and how each is run.

- `bash`: run by bash, the blocks of a page in one folder and in their order; a comment `<!-- not run: REASON -->`
  before it leaves one out, `<!-- exit code: N -->` says how it must end if not with 0.
- `python`, `yaml` with a first line `# a/file.ext` (in YAML after `# @package _global_`): written there. Other Python
  is run, other YAML is read.
- `text`, `cron`: shown only.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

__all__ = ["ROOT", "SHOWN", "Block", "blocks", "pages"]

ROOT = Path(__file__).resolve().parents[2]
SHOWN = ("text", "cron")
_FENCE = re.compile(
    r"^(?:<!-- not run: (?P<not_run>.+?) -->\n|<!-- exit code: (?P<code>\d+) -->\n)?"
    r"```(?P<language>\S*)\n(?P<text>.*?)^```$",
    flags=re.MULTILINE | re.DOTALL,
)
_NAMED = re.compile(r"(?:# @package _global_\n)?# ([\w./-]+\.(?:py|yaml))$", flags=re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """One fenced block: its language, text and first line, why it is not run, and the exit code that it must have."""

    language: str
    text: str
    line: int
    not_run: str | None = None
    exit_code: int = 0

    @property
    def file(self) -> str | None:
        """The file that it is to be written to."""
        named = _NAMED.match(self.text)
        return named[1] if named and self.language in ("python", "yaml") else None


def pages() -> list[Path]:
    """Return the README and every page of the documentation that is written by hand."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(page: Path) -> list[Block]:
    """Return the fenced blocks of a page."""
    text = page.read_text(encoding="utf-8")
    return [
        Block(m["language"], m["text"], text.count("\n", 0, m.start()) + 1, m["not_run"], int(m["code"] or 0))
        for m in _FENCE.finditer(text)
    ]

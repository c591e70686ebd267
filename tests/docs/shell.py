"""What a shell would expand in a command before the program sees it, and the commands that texts of ours show.

zsh, the shell of macOS, refuses a word with an unquoted `[…]`, `*`, `?`, `(…)` that matches no file, reads `~name` as
somebody's home, and expands `{a,b}` as bash does; `$close` is an empty variable in both.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Command", "commands_of_help", "commands_of_source", "commands_of_text", "expanded"]

_BENCH = re.compile(r"\bbench (?:[a-z][\w-]*)\b[^`\n]*")
# Not KEY=…, which only says how something is written.
_OVERRIDE = re.compile(
    r"(?:^|[\s`])([+~]{0,2}(?!(?:KEY|GROUP)=)[A-Za-z_][\w.{}]*=[^\s`]*|~[a-z]\w*\.[\w.]+(?=[\s`,;]|$))"
)


@dataclass(frozen=True)
class Command:
    """One command and the place that shows it."""

    where: str
    text: str


def expanded(command: str) -> list[str]:
    """Return what of a command's words a shell would expand, comments and files by pattern (``runs/*``) aside."""
    found = []
    for word, bare in _words(command):
        if word.startswith("#"):
            break
        marks = [c for c in "[(?" if c in bare]
        if "*" in bare and ("=" in word or word.startswith("~")):
            marks.append("*")
        if re.match(r"~[a-z]", bare):
            marks.append("~")
        if re.search(r"\{[^{}]*,[^{}]*\}", bare):
            marks.append("{")
        marks += re.findall(r"\$[a-z]\w*", bare)
        if marks:
            found.append(f"{word}: {' '.join(marks)}")
    return found


def _words(command: str) -> Iterator[tuple[str, str]]:
    """Yield each word as it is written, and what of it a shell may expand: in double quotes only variables."""
    for match in re.finditer(r"(?:'[^']*'|\"(?:\\.|[^\"\\])*\"|\$\([^)]*\)|\$\{[^}]*\}|\$\?|\\.|[^\s'\"\\])+", command):
        word = match[0]
        bare = re.sub(r"\\.", "", re.sub(r"'[^']*'", "", re.sub(r"\"(?:\\.|[^\"\\])*\"", _variables, word)))
        yield word, re.sub(r"\$\([^)]*\)|\$\{[^}]*\}|\$\?", "", bare)


def _variables(quoted: re.Match[str]) -> str:
    return "".join(re.findall(r"\$[a-z]\w*", re.sub(r"\\.", "", quoted[0])))


def commands_of_text(where: str, text: str) -> list[Command]:
    """Return the commands that stand in backticks, or on a line of their own or a comment, of prose or YAML."""
    spans = [m[1] for m in re.finditer(r"(?<!`)`((?:[^`\n]|\n(?!\n))+)`(?!`)", text)]
    spans += [m[1] for m in re.finditer(r"^\s*#.*?(?:Try|market): (bench .*)$", text, re.MULTILINE)]
    return [Command(where, _without_note(s)) for s in spans if s.startswith("~") or _BENCH.match(s)]


def commands_of_help(where: str, text: str) -> list[Command]:
    """Return the example lines of a help text: indented, with a note after two blanks."""
    lines = (line.strip() for line in text.splitlines() if line.startswith("  "))
    return [Command(where, _without_note(line)) for line in lines if re.match(r"(?:[A-Z_]+=\S+ )?bench ", line)]


def commands_of_source(path: Path) -> list[Command]:
    """Return the commands and overrides that messages of a module show: all of its `hint`s, of others `bench …`."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    inside = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    hints = {
        id(part)
        for node in ast.walk(tree)
        if isinstance(node, ast.keyword) and node.arg == "hint"
        for part in ast.walk(node.value)
    }
    documentation = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and node.body
        if isinstance(node.body[0], ast.Expr)
    }
    found = []
    for node in ast.walk(tree):
        if id(node) in inside or id(node) in documentation:
            continue
        text = _text(node)
        if text:
            shown = [m[0] for m in _BENCH.finditer(text)]
            shown += [m[1].rstrip(".,;:") for m in _OVERRIDE.finditer(text)] if id(node) in hints else []
            where = f"{path.name}:{getattr(node, 'lineno', 0)}"
            found += [Command(where, _without_note(s)) for s in shown]
    return found


def _text(node: ast.AST) -> str:
    """Return a literal, with ``X`` in place of what is filled in."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    if isinstance(node, ast.JoinedStr):
        return "".join(str(p.value) if isinstance(p, ast.Constant) else "X" for p in node.values)
    return ""


def _without_note(line: str) -> str:
    """Cut what follows a command: a note after two blanks, or the rest of a sentence."""
    return re.split(r"\s{2,}|\s#\s|[;:,] |\s\(|\)$|\) ", line)[0]

"""Pages that are made while the documentation is built: how-to section, commands, configuration, blessed results."""

from __future__ import annotations

import dataclasses
import json
import re
import sys
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

# In this order; a page that is not named comes after them.
HOW_TO = (
    "real-data",
    "bring-your-table",
    "panels",
    "data",
    "features",
    "model",
    "adaptation",
    "metric",
    "experiments",
    "portfolio",
    "statistics",
    "report",
    "collect",
    "search",
    "cluster",
    "snapshots",
    "nightly",
    "growing-data",
    "project",
    "mlflow",
    "troubleshooting",
)

# Of a default that stands in a table; a longer one is read in the file beneath.
WIDTH = 72

# Around a table of keys: see stylesheets/extra.css.
_OPENED, _KEYED = ("", '<div class="keys" markdown="1">', ""), ("", '<div class="keys keyed" markdown="1">', "")
_CLOSED = ("", "</div>", "")


def on_config(config: Any) -> Any:
    """Fill the how-to section with the pages that are there, and the configuration with a page per group."""
    found = sorted((ROOT / "docs" / "how-to").glob("*.md"), key=lambda p: (_rank(p.stem), p.stem))
    how_to = [{_title(path): f"how-to/{path.name}"} for path in found]
    groups = [{"All groups": "reference/configuration.md"}, *({name: _page(name)} for name in _groups())]
    config["nav"] = [_filled(_filled(entry, "How to", how_to), "Configuration", groups) for entry in config["nav"]]
    return config


def on_files(files: Files, config: Any) -> Files:
    """Add the reference of commands and configuration, the leaderboard, and the published tables."""
    made = {"reference/commands.md": commands(), "reference/configuration.md": configuration()}
    made |= {_page(name): group(name) for name in _groups()}
    made |= {"reference/leaderboard.md": leaderboard(), "reference/published.md": published()}
    for path, content in made.items():
        files.append(File.generated(config, path, content=content))
    return files


def leaderboard() -> str:
    """Return the blessed numbers; the snapshots that the file links to are no part of the documentation."""
    text = (ROOT / "results" / "leaderboard.md").read_text(encoding="utf-8")
    return re.sub(r"\[([^]]+)\]\([^)]+\.json\)", r"\1", text)


def published() -> str:
    """Return what `bench bless` wrote of published tables, suite by suite."""
    parts = ["# Published tables, run here", "", "[How to reproduce them](../how-to/reproduce.md)", ""]
    for path in sorted((ROOT / "results").glob("*/published.md")):
        introduction, *tables = path.read_text(encoding="utf-8").split("\n## ")
        parts += [f"## suite={path.parent.name}", "", introduction.partition("\n")[2].strip(), ""]
        parts += [f"### {table}" for table in tables]
    return "\n".join(parts)


def commands() -> str:
    """Return the help of every command."""
    from harness.cli.application import parsers

    parts = ["# Commands", "", "What `bench COMMAND --help` prints, without the list of configuration groups.", ""]
    for name, parser in parsers().items():
        if not name:
            continue
        parser.epilog = None
        parts += [f"## bench {name}", "", "```text", parser.format_help().rstrip(), "```", ""]
    return "\n".join(parts)


def configuration() -> str:
    """Return what a configuration is made of: its groups, each with a page, and the main file."""
    from harness.config import config_files, config_folder

    root = config_folder()
    lines = [
        "# Configuration",
        "",
        "Each group is a folder; `GROUP=CHOICE` picks a file of it, `GROUP.KEY=VALUE` changes one value. The keys of "
        "an object are the fields of the class that its `_target_` names: an unknown key, a wrong type or an "
        "impossible value is an error that says what would be accepted.",
        "",
        "`bench config --describe` prints this reference for your own configuration, `bench config --schema GROUP` a "
        "JSON Schema with which an editor completes and checks a YAML file.",
        "",
        "| group | choices |",
        "| --- | --- |",
    ]
    for name, files in config_files().items():
        choices = ", ".join(f"`{path.stem}`" for path in files)
        lines.append(f"| [{name}](configuration-{name}.md) | {choices} |")
    return "\n".join([*lines, "", *_choice("", root / "config.yaml", "config.yaml")])


def group(name: str) -> str:
    """Return every file of one group: what it is, each key with what it accepts, and the file itself."""
    from harness.cli.application import OTHER_FOLDERS
    from harness.config import config_files

    parts = [f"# {name}", ""]
    if name in OTHER_FOLDERS:
        parts += [f"Not a group of an experiment: `bench check`, `bless` and `nightly` read `{name}/`.", ""]
    for path in config_files()[name]:
        parts += _choice(name, path, f"{name}={path.stem}")
    parts += _processors() if name == "preprocess" else []
    return "\n".join(parts)


def _groups() -> list[str]:
    from harness.config import config_files

    return list(config_files())


def _page(name: str) -> str:
    return f"reference/configuration-{name}.md"


def _filled(entry: Any, title: str, pages: list[Any]) -> Any:
    """Return an entry of the navigation, with these pages if it has this title and is a section or its page."""
    return {title: pages} if isinstance(entry, dict) and title in entry else entry


def _choice(group: str, path: Path, title: str) -> list[str]:
    """Return one file: its keys as a table, and its text."""
    text = path.read_text(encoding="utf-8").rstrip()
    return [f"## `{title}`", "", *_keys(group, path), "```yaml", text, "```", ""]


def _keys(group: str, path: Path) -> list[str]:
    """Return the table of a file's keys; those that it leaves out have their class's default."""
    from harness.config.schema import describe_file

    found = describe_file(group, path)
    if not found:
        return []
    lines = [*_KEYED, "| key | accepts | default | meaning |", "| --- | --- | --- | --- |"]
    for k in found:
        lines.append(f"| `{k.key}` | {_plain(k.accepts)} | {_cell(_value(k.value))} | {_cell(k.meaning)} |")
    return [*lines, *_CLOSED]


def _processors() -> list[str]:
    """Return the processors that a chain can hold, with their keys."""
    from harness.config.schema import options_of, processors, summary_of

    lines = ["## Processors", *_OPENED, "| `_target_` | what it does | keys |", "| --- | --- | --- |"]
    for cls in processors():
        keys = (f"`{o.key}` ({_plain(o.accepts)}; {_value(o.value)}): {o.meaning}" for o in options_of(cls))
        lines.append(f"| `harness.preprocess.{cls.__name__}` | {_cell(summary_of(cls))} | {_cell('; '.join(keys))} |")
    return [*lines, *_CLOSED]


def _value(value: object) -> str:
    from harness.config.schema import REQUIRED

    if value is REQUIRED or value == "???":
        return "required"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=dataclasses.asdict)
    return f"`{text}`" if 0 < len(text) <= WIDTH else "see below"


def _plain(text: str) -> str:
    """Return text in which Markdown sees no syntax."""
    return "".join(f"&#{ord(c)};" if c in "{}|[]*_" else c for c in text)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _title(path: Path) -> str:
    found = re.search(r"^# (.+)$", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return found[1] if found else path.stem


def _rank(name: str) -> int:
    return HOW_TO.index(name) if name in HOW_TO else len(HOW_TO)

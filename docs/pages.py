"""Pages that are made while the documentation is built: the how-to section, the commands, the configuration."""

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
    "data",
    "bring-your-table",
    "features",
    "model",
    "adaptation",
    "metric",
    "report",
    "cluster",
    "nightly",
    "snapshots",
    "mlflow",
)

# Of a default that stands in a table; a longer one is read in the file beneath.
WIDTH = 72


def on_config(config: Any) -> Any:
    """Fill the how-to section with the pages that are there."""
    found = sorted((ROOT / "docs" / "how-to").glob("*.md"), key=lambda p: (_rank(p.stem), p.stem))
    pages = [{_title(path): f"how-to/{path.name}"} for path in found]
    config["nav"] = [{"How to": pages} if "How to" in entry else entry for entry in config["nav"]]
    return config


def on_files(files: Files, config: Any) -> Files:
    """Add the reference of commands and configuration."""
    for name, content in (("commands", commands()), ("configuration", configuration())):
        files.append(File.generated(config, f"reference/{name}.md", content=content))
    return files


def commands() -> str:
    """Return the help of every command."""
    from harness.cli.main import build_parser
    from harness.cli.tree import leaves

    parts = ["# Commands", "", "What `bench COMMAND --help` prints, without the list of configuration groups.", ""]
    for path, parser in leaves(build_parser()).items():
        parser.epilog = None
        parts += [f"## bench {' '.join(path)}", "", "```text", parser.format_help().rstrip(), "```", ""]
    return "\n".join(parts)


def configuration() -> str:
    """Return every configuration file, by group: what it is, each key with what it accepts, and the file itself."""
    from harness.cli.help import OTHER_FOLDERS
    from harness.config import config_folder

    root = config_folder()
    parts = [
        "# Configuration",
        "",
        "Each group is a folder; `GROUP=CHOICE` picks a file of it, `GROUP.KEY=VALUE` changes one value. The keys of "
        "an object are the fields of the class that its `_target_` names: an unknown key, a wrong type or an "
        "impossible value is an error that says what would be accepted.",
        "",
        "`bench config --describe` prints this reference for your own configuration, `bench config --schema GROUP` a "
        "JSON Schema with which an editor completes and checks a YAML file.",
        "",
        *_choice("", root / "config.yaml", "config.yaml"),
    ]
    for folder in sorted(p for p in root.iterdir() if p.is_dir()):
        parts += [f"## {folder.name}", ""]
        if folder.name in OTHER_FOLDERS:
            parts += [f"Not a group of an experiment: `bench check`, `bless` and `nightly` read `{folder.name}/`.", ""]
        for path in sorted(folder.glob("*.yaml")):
            parts += _choice(folder.name, path, f"{folder.name}={path.stem}")
        parts += _processors() if folder.name == "preprocess" else []
    return "\n".join(parts)


def _choice(group: str, path: Path, title: str) -> list[str]:
    """Return one file: its keys as a table, and its text."""
    text = path.read_text(encoding="utf-8").rstrip()
    return [f"### `{title}`", "", *_keys(group, path), "```yaml", text, "```", ""]


def _keys(group: str, path: Path) -> list[str]:
    """Return the table of a file's keys; those that it leaves out have their class's default."""
    from harness.schema import describe_file

    found = describe_file(group, path)
    if not found:
        return []
    lines = ["| key | accepts | default | meaning |", "| --- | --- | --- | --- |"]
    for k in found:
        lines.append(f"| `{k.key}` | {_plain(k.accepts)} | {_cell(_value(k.value))} | {_cell(k.meaning)} |")
    return [*lines, ""]


def _processors() -> list[str]:
    """Return the processors that a chain can hold, with their keys."""
    from harness.schema import options_of, processors, summary_of

    lines = ["### Processors", "", "| `_target_` | what it does | keys |", "| --- | --- | --- |"]
    for cls in processors():
        keys = (f"`{o.name}` ({_plain(o.accepts)}; {_value(o.default)}): {o.meaning}" for o in options_of(cls))
        lines.append(f"| `harness.preprocess.{cls.__name__}` | {_cell(summary_of(cls))} | {_cell('; '.join(keys))} |")
    return [*lines, ""]


def _value(value: object) -> str:
    from harness.schema import REQUIRED

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

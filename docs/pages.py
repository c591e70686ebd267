"""Pages that are made while the documentation is built: the how-to section, the commands, the configuration."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

# In this order; a page that is not named comes after them.
HOW_TO = ("data", "features", "model", "adaptation", "metric", "report", "cluster", "nightly", "snapshots", "mlflow")


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
    """Return every configuration file, by group."""
    from harness.config import config_folder

    root = config_folder()
    parts = [
        "# Configuration",
        "",
        "Each group is a folder; `GROUP=CHOICE` picks a file of it, `GROUP.KEY=VALUE` changes one value. The keys of "
        "an object are the fields of the class that its `_target_` names: an unknown key, a wrong type or an "
        "impossible value is an error that says what would be accepted.",
        "",
        *_file(root / "config.yaml", "config.yaml"),
    ]
    for folder in sorted(p for p in root.iterdir() if p.is_dir()):
        parts += [f"## {folder.name}", ""]
        for path in sorted(folder.glob("*.yaml")):
            parts += _file(path, f"{folder.name}={path.stem}")
    return "\n".join(parts)


def _file(path: Path, title: str) -> list[str]:
    return [f"### `{title}`", "", "```yaml", path.read_text(encoding="utf-8").rstrip(), "```", ""]


def _title(path: Path) -> str:
    found = re.search(r"^# (.+)$", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return found[1] if found else path.stem


def _rank(name: str) -> int:
    return HOW_TO.index(name) if name in HOW_TO else len(HOW_TO)

"""Working models, adaptations, sources, metrics and strategies: a Python file, the YAML that names it, and a test."""

from __future__ import annotations

import importlib.util
import keyword
import random
import shlex
from datetime import date, timedelta
from importlib import resources
from pathlib import Path

from harness.errors import ConfigError
from harness.store.files import write_atomically

# Adaptations that plan their windows, beside the one that weights times.
PLANS = ("sample_weights", "state", "trigger", "transform")
KINDS = {
    **{kind: kind for kind in ("model", "adaptation", "data")},
    **{"metric": "evaluation", "strategy": "evaluation", **dict.fromkeys(PLANS, "adaptation")},
}
_FOLDER = "my_conf"
_PRICES, _SHARES, _DAYS = "closes.csv", 12, 420
_MARKER = "bench.toml"


def write_skeleton(kind: str, name: str, folder: Path) -> tuple[list[Path], str]:
    """Write a skeleton into a folder; return its files, the source first and its test last, and what runs it.

    Args:
        kind: One of `KINDS`.
        name: Name of the module, and of the choice in its configuration group.
        folder: Made when it is not there.

    Raises:
        ConfigError: When the name is no module name, hides another module, or a file is there already.
    """
    _check(name, folder)
    is_project = (folder / _MARKER).is_file()
    wanted = {folder / f"{name}.py": f"{kind}.py.txt", folder / _FOLDER / KINDS[kind] / f"{name}.yaml": f"{kind}.yaml"}
    choices = [f"{KINDS[kind]}={name}"]
    if kind == "data":
        wanted[folder / _FOLDER / "features" / f"{name}.yaml"] = "features.yaml"
        given = (Path() if is_project else folder) / _PRICES
        choices += [f"data.path={given.as_posix()}", f"features={name}", "windows.step=40"]
    wanted[folder / f"test_{name}.py"] = f"test_{kind}.py.txt"
    for there in (target for target in wanted if target.exists()):
        what, hint = "The file is there already, and stays as it is.", "choose another NAME or another --folder"
        raise ConfigError(what, where=str(there), expected="a name that is not taken", hint=hint)
    title = "".join(part.capitalize() for part in name.split("_"))
    for target, template in wanted.items():
        text = resources.files(__name__).joinpath("templates", template).read_text(encoding="utf-8")
        write_atomically(target, text.replace("@name@", name).replace("@Class@", title).encode())
    written = list(wanted)
    if kind == "data" and not (prices := folder / _PRICES).exists():  # one's own stay
        write_atomically(prices, _closes().encode())
        written.insert(-1, prices)
    if is_project:
        go = "" if folder.resolve() == Path().resolve() else f"cd {shlex.quote(folder.as_posix())} && "
        return written, f"{go}{shlex.join(['bench', 'run', *choices])}"
    command = shlex.join(["bench", "run", "--config-dir", (folder / _FOLDER).as_posix(), *choices])
    return written, f"PYTHONPATH={shlex.quote(folder.as_posix())} {command}"


def _closes() -> str:
    """Return closes of invented shares, a day per line: what a source reads until it reads its own."""
    draw, day = random.Random(0), date(2018, 1, 1)
    prices = [10.0 + number for number in range(_SHARES)]
    lines = [",".join(["date", *(f"S{number:02}" for number in range(_SHARES))])]
    while len(lines) <= _DAYS:
        if day.weekday() < 5:
            prices = [price * (1 + draw.gauss(0, 0.02)) for price in prices]
            lines.append(",".join([day.isoformat(), *(f"{price:.2f}" for price in prices)]))
        day += timedelta(days=1)
    return "\n".join(lines) + "\n"


_PROJECT = {
    _MARKER: "bench.toml",
    f"{_FOLDER}/experiment/base.yaml": "base.yaml",
    f"{_FOLDER}/suites/mine.yaml": "mine.yaml",
    ".github/workflows/check.yml": "check.yml",
    ".gitignore": "gitignore.txt",
    "README.md": "readme.md",
}


def write_project(folder: Path, model: str) -> list[Path]:
    """Write a project into a folder: a model with its test, an experiment, a suite, CI and what git ignores.

    Raises:
        ConfigError: As `write_skeleton`; nothing is written then.
    """
    for there in (folder / name for name in _PROJECT if (folder / name).exists()):
        what, hint = "The file is there already, and stays as it is.", "choose another folder"
        raise ConfigError(what, where=str(there), expected="a folder without a project", hint=hint)
    written, _ = write_skeleton("model", model, folder)
    for name, template in _PROJECT.items():
        text = resources.files(__name__).joinpath("templates", "project", template).read_text(encoding="utf-8")
        write_atomically(folder / name, text.replace("@name@", model).encode())
        written.append(folder / name)
    return written


def _check(name: str, folder: Path) -> None:
    if not name.isidentifier() or keyword.iskeyword(name) or name != name.lower() or not name.isascii():
        expected = "small letters, digits and _, beginning with a letter, such as my_model"
        raise ConfigError("This cannot be the name of a module.", where="NAME", got=name, expected=expected)
    found = importlib.util.find_spec(name)
    if found is not None and (found.origin is None or Path(found.origin).parent != folder.resolve()):
        what, got = "A module of this name exists, and one of the two would hide the other.", found.origin or "a folder"
        raise ConfigError(what, where="NAME", got=f"{name}, which is {got}", expected="another name, such as my_model")

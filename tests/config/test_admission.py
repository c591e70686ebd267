"""A class that a file names is imported, held to what its place takes, and only then made: nothing else is called."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pytest

from harness.cli import main
from harness.config import compose_config
from harness.config.instantiate import build
from harness.errors import ConfigError

HERE = __name__
MADE: list[str] = []


class Named(Protocol):
    def name(self) -> str: ...


class Spy:
    """Tells that it was made; takes anything."""

    def __init__(self, **given: object) -> None:
        MADE.append(type(self).__name__)


class NamedSpy(Spy):
    def name(self) -> str:
        return "spy"


@dataclass(frozen=True)
class Part:
    value: float = 0.0

    def name(self) -> str:
        return "part"


@dataclass(frozen=True)
class Holder:
    one: Named | None = None
    several: tuple[Named, ...] = ()
    by_name: Mapping[str, Named] | None = None
    record: Part | None = None
    numbers: dict[str, float] | None = None
    text: str = ""
    anything: Any = None


class Untyped:
    def __init__(self, inner, other=None):
        self.inner = inner


@pytest.fixture(autouse=True)
def _nothing_made_yet() -> None:
    MADE.clear()


PLACES: tuple[dict[str, Any], ...] = (
    {"one": "$"},
    {"several": ["$"]},
    {"several": [{"_target_": f"{HERE}.Part"}, "$"]},
    {"by_name": {"a": "$"}},
    {"record": "$"},
    {"numbers": {"a": "$"}},
    {"numbers": "$"},
    {"text": "$"},
    {"one": {"_target_": f"{HERE}.Holder", "anything": "$"}},
    {"record": {"value": "$"}},
    {"anything": {"deep": [{"deeper": "$"}]}},
)


def filled(node: Any, target: Mapping[str, object]) -> Any:
    if isinstance(node, dict):
        return {k: filled(v, target) for k, v in node.items()}
    if isinstance(node, list):
        return [filled(v, target) for v in node]
    return dict(target) if node == "$" else node


@pytest.mark.parametrize("place", PLACES, ids=str)
@pytest.mark.parametrize(
    "name", ["subprocess.Popen", "pathlib.Path", "unittest.mock.MagicMock", "tempfile.TemporaryDirectory"]
)
def test_nothing_is_called_that_its_place_does_not_take(place: dict[str, Any], name: str, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    target = {"_target_": name, **({"args": ["touch", str(mark)]} if name == "subprocess.Popen" else {})}
    with pytest.raises(ConfigError):
        build({"_target_": f"{HERE}.Holder", **filled(place, target)}, "holder")
    assert not mark.exists()


def test_a_class_that_lacks_the_methods_of_its_place_is_not_made() -> None:
    with pytest.raises(ConfigError, match="lacks name") as caught:
        build({"_target_": f"{HERE}.Holder", "one": {"_target_": f"{HERE}.Spy"}}, "holder")
    assert MADE == []
    assert caught.value.where == "holder.one._target_"


def test_what_fits_its_place_is_made() -> None:
    made = build({"_target_": f"{HERE}.Holder", "one": {"_target_": f"{HERE}.NamedSpy"}}, "holder")
    assert isinstance(made, Holder)
    assert isinstance(made.one, NamedSpy)
    assert MADE == ["NamedSpy"]


def test_where_the_type_says_nothing_records_and_the_owners_own_package_are_taken() -> None:
    for target in ({"_target_": f"{HERE}.Part"}, {"_target_": f"{HERE}.Spy"}):
        made = build({"_target_": f"{HERE}.Untyped", "inner": target}, "x")
        assert isinstance(made, Untyped)
    with pytest.raises(ConfigError, match=r"docs/explanation/security\.md"):
        build({"_target_": f"{HERE}.Untyped", "inner": {"_target_": "subprocess.Popen", "args": ["true"]}}, "x")


@pytest.mark.parametrize(
    "group",
    ["data", "features", "preprocess", "model", "adaptation", "executor", "tracking", "evaluation", "label", "windows"],
)
def test_no_group_runs_a_command_that_its_file_names(group: str, tmp_path: Path) -> None:
    folder = tmp_path / group
    folder.mkdir()
    mark = tmp_path / "mark"
    text = f"_target_: subprocess.Popen\nargs: [touch, {mark}]\n"
    (folder / "bad.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError):
        compose_config([f"{group}=bad"], search_path=[tmp_path])
    assert not mark.exists()


@pytest.mark.parametrize("target", ["os.system", "builtins.eval", "subprocess.run", "builtins.exec", "json.dumps"])
def test_a_function_is_no_class(target: str) -> None:
    with pytest.raises(ConfigError, match="has no class"):
        compose_config([f"model={{_target_: {target}}}"])


def test_a_misspelt_class_of_the_harness_is_told_from_those_beside_it() -> None:
    cost = "evaluation.portfolio.costs=[{_target_:harness.portfolio.SquareRootImpakt}]"
    with pytest.raises(ConfigError, match=r"`harness\.portfolio` has no class") as caught:
        compose_config(["evaluation=portfolio_us", cost])
    assert caught.value.hint == "did you mean `SquareRootImpact`?"


def test_what_a_users_constructor_refuses_is_told_by_its_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "picky_part.py").write_text(
        "class Picky:\n"
        "    def __init__(self, depth: int = 1):\n"
        "        if depth < 1: raise ValueError('too shallow')\n"
        "    def name(self): return 'picky'\n",
        encoding="utf-8",
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    with pytest.raises(ConfigError, match="too shallow") as caught:
        build({"_target_": f"{HERE}.Holder", "one": {"_target_": "picky_part.Picky", "depth": 0}}, "holder")
    assert caught.value.where == "holder.one"


def test_the_command_line_refuses_it_by_what_it_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "conf/model").mkdir(parents=True)
    text = "_target_: subprocess.Popen\nargs: [touch, mark]\n"
    (tmp_path / "conf/model/bad.yaml").write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert main(["explain", "--config-dir", "conf", "model=bad"]) == 2
    assert "it lacks fit, load" in capsys.readouterr().err
    assert not (tmp_path / "mark").exists()

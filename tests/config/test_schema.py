"""Every key of every configuration file has a meaning, and the schema accepts what the harness accepts."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pytest

from harness.cli import main
from harness.config import composed_yaml, config_files, config_folder
from harness.config.schema import (
    HYDRAS_KEYS,
    describe_file,
    experiment_schema,
    group_schema,
    is_global,
    options_of,
    processors,
    read_yaml,
)
from harness.data.sources.tabular import TabularSource
from tests.config.validator import mistakes

CONF = config_folder()
FILES = {str(p.relative_to(CONF)): p for p in (*CONF.glob("*.yaml"), *chain(*config_files().values()))}
TARGETS = "baselines.models.Linear"
CHOICES = {p.parent.name for p in FILES.values()} - {CONF.name, "suites", "regression", "reference"}


# Every file of a group has the same schema.
schema_of_group, schema_of_experiment = functools.cache(group_schema), functools.cache(experiment_schema)


def group_of(path: Path) -> str:
    return "" if path.parent == CONF else path.parent.name


def keys(node: object, data: set[str], path: str = "") -> Iterator[str]:
    """Return the dotted keys of a file, those of list items as ``key[].inner``; not the entries of `data`."""
    if isinstance(node, list):
        for item in node:
            yield from keys(item, data, f"{path}[]")
    if isinstance(node, dict) and path not in data:
        for name, value in node.items():
            if name in ("_target_", *HYDRAS_KEYS):
                continue
            key = f"{path}.{name}" if path else name
            yield key
            yield from keys(value, data, key)


@pytest.mark.parametrize("name", FILES)
def test_every_key_has_a_meaning(name: str) -> None:
    path = FILES[name]
    described = {k.key: k for k in describe_file(group_of(path), path)}
    data = {key for key, k in described.items() if k.accepts.startswith(("mapping of", "list of object"))}
    for key in keys(read_yaml(path), data):
        if not any(key.startswith((f"{d}.", f"{d}[")) for d in data):
            assert described[key].meaning, key
            assert not described[key].meaning.startswith("As in"), key
            assert described[key].accepts != "anything", key


@pytest.mark.parametrize("cls", processors(), ids=lambda c: c.__name__)
def test_every_key_of_a_processor_has_a_meaning(cls: type) -> None:
    assert all(option.meaning for option in options_of(cls))


@pytest.mark.parametrize("name", FILES)
def test_the_schema_of_its_group_accepts_a_file(name: str) -> None:
    path = FILES[name]
    schema = schema_of_experiment() if not group_of(path) or is_global(path) else schema_of_group(group_of(path))
    assert list(mistakes(read_yaml(path), schema, schema)) == []


@pytest.mark.parametrize(
    ("group", "document", "message"),
    [
        ("model", {"_target_": TARGETS, "alhpa": 1}, "alhpa"),
        ("model", {"_target_": TARGETS, "alpha": "much"}, ".alpha"),
        ("model", {"_target_": TARGETS, "estimator": "rigde"}, ".estimator"),
        ("model", {"_target_": TARGETS, "fit_intercept": 1}, ".fit_intercept"),
        ("windows", {"step": 2.5}, ".step"),
        ("windows", {"train": ["2010-01-01"]}, ".train"),
        ("evaluation", {"portfolio": {"topk": "all"}}, ".portfolio"),
        ("regression", {"metrics": {"IC": {"absolut": 1}}}, ".metrics"),
        ("suites", {"cases": [{"cas": "a"}]}, ".cases"),
        ("preprocess", {"_target_": "harness.preprocess.Pipeline", "features": {}}, ".features"),
    ],
    ids=str,
)
def test_the_schema_refuses_a_mistake(group: str, document: dict[str, object], message: str) -> None:
    schema = schema_of_group(group)
    found = list(mistakes(document, schema, schema))
    assert len(found) == 1
    assert message in found[0]


def test_a_reference_and_an_open_value_are_accepted_anywhere() -> None:
    schema = group_schema("model")
    assert not list(mistakes({"_target_": TARGETS, "alpha": "${seed}"}, schema, schema))
    assert not list(mistakes({"_target_": TARGETS, "alpha": "???"}, schema, schema))


def test_a_class_of_ones_own_has_its_keys_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine.yaml").write_text("_target_: schema_of_mine.Mine\ndepth: 3\n", encoding="utf-8")
    source = '''from dataclasses import dataclass


@dataclass(frozen=True)
class Mine:
    """A tree.

    Parameters
    ----------
    depth : int
        How deep it is,
        or None.
    """

    depth: int | None = None
'''
    (tmp_path / "schema_of_mine.py").write_text(source, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    schema = group_schema("model", [tmp_path])
    assert schema["$defs"]["schema_of_mine.Mine"]["properties"]["depth"]["description"] == "How deep it is, or null."
    assert list(mistakes({"_target_": "schema_of_mine.Mine", "depth": "x"}, schema, schema))


def test_the_command_prints_what_a_run_would_take(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "windows.step=7"]) == 0
    assert capsys.readouterr().out == composed_yaml(["windows.step=7"])


def test_the_command_describes_the_keys_below_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "--describe", "evaluation.portfolio", "--json", "evaluation=portfolio"]) == 0
    found = {entry["key"]: entry for entry in json.loads(capsys.readouterr().out)}
    assert found["evaluation.portfolio.topk"]["value"] == 50
    assert found["evaluation.portfolio.benchmark"]["accepts"] == "index | universe | cash"
    assert all(entry["meaning"] for entry in found.values())


def test_the_command_describes_every_key(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "--describe"]) == 0
    assert "Periods (trading days of daily" in capsys.readouterr().out


@pytest.mark.parametrize("choice", [f"{p.parent.name}={p.stem}" for p in FILES.values() if p.parent.name in CHOICES])
def test_the_command_describes_every_option_of_a_group(choice: str, capsys: pytest.CaptureFixture[str]) -> None:
    group, _, name = choice.partition("=")
    path = CONF / group / f"{name}.yaml"
    needs = [f"{group}.{key}=x" for key, value in read_yaml(path).items() if value == "???"]
    data = ["data=cn_csi300"] if group == "universe" else []
    given = [*data, f"+{choice}" if group in ("experiment", "compat") else choice, *needs]
    below = [] if is_global(path) else [group]  # such a file changes several groups
    assert main(["config", *given, "--json", "--describe", *below]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found
    assert all(entry["key"].partition(".")[0] == group for entry in found) or not below


def test_the_keys_of_what_could_stand_at_a_key_are_described_in_its_place(capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main(["config", "--describe", "adaptation", "--json", "adaptation=ddgda", "adaptation.sim_preprocess=null"])
        == 0
    )
    found = {entry["key"]: entry["value"] for entry in json.loads(capsys.readouterr().out)}
    assert found["adaptation.segments.train"] == "???"
    assert found["adaptation.segments.test"] is None
    assert found["adaptation.sim_preprocess.refit"] == "???"
    assert not any("[]" in key for key in found)
    assert main(["config", "--describe", "adaptation", "adaptation=ddgda"]) == 0
    assert "adaptation.segments.train" in capsys.readouterr().out


def test_the_command_prints_a_schema(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "--schema", "windows"]) == 0
    assert json.loads(capsys.readouterr().out)["properties"]["step"]["anyOf"][0]["type"] == "integer"
    assert main(["config", "--schema"]) == 0
    assert "adaptation" in json.loads(capsys.readouterr().out)["properties"]


def test_a_default_that_is_a_record_is_shown_as_yaml_would_give_it() -> None:
    """`conf/data/cn_csi300.yaml` leaves out `csv`: what stands there then must still be printable as JSON."""
    shown = {option.key: option.value for option in options_of(TabularSource)}
    assert shown["csv"] == {"delimiter": None, "decimal": None, "encoding": None}

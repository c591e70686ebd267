"""Every file in conf/data builds a source, and says what the class says."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf

from harness.config.instantiate import build
from harness.data.source import Source

CONF = Path(__file__).resolve().parents[2] / "conf" / "data"
NAMES = sorted(file.stem for file in CONF.glob("*.yaml"))


def _source(name):
    root = OmegaConf.load(CONF / f"{name}.yaml")
    assert isinstance(root, DictConfig)
    # A file may set other groups too, such as the schedule that suits its dates; then the source stands under `data`.
    node = root.get("data", root)
    for key in OmegaConf.missing_keys(root):
        OmegaConf.update(root, key, "given")
    return build(OmegaConf.to_container(node, resolve=True), "data")


def test_there_is_a_file_for_every_source():
    assert {"synthetic", "tabular", "qlib_bin", "download", "cn_csi300", "electricity", "solar"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_file_builds_a_source_and_starts_with_an_explanation(name):
    assert isinstance(_source(name), Source)
    assert (CONF / f"{name}.yaml").read_text().startswith("# ")


@pytest.mark.parametrize("name", ["synthetic", "tabular", "qlib_bin", "download"])
def test_a_general_file_shows_every_key_with_the_default_of_the_class(name):
    source = _source(name)
    shown = OmegaConf.load(CONF / f"{name}.yaml").keys() - {"_target_"}
    fields = dataclasses.fields(source)
    assert shown == {field.name for field in fields}
    # The A-share files name their index; the class knows none.
    own = {field.name for field in fields if field.default is dataclasses.MISSING} | {"benchmark"}
    for field in fields:
        if field.name not in own:
            assert getattr(source, field.name) == field.default, field.name


def test_the_data_folder_can_be_moved_by_the_environment(monkeypatch):
    monkeypatch.setenv("BENCH_DATA", "elsewhere")
    assert _source("cn_csi300").root == "elsewhere/cn_csi300_2005"
    monkeypatch.delenv("BENCH_DATA")
    assert _source("cn_csi300").root == "../shared/data/cn_csi300_2005"

"""Configuration: every file composes and builds, and every mistake is one clear message that names its key."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from harness.config import Composer, compose_config, composed_yaml, config_folder
from harness.config.compose import main_groups
from harness.errors import ConfigError

CONF = config_folder()
GROUPS = sorted(set(main_groups()) - {"experiment"})
CHOICES = [(g, p.stem) for g in GROUPS for p in sorted((CONF / g).glob("*.yaml"))]
NEEDED = {
    ("data", "tabular"): ["data.path=panel.parquet"],
    ("data", "qlib_bin"): ["data.path=cn_data"],
}


@pytest.mark.parametrize(("group", "choice"), CHOICES, ids=["=".join(c) for c in CHOICES])
def test_every_choice_of_every_group_composes_and_builds(group: str, choice: str) -> None:
    config = compose_config([f"{group}={choice}", *NEEDED.get((group, choice), [])])
    assert config.choices[group] == choice


@pytest.mark.parametrize("name", sorted(p.stem for p in (CONF / "experiment").glob("*.yaml")))
def test_every_experiment_composes_and_builds(name: str) -> None:
    assert compose_config([f"experiment={name}"]).choices["experiment"] == name


@pytest.mark.parametrize("path", sorted(CONF.rglob("*.yaml")), ids=lambda p: str(p.relative_to(CONF)))
def test_every_file_opens_with_a_comment_that_teaches(path: Path) -> None:
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("# @package")]
    assert lines[0].startswith("# ")


@pytest.mark.parametrize(
    ("overrides", "where", "message"),
    [
        (["windows.stp=5"], "windows.stp", "did you mean `windows.step`?"),
        (["windws.step=5"], "windws", "did you mean `windows`?"),
        (["window.step=5"], "window", "did you mean `windows`?"),
        (["windows.step=many"], "windows.step", "whole number"),
        (["windows.step=2.5"], "windows.step", "whole number"),
        (["windows.step=0"], "windows.step", "≥ 1"),
        (["windows.step=-5"], "windows.step", "≥ 1"),
        (["windows.step=true"], "windows.step", "whole number"),
        (["windows.kind=growing"], "windows.kind", "expanding"),
        (["windows.embargo=-1"], "windows.embargo", "≥ 0"),
        (["windows.test=[2020-01-01]"], "windows.test", "[text, or whole number, or null,"),
        (["windows.split=[1,1,1]"], "windows.split", "at most 1"),
        (["model=linaer"], "model", "did you mean `linear`?"),
        (["data=cn_csi30"], "data", "did you mean `cn_csi300`?"),
        (["model.alpha=big"], "model.alpha", "number"),
        (["+model.alpah=1"], "model.alpah", "did you mean `alpha`?"),
        (["label.horizon=0"], "label.horizon", "1"),
        (["data=tabular"], "data.path", "add data.path=VALUE"),
        (["samples.rows=all"], "samples.rows", "traded | listed"),
        (["seed=x"], "seed", "whole number"),
        (["model._target_=baselines.models.linear.Liner"], "model._target_", "did you mean `Linear`?"),
        (["model._target_=no_such_module.Model"], "model._target_", "PYTHONPATH"),
        (["nonsense"], None, "cannot be read"),
        (["windows.step="], "windows.step", "whole number"),
        (["experiment=nothing"], "experiment", "nothing"),
        (["evaluation.signal.quantile=0.9"], "evaluation.signal.quantile", "0.5"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_a_mistake_names_the_key_and_what_would_be_accepted(
    overrides: list[str], where: str | None, message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        compose_config(overrides)
    if where is not None:
        assert str(caught.value.where).startswith(where)
    assert message in str(caught.value)


def test_a_model_brings_the_preprocessing_that_suits_it_and_the_user_has_the_last_word() -> None:
    assert compose_config(["model=lightgbm"]).choices["preprocess"] == "tree"
    assert compose_config(["model=lightgbm", "preprocess=linear"]).choices["preprocess"] == "linear"


def test_a_choice_inside_a_folder_still_names_one_folder_of_results():
    config = compose_config([])
    nested = replace(config, choices={**config.choices, "data": "own/market"}, case=None)
    assert nested.case_name == config.case_name.replace("synthetic", "own.market", 1)


def test_dates_on_the_command_line_may_be_years_compact_or_open():
    config = compose_config(["windows.train=[2012,20141231]", "windows.test=[2015-01,null]"])
    assert config.windows.train == ("2012", "2014-12-31")
    assert config.windows.test == ("2015-01", None)
    plain = compose_config(["windows.train=[2012-01-04,2014-12-31]", "windows.test=['2015-01-01 09:30','']"])
    assert plain.windows.train == ("2012-01-04", "2014-12-31")
    assert plain.windows.test == ("2015-01-01T09:30", None)


def test_data_bring_their_schedule_and_the_user_has_the_last_word() -> None:
    config = compose_config(["data=cn_csi300", "windows.step=40", "windows.valid=null"])
    assert config.windows.test == ("2017-01-03", "2020-08-31")
    assert (config.windows.step, config.windows.valid) == (40, None)


def test_a_folder_outside_the_project_extends_the_tree(tmp_path: Path) -> None:
    (tmp_path / "windows").mkdir()
    text = (CONF / "windows" / "expanding.yaml").read_text(encoding="utf-8").replace("step: 20", "step: 7")
    (tmp_path / "windows" / "weekly.yaml").write_text(text, encoding="utf-8")
    assert compose_config(["windows=weekly"], search_path=[tmp_path]).windows.step == 7


def test_a_missing_configuration_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        compose_config([], search_path=[tmp_path / "nowhere"])


def test_the_printed_configuration_is_complete_and_resolved() -> None:
    text = composed_yaml(["windows.step=40"])
    assert "step: 40" in text
    assert "${" not in text


def test_the_case_is_named_after_the_choices_unless_it_is_given() -> None:
    assert compose_config([]).case_name == "synthetic.linear.rolling_retrain.h20.s20"
    assert compose_config(["case=mine"]).case_name == "mine"


@pytest.mark.parametrize(
    "overrides",
    [
        ["windows.step=40", "model.alpha=1e-3"],
        ["model=lightgbm", "adaptation=ddgda", "adaptation.alpha=0.5", "model.num_leaves=7"],
        ["windows.train=[2008-01-01,2014-12-31]", "windows.test=[2017-01-03,2020-08-31]", "windows.valid=null"],
        ["windows={step: 5}", "windows.step=6"],
        ["windows.step=6", "windows={step: 5}"],
        ["+features.add.A=$close/$open", "label.horizon=5"],
        ["windows.step=${seed}", "seed=7"],
        ["windows.step=3", "windows.step=4"],
        ["output.runs='a b'", 'output.store="c,d"', "suite=x"],
        ["~data.columns.factor", "data=tabular", "data.path=x", "data.name=y"],
        ["evaluation=portfolio", "evaluation.portfolio.topk=7"],
    ],
)
def test_a_configuration_does_not_depend_on_how_much_hydra_composes_anew(overrides: list[str]) -> None:
    with initialize_config_dir(config_dir=str(config_folder()), version_base="1.3"):
        expected = OmegaConf.to_container(compose("config", overrides=overrides))
    assert isinstance(expected, dict)
    composer = Composer()
    composer(["windows.step=11", "seed=1", "model.alpha=4"])
    for _ in range(2):
        found = OmegaConf.to_container(composer.tree(overrides))
        assert isinstance(found, dict)
        found.pop("choices")
        assert found == expected

"""A workflow of qlib becomes an experiment that runs, and says what it could not carry over."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.cli import main
from harness.config import compose_config
from harness.errors import ConfigError
from harness.integrations.qlib_workflow import read_workflow, translate
from harness.store.records import describe

WORKFLOW = Path(__file__).parent / "workflow.yaml"


def changed(tmp_path: Path, change: Any) -> Path:
    content = yaml.safe_load(WORKFLOW.read_text(encoding="utf-8"))
    change(content)
    path = tmp_path / "changed.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def written(path: Path, tmp_path: Path, **options: Any) -> Any:
    target = tmp_path / "conf" / "experiment" / "from_qlib.yaml"
    target.parent.mkdir(parents=True)
    target.write_text(translate(read_workflow(path), **options).to_yaml(), encoding="utf-8")
    return compose_config(["experiment=from_qlib"], search_path=[tmp_path / "conf"])


def test_everything_of_the_workflow_arrives(tmp_path: Path) -> None:
    config = written(WORKFLOW, tmp_path, horizon=10, step=30)
    data = describe(config.data)
    assert isinstance(data, dict)
    assert (data["path"], data["universe"], data["benchmark"]) == ("qlib_data", "mine", None)
    assert (config.windows.step, config.label.look_ahead) == (30, 11)
    assert config.windows.train == ("2012-01-04", "2012-10-30")
    assert config.windows.test == ("2013-03-15", "2013-08-13")
    assert describe(config.model) == {
        **{"_target_": "baselines.models.Linear", "estimator": "ridge", "alpha": 0.05},
        **{"fit_intercept": False, "include_valid": True},
    }
    assert config.evaluation.portfolio is not None
    assert (config.evaluation.portfolio.topk, config.evaluation.portfolio.n_drop) == (5, 1)
    names = [type(p).__name__ for p in (*config.preprocess.features, *config.preprocess.label)]
    assert names == ["RobustZScoreNorm", "Fillna", "DropnaLabel", "CSRankNorm"]


def test_the_default_processors_of_a_handler_arrive(tmp_path: Path) -> None:
    def forget(content: Any) -> None:
        kwargs = content["task"]["dataset"]["kwargs"]["handler"]["kwargs"]
        del kwargs["infer_processors"], kwargs["learn_processors"]

    config = written(changed(tmp_path, forget), tmp_path)
    assert config.preprocess.features == ()
    assert [type(p).__name__ for p in config.preprocess.label] == ["DropnaLabel", "CSZScoreNorm"]


@pytest.mark.parametrize(
    ("model", "kwargs", "choice", "keys"),
    [
        (
            "LGBModel",
            {"loss": "mse", "num_leaves": 210, "num_threads": 4, "min_data_in_leaf": 7},
            "lightgbm",
            {"loss": "mse", "num_leaves": 210, "threads": 4, "extra": {"min_data_in_leaf": 7}},
        ),
        (
            "XGBModel",
            {"eta": 0.05, "nthread": 3, "n_estimators": 647},
            "xgboost",
            {"learning_rate": 0.05, "threads": 3},
        ),
        (
            "DNNModelPytorch",
            {"lr": 0.002, "optimizer": "adam", "max_steps": 8000, "GPU": 0, "pt_model_kwargs": {"layers": [64, 32]}},
            "mlp",
            {"lr": 0.002, "optimizer": "adam", "hidden_sizes": [64, 32]},
        ),
        ("CatBoostModel", {"loss": "RMSE", "thread_count": 2}, "catboost", {"threads": 2}),
    ],
)
def test_the_models_and_their_keywords_arrive(
    model: str, kwargs: dict[str, Any], choice: str, keys: dict[str, Any], tmp_path: Path
) -> None:
    def exchange(content: Any) -> None:
        content["task"]["model"] = {"class": model, "kwargs": kwargs}

    found = translate(read_workflow(changed(tmp_path, exchange)))
    assert found.overrides["model"] == choice
    assert found.settings["model"] == keys


def test_what_has_no_counterpart_is_named_in_the_file_and_on_the_screen(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["convert-qlib", str(WORKFLOW)]) == 0
    shown = capsys.readouterr()
    for piece in ("start_time", "label=", "subscribe_fields"):
        assert piece in shown.err
        assert f"# Not carried over: {next(n for n in shown.err.splitlines() if piece in n)[18:]}" in shown.out


def test_nothing_that_is_not_translated_stays_unsaid(tmp_path: Path) -> None:
    odd = {
        "qlib_init.redis_port": 6379,
        "sys.rel_path": ["src"],
        "task.extra": 1,
        "task.dataset.class": "TSDatasetH",
        "task.dataset.kwargs.step_len": 20,
        "task.dataset.kwargs.segments.holdout": ["2013-01-01", "2013-02-01"],
        "task.dataset.kwargs.handler.kwargs.filter_pipe": ["x"],
        "task.dataset.kwargs.handler.kwargs.process_type": "independent",
        "task.dataset.kwargs.handler.kwargs.fit_end_time": "2012-12-01",
        "port_analysis_config.executor": {"class": "SimulatorExecutor"},
        "port_analysis_config.strategy.kwargs.only_tradable": True,
        "port_analysis_config.backtest.end_time": "2013-08-01",
    }

    def change(content: Any) -> None:
        for path, value in odd.items():
            *parents, last = path.split(".")
            node = content
            for parent in parents:
                node = node.setdefault(parent, {})
            node[last] = value
        content["task"]["record"] = [{"class": "SigAnaRecord", "kwargs": {"ann_scaler": 252}}, {"class": "MyRecord"}]

    notes = "\n".join(translate(read_workflow(changed(tmp_path, change))).notes)
    for path in odd:
        name = path.rpartition(".")[2] if path != "sys.rel_path" else "sys"
        assert name in notes or (name == "fit_end_time" and "2012-12-01" in notes), path
    assert "ann_scaler=252" in notes
    assert "MyRecord" in notes


def test_a_processor_before_learning_and_before_predicting_is_one(tmp_path: Path) -> None:
    drop = {"class": "DropCol", "kwargs": {"col_list": ["VWAP0"]}}

    def change(content: Any) -> None:
        kwargs = content["task"]["dataset"]["kwargs"]["handler"]["kwargs"]
        kwargs["infer_processors"] = [drop, {"class": "CSZFillna", "kwargs": {"fields_group": "feature"}}]
        kwargs["learn_processors"] = [drop, {"class": "DropnaProcessor"}, "DropnaLabel"]

    found = translate(read_workflow(changed(tmp_path, change)))
    names = [p["_target_"].rpartition(".")[2] for p in found.settings["preprocess"]["features"]]
    assert names == ["DropCol", "CSZFillna"]
    assert any("DropnaProcessor" in note for note in found.notes)


def test_the_stricter_rules_are_ours_unless_qlib_s_are_asked_for(tmp_path: Path) -> None:
    assert "compat" not in translate(read_workflow(WORKFLOW)).overrides
    assert translate(read_workflow(WORKFLOW), as_qlib=True).overrides["compat"] == "qlib"


def test_a_converted_market_runs_by_a_converted_workflow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    small = ["data.instruments=24", "data.days=420", "data.members=16"]
    assert main(["data", "convert", "--to", "qlib_bin", "--out", "qlib_data", "--universe", "mine", *small]) == 0
    out = "my_conf/experiment/from_qlib.yaml"
    assert main(["convert-qlib", str(WORKFLOW), "--step", "40", "--out", out]) == 0
    assert "bench run --config-dir my_conf experiment=from_qlib" in capsys.readouterr().out
    assert main(["run", "--config-dir", "my_conf", "experiment=from_qlib", "evaluation.portfolio.benchmark=cash"]) == 0
    assert "excess return" in capsys.readouterr().out
    assert main(["convert-qlib", str(WORKFLOW), "--out", out]) == 2
    assert "stays as it is" in capsys.readouterr().err


def other_model(content: Any) -> None:
    content["task"]["model"]["class"] = "GRU"


def other_handler(content: Any) -> None:
    content["task"]["dataset"]["kwargs"]["handler"]["class"] = "Alpha158vwap"


def other_processor(content: Any) -> None:
    content["task"]["dataset"]["kwargs"]["handler"]["kwargs"]["infer_processors"] = [{"class": "RobustZScore"}]


def no_list(content: Any) -> None:
    content["task"]["dataset"]["kwargs"]["handler"]["kwargs"]["learn_processors"] = 7


def no_segments(content: Any) -> None:
    del content["task"]["dataset"]["kwargs"]["segments"]


def odd_segment(content: Any) -> None:
    content["task"]["dataset"]["kwargs"]["segments"]["train"] = ["2012-01-04"]


@pytest.mark.parametrize(
    ("change", "where", "piece"),
    [
        (other_model, "task.model.class", "LinearModel"),
        (other_handler, "handler.class", "did you mean `Alpha158`?"),
        (other_processor, "infer_processors[0]", "did you mean `RobustZScoreNorm`?"),
        (no_list, "learn_processors", "a list of classes"),
        (no_segments, "task.dataset.kwargs.segments", "task.model"),
        (odd_segment, "segments.train", "[first, last]"),
    ],
)
def test_what_cannot_be_translated_is_refused_by_its_place(change: Any, where: str, piece: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        translate(read_workflow(changed(tmp_path, change)))
    assert where in str(caught.value.where)
    assert piece in str(caught.value)


def text_of(tmp_path: Path, *changes: tuple[str, str]) -> Path:
    """Write the workflow with pieces of its text exchanged, as a hand would."""
    text = WORKFLOW.read_text(encoding="utf-8")
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path = tmp_path / "odd.yaml"
    path.write_text(text, encoding="utf-8")
    return path


COSTS = """            limit_threshold: 0.095
            deal_price: close
            open_cost: 0.0005
            close_cost: 0.0015
            min_cost: 5
"""
QLIBS = (0.0015, 0.0025, 5.0)


@pytest.mark.parametrize(
    ("region", "costs", "expected"),
    [
        ("cn", "", (100, 0.095, "close", *QLIBS)),
        ("us", "", (1, None, "close", *QLIBS)),
        ("tw", "", (1000, 0.1, "close", *QLIBS)),
        ("us", COSTS, (1, 0.095, "close", 0.0005, 0.0015, 5.0)),
        ("us", COSTS + "            trade_unit: 10\n", (10, 0.095, "close", 0.0005, 0.0015, 5.0)),
        ("cn", "            trade_unit: null\n            deal_price: $open\n", (None, 0.095, "open", *QLIBS)),
        ("cn", "            limit_threshold: null\n", (100, 0.095, "close", *QLIBS)),
        ("cn", "            deal_price: [vwap, vwap]\n", (100, 0.095, "vwap", *QLIBS)),
    ],
)
def test_the_exchange_is_that_of_the_region_and_qlibs_own_defaults(
    region: str, costs: str, expected: tuple[Any, ...], tmp_path: Path
) -> None:
    path = text_of(tmp_path, ("region: cn", f"region: {region}"), (COSTS, costs))
    strategy = written(path, tmp_path).evaluation.portfolio
    names = ("trade_unit", "limit_threshold", "deal_price", "open_cost", "close_cost", "min_cost")
    assert tuple(getattr(strategy, name) for name in names) == expected


def test_costs_are_found_in_the_place_of_older_versions_too(tmp_path: Path) -> None:
    older = COSTS.replace("            ", "        ").replace("0.0005", "0.002")
    path = text_of(tmp_path, ("        exchange_kwargs:\n" + COSTS + "            subscribe_fields: []\n", older))
    strategy = written(path, tmp_path).evaluation.portfolio
    assert (strategy.open_cost, strategy.limit_threshold, strategy.account) == (0.002, 0.095, 1e8)


@pytest.mark.parametrize("code", ["000300", "0123", "NO", "1_000", "12:30:45", "2020-01-01", "'^gspc'"])
def test_a_code_arrives_as_it_is_written(code: str, tmp_path: Path) -> None:
    changes = (("benchmark: &benchmark null", f"benchmark: &benchmark {code}"), ("&market mine", f"&market {code}"))
    data = written(text_of(tmp_path, *changes), tmp_path).data
    assert (data.benchmark, data.universe) == (code.strip("'"), code.strip("'"))


@pytest.mark.parametrize(
    ("old", "new", "piece"),
    [
        ("deal_price: close", "deal_price: [open, close]", "deal_price"),
        ("deal_price: close", "deal_price: $open*2", "one field"),
        ("limit_threshold: 0.095", "limit_threshold: [a, b]", "limit_threshold"),
        ("instruments: *market", "instruments: [A, B]", "instruments/NAME.txt"),
        ("region: cn", "region: mars", "cn, us, tw"),
        ("region: cn", "region: mars", "limit_threshold"),
        ('provider_uri: "qlib_data"', "provider_uri: {1min: x}", "`day`"),
        ('provider_uri: "qlib_data"', "provider_uri: [x]", "a text"),
        ("alpha: 0.05", "alpha: [0.05, 0.1]", "one value"),
        ("alpha: 0.05", "alpha: ???", "missing"),
        ("class: LinearModel", "class: LinaerModel", "LinearModel"),
        ("account: 100000000", "account: {cash: 1}", "money"),
        ('provider_uri: "qlib_data"', 'provider_uri: "{{ DATA }}"', "template"),
        ("account: 100000000", "account: 100000000\n        open_cost: 0.5", "two places"),
        ("alpha: 0.05", "alpha: 0.05\n            alpha: 0.7", "stands twice"),
    ],
)
def test_what_cannot_be_converted_is_refused_with_its_line(old: str, new: str, piece: str, tmp_path: Path) -> None:
    path = text_of(tmp_path, (old, new))
    at = next(
        n for n, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1) if new.splitlines()[-1] in line
    )
    with pytest.raises(ConfigError) as caught:
        translate(read_workflow(path))
    assert f"line {at}" in str(caught.value.where), str(caught.value)
    assert piece in str(caught.value)


@pytest.mark.parametrize("module", ["model.linear", "data.handler"])
def test_a_class_of_the_same_name_that_is_not_qlibs_has_no_counterpart(module: str, tmp_path: Path) -> None:
    path = text_of(tmp_path, (f"module_path: qlib.contrib.{module}", "module_path: my.own"))
    with pytest.raises(ConfigError, match=r"of my\.own"):
        translate(read_workflow(path))


@pytest.mark.parametrize("option", ["--horizon", "--step"])
def test_an_option_of_rolling_is_not_ignored_beside_as_is(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["convert-qlib", str(WORKFLOW), "--as-is", option, "5"]) == 2
    assert option in capsys.readouterr().err


def test_what_would_not_run_is_not_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = text_of(tmp_path, ("alpha: 0.05", "alpha: strong"))
    assert main(["convert-qlib", str(path), "--out", str(tmp_path / "out.yaml")]) == 2
    assert "odd.yaml, as model.alpha" in capsys.readouterr().err
    assert not (tmp_path / "out.yaml").exists()


def test_no_reference_of_a_foreign_file_is_resolved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "hunter22")
    changes = (('"qlib_data"', '"${oc.env:SECRET}/x"'), ("subscribe_fields: []", 'codes: "${oc.env:SECRET}"'))
    path = text_of(tmp_path, *changes)
    assert "hunter22" not in translate(read_workflow(path)).to_yaml()
    assert written(path, tmp_path).data.path == "${oc.env:SECRET}/x"


def test_a_folder_for_each_frequency_and_a_market_with_filters_are_taken(tmp_path: Path) -> None:
    path = text_of(
        tmp_path,
        ('"qlib_data"', "{day: daily, 1min: minutes}"),
        ("instruments: *market", "instruments: {market: csi300, filter_pipe: [x]}"),
    )
    found = translate(read_workflow(path))
    assert (found.settings["data"]["path"], found.settings["data"]["universe"]) == ("daily", "csi300")
    assert any("filter_pipe" in note for note in found.notes)


def test_as_it_is_the_file_keeps_its_one_fit_and_its_label(tmp_path: Path) -> None:
    config = written(WORKFLOW, tmp_path, as_is=True)
    assert config.label.expression == "Ref($close, -2) / Ref($close, -1) - 1"
    assert config.label.look_ahead == 2
    assert config.windows.step == 1_000_000
    assert not any("--as-is" in note for note in translate(read_workflow(WORKFLOW), as_is=True).notes)
    several = text_of(tmp_path, ('label: ["', 'label: ["$close", "'))
    with pytest.raises(ConfigError, match="One label"):
        translate(read_workflow(several), as_is=True)


def test_another_label_and_more_fits_than_the_file_has_are_named_once() -> None:
    notes = translate(read_workflow(WORKFLOW), horizon=20, step=20).notes
    assert sum("over 20 times" in note for note in notes) == 1
    assert sum("one fit: here every 20 times" in note for note in notes) == 1
    assert sum("start_time" in note for note in notes) == 1


def test_as_qlib_a_linear_model_leaves_valid_unused(tmp_path: Path) -> None:
    config = written(WORKFLOW, tmp_path, as_qlib=True)
    assert not vars(config.model)["include_valid"]
    assert not config.windows.include_valid


@pytest.mark.parametrize("depth", [0, 9])
def test_aliases_without_end_are_refused(depth: int, tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x]", *(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, depth))]
    path = tmp_path / "bomb.yaml"
    path.write_text("\n".join(lines) if depth else "a: &a [*a]", encoding="utf-8")
    with pytest.raises(ConfigError, match="without end"):
        read_workflow(path)


@pytest.mark.parametrize("content", [None, "[1, 2]", "a: [1", "\x00", "a: " + "[" * 3000])
def test_a_file_that_is_no_workflow_is_refused(content: str | None, tmp_path: Path) -> None:
    path = tmp_path / "workflow.yaml"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_workflow(path)

"""What a user's own class offers, may offer and seems to have meant: told before anything is fitted."""

from __future__ import annotations

import ast
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from harness.config import compose_config
from harness.config.instantiate import check_object
from harness.errors import ConfigError, DataError
from harness.errors.limits import traits_of
from harness.evaluation.metrics import Metric
from harness.run.forecasts import _scores
from harness.run.schedule import learning_segments
from harness.samples.interfaces import (
    EXTENSIONS,
    TRAITS,
    Adaptation,
    AdaptationTraits,
    FittedAdaptation,
    FittedModel,
    Model,
    ModelTraits,
    Preprocess,
    WindowPlanner,
)
from harness.samples.windows import Segment, Window
from harness.store.records import attributes_of

ROOT = Path(__file__).resolve().parents[2]
WINDOW = Window(0, Segment(0, 50), Segment(60, 80), Segment(90, 100))


@dataclass(frozen=True)
class Plain:
    needs_valid: ClassVar[bool] = False
    supports_weights: ClassVar[bool] = True

    def fit(self, train: Any, valid: Any) -> Any: ...

    def load(self, folder: Path) -> Any: ...


def plain_with(**attributes: object) -> Any:
    return type("Mine", (Plain,), attributes)()


def without(name: str, **attributes: object) -> Any:
    kept = {k: v for k, v in vars(Plain).items() if k in ("needs_valid", "supports_weights", "fit", "load")}
    del kept[name]
    return type("Mine", (), {**kept, **attributes})()


def test_a_model_that_says_nothing_learns_from_everything_known_at_the_decision() -> None:
    assert learning_segments(WINDOW, Plain()) == (WINDOW.whole_past, None)


@pytest.mark.parametrize("said", [True, False])
def test_what_a_model_says_of_the_valid_segment_counts_more_than_the_rule_of_the_windows(said: bool) -> None:
    expected = WINDOW.whole_past if said else WINDOW.train
    for rule in (True, False):
        window = replace(WINDOW, include_valid=rule)
        assert learning_segments(window, plain_with(include_valid=said))[0] == expected


def test_the_peers_rule_leaves_valid_to_nobody_who_does_not_ask_for_it() -> None:
    assert not compose_config(["compat=qlib"]).windows.include_valid
    assert learning_segments(replace(WINDOW, include_valid=False), Plain())[0] == WINDOW.train


def test_a_model_that_stops_early_learns_from_the_train_segment_alone() -> None:
    model = plain_with(needs_valid=True, include_valid=True)
    assert learning_segments(WINDOW, model) == (WINDOW.train, WINDOW.valid)


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("include_vaild", "include_valid"),
        ("includes_valid", "include_valid"),
        ("Include_valid", "include_valid"),
        ("thread", "threads"),
        ("n_threads", "threads"),
    ],
)
def test_a_misspelt_name_that_may_be_left_out_is_an_error_that_names_the_right_one(given: str, meant: str) -> None:
    with pytest.raises(ConfigError, match=f"did you mean `{meant}`") as caught:
        check_object(plain_with(**{given: 1}), Model, "model")
    assert caught.value.where == f"model.{given}"


@pytest.mark.parametrize(
    ("lacking", "given"),
    [
        ("supports_weights", "suports_weights"),
        ("supports_weights", "support_weights"),
        ("needs_valid", "need_valid"),
        ("load", "loads"),
    ],
)
def test_a_misspelt_name_that_is_needed_is_told_beside_what_is_lacking(lacking: str, given: str) -> None:
    with pytest.raises(ConfigError, match=f"lacks {lacking}") as caught:
        check_object(without(lacking, **{given: True}), Model, "model")
    assert f"`{given}` is there: did you mean `{lacking}`?" in str(caught.value)


def test_a_misspelt_way_to_read_an_adaptation_back_is_told() -> None:
    class Weighs:
        def fit(self, history: Any) -> Any: ...

        def loads(self, folder: Path) -> Any: ...

    with pytest.raises(ConfigError, match="did you mean `load`"):
        check_object(Weighs(), Adaptation, "adaptation")


@pytest.mark.parametrize(("former", "meant"), [("waves", "batches"), ("leaky_twins", "leaky_variants")])
def test_a_method_by_the_name_of_an_earlier_version_is_told(former: str, meant: str) -> None:
    own = type("Own", (), {"fit": lambda self, history: None, former: lambda self, *arguments: ()})
    with pytest.raises(ConfigError, match=f"did you mean `{meant}`"):
        check_object(own(), Adaptation, "adaptation")


@pytest.mark.parametrize("name", ["depth", "rounds", "leaf", "validate", "valid_share", "alpha", "weights", "helper"])
def test_names_of_a_models_own_are_left_alone(name: str) -> None:
    check_object(plain_with(**{name: 1}), Model, "model")


@pytest.mark.parametrize(
    ("attributes", "where"),
    [
        ({"threads": 0}, "model.threads"),
        ({"threads": "2"}, "model.threads"),
        ({"threads": True}, "model.threads"),
        ({"include_valid": "no"}, "model.include_valid"),
        ({"include_valid": lambda self: False}, "model.include_valid"),
        ({"needs_valid": lambda self: False}, "model.needs_valid"),
        ({"supports_weights": 1}, "model.supports_weights"),
        ({"fit": 3}, "model.fit"),
    ],
)
def test_a_value_of_the_wrong_kind_is_refused_by_its_name(attributes: dict[str, Any], where: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_object(plain_with(**attributes), Model, "model")
    assert caught.value.where == where


@pytest.mark.parametrize(
    ("fitted", "protocol"), [(None, FittedModel), (np.zeros(3), FittedModel), (3, FittedAdaptation)]
)
def test_what_fit_returns_must_be_something_fitted(fitted: object, protocol: type) -> None:
    with pytest.raises(ConfigError, match="lacks"):
        check_object(fitted, protocol, "model.fit")


def test_what_is_left_out_has_one_default_for_all_readers() -> None:
    assert traits_of(Plain(), ModelTraits) == ModelTraits(include_valid=None, threads=1)
    assert traits_of(Plain(), AdaptationTraits) == AdaptationTraits((), ())
    assert set(TRAITS) == {Model, FittedAdaptation, WindowPlanner, Preprocess}
    assert set(EXTENSIONS) == {Adaptation, Model}


@pytest.mark.parametrize("fit", [lambda self, train: None, lambda self, train, valid, weights: None])
def test_a_method_that_takes_other_arguments_is_refused_before_anything_is_fitted(fit: Any) -> None:
    with pytest.raises(ConfigError, match="takes other arguments") as caught:
        check_object(plain_with(fit=fit), Model, "model")
    assert "fit(train, valid)" in str(caught.value)
    check_object(plain_with(fit=lambda self, *arguments: None), Model, "model")
    check_object(plain_with(fit=lambda self, train, valid, rounds=3: None), Model, "model")


def test_the_attributes_of_slots_are_attributes_too() -> None:
    @dataclass(frozen=True, slots=True)
    class Slotted:
        depth: int = 3

    class Below(Slotted):
        pass

    below = Below(4)
    object.__setattr__(below, "rate", 0.1)
    assert attributes_of(Slotted()) == {"depth": 3}
    assert attributes_of(below) == {"depth": 4, "rate": 0.1}


@pytest.mark.parametrize(
    ("predicted", "got"),
    [
        (None, "None"),
        (1.0, "float64 ()"),
        (np.zeros((3, 1)), "float64 (3, 1)"),
        (np.zeros(4), "float64 (4,)"),
        (np.array(["a", "b", "c"]), "<U1 (3,)"),
        (np.zeros(3, dtype=complex), "complex128 (3,)"),
        (np.array([1.0, None, object()], dtype=object), "object (3,)"),
        (np.array([0.0, np.inf, -np.inf]), "2 of 3, the first at row 1"),
        (np.array([0.0, 0.0, 1e300]), "1 of 3, the first at row 2"),
    ],
)
def test_what_is_no_forecast_of_each_row_is_refused_with_its_shape(predicted: object, got: str) -> None:
    with pytest.raises(DataError, match="window 2") as caught:
        _scores(predicted, 3, "mine.Fitted.predict, window 2")
    assert got in str(caught.value)


@pytest.mark.parametrize("predicted", [[1, 2, 3], np.array([1.0, 2.0, 3.0], dtype=object), np.arange(1, 4)])
def test_numbers_of_any_kind_are_forecasts_and_nan_is_none(predicted: Any) -> None:
    np.testing.assert_array_equal(_scores(predicted, 3, ""), np.array([1, 2, 3], dtype=np.float32))
    assert np.isnan(_scores([np.nan], 1, "")).all()


@dataclass(frozen=True)
class Distance:
    name: str = "distance"
    direction: str = "lower"

    def compute(self, predictions: Any) -> Any: ...


@pytest.mark.parametrize(("given", "meant"), [("need", "needs"), ("headings", "heading"), ("digit", "digits")])
def test_a_misspelt_name_of_a_metric_is_an_error_too(given: str, meant: str) -> None:
    check_object(Distance(), Metric, "evaluation.extra[0]")
    with pytest.raises(ConfigError, match=f"did you mean `{meant}`"):
        check_object(type("Mine", (Distance,), {given: ("volume",)})(), Metric, "evaluation.extra[0]")


def test_a_metric_that_needs_fields_is_given_them_and_one_that_needs_none_is_not() -> None:
    class Needy(Distance):
        needs = ("volume",)

        def compute(self, predictions: Any, fields: Any) -> Any: ...  # type: ignore[override]

    class Expectant(Distance):
        def compute(self, predictions: Any, fields: Any) -> Any: ...  # type: ignore[override]

    check_object(Needy(), Metric, "evaluation.extra[0]")
    with pytest.raises(ConfigError, match="takes other arguments"):
        check_object(Expectant(), Metric, "evaluation.extra[0]")


def test_a_misspelt_name_of_a_preprocessor_is_an_error_too() -> None:
    class Mine:
        refit = "once"
        keep_label_unit = True

        def fit(self, view: Any, segment: Any) -> Any: ...

    with pytest.raises(ConfigError, match="did you mean `keeps_label_unit`"):
        check_object(Mine(), Preprocess, "preprocess")


# Names that are looked up in objects of Python and of libraries, never in those of a user's class.
_FOREIGN = frozenset(
    {
        *("attr", "id", "lineno", "test", "value"),  # nodes of Python's syntax
        *("filename", "name", "number", "problem", "problem_mark", "reason"),  # errors
        *(
            "find_spec",
            "isoformat",
            "item",
            "sched_getaffinity",
            "shape",
            "dtype",
        ),  # importers, dates, the system, arrays
        *("children",),  # nodes of river's trees
        *("config_dir", "format", "json", "overrides", "regression", "schema", "targets", "workerinput"),  # commands
        *("prior",),  # whether a part declares anything; `prior_check` then reads its traits
        *("reused",),  # a result of ours or of a test's
    }
)


def test_no_optional_name_is_read_from_an_object_without_being_declared() -> None:
    """What a user's class may say is a field of its traits; a name that is looked up on the side can be misspelt."""
    found = []
    for path in [*(ROOT / "harness").rglob("*.py"), *(ROOT / "baselines").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and len(node.args) >= 2:
                name = node.args[1].value if isinstance(node.args[1], ast.Constant) else None
                looked_up = node.func.id == "hasattr" or (node.func.id == "getattr" and len(node.args) == 3)
                if looked_up and isinstance(name, str) and not name.startswith("_") and name not in _FOREIGN:
                    found.append(f"{path.relative_to(ROOT)}:{node.lineno}: {name}")
    assert not found, "declare it in the protocol or its traits (harness/samples/interfaces.py), and read `traits_of`"

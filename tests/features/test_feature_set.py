"""Feature sets: the known families, their editing in YAML, and the refusal of what looks ahead."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest
import yaml
from pydantic import TypeAdapter

from harness.config.instantiate import locate
from harness.errors import ConfigError, LookAheadError
from harness.features.expression import parse
from harness.features.feature_set import Alpha158, Alpha360, Expressions, FeatureSet, ForwardReturn


def test_alpha158_has_158_names_in_the_order_of_qlib() -> None:
    names = Alpha158().feature_set().names
    assert len(names) == 158
    assert names[:10] == ("KMID", "KLEN", "KMID2", "KUP", "KUP2", "KLOW", "KLOW2", "KSFT", "KSFT2", "OPEN0")
    assert names[13:19] == ("ROC5", "ROC10", "ROC20", "ROC30", "ROC60", "MA5")
    assert names[-1] == "VSUMD60"


def test_alpha360_has_six_fields_of_sixty_times_oldest_first() -> None:
    features = Alpha360().feature_set()
    assert len(features) == 360
    assert features.names[0::60] == ("CLOSE59", "OPEN59", "HIGH59", "LOW59", "VWAP59", "VOLUME59")
    assert features.names[59] == "CLOSE0"
    by_name = dict(zip(features.names, features.expressions, strict=True))
    assert parse(by_name["OPEN59"]) == parse("Ref($open, 59)/$close")
    assert parse(by_name["CLOSE0"]) == parse("$close/$close")
    assert parse(by_name["VOLUME1"]) == parse("Ref($volume, 1)/($volume+1e-12)")
    assert parse(by_name["VOLUME0"]) == parse("$volume/($volume+1e-12)")


@pytest.mark.parametrize("family", [Alpha158, Alpha360])
def test_a_family_can_be_edited(family: type[Alpha158]) -> None:
    whole = family().feature_set()
    edited = family(exclude=("VWAP0", "HIGH0"), add={"GAP": "$open/Ref($close, 1) - 1"}).feature_set()
    assert set(whole.names) - set(edited.names) == {"VWAP0", "HIGH0"}
    assert edited.names[-1] == "GAP"
    assert [n for n in whole.names if n in set(edited.names)] == list(edited.names[:-1])


def test_a_feature_can_be_replaced_by_excluding_and_adding_it() -> None:
    edited = Alpha158(exclude=("MA5",), add={"MA5": "Mean($close, 5)"}).feature_set()
    assert edited.expressions[-1] == "Mean($close, 5)"


def test_an_unknown_exclusion_suggests_the_nearest_name() -> None:
    with pytest.raises(ConfigError, match="did you mean `VWAP0`"):
        Alpha158(exclude=("VWAP",)).feature_set()


def test_an_addition_must_not_shadow_a_feature() -> None:
    with pytest.raises(ConfigError, match="already has a feature `MA5`"):
        Alpha158(add={"MA5": "Mean($close, 6)"}).feature_set()


def test_a_feature_that_looks_ahead_is_refused_and_named() -> None:
    with pytest.raises(LookAheadError) as caught:
        Alpha158(add={"CHEAT": "Mean(Ref($close, -7), 3)/$close"}).feature_set()
    assert "`CHEAT` reads 7 period(s) ahead" in caught.value.what
    assert "Ref($close, -7)" in str(caught.value.got)
    assert caught.value.expected == "nothing later than its own time"


def test_a_negative_shift_that_is_taken_back_is_no_look_ahead() -> None:
    assert len(Expressions({"same": "Ref(Ref($close, -1), 1)"}).feature_set()) == 1


def test_an_unreadable_expression_names_its_feature_and_column() -> None:
    with pytest.raises(ConfigError) as caught:
        Expressions({"fine": "$close", "broken": "Maen($close, 5)"}).feature_set()
    assert caught.value.where == "features: broken, column 1"
    assert caught.value.hint == "did you mean `Mean`?"


def test_a_feature_set_needs_features_with_different_names() -> None:
    with pytest.raises(ConfigError, match="at least one"):
        Expressions({}).feature_set()
    with pytest.raises(ConfigError, match="unique"):
        FeatureSet(("a", "a"), ("$close", "$open"))
    with pytest.raises(ConfigError, match="an expression for each name"):
        FeatureSet(("a",), ())


def test_the_configurable_classes_read_from_plain_yaml_values() -> None:
    edited = TypeAdapter(Alpha158).validate_python({"exclude": ["VWAP0"], "add": {"X": "$close"}})
    assert edited == Alpha158(exclude=("VWAP0",), add={"X": "$close"})
    own = TypeAdapter(Expressions).validate_python({"expressions": {"X": "$close"}})
    assert own.feature_set().names == ("X",)


CONF = Path(__file__).resolve().parents[2] / "conf"


@pytest.mark.parametrize("path", sorted((CONF / "features").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_feature_configuration_can_be_used(path: Path) -> None:
    keys = yaml.safe_load(path.read_text(encoding="utf-8"))
    family = locate(keys.pop("_target_"), "features")
    assert set(keys) == {f.name for f in dataclasses.fields(family)}
    if "known_ahead" in keys:  # refers to what the data declare
        keys["known_ahead"] = dict.fromkeys(re.findall(r"Ref\(\$(VAR\d+), -", str(keys)), 24)
    assert len(TypeAdapter(family).validate_python(keys).feature_set()) >= 5


def test_the_label_configuration_can_be_used() -> None:
    keys = yaml.safe_load((CONF / "label" / "forward_return.yaml").read_text(encoding="utf-8"))
    assert locate(keys.pop("_target_"), "label") is ForwardReturn
    assert set(keys) == set(ForwardReturn.__dataclass_fields__)
    assert TypeAdapter(ForwardReturn).validate_python(keys).look_ahead == keys["horizon"] + 1

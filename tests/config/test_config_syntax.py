"""What Hydra documents works here, or is refused with what to write instead; keys are those of what was chosen."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from harness.config import Composer, compose_config
from harness.config.compose import parse_overrides
from harness.errors import ConfigError, UnknownKeyError
from harness.evaluation.portfolio.topk_dropout import TopkDropout
from harness.run.search.study import read_space
from harness.run.sweep import plan_sweep

OWN_MODEL = """
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class Mine:
    depth: int = 3
    shrinkage: float = 0.1
    needs_valid: ClassVar[bool] = False
    supports_weights: ClassVar[bool] = True

    def fit(self, train, valid): ...

    def load(self, folder): ...
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of configuration with a model of the user's own, whose file leaves `shrinkage` out."""
    (tmp_path / "own_syntax_model.py").write_text(OWN_MODEL, encoding="utf-8")
    (tmp_path / "conf/model").mkdir(parents=True)
    (tmp_path / "conf/model/lovely.yaml").write_text("_target_: own_syntax_model.Mine\ndepth: 4\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    sys.modules.pop("own_syntax_model", None)
    return tmp_path / "conf"


def values(override: str, **more: object) -> list[str]:
    return [next(iter(cell.chosen.values())) for cell in plan_sweep([override], **more)]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("model=glob(lin*)", ["linear", "linear_quantile"]),
        ("model=glob(*,exclude=[c*,g*,m*,*_*,xgboost])", ["lightgbm", "linear"]),
        ("model=glob([lin*r,mlp])", ["linear", "mlp"]),
        ("windows.step=choice(40,20)", ["40", "20"]),
        ("windows.step=range(20,80,20)", ["20", "40", "60"]),
        ("windows.step=sort(60,20,40)", ["20", "40", "60"]),
        ("windows.step=sort(20,60,40,reverse=true)", ["60", "40", "20"]),
        ("windows.step=sort(range(20,80,20),reverse=true)", ["60", "40", "20"]),
        ("model.alpha=range(0.5,2,0.5)", ["0.5", "1.0", "1.5"]),
    ],
)
def test_a_sweep_is_written_as_hydra_documents(override: str, expected: list[str]) -> None:
    assert values(override) == expected


def test_a_pattern_finds_the_files_of_the_users_own_folder_too(own: Path) -> None:
    assert values("model=glob([l*m,l*y])", search_path=[own]) == ["lightgbm", "lovely"]


def test_shuffled_values_have_one_order() -> None:
    first = values("windows.step=shuffle(20,40,60,80)")
    assert sorted(first) == ["20", "40", "60", "80"]
    assert first == values("windows.step=shuffle(20,40,60,80)")


def test_a_search_chooses_among_what_a_pattern_finds() -> None:
    assert read_space(["model=glob(li*)"]).dimensions["model"].first == "lightgbm"


@pytest.mark.parametrize(
    ("override", "pieces"),
    [
        ("model.alpha=interval(0,1)", ("model.alpha", "bench search")),
        ("model.alpha=glob(*)", ("model.alpha", "GROUP=glob(PATTERN)")),
        ("model=glob(zz*)", ("linear_quantile, mlp",)),
        ("windows.step=range(20,60,0)", ("STEP",)),
        ("windows.step=range(60,20)", ("empty",)),
        ("windows.step=range(0,1000000000000)", ("more than",)),
        ("model.alpha=range(0.0,1.0,1e-9)", ("more than",)),
    ],
)
def test_a_sweep_that_cannot_be_listed_is_refused_with_what_can(override: str, pieces: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError) as caught:
        plan_sweep([override])
    assert all(piece in str(caught.value) for piece in pieces), str(caught.value)


def test_more_cells_than_can_be_run_are_refused_before_any_is_composed() -> None:
    with pytest.raises(ConfigError, match="more cells"):
        plan_sweep(["model.alpha=range(1,1001)", "seed=range(1,1001)"])


def test_an_experiment_gives_the_keys_of_the_main_file_too(own: Path) -> None:
    (own / "experiment").mkdir()
    text = "# @package _global_\ndefaults:\n  - override /model: linear\nseed: 7\nsuite: mine\naudit: static\n"
    (own / "experiment" / "seeded.yaml").write_text(text, encoding="utf-8")
    config = compose_config(["experiment=seeded"], search_path=[own])
    assert (config.seed, config.suite, config.audit) == (7, "mine", "static")
    assert compose_config(["experiment=seeded", "seed=8"], search_path=[own]).seed == 8


def test_an_experiment_whose_first_line_names_no_package_says_what_is_missing(own: Path) -> None:
    (own / "experiment").mkdir()
    text = "# Mine.\n# @package _global_\ndefaults:\n  - override /model: linear\n"
    (own / "experiment" / "late.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match="must be the first line"):
        compose_config(["experiment=late"], search_path=[own])


@pytest.mark.parametrize("override", ["windows.step=20,40", "model=choice(linear,mlp)", "model=glob(*)", "+a=1,2"])
def test_several_values_without_a_sweep_name_the_option(override: str) -> None:
    with pytest.raises(ConfigError, match=r"bench run -m") as caught:
        compose_config([override])
    assert override in str(caught.value)


@pytest.mark.parametrize(
    ("overrides", "name", "meant"),
    [
        (["model=lightgbm", "model.num_leafs=3"], "model.num_leafs", "model.num_leaves"),
        (["model.num_leafs=3", "model=lightgbm"], "model.num_leafs", "model.num_leaves"),
        (["data=tabular", "data.path=x", "data.membershp=u"], "data.membershp", "data.membership"),
        (["adaptation=gf_exp", "adaptation.halflife=3"], "adaptation.halflife", "adaptation.half_life"),
        (["evaluation=portfolio", "evaluation.portfolio.topkk=3"], "evaluation.portfolio.topkk", "portfolio.topk"),
        (["data=tabular", "data.path=x", "data.columns.tme=a"], "data.columns.tme", "time"),
    ],
)
def test_the_keys_that_are_offered_are_those_of_what_was_chosen(overrides: list[str], name: str, meant: str) -> None:
    with pytest.raises(UnknownKeyError, match="did you mean") as caught:
        compose_config(overrides)
    assert caught.value.where == name
    assert meant in str(caught.value.hint)


def test_the_keys_of_a_users_own_model_are_offered(own: Path) -> None:
    with pytest.raises(UnknownKeyError, match=r"did you mean `model\.depth`"):
        compose_config(["model=lovely", "model.dept=2"], search_path=[own])


def test_a_field_that_the_file_leaves_out_is_a_key_all_the_same(own: Path) -> None:
    config = compose_config(["model=lovely", "model.shrinkage=0.5"], search_path=[own])
    assert vars(config.model) == {"depth": 4, "shrinkage": 0.5}
    with pytest.raises(UnknownKeyError, match=r"did you mean `model\.shrinkage`"):
        compose_config(["model=lovely", "model.shrinkag=0.5"], search_path=[own])


def test_a_key_inside_one_that_is_null_says_so() -> None:
    with pytest.raises(UnknownKeyError, match="is null") as caught:
        compose_config(["evaluation.portfolio.topk=3"])
    assert "portfolio, portfolio_cn, portfolio_us, score_weighted, signal" in str(caught.value)


def test_a_deleted_key_is_not_silently_the_default() -> None:
    with pytest.raises(ConfigError, match=r"model\.alpha") as caught:
        compose_config(["~model.alpha"])
    assert "0.05" in str(caught.value)
    assert "factor" not in compose_config(["data=tabular", "data.path=x", "~data.columns.factor"]).data.columns  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match="lacks `model`"):
        compose_config(["~model"])


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("data.path", "~/prices/cn data.csv"),
        ("data.path", "table/year=2019/month=1"),
        ("data.columns.instrument", "代码"),
        ("data.time_format", "%Y年%m月%d日"),
        ("data.path", "a;b&c#d!e"),
    ],
)
def test_a_plain_value_that_the_grammar_has_no_sign_for_is_text(key: str, value: str) -> None:
    override = parse_overrides([f"{key}={value}", "~data.columns.factor"])[0]
    assert (override.key_or_group, override.value()) == (key, value)


def test_a_value_in_brackets_is_refused_with_the_quotes_that_make_it_text() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_overrides(["data.path=prices/[AB]*.csv"])
    assert """'data.path="prices/[AB]*.csv"'""" in str(caught.value.hint)
    assert parse_overrides(['data.path="prices/[AB]*.csv"'])[0].value() == "prices/[AB]*.csv"


def test_an_experiment_may_be_written_with_a_plus() -> None:
    assert compose_config(["+experiment=rr_linear"]).choices["experiment"] == "rr_linear"
    assert compose_config(["+model=mlp"]).choices["model"] == "mlp"


def test_a_key_that_is_added_twice_is_told_how_to_change_it() -> None:
    with pytest.raises(ConfigError, match=r"windows\.step=40 changes it"):
        compose_config(["+windows.step=40"])


NAMES = (
    *("my conf (v2)", "配置", "a,b", "c=d", "sp ace", "quo'te", 'double"quote', "both'\"", "$HOME", "${a}", "$(x)"),
    *(
        "per%20cent",
        "%",
        "a#b",
        "#",
        "a?b",
        "[x]",
        "{y}",
        "a:b",
        "~x",
        "-dash",
        "back\\slash",
        "end\\",
        "a\\'b",
        "*",
        "&;|",
    ),
    *("+a", "@b", "null", "1", "é ü"),
)


@pytest.mark.parametrize("name", NAMES)
def test_a_folder_of_configuration_may_have_any_name(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / name / "windows"
    folder.mkdir(parents=True)
    (folder / "mine.yaml").write_text("defaults: [sliding, _self_]\nstep: 7\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert Composer([f"./{name}/"]).tree(["windows=mine"]).windows.step == 7


def test_the_home_and_a_folder_above_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "home/conf/windows").mkdir(parents=True)
    (tmp_path / "home/conf/windows/mine.yaml").write_text("defaults: [sliding, _self_]\nstep: 7\n", encoding="utf-8")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "elsewhere")
    for given in ("~/conf", "../home/conf", str(tmp_path / "home/conf"), "../home/../home/conf/"):
        assert Composer([given]).tree(["windows=mine"]).windows.step == 7


def test_a_missing_folder_of_configuration_names_the_one_that_is_near(tmp_path: Path) -> None:
    (tmp_path / "my_conf").mkdir()
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(ConfigError, match="did you mean `my_conf`"):
        Composer([tmp_path / "my_cnf"])
    with pytest.raises(ConfigError, match="is a file"):
        Composer([tmp_path / "file"])
    with pytest.raises(ConfigError, match="does not exist"):
        Composer(["~nobody-of-this-name/x"])


LINEAR = "_target_: baselines.models.Linear\n"
ODD_YAML: dict[str, tuple[str | bytes, str]] = {
    "a zero byte": (LINEAR + "\0", "not YAML"),
    "another encoding": (LINEAR.encode() + b"# \xe9\n", "not YAML"),
    "a number": ("1", "no mapping"),
    "a list": ("- 1\n", ""),
    "nothing": ("", ""),
    "an alias of itself": (LINEAR + "alpha: &a [*a]\n", "contains itself"),
    "defaults of itself": ("defaults: [odd]\n" + LINEAR, "contains itself"),
    "a thousand brackets": (LINEAR + "alpha: " + "[" * 1000 + "]" * 1000 + "\n", "nested without end"),
    "a null key": (LINEAR + "null: 2\n", ""),
    "bytes": (LINEAR + "alpha: !!binary aGVsbG8=\n", "model.alpha"),
    "bytes as a key": (LINEAR + "!!binary aGVsbG8= : 1\n", "model"),
    "a set": (LINEAR + "alpha: !!set {a}\n", ""),
    "a tag of Python": (LINEAR + "alpha: !!python/object/apply:os.getcwd []\n", "not YAML"),
    "a key twice": (LINEAR + "alpha: 1\nalpha: 2\n", "duplicate"),
    "a tab": (LINEAR + "\talpha: 1\n", "not YAML"),
}


@pytest.mark.parametrize("kind", ODD_YAML)
def test_a_file_of_odd_yaml_is_refused_in_one_message(tmp_path: Path, kind: str) -> None:
    content, piece = ODD_YAML[kind]
    (tmp_path / "model").mkdir()
    (tmp_path / "model/odd.yaml").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ConfigError) as caught:
        compose_config(["model=odd"], search_path=[tmp_path])
    assert piece in str(caught.value)


@pytest.mark.parametrize(
    ("override", "piece"),
    [
        ("hydra.run.dir=x", "runs no job"),
        ("+hydra.job.x=1", "runs no job"),
        ("hydra/launcher=joblib", "runs no job"),
        ("hydra.searchpath=[own]", "runs no job"),
        ("choices.model=x", "changes nothing"),
    ],
)
def test_settings_of_hydra_itself_are_refused_where_hydra_runs_no_job(override: str, piece: str) -> None:
    with pytest.raises(UnknownKeyError) as caught:
        compose_config([override])
    assert piece in str(caught.value)


def test_a_choice_that_is_called_like_a_number_is_told_how_to_be_written(own: Path) -> None:
    (own / "model/Inf.yaml").write_text("_target_: own_syntax_model.Mine\n", encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        compose_config(["model=Inf"], search_path=[own])
    assert """model="'Inf'\"""" in str(caught.value)
    assert compose_config(["model='Inf'"], search_path=[own]).choices["model"] == "Inf"


@pytest.mark.parametrize("value", ["null", "1", "true", "''"])
def test_a_group_that_is_given_no_name_lists_its_choices(value: str) -> None:
    with pytest.raises(ConfigError, match="in the group `tracking`") as caught:
        compose_config([f"tracking={value}"])
    assert "mlflow, none" in str(caught.value)


def test_the_rules_of_markets_are_those_of_the_portfolio_but_for_limits_lots_and_costs() -> None:
    plain, china, us = (
        compose_config([f"evaluation={name}"]).evaluation.portfolio
        for name in ("portfolio", "portfolio_cn", "portfolio_us")
    )
    assert isinstance(plain, TopkDropout)
    assert isinstance(us, TopkDropout)
    assert plain == china
    assert (us.limit_threshold, us.trade_unit, us.min_cost) == (None, None, 0.0)
    assert (us.topk, us.n_drop, us.deal_price, us.rules) == (plain.topk, plain.n_drop, plain.deal_price, plain.rules)

"""Bad inputs as users make them: what they did, what they typed, and what the message has to say."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["CATALOGUE", "Mistake"]

ROOT = Path(__file__).resolve().parents[2]

SMALL = ("data.instruments=24", "data.days=420", "data.members=16", "windows.step=40")
TABULAR = ("data=tabular", "data.path=prices.csv", "~data.columns.factor")


def nothing(_: Path) -> None:
    """Leave the folder empty."""


@dataclass(frozen=True)
class Mistake:
    """One bad input.

    Attributes
    ----------
    name
        What is wrong, in words of a test.
    command
        The arguments after `bench`.
    says
        Pieces that the message must hold: what is wrong, where, and what would be right.
    prepare
        Makes the files that it takes.
    exit_code
        2, unless the command says otherwise.
    """

    name: str
    command: tuple[str, ...]
    says: tuple[str, ...]
    prepare: Callable[[Path], None] = field(default=nothing)
    exit_code: int = 2


def run(*overrides: str) -> tuple[str, ...]:
    return ("run", *SMALL, *overrides)


def explain(*overrides: str) -> tuple[str, ...]:
    return ("explain", *SMALL, *overrides)


HEADS = ("datetime", "instrument", "open", "high", "low", "close", "volume")


def rows(days: int = 30, instruments: tuple[str, ...] = ("A", "B", "C")) -> list[list[object]]:
    """Return a clean little panel."""
    return [
        [f"2020-01-{day + 1:02}", name, 10 + at, 11 + at, 9 + at, 10.5 + at, 1000]
        for day in range(days)
        for at, name in enumerate(instruments)
    ]


def table(
    change: Callable[[list[list[object]]], list[list[object]]] = lambda r: r, heads: tuple[str, ...] = HEADS
) -> Callable[[Path], None]:
    """Return a preparation that writes prices.csv after a change."""

    def prepare(folder: Path) -> None:
        with (folder / "prices.csv").open("w", newline="", encoding="utf-8") as stream:
            csv.writer(stream).writerows([heads, *change(rows())])

    return prepare


def text(name: str, content: str | bytes, then: Callable[[Path], None] = nothing) -> Callable[[Path], None]:
    """Return a preparation that writes a file."""

    def prepare(folder: Path) -> None:
        then(folder)
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())

    return prepare


def changed(row: int, column: int, value: object) -> Callable[[list[list[object]]], list[list[object]]]:
    """Return a change of one value."""

    def change(found: list[list[object]]) -> list[list[object]]:
        found[row][column] = value
        return found

    return change


def folder_without_rights(name: str) -> Callable[[Path], None]:
    """Return a preparation that puts a file where a folder is expected, which nobody may write into, root neither."""
    return text(name, "not a folder")


def snapshot_of_version(version: object) -> Callable[[Path], None]:
    """Return a preparation that writes a snapshot of another schema."""
    return text("run/snapshot.json", json.dumps({"schema_version": version}))


def model_file(body: str) -> Callable[[Path], None]:
    """Return a preparation with a user's model and the YAML that names it."""
    source = "from dataclasses import dataclass\n\n\n" + body
    return text("conf/model/mine.yaml", "_target_: their_model.Mine\n", text("their_model.py", source))


def qlib_folder(**files: str | bytes) -> Callable[[Path], None]:
    """Return a preparation with a little folder in qlib's format."""
    whole: dict[str, str | bytes] = {
        "calendars/day.txt": "2020-01-01\n2020-01-02\n2020-01-03\n",
        "instruments/csi300.txt": "A\t2020-01-01\t2020-01-03\n",
        "features/a/close.day.bin": bytes(4 * 4),
        **{name.replace("__", "/").replace("_txt", ".txt"): content for name, content in files.items()},
    }

    def prepare(folder: Path) -> None:
        for name, content in whole.items():
            text(f"qlib/{name}", content)(folder)

    return prepare


QLIB = ("data=qlib_bin", "data.path=qlib", "data.benchmark=null", "data.fields=[close]")
MINE = ("--config-dir", "conf", "model=mine")

CONFIGURATION = (
    Mistake("a misspelt key", run("windows.stp=3"), ("windows.stp", "did you mean `windows.step`?")),
    Mistake("a misspelt group", run("modle=linear"), ("modle",)),
    Mistake("an unknown choice", run("model=linaer"), ("`linaer`", "model", "did you mean `linear`?")),
    Mistake("an unknown experiment", run("experiment=rr_liner"), ("rr_liner", "rr_linear")),
    Mistake("a word for a number", run("windows.step=often"), ("windows.step", "'often'", "whole number")),
    Mistake("a fraction for a count", run("windows.step=2.5"), ("windows.step", "2.5", "whole number")),
    Mistake("yes for a number", run("windows.step=true"), ("windows.step", "True", "whole number")),
    Mistake("a step of zero", run("windows.step=0"), ("windows.step", "0", "≥ 1")),
    Mistake("a negative embargo", run("windows.embargo=-1"), ("windows.embargo", "-1", "≥ 0")),
    Mistake("an unknown kind of window", run("windows.kind=rolling"), ("windows.kind", "rolling", "sliding")),
    Mistake("shares beyond one", run("windows.split=[0.6,0.3,0.3]"), ("windows.split", "0.6", "at most 1")),
    Mistake("no test share", run("windows.split=[0.8,0.2,0.0]"), ("windows.split", "positive")),
    Mistake("an unknown estimator", run("model.estimator=rigde"), ("model.estimator", "rigde", "ridge")),
    Mistake("a negative ridge", run("model.alpha=-1"), ("model.alpha", "-1")),
    Mistake("an unknown key of the model", run("+model.depth=3"), ("model.depth", "alpha")),
    Mistake("a required key left open", ("run", "data=tabular"), ("data.path", "data.path=VALUE")),
    Mistake("a reference to nothing", run("windows.step=${nowhere}"), ("nowhere",)),
    Mistake("an override that cannot be read", run("windows.step=[1,"), ("windows.step=[1,", "bench run --help")),
    Mistake("an override without a value", run("windows.step"), ("windows.step",)),
    Mistake("a class that does not exist", run("model._target_=baselines.models.linear.Liner"), ("Liner", "Linear")),
    Mistake("a module that does not exist", run("model._target_=my_models.Mine"), ("my_models.Mine", "PYTHONPATH")),
    Mistake("a target that is no name", run("model._target_=Linear"), ("model._target_", "Linear", "dotted")),
    Mistake("a missing folder of configuration", run("--config-dir", "absent"), ("--config-dir", "absent")),
    Mistake(
        "a configuration file that is not YAML",
        run("--config-dir", "conf", "model=mine"),
        ("mine.yaml",),
        text("conf/model/mine.yaml", "alpha: [1,\n"),
    ),
    Mistake("both kinds of forgetting", run("adaptation=gf_exp", "+adaptation.fade=0.5"), ("adaptation.fade", "null")),
    Mistake("a half-life of zero", run("adaptation=gf_exp", "adaptation.half_life=0"), ("adaptation.half_life", "0")),
    Mistake("a quantile above a half", run("evaluation.signal.quantile=0.7"), ("quantile", "0.7", "0.5")),
    Mistake("an impossible level", run("evaluation.significance.level=1.5"), ("level", "1.5", "> 0 and < 1")),
    Mistake("a horizon of zero", run("label.horizon=0"), ("label.horizon", "0")),
    Mistake("a horizon beyond the calendar", run("label.horizon=400"), ("windows.valid", "purge")),
    Mistake("a history that DDG-DA lacks", run("adaptation=ddgda", "adaptation.hist_step_n=200"), ("hist_step_n",)),
)

EXPRESSIONS = (
    Mistake(
        "a feature that looks ahead",
        run("features=expressions", "+features.expressions.leak='Ref($close,-1)'"),
        ("leak", "Ref($close, -1)", "ahead"),
    ),
    Mistake(
        "an unknown operator",
        run("features=expressions", "+features.expressions.x='Maen($close,5)'"),
        ("Maen", "Mean"),
    ),
    Mistake(
        "a parenthesis that is not closed",
        run("features=expressions", "+features.expressions.x='Mean($close,5'"),
        ("Mean($close,5",),
    ),
    Mistake(
        "too few arguments",
        run("features=expressions", "+features.expressions.x='Mean($close)'"),
        ("Mean",),
    ),
    Mistake(
        "a feature of one's own from a field that the panel lacks",
        run("features=expressions", "+features.expressions.x='$amount/$close'"),
        ("features: x", "$amount", "$volume"),
    ),
    Mistake(
        "a feature beside a preset from a field that the panel lacks",
        run("+features.add.x='$close/$vwp'"),
        ("features: x", "$vwp", "did you mean `vwap`?"),
    ),
    Mistake("a label from a field that the panel lacks", run("label.price=$amount"), ("label", "$amount", "$close")),
    Mistake("a label that does not look ahead", run("label.expression='$close'", "label.horizon=null"), ("label",)),
)

DATES = (
    Mistake(
        "a date that is none",
        explain("windows.train=[2012-13-01,2013-01-01]", "windows.test=[2013-03-01,2013-06-01]"),
        ("2012-13-01",),
    ),
    Mistake(
        "dates the wrong way round",
        explain("windows.train=[2013-01-01,2012-02-01]", "windows.test=[2013-03-01,2013-06-01]"),
        ("2013-01-01",),
    ),
    Mistake("a train segment without a test", explain("windows.train=[2012-02-01,2013-01-01]"), ("train", "test")),
    Mistake(
        "a test before the data",
        explain("windows.train=[2001-01-01,2001-06-01]", "windows.test=[2002-01-01,2002-06-01]"),
        ("2001",),
    ),
    Mistake(
        "a test that overlaps the train segment",
        explain("windows.train=[2012-02-01,2013-01-01]", "windows.test=[2012-06-01,2013-06-01]"),
        ("2012-06-01",),
    ),
    Mistake("one date instead of two", explain("windows.test=[2012-06-01]"), ("windows.test",)),
    Mistake(
        "a calendar that is too short",
        ("explain", "data.days=30", "data.instruments=24", "data.members=16"),
        ("windows",),
    ),
)

DATA = (
    Mistake("a file that is not there", ("run", *TABULAR), ("prices.csv",)),
    Mistake("an empty file", ("run", *TABULAR), ("prices.csv",), text("prices.csv", "")),
    Mistake("a file with heads only", ("run", *TABULAR), ("prices.csv",), text("prices.csv", ",".join(HEADS) + "\n")),
    Mistake(
        "a Parquet file that is none",
        ("run", *TABULAR, "data.path=prices.parquet"),
        ("prices.parquet",),
        text("prices.parquet", "PAR0 nonsense"),
    ),
    Mistake(
        "a format that is not read",
        ("run", *TABULAR, "data.path=prices.xlsx"),
        ("prices.xlsx",),
        text("prices.xlsx", ""),
    ),
    Mistake(
        "a column that is missing",
        ("run", *TABULAR),
        ("instrument", "ticker"),
        table(heads=("datetime", "ticker", *HEADS[2:])),
    ),
    Mistake("text among the prices", ("run", *TABULAR), ("close", "cheap"), table(changed(7, 5, "cheap"))),
    Mistake("a date that cannot be read", ("run", *TABULAR), ("datetime", "someday"), table(changed(7, 0, "someday"))),
    Mistake("an infinite price", ("run", *TABULAR), ("close",), table(changed(7, 5, "inf"))),
    Mistake("a price of zero", ("data", "validate", *TABULAR), ("close", "A"), table(changed(9, 5, 0))),
    Mistake("a row that occurs twice", ("run", *TABULAR), ("2020-01-01", "A"), table(lambda r: [r[0], *r])),
    Mistake(
        "rows out of order where order is asked for",
        ("run", *TABULAR, "data.sort=false"),
        ("sorted", "data.sort=true"),
        table(lambda r: r[::-1]),
    ),
    Mistake(
        "a time format that names no year", ("run", *TABULAR, "data.time_format=%d/%m"), ("%d/%m", "year"), table()
    ),
    Mistake("a time format with an unknown sign", ("run", *TABULAR, "data.time_format=%Y-%Q"), ("%Q", "%Y"), table()),
    Mistake("a path that is empty", ("run", *TABULAR, "data.path="), ("data.path", "empty")),
    Mistake("a mapping without a time", ("run", *TABULAR, "~data.columns.time"), ("data.columns", "time"), table()),
    Mistake(
        "a price field that is not mapped", ("run", *TABULAR, "data.price_field=mid"), ("data.columns", "mid"), table()
    ),
    Mistake(
        "a membership file that is missing",
        ("run", *TABULAR, "data.membership=universe.txt"),
        ("universe.txt",),
        table(),
    ),
    Mistake(
        "a membership line with two words",
        ("run", *TABULAR, "data.membership=universe.txt"),
        ("universe.txt", "A 2020-01-01"),
        text("universe.txt", "A 2020-01-01\n", table()),
    ),
    Mistake(
        "a member without prices",
        ("run", *TABULAR, "data.membership=universe.txt"),
        ("Z", "drop"),
        text("universe.txt", "A\t2020-01-01\t2020-01-30\nZ\t2020-01-01\t2020-01-30\n", table()),
    ),
    Mistake(
        "a span that ends before it starts",
        ("run", *TABULAR, "data.membership=universe.txt"),
        ("universe.txt", "2020-01-30"),
        text("universe.txt", "A\t2020-01-30\t2020-01-01\n", table()),
    ),
    Mistake(
        "a time that the calendar lacks",
        ("run", *TABULAR, "data.calendar=days.txt"),
        ("2020-01-02",),
        text("days.txt", "2020-01-01\n2020-01-03\n", table()),
    ),
    Mistake(
        "a calendar out of order",
        ("run", *TABULAR, "data.calendar=days.txt"),
        ("days.txt",),
        text("days.txt", "2020-01-03\n2020-01-01\n", table()),
    ),
    Mistake(
        "a benchmark without a name", ("run", *TABULAR, "data.benchmark=prices.csv"), ("benchmark_instrument",), table()
    ),
    Mistake(
        "a benchmark that is not in its file",
        ("run", *TABULAR, "data.benchmark=prices.csv", "data.benchmark_instrument=INDEX"),
        ("INDEX",),
        table(),
    ),
    Mistake("a qlib folder that is not there", ("run", *QLIB), ("qlib",)),
    Mistake("a qlib folder without its universe", ("run", *QLIB, "data.universe=csi500"), ("csi500",), qlib_folder()),
    Mistake("a qlib folder without a field", ("run", *QLIB, "data.fields=[close,vwap]"), ("vwap",), qlib_folder()),
    Mistake(
        "a qlib calendar that cannot be read", ("run", *QLIB), ("day.txt",), qlib_folder(calendars__day_txt="monday\n")
    ),
    Mistake(
        "a qlib file of odd length",
        ("run", *QLIB),
        ("close.day.bin",),
        text("qlib/features/a/close.day.bin", b"\0" * 7, qlib_folder()),
    ),
    Mistake("a market without instruments", ("run", "data.instruments=0"), ("instruments", "0")),
    Mistake("an unknown drift", ("run", "data.drift=sudden"), ("data.drift", "sudden", "abrupt")),
    Mistake("more members than instruments", ("run", "data.members=500"), ("members", "500")),
)

ADDRESSES = (
    Mistake("an address without a protocol", ("run", "data=download", "data.url=example"), ("url", "example")),
    Mistake(
        "a protocol that is not fetched", ("run", "data=download", "data.url=ftp://x/y.tar.gz"), ("ftp://x/y.tar.gz",)
    ),
    Mistake(
        "a server that does not answer",
        ("run", "data=download", "data.url=http://127.0.0.1:9/q.tar.gz", "data.timeout=1"),
        ("http://127.0.0.1:9/q.tar.gz",),
    ),
    Mistake("a checksum that is none", ("run", "data=download", "data.sha256=abc"), ("sha256", "abc", "64")),
)

MODEL = """@dataclass(frozen=True)
class Mine:
    needs_valid = False
    supports_weights = False

    def fit(self, train, valid):
        return Fitted()

    def load(self, folder):
        return Fitted()


@dataclass(frozen=True)
class Fitted:
    def predict(self, features):
        return features[:1, 0]

    def save(self, folder):
        pass
"""

MODELS = (
    Mistake(
        "a model without a fit",
        run(*MINE),
        ("model", "lacks", "fit"),
        model_file("@dataclass(frozen=True)\nclass Mine:\n    needs_valid: bool = False\n"),
    ),
    Mistake("a model that predicts too few rows", run(*MINE), ("predict",), model_file(MODEL)),
    Mistake("weights for a model that takes none", run(*MINE, "adaptation=gf_exp"), ("weights",), model_file(MODEL)),
    Mistake("early stopping without a valid segment", run("model=lightgbm", "windows.split=[0.7,0.0,0.3]"), ("valid",)),
    Mistake("an unknown loss", run("model=lightgbm", "model.loss=mes"), ("model.loss", "mes", "mse")),
    Mistake("a model's file that breaks", run(*MINE), ("their_model",), model_file("raise RuntimeError('boom')\n")),
)

SNAPSHOTS = (
    Mistake("a report on nothing", ("report",), ("runs", "bench run")),
    Mistake("a report on a folder that is not there", ("report", "absent"), ("absent", "leaderboard.json")),
    Mistake("a snapshot that is not JSON", ("report", "run"), ("snapshot.json",), text("run/snapshot.json", "{")),
    Mistake("a snapshot of an older schema", ("report", "run"), ("schema", "bench migrate"), snapshot_of_version(1)),
    Mistake("a snapshot of a newer schema", ("report", "run"), ("schema", "upgrade"), snapshot_of_version(99)),
    Mistake(
        "a leaderboard that is not JSON", ("report", "run"), ("leaderboard.json",), text("run/leaderboard.json", "[")
    ),
    Mistake("a report over a folder", ("report", "--out", "."), ("--out", "report.html")),
    Mistake("a suite that does not exist", ("check", "smok"), ("smok", "smoke")),
    Mistake("a case that does not exist", ("log", "smoke/liner"), ("smoke/liner",)),
    Mistake("a comparison with nothing", ("diff", "one", "two"), ("one",)),
    Mistake("a migration of nothing", ("migrate", "absent.json"), ("absent.json",)),
    Mistake("a blessing without a reason", ("bless", "smoke"), ("--reason",)),
)

SWEEPING = ("search", *SMALL, "model.alpha=interval(0.1,1)")
OPTIONS = (
    Mistake("a case that leads out of its folder", run("case=../../elsewhere"), ("case", "../../elsewhere", "no path")),
    Mistake("a suite that is a path", run("suite=a/b"), ("suite", "a/b", "no path")),
    Mistake("a group without a schema", ("config", "--schema", "modle"), ("modle", "did you mean `model`?")),
    Mistake(
        "a key that cannot be described", ("config", "--describe", "model.alhpa"), ("did you mean `model.alpha`?",)
    ),
    Mistake("a level of audit that does not exist", ("audit", "--level", "deep"), ("--level", "deep", "sampled")),
    Mistake("a negative age", ("cache", "gc", "--older-than", "-3"), ("--older-than", "-3", "bench cache gc --help")),
    Mistake("an age that is no number", ("cache", "gc", "--older-than", "nan"), ("--older-than", "nan", "≥ 0")),
    Mistake("an age in words", ("cache", "gc", "--older-than", "soon"), ("--older-than", "soon")),
    Mistake("nothing to search", ("search", *SMALL), ("nothing to search", "interval(LOW,HIGH)")),
    Mistake("a search without a trial", (*SWEEPING, "--trials", "0"), ("--trials", "0", "≥ 1")),
    Mistake(
        "an interval that is empty", ("search", *SMALL, "model.alpha=interval(1,0.1)"), ("model.alpha", "LOW < HIGH")
    ),
    Mistake("a search by an unknown metric", (*SWEEPING, "--metric", "IQ"), ("--metric", "IQ", "rank_IC")),
    Mistake("a push of what is not there", ("track", "push", "absent"), ("absent", "a run's or a sweep's")),
    Mistake("a workflow that is not there", ("convert-qlib", "absent.yaml"), ("absent.yaml", "qlib")),
    Mistake("a workflow that is not YAML", ("convert-qlib", "w.yaml"), ("w.yaml",), text("w.yaml", "a: [1")),
    Mistake("a workflow that is a list", ("convert-qlib", "w.yaml"), ("w.yaml", "mapping"), text("w.yaml", "[1]")),
    Mistake("a workflow without a task", ("convert-qlib", "w.yaml"), ("task", "qrun"), text("w.yaml", "task: 3")),
    Mistake("a workflow that is a folder", ("convert-qlib", "."), ("IsADirectory",)),
    Mistake("a skeleton whose name is no module", ("new", "model", "1abc"), ("NAME", "1abc", "my_model")),
    Mistake("a skeleton outside its folder", ("new", "data", "../x"), ("NAME", "../x")),
    Mistake("a skeleton of an unknown kind", ("new", "modle", "x"), ("modle", "metric")),
    Mistake("a skeleton inside a file", ("new", "model", "x", "--folder", "f"), ("f", "write"), text("f", "mine")),
    Mistake("a leaderboard of nothing", ("leaderboard", "absent"), ("absent", "leaderboard.json")),
    Mistake("a leaderboard in an unknown format", ("leaderboard", "--format", "word"), ("--format", "word", "latex")),
    Mistake("a comparison of damaged files", ("diff", "a.json", "a.json"), ("a.json",), text("a.json", "{")),
    Mistake("a suite that is not YAML", ("check", "s.yaml"), ("s.yaml", "--schema suites"), text("s.yaml", "cases: [")),
    Mistake(
        "a suite without a list of cases",
        ("check", "s.yaml"),
        ("s.yaml: cases", "list of"),
        text("s.yaml", "regression: default\ncases: {a: 1}"),
    ),
    Mistake(
        "a suite with numbers for overrides",
        ("check", "s.yaml"),
        ("s.yaml: cases[0].overrides[0]", "got:      1", "list of text"),
        text("s.yaml", "regression: default\ncases: [{case: a, overrides: [1]}]"),
    ),
    Mistake("a spread over one seed", ("check", "smoke", "--learn", "seeds=1"), ("--learn", "seeds=1", "K ≥ 2")),
    Mistake(
        "tolerances that are no numbers",
        ("check", "smoke/linear", "--regression", "r.yaml"),
        ("r.yaml: default", "nan"),
        text("r.yaml", "default: {relative: .nan}"),
    ),
    Mistake("a name for several runs", ("check", "smoke", "--as", "a/b"), ("--as", "a/b", "one run")),
    Mistake(
        "a blessing outside the results",
        ("bless", "run", "--as", "../../x/y", "--reason", "x"),
        ("--as", "../../x/y", "SUITE/CASE"),
        text("run/snapshot.json", (ROOT / "results/smoke/linear/v0001.json").read_bytes()),
    ),
    Mistake(
        "a feature that is added without a plus", run("features.add.x=$close"), ("features.add.x", "+features.add.x=")
    ),
    Mistake("a store that is a file", ("cache", "status", "output.store=f"), ("f", "folder"), text("f", "mine")),
    Mistake("a history that leaves no meta-task", run("adaptation=ddgda"), ("hist_step_n", "no task")),
    Mistake("an unknown shell", ("completion", "fish"), ("fish", "bash")),
    Mistake("a penalty that is no number", run("model.alpha=nan"), ("model.alpha", "nan", "finite")),
    Mistake(
        "a word in a list of numbers", run("windows.split=[0.5,a,0.3]"), ("windows.split[1]", "'a'", "[number ≥ 0")
    ),
    Mistake("a text for a list", run("features.exclude=KMID"), ("features.exclude", "'KMID'", "list of text")),
    Mistake("a list that is too short", run("windows.split=[0.5,0.2]"), ("windows.split[2]", "required")),
    Mistake("a feature to exclude that there is not", run("features.exclude=[KMIT]"), ("KMIT", "did you mean")),
    Mistake("no workers", run("executor=local", "executor.workers=0"), ("executor.workers", "0", "≥ 1")),
    Mistake("an address that cannot track", run("tracking=mlflow", "tracking.uri=ftp://x"), ("tracking.uri", "sqlite")),
    Mistake(
        "a price that cannot be dealt at",
        run("evaluation=portfolio", "evaluation.portfolio.deal_price=mid"),
        ("deal_price", "mid", "close"),
    ),
    Mistake(
        "a horizon that its label contradicts",
        run("label.expression='Ref($close,-2)/$close'"),
        ("label", "horizon 20", "horizon: 1"),
    ),
)

PERMISSIONS = (
    Mistake(
        "a store inside a file",
        run("output.store=taken/store"),
        ("taken", "output.store="),
        folder_without_rights("taken"),
    ),
    Mistake(
        "runs inside a file", run("output.runs=taken/runs"), ("taken", "output.runs="), folder_without_rights("taken")
    ),
    Mistake(
        "a conversion onto something that is there",
        ("data", "convert", "--to", "long", "--out", "taken", *SMALL[:3]),
        ("taken",),
        text("taken/file.txt", "mine"),
    ),
    Mistake(
        "a converted panel inside a file",
        ("data", "convert", "--to", "long", "--out", "taken/panel", *SMALL[:3]),
        ("taken",),
        folder_without_rights("taken"),
    ),
)

COMMANDS = (
    Mistake(
        "a sweep over a key that is nowhere", ("run", "-m", *SMALL, "windows.stp=1,2"), ("windows.stp", "windows.step")
    ),
    Mistake(
        "a sweep sorted by an unknown metric", ("run", "-m", *SMALL, "--sort-by", "IQ"), ("--sort-by", "IQ", "rank_IC")
    ),
    Mistake("an unknown command", ("rnu",), ("rnu", "run")),
    Mistake("an unknown option", ("run", "--fast"), ("--fast",)),
    Mistake("no command", (), ("COMMAND",)),
    Mistake("an unknown format", ("data", "convert", "--to", "excel", "--out", "x"), ("--to", "excel", "long")),
)

SYNTAX = (
    Mistake(
        "an interval in a sweep", ("run", "-m", *SMALL, "model.alpha=interval(0,1)"), ("model.alpha", "bench search")
    ),
    Mistake(
        "a pattern that fits nothing", ("run", "-m", *SMALL, "model=glob(zz*)"), ("model", "glob(zz*)", "lightgbm")
    ),
    Mistake("several values without a sweep", run("windows.step=20,40"), ("windows.step=20,40", "bench run -m")),
    Mistake("a misspelt key of a chosen model", run("model=lightgbm", "model.num_leafs=3"), ("`model.num_leaves`",)),
    Mistake("a key inside one that is null", run("evaluation.portfolio.topk=3"), ("is null", "score_weighted, signal")),
    Mistake("a deleted key with a default", run("~model.alpha"), ("model.alpha", "0.05", "model.alpha=VALUE")),
    Mistake("a key that is there, added", run("+windows.step=40"), ("windows.step", "windows.step=40 changes it")),
    Mistake(
        "a folder of configuration that is a file",
        run("--config-dir", "f"),
        ("is a file", "FOLDER/model/mine.yaml"),
        text("f", ""),
    ),
    Mistake(
        "a folder of configuration that is nearly named",
        run("--config-dir", "my_cnf"),
        ("did you mean `my_conf`?",),
        text("my_conf/model/x.yaml", ""),
    ),
    Mistake(
        "a number of thousands of digits", run(f"windows.step={'9' * 5000}"), ("windows.step", "exceeded maximum size")
    ),
    Mistake("more threads than there can be", run("model=lightgbm", "model.threads=1000000"), ("threads", "≤ 1024")),
    Mistake("an infinite signal", run("data.signal=inf"), ("data.signal", "inf", "≤ 0.5")),
)

CONTRACTS = (
    Mistake(
        "a command where a model belongs",
        ("explain", *SMALL, *MINE),
        ("subprocess.Popen", "lacks fit, load"),
        text("conf/model/mine.yaml", "_target_: subprocess.Popen\nargs: [touch, mark]\n"),
    ),
    Mistake(
        "a command inside a model",
        ("explain", *SMALL, "model.alpha={_target_: subprocess.Popen, args: [touch, mark]}"),
        ("model.alpha", "subprocess.Popen"),
    ),
    Mistake(
        "a misspelt attribute of a model",
        run(*MINE),
        ("include_vaild", "did you mean `include_valid`?"),
        model_file(MODEL.replace("supports_weights = False", "supports_weights = False\n    include_vaild = True")),
    ),
    Mistake(
        "a property that is written as a method",
        run(*MINE),
        ("model.needs_valid", "a method"),
        model_file(MODEL.replace("    needs_valid = False\n", "    def needs_valid(self): return False\n")),
    ),
    Mistake(
        "a fit that returns nothing",
        run(*MINE),
        ("model.fit", "predict, save"),
        model_file(
            MODEL.replace("def fit(self, train, valid):\n        return Fitted()", "def fit(self, train, valid): ...")
        ),
    ),
    Mistake(
        "a constructor that refuses in its own words",
        run(*MINE),
        ("model", "ValueError: too shallow"),
        model_file(
            MODEL.replace(
                "    def fit(self, train",
                "    def __post_init__(self):\n        raise ValueError('too shallow')\n\n    def fit(self, train",
            )
        ),
    ),
)

PRICES = """qlib_init: {provider_uri: x}
port_analysis_config:
  strategy: {class: TopkDropoutStrategy}
  backtest: {exchange_kwargs: {deal_price: [open, close]}}
task:
  model: {class: LinearModel}
  dataset:
    kwargs:
      handler: {class: Alpha158}
      segments: {train: [2012, 2013], test: [2014, 2015]}
"""
WORKFLOWS = (
    Mistake(
        "two prices in a workflow", ("convert-qlib", "w.yaml"), ("w.yaml, line 4", "deal_price"), text("w.yaml", PRICES)
    ),
    Mistake(
        "a workflow that is a template",
        ("convert-qlib", "w.yaml"),
        ("w.yaml, line 1", "template"),
        text("w.yaml", PRICES.replace("provider_uri: x", 'provider_uri: "{{ x }}"')),
    ),
    Mistake(
        "a workflow of an unknown region",
        ("convert-qlib", "w.yaml"),
        ("region", "mars", "cn, us, tw"),
        text("w.yaml", PRICES.replace("provider_uri: x", "provider_uri: x, region: mars")),
    ),
    Mistake(
        "a workflow inside itself", ("convert-qlib", "w.yaml"), ("alias inside itself",), text("w.yaml", "a: &a [*a]")
    ),
)

CATALOGUE: tuple[Mistake, ...] = (
    *CONFIGURATION,
    *EXPRESSIONS,
    *DATES,
    *DATA,
    *ADDRESSES,
    *MODELS,
    *SNAPSHOTS,
    *OPTIONS,
    *PERMISSIONS,
    *COMMANDS,
    *SYNTAX,
    *CONTRACTS,
    *WORKFLOWS,
)

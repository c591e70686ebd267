"""Commands that run experiments, and tell how far they are and what they would do."""

from __future__ import annotations

from harness.cli import declaration as shared
from harness.cli.declaration import Command, flag, option

LISTED = {
    "run": "one experiment, or with -m every combination of values",
    "search": "hyper-parameters, on the validation period",
    "predict": "the newest scores, and the orders that follow from them",
    "status": "how far runs are, from another terminal",
    "config": "the composed configuration, what keys mean, schemas",
    "explain": "the windows of a configuration",
}
COMMANDS = (
    Command(
        "run",
        "run:run",
        """\
Run one experiment and leave its snapshot.

The past of each window is cut where its labels are no longer known (the purge), the model is fitted on it, and the
window's test segment is predicted. The predictions of all windows are judged together. Running the same command again
gives the same snapshot, byte for byte but for its provenance, and takes seconds: finished stages are reused.

examples:
  bench run data=cn_csi300 model=linear windows.step=20 label.horizon=20
  bench run model.alpha=1 windows=sliding windows.embargo=5
  bench run data=tabular data.path=my.parquet data.columns.time=date
  bench run --config-dir my_conf model=my_model
  bench run -m model=linear,lightgbm windows.step=20,40      sweeps every combination
  bench run -m hydra/launcher=joblib model=linear,lightgbm   the same, each cell in a process of its own
  bench run audit=sampled                                    and audits it: see `bench audit --help`

A cell of a sweep that a rule refuses (too little history, weights that the model cannot use) is reported and spoils
nothing, unless all are refused.""",
        (
            *shared.CONFIGURED,
            flag("-m --multirun", "sweep: run every combination of KEY=A,B,… values"),
            flag("--plan", "with -m: print the cells and stop"),
            option("--sort-by METRIC", "with -m: the metric that orders the table (default: rank_IC, or MAE)"),
            option("--reference CELL", "with -m: what others are tested against (default: the first rolling_retrain)"),
            *shared.HYDRA,
            shared.JSON,
        ),
        is_long=True,
        exits=f"0 fine, 1 a leak or a failed cell, 2 a mistake, or all cells are refused, {shared.INTERRUPTED}",
    ),
    Command(
        "search",
        "search:search",
        """\
Search hyper-parameters on the validation period, never on test. Optuna's TPE sampler chooses them; the command that
evaluates the best trial on the test range is printed, and never run.

Every trial is an ordinary run on a schedule that is moved back: it is tested on the configured valid segment, stops
early on the tail of train, and its data end before the first test decision. The last look-ahead periods of valid are
left out, because their labels reach into test. The same seed gives the same trials. The same command goes on where it
stopped: its finished runs are reused, with --storage also its trials. --trials counts all trials of a study.

With --batch N the trials are asked for N at a time, and executor=local or executor=dask runs them at the same time. The
trials depend on N, for those of a batch do not know how the others end, but never on the executor or its workers.

A search space is written in Hydra's grammar, in quotes:
  KEY=interval(0.1,1)     KEY=int(interval(1,9))     KEY=tag(log,interval(1e-3,100))
  KEY=range(10,100,10)    KEY=choice(a,b)

examples:
  bench search 'model.alpha=tag(log,interval(0.001,1000))' --trials 20
  bench search data=cn_csi300 model=lightgbm 'model.num_leaves=int(interval(15,255))' \\
      'model.learning_rate=tag(log,interval(0.01,0.3))' --trials 30 --storage search.db
  bench search executor=local 'model.alpha=tag(log,interval(0.001,1000))' --trials 24 --batch 4
  bench search evaluation=portfolio 'windows.step=choice(20,40,60)' --metric information_ratio --trials 6""",
        (
            *shared.CONFIGURED,
            option("--trials N", "how many trials", 20, type=int),
            option("--metric", "what is searched for", "rank_IC"),
            option("--direction", "of the metric (default: as it is known)", choices=("minimize", "maximize")),
            option("--seed S", "of the sampler", 43, type=int),
            option("--batch N", "how many trials are asked for, and run, together", 1, type=int),
            option("--storage FILE", "a SQLite file that keeps the trials, to resume"),
            shared.JSON,
        ),
        exits=f"0 a best trial is found, 1 a trial crashed, 2 a mistake, or no trial has a value, {shared.INTERRUPTED}",
    ),
    Command(
        "predict",
        "predict:predict",
        """\
Print the newest scores: those of the last time that there are data of, whose label nobody knows yet; with a portfolio
the orders that follow from them, for the next time. Runs the configuration, or finds in the store what has been run.

examples:
  bench predict data=tabular data.path=prices.parquet 'windows.train=[2010,2018]' 'windows.test=[2019-01-02,null]'
  bench predict evaluation=portfolio evaluation.portfolio.topk=10 evaluation.portfolio.n_drop=1 --top 10
  bench predict data=cn_csi300 'windows.test=[2017-01-03,null]' --json""",
        (
            *shared.CONFIGURED,
            option("--top N", "how many of the best scores are printed", 20, type=int),
            shared.JSON,
        ),
        is_long=True,
    ),
    Command(
        "status",
        "status:status",
        """\
Print how far runs and sweeps are that other processes run, or ran, on a store: cells and windows that wait, run, are
done, were refused, failed, or were stopped with their process, and how long the rest will take. It tells a sweep that
was killed from one that goes on; the same command finishes either. The last ten that have ended are kept.

examples:
  bench status
  bench status --watch                         again every two seconds, until nothing runs any more
  bench status --store /scratch/store --json""",
        (
            flag("--watch", "print it again every two seconds while something runs"),
            option("--store FOLDER", "the artifact store (default: output.store)"),
            shared.JSON,
        ),
    ),
    Command(
        "config",
        "explain:config",
        """\
Print the configuration that a command would run with, what its keys mean, or a JSON Schema of configuration files.

With a schema an editor completes keys, shows what they mean and marks mistakes while a YAML file is written:
`bench config --schema model > model.schema.json`, and as first line of the file
`# yaml-language-server: $schema=model.schema.json`.

examples:
  bench config model=lightgbm windows.step=40         the composed configuration, as YAML
  bench config --describe model model=lightgbm        each key below `model`: value, what it accepts, what it means
  bench config --schema model                         for FOLDER/model/NAME.yaml
  bench config --schema                               for files that change several groups, such as experiments""",
        (*shared.CONFIGURED, flag("--json", "print the configuration or the description as JSON")),
        exclusive=(
            option("--describe KEY", "value, accepted values and meaning of all keys (below KEY)", nargs="?", const=""),
            option("--schema GROUP", "JSON Schema of a group's files (or experiments)", nargs="?", const="experiment"),
        ),
    ),
    Command(
        "explain",
        "explain:explain",
        """\
Print the windows of a configuration without running anything: dates, purge and rows. What `bench run` would refuse for
its data or its evaluation is refused.

examples:
  bench explain data=cn_csi300 windows.step=20
  bench explain label.horizon=5 windows=sliding""",
        (*shared.CONFIGURED, shared.JSON),
    ),
)

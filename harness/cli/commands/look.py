"""Commands that look at results: reports, tables, histories, collections, tracking."""

from __future__ import annotations

from harness.cli import declaration as shared
from harness.cli.declaration import Command, flag, option

LISTED = {
    "report": "one HTML file about sweeps and runs",
    "leaderboard": "print or export the table",
    "log": "versions of baselines, and runs",
    "collect": "find runs, merge windows, make ensembles",
    "track": "send runs to MLflow",
}
COMMANDS = (
    Command(
        "report",
        "report:report",
        """\
Write one HTML file about sweeps and runs: leaderboard with intervals and tests, returns, ICs, windows, learned weights,
provenance. It holds everything it needs and works offline; it can be mailed and printed. Of two runs or blessed
versions the metrics stand side by side, with all that differs between them.

examples:
  bench report
  bench report runs/my-run-0123456789ab smoke/linear@v2
  bench report runs/sweep-0123456789ab --out sweep.html --reference "adaptation=rolling_retrain"
  bench report runs/synthetic.* --out all.html --title "All runs on the simulated market"
""",
        (
            option(
                "folders FOLDER",
                "of a sweep or a run, or a blessed version, SUITE/CASE@vN (default: the newest sweep under runs, or all"
                " runs)",
                nargs="*",
            ),
            option("--out FILE", "the file to write", "report.html"),
            shared.REFERENCE,
            shared.RESULTS,
            option("--store FOLDER", "the artifact store, for versions and groups (default: output.store)"),
            option("--title", "the heading", "driftbench report"),
        ),
    ),
    Command(
        "leaderboard",
        "report:leaderboard",
        """\
Print or export the leaderboard of sweeps and runs: the best first, each metric with its interval, ▲ ▼ where it is
better or worse than the reference. Numbers in CSV and JSON have full precision.

examples:
  bench leaderboard
  bench leaderboard runs/sweep-0123456789ab --sort-by IC --reference "adaptation=rolling_retrain"
  bench leaderboard --format latex --out table.tex
  bench leaderboard --json""",
        (
            shared.FOLDERS,
            option("--sort-by METRIC", "orders the rows, or MAE without it", "rank_IC"),
            shared.REFERENCE,
            option("--format", "what to write", "table", choices=("table", "markdown", "latex", "csv", "json")),
            flag("--json", "the same as --format json", action="store_const", const="json", dest="format"),
            option("--out FILE", "write the export into a file instead of printing it"),
        ),
    ),
    Command(
        "log",
        "history:log",
        """\
Print the versions of baselines, the newest first: when, by which code, what changed, and why. Every file is checked on
the way: one that was edited, renamed or taken away is reported.

examples:
  bench log                    every case
  bench log smoke/linear       one case
  bench log smoke --json
  bench log --runs default/linear    what lies in runs/: by which code, yours too, and with which numbers""",
        (
            option("targets TARGET", "suites or cases (default: all)", nargs="*"),
            shared.RESULTS,
            flag("--runs", "the runs of the cases instead of their baselines"),
            option("--runs-folder FOLDER", "with --runs: where they lie", "runs"),
            shared.JSON,
        ),
    ),
    Command(
        "collect",
        "collect:collect",
        """\
Find finished runs by their configuration, merge their windows, average their predictions into an ensemble. Without
--merge and --average the runs are listed. What is made is judged by the members' criteria and left as a run: `bench
report`, `leaderboard`, `diff`, `bless` and `check` take its folder like any other.

  --where KEY=VALUE    any key of the configuration (model.alpha=1,10), a group by its class or as it was typed
                       (model=lightgbm), suite, case, look_ahead or data; several must all be met
  --merge              runs that differ in nothing but their windows become one; where they overlap, the later wins
  --average SCALE      the mean over the runs of their scores, of their z-scores or of their ranks at each time

Runs of other data, labels, criteria or test ranges are not averaged, nor is a run that an audit has found to leak; the
message names what differs.

examples:
  bench collect --where windows.step=20 --where model=linear,lightgbm
  bench collect --where label.horizon=20 --average zscore --case my_ensemble
  bench collect runs/sweep-0123456789ab --average rank
  bench collect --where seed=43 --merge""",
        (
            option("folders FOLDER", "of a sweep or a run (default: all runs under runs)", nargs="*"),
            option("--where KEY=VALUE", "only runs of this setting; may be given again", [], action="append"),
            flag("--merge", "put runs together that differ in their windows"),
            option("--average SCALE", "average the predictions", choices=("score", "zscore", "rank")),
            option("--case NAME", "what is made is called so (default: ensemble.SCALE, or the case that was merged)"),
            shared.JSON,
        ),
    ),
    Command(
        "track push",
        "integrations:push",
        """\
Send runs and sweeps to MLflow that it does not hold yet: those of before, and those that were made while the server was
down. A sweep becomes a parent run, its cells child runs. What is there already is not sent twice.

examples:
  bench track push
  bench track push runs/sweep-0123456789ab --uri http://127.0.0.1:5000 --experiment drift""",
        (
            option("folders FOLDER", "of a sweep or a run (default: all sweeps under runs, all other runs)", nargs="*"),
            option("--uri", "of the server or database (default: MLFLOW_TRACKING_URI, or mlflow.db beside the runs)"),
            option("--experiment NAME", "MLflow's experiment", "driftbench"),
            shared.JSON,
        ),
        exits="0 everything is there, 1 something could not be sent, 2 a mistake in the command or the folders",
    ),
)

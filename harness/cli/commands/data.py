"""Commands that look after data and stored results."""

from __future__ import annotations

from harness.cli import declaration as shared
from harness.cli.declaration import Command, flag, option

LISTED = {
    "data": "look at, check, convert, export market data",
    "cache": "look after the artifact store",
}
COMMANDS = (
    Command(
        "data info",
        "explain:data_info",
        """\
Print what a panel holds: fields, dates, instruments, members a day, missing values, fingerprint.

examples:
  bench data info data=cn_csi300
  bench data info data=tabular data.path=my.parquet --json""",
        (*shared.CONFIGURED, shared.JSON),
    ),
    Command(
        "data validate",
        "explain:data_validate",
        """\
Check a panel and list what looks wrong. What breaks its contract is an error (exit code 2), the rest is counted.

examples:
  bench data validate data=cn_csi300
  bench data validate data=qlib_bin data.path=qlib_data/cn_data""",
        (*shared.CONFIGURED, shared.JSON),
    ),
    Command(
        "data convert",
        "explain:data_convert",
        """\
Write a panel as long Parquet with a membership file, or in qlib's directory format.

examples:
  bench data convert data=cn_csi300 --to qlib_bin --out qlib_data --universe csi300
  bench data convert data=qlib_bin data.path=qlib_data --to long --out my_panel""",
        (
            *shared.CONFIGURED,
            option("--to", "the format to write", choices=("long", "qlib_bin"), required=True),
            option("--out FOLDER", "a new folder for the result", required=True),
            option("--universe NAME", "name of the membership file", "universe"),
        ),
    ),
    Command(
        "data window",
        "explain:data_window",
        """\
Write the data of one window as its model gets them, as Parquet: processed as of its decision. train.parquet and, where
the model stops early, valid.parquet hold features and label of what is learned from; test.parquet the processed
features that are predicted from, and the raw label that predictions are judged by. Only processors are fitted.

examples:
  bench data window 0 data=cn_csi300 --out window_0
  bench data window 12 model=lightgbm preprocess.refit=per_window --out window_12""",
        (
            option("window N", "number of the window, from 0: see `bench explain`", type=int),
            *shared.CONFIGURED,
            option("--out FOLDER", "a new folder for the files", required=True),
            shared.JSON,
        ),
    ),
    Command(
        "cache status",
        "cache:status",
        """\
Print what the artifact store holds: results, size and age by stage. With overrides, only what that experiment uses.

examples:
  bench cache status
  bench cache status data=cn_csi300 model=lightgbm --json""",
        (*shared.CONFIGURED, shared.STAGE, shared.JSON),
    ),
    Command(
        "cache verify",
        "cache:verify",
        """\
Hold every file of the store against its checksum. A damaged result is listed; it would be computed again.

examples:
  bench cache verify
  bench cache verify --stage window --remove""",
        (*shared.CONFIGURED, flag("--remove", "remove what is damaged"), shared.STAGE, shared.JSON),
        exits="0 all sound, 1 something is damaged, 2 a mistake in the command",
    ),
    Command(
        "cache gc",
        "cache:collect",
        """\
Remove results that meet every condition, oldest first, and what killed processes have left. Nothing is lost but time:
whatever is needed again is computed again, to the same bits. What a running process uses stays. Without --yes it only
says what would go.

examples:
  bench cache gc --older-than 30 --yes
  bench cache gc --keep-gb 20 --yes
  bench cache gc --stage window --stage processed --yes
  bench cache gc data=cn_csi300 model=lightgbm --yes            what this experiment uses""",
        (
            *shared.CONFIGURED,
            option("--older-than DAYS", "only results of this age", type=float),
            option("--keep-gb GB", "only until the store is no larger than this", type=float),
            shared.STAGE,
            shared.DO_IT,
        ),
    ),
    Command(
        "cache reset",
        "cache:reset",
        """\
Remove the whole store, unless a running process uses it. Runs and blessed snapshots stand elsewhere, untouched.

examples:
  bench cache reset --yes
  bench cache reset output.store=/scratch/store --yes""",
        (*shared.CONFIGURED, shared.DO_IT),
    ),
)

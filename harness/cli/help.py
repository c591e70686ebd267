"""The texts that teach the command line."""

from __future__ import annotations

from harness.config import config_folder

__all__ = ["DATA_HELP", "EXPLAIN_HELP", "MAIN_HELP", "RUN_HELP", "config_groups"]

MAIN_HELP = """\
Walk-forward forecasting under concept drift: run it, leave a snapshot, trust the number.

  bench run                           the main job on a simulated market
  bench run data=cn_csi300            the same on real prices
  bench explain windows.step=40       which windows would be walked
  bench COMMAND --help                teaches a command"""

RUN_HELP = """\
Run one experiment and leave its snapshot.

The past of each window is cut where its labels are no longer known (the purge), the model is fitted on it, and the
window's test segment is predicted. The predictions of all windows are judged together. Running the same command again
gives the same snapshot, byte for byte but for its provenance, and takes seconds: finished stages are reused.

examples:
  bench run data=cn_csi300 model=linear windows.step=20 label.horizon=20
  bench run model.alpha=1 windows=sliding windows.embargo=5
  bench run data=tabular data.path=my.parquet data.columns.time=date
  bench run --config-dir my_conf model=my_model

exit codes: 0 fine, 2 a mistake in the command or the data, 130 interrupted"""

EXPLAIN_HELP = """\
Print every window of a configuration: dates, purge and rows, without computing a feature or fitting anything.

examples:
  bench explain data=cn_csi300 windows.step=20
  bench explain label.horizon=5 windows=sliding"""

DATA_HELP = {
    "info": """\
Print what a panel holds: fields, dates, instruments, members a day, missing values, fingerprint.

examples:
  bench data info data=cn_csi300
  bench data info data=tabular data.path=my.parquet --json""",
    "validate": """\
Check a panel. What breaks its contract is an error (exit code 2); what merely looks odd is listed and counted.

examples:
  bench data validate data=cn_csi300
  bench data validate data=qlib_bin data.path=qlib_data/cn_data""",
    "convert": """\
Write a panel as long Parquet with a membership file, or in qlib's directory format.

examples:
  bench data convert data=cn_csi300 --to qlib_bin --out qlib_data --universe csi300
  bench data convert data=qlib_bin data.path=qlib_data --to long --out my_panel""",
}


def config_groups() -> str:
    """Return the configuration groups with their choices, as help text."""
    root = config_folder()
    lines = ["configuration groups (GROUP=CHOICE, or GROUP.KEY=VALUE for one value; `bench run --cfg` shows all keys):"]
    for folder in sorted(p for p in root.iterdir() if p.is_dir()):
        choices = sorted(p.stem for p in folder.glob("*.yaml"))
        if choices:
            lines.append(f"  {folder.name:<12} {' | '.join(choices)}")
    return "\n".join(lines)

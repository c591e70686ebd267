"""One self-contained HTML file: tables written out, figures as data for the script that travels with them."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from harness.config.reference import reference_results
from harness.errors.extras import missing_extra
from harness.evaluation.metrics import METRICS
from harness.report import cells
from harness.report.comparison import scorecard, side_by_side
from harness.report.figures.plot import Variant
from harness.report.reproduction import reproduce
from harness.report.sections import SECTIONS, figures_of, tables_of
from harness.report.table import Table, rank_of
from harness.run.sweep_columns import caption, cell_notes
from harness.store.files import write_atomically


def write_report(report: cells.Report, path: Path, *, title: str = "driftbench report") -> Path:
    """Write the report atomically and return its path."""
    write_atomically(path, render(report, title=title).encode())
    return path


def render(report: cells.Report, *, title: str = "driftbench report") -> str:
    """Return the report as HTML that needs no other file and no network.

    Every text that comes from data or configuration is escaped, and a content security policy lets no script run but
    the three that are written here.

    Raises:
        ConfigError: When Jinja2 is not installed.
    """
    try:
        from jinja2 import Environment, StrictUndefined
        from markupsafe import Markup
    except ImportError as error:
        raise missing_extra("A report", "report") from error
    figures, tables = figures_of(report), tables_of(report)
    # Of Plotly what draws lines, bars and heat maps; its licence asks to travel with it.
    plotly = f"/*\n{_file('plotly-LICENSE.txt')}*/\n{_file('plotly-cartesian.min.js')}"
    script = _file("script.js")
    payload = script_json(_payload(report, figures, tables))
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    statistics = cells.compare(report)
    text: str = environment.from_string(_file("page.html.j2")).render(
        title=title,
        report=report,
        leaderboard=cells.leaderboard_rows(report, statistics),
        statistics=None if statistics is None else caption(statistics).splitlines(),
        notes=cell_notes((cell.name, cell.notes) for cell in report.cells),
        pair=side_by_side(report, statistics),
        scorecard=scorecard(report, statistics),
        stability=None if statistics is None else cells.stability_table(statistics),
        summary=_summary(report),
        sections=[section for section in SECTIONS if section.key in figures or section.key in tables],
        figures=figures,
        tables=tables,
        options={key: list(enumerate(variant.label for variant in variants)) for key, variants in figures.items()}
        | {key: [(at, report.cells[at].name) for at in of_cells] for key, of_cells in tables.items()},
        reproductions=reproduce(report.cells, reference_results()),
        audits=cells.audit_tables(report),
        provenance=[(cell.name, cells.provenance(cell)) for cell in report.cells],
        style=Markup(_file("style.css")),
        plotly=Markup(plotly),
        script=Markup(script),
        payload=Markup(payload),
        policy=_policy(plotly, script, payload),
    )
    return text


def script_json(value: object) -> str:
    """Return JSON that can stand in a script element: no character in it can end the element or open a comment."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _payload(
    report: cells.Report, figures: Mapping[str, Sequence[Variant]], tables: Mapping[str, Mapping[int, Table]]
) -> dict[str, Any]:
    shared: dict[tuple[str, ...], int] = {}
    records = [
        {
            "key": key,
            "variants": [
                {**vars(v), "traces": [_with_shared_axes(trace, shared) for trace in v.traces]} for v in variants
            ],
        }
        for key, variants in figures.items()
    ]
    return {
        "cells": [cell.name for cell in report.cells],
        "shared": [list(texts) for texts in shared],
        "figures": records,
        "tables": {
            key: {
                at: {
                    "caption": table.caption,
                    "heads": [[column.heading, column.numeric] for column in table.columns],
                    "rows": [[[cell.text, cell.value] for cell in row] for row in table.rows],
                }
                for at, table in of_cells.items()
            }
            for key, of_cells in tables.items()
        },
    }


def _with_shared_axes(trace: Mapping[str, Any], shared: dict[tuple[str, ...], int]) -> dict[str, Any]:
    """Return a trace whose texts along the axes stand once on the page, however many traces have them."""
    return {
        key: {"shared": shared.setdefault(tuple(value), len(shared))}
        if key in ("x", "y") and isinstance(value, list) and value and all(isinstance(text, str) for text in value)
        else value
        for key, value in trace.items()
    }


def _summary(report: cells.Report) -> Mapping[str, Any]:
    shown, metric = report.cells, METRICS[report.metric]
    best = min(shown, key=lambda c: rank_of(metric, c.overall.get(metric.name)))
    times = np.concatenate([cell.series.times for cell in shown])
    period = f"{str(times.min())[:10]} … {str(times.max())[:10]}" if times.size else "not in the store"
    return {
        "data": ", ".join(dict.fromkeys(str(cell.snapshot.identity["data"]["name"]) for cell in shown)),
        "period": period,
        "metric": metric.heading,
        "best": f"{metric.text(best.overall.get(metric.name))}, {best.name}",
        "times": max(cell.series.times.size for cell in shown),
    }


def _policy(*scripts: str) -> str:
    """Return a content security policy under which exactly these scripts run and nothing is loaded."""
    digests = [base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in scripts]
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:; form-action 'none'"
    )


def _file(name: str) -> str:
    return resources.files("harness.report").joinpath("template", name).read_text(encoding="utf-8")

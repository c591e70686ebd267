"""The sections of a report between its leaderboard and its audit, in their order: a new one is one more record."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from harness.report.cells import Report, windows_table
from harness.report.figures import adaptation, errors, portfolio, signal, sweep
from harness.report.figures.plot import Figure, Variant
from harness.report.table import Table
from harness.report.trades import holdings_table, orders_table, trades_table
from harness.run.finished import FinishedRun


@dataclass(frozen=True)
class CellTable:
    """A section of the page with one table per cell that the reader switches between."""

    key: str  # of its section, for links
    title: str
    note: str  # how to read it
    make: Callable[[FinishedRun], Table | None]  # None where the cell has no data for it


SECTIONS: tuple[Figure | CellTable, ...] = (
    sweep.DIFFERENCE,
    *portfolio.FIGURES,
    CellTable(
        "drawdowns",
        "Drawdowns",
        "Start: the first time below the highest point so far; periods: until it is reached again, or the end.",
        portfolio.drawdowns,
    ),
    CellTable(
        "trades",
        "Trades and capacity",
        "Exposure: holdings as a share of the account, gross with what is short added, net with it subtracted. A day's "
        "trading: the mean of price times volume over the 20 periods up to the signal. Capacity: the account at the "
        "start with which 95 % of the orders would have stayed below a tenth of it.",
        trades_table,
    ),
    CellTable("orders", "Last orders", "All are in orders.parquet of the run's folder.", orders_table),
    CellTable(
        "holdings",
        "Last holdings",
        "Weight: share of the account; negative: short. All are in positions.parquet of the run's folder.",
        holdings_table,
    ),
    *signal.FIGURES,
    *errors.FIGURES,
    *sweep.FIGURES,
    CellTable("windows", "Windows", "", windows_table),
    *adaptation.FIGURES,
)


def figures_of(report: Report) -> dict[str, list[Variant]]:
    """Return key → plots of every figure that the cells have data for."""
    made = ((figure.key, list(figure.draw(report))) for figure in SECTIONS if isinstance(figure, Figure))
    return {key: variants for key, variants in made if variants}


def tables_of(report: Report) -> dict[str, dict[int, Table]]:
    """Return key → index of a cell → table, of every table that some cell has data for."""
    made = {
        section.key: {at: table for at, cell in enumerate(report.cells) if (table := section.make(cell)) is not None}
        for section in SECTIONS
        if isinstance(section, CellTable)
    }
    return {key: tables for key, tables in made.items() if tables}

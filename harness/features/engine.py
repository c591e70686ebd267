"""Features of a panel: expressions in, a row-major sample matrix out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial

import numba
import numpy as np
import numpy.typing as npt

from harness.data.panel import Panel
from harness.errors import DataError, closest
from harness.execution.progress import Observer
from harness.features.evaluate import Chunk, Market, evaluate, evaluate_masks
from harness.features.expression import Expression, fields_of
from harness.features.feature_set import FeatureSet
from harness.features.graph import Plan, build_plan, first_times
from harness.features.kernels.order import compact, scatter
from harness.features.parser import parse

Floats = npt.NDArray[np.float32]

# Fields that a market is expected to have; a panel that lacks one has it NaN everywhere.
MARKET_FIELDS = ("open", "high", "low", "close", "volume", "vwap", "amount", "factor", "change")
STAGE = "features"


@dataclass(frozen=True, eq=False)
class FeatureMatrix:
    """Features of every row; n rows, F' features.

    Attributes:
        values: (n, F') float32, C-contiguous.
        names: The F' names that have at least one value.
        dropped: The names that are NaN in every row, left out.
    """

    values: Floats
    names: tuple[str, ...]
    dropped: tuple[str, ...]


def check_fields(panel: Panel, asked_for: Mapping[str, Expression]) -> None:
    """Refuse expressions that somebody has written himself and that read a field which the panel does not have.

    Args:
        panel: The market.
        asked_for: Where an expression stands in the configuration → the expression.

    Raises:
        DataError: Names the first such expression, the field, and the fields that there are.
    """
    for where, expression in asked_for.items():
        for field in sorted(fields_of(expression) - set(panel.fields)):
            hint = None
            if where == "label":
                near = closest(field, panel.fields)
                hint = (
                    f"{f'{near} ' if near else ''}'label.price=${panel.price_field}' takes the return of a field that "
                    "there is; 'label.expression=…' is any other label"
                )
            raise _absent(panel, field, where, str(expression), hint)


def compute_features(
    panel: Panel,
    features: FeatureSet,
    offsets: npt.NDArray[np.int64],
    codes: npt.NDArray[np.int32],
    *,
    out: Floats | None = None,
    observer: Observer | None = None,
) -> FeatureMatrix:
    """Compute all features at all rows.

    Args:
        panel: The market; T times, N instruments.
        features: The F features; none looks ahead.
        offsets: (T + 1,) rows ``offsets[t] … offsets[t + 1]`` belong to time t; n = ``offsets[T]``.
        codes: (n,) the instrument's column in the panel.
        out: (n, F) float32 C-contiguous buffer to compute into, such as a memory map. The result is a contiguous (n,
            F') view of its beginning.
        observer: Told about progress, in instruments, and about features that are dropped.

    Raises:
        DataError: When a feature reads a field that neither the panel nor a market has, when `out` has the wrong shape,
            or when every feature is NaN everywhere.
    """
    n = int(offsets[-1])
    market, plan = _prepare(panel, features.parsed())
    computed = tuple(name for name, nothing in zip(features.names, plan.hopeless, strict=True) if not nothing)
    flat = _buffer(out, n, len(features), len(computed))
    values = flat.reshape(n, len(computed))
    rows = _row_of(offsets, codes, panel)
    known = np.zeros(len(computed), dtype=np.bool_)

    def sink(chunk: Chunk, block: Floats) -> None:
        seen = np.zeros(len(computed), dtype=np.bool_)
        scatter(block, rows[chunk.first : chunk.stop], values, seen)
        known[seen] = True

    if observer is not None:
        observer.start(STAGE, len(panel.instruments))
    for chunk in evaluate(plan, market, sink, _threads()):
        if observer is not None:
            observer.advance(STAGE, chunk.stop - chunk.first)
    names = tuple(name for name, is_known in zip(computed, known, strict=True) if is_known)
    dropped = tuple(name for name in features.names if name not in set(names))
    if not names:
        raise DataError("Every feature is NaN in every row.", where="features", got=", ".join(features.names[:5]))
    if len(names) < len(computed):
        compact(flat, len(computed), np.flatnonzero(known))
        values = flat[: n * len(names)].reshape(n, len(names))
    if observer is not None:
        if dropped:
            observer.notice(f"{len(dropped)} feature(s) dropped, NaN in every row: {', '.join(dropped)}")
        observer.finish(STAGE, f"{len(names)} features of {n} rows")
    return FeatureMatrix(values, names, dropped)


def compute_expression(panel: Panel, text: str) -> Floats:
    """Compute one expression, which may look ahead, such as a label.

    Returns:
        (T, N) float32, NaN before the series begins: until the fields that it reads have their first values.

    Raises:
        ConfigError: When the text is not an expression.
        DataError: When it reads a field that the panel does not have.
    """
    market, plan = _prepare(panel, (parse(text),))
    values = np.full((len(panel.calendar), len(panel.instruments)), np.nan, dtype=np.float32)

    def sink(chunk: Chunk, block: Floats) -> None:
        values[:, chunk.first : chunk.stop] = block[0].T

    if not plan.hopeless[0]:
        for _ in evaluate(plan, market, sink, _threads()):
            pass
    return values


def _prepare(panel: Panel, expressions: Iterable[Expression]) -> tuple[Market, Plan]:
    """Return what the expressions read and how to compute them."""
    expressions = tuple(expressions)
    fields = {name: _field(panel, name) for name in sorted(frozenset().union(*map(fields_of, expressions)))}
    plan = build_plan(expressions, frozenset(name for name, values in fields.items() if values is None))
    position = partial(_position, panel)
    starts = first_times(plan.nodes, {name: _start(panel, values) for name, values in fields.items()}, position)
    market = Market(fields, len(panel.instruments), starts, len(panel.calendar))
    return evaluate_masks(plan, market, position), plan


def _field(panel: Panel, name: str) -> Floats | None:
    """Return a field of the panel, or None when it is NaN everywhere."""
    values = panel.fields.get(name)
    if values is not None:
        return None if np.isnan(values).all() else values
    if name in MARKET_FIELDS:
        return None
    raise _absent(panel, name, f"panel `{panel.name}`", f"${name}")


def _absent(panel: Panel, field: str, where: str, got: str, hint: str | None = None) -> DataError:
    return DataError(
        f"The panel has no field `${field}`.",
        where=where,
        got=got,
        expected=f"one of {', '.join(f'${name}' for name in panel.fields)}",
        hint=hint or closest(field, panel.fields) or "a source reads further fields where its configuration names them",
    )


def _start(panel: Panel, values: Floats | None) -> npt.NDArray[np.int64]:
    """Return where each instrument's series of a field begins: its first value; T when it has none."""
    times, instruments = len(panel.calendar), len(panel.instruments)
    if values is None:
        return np.full(instruments, times, dtype=np.int64)
    present = ~np.isnan(values)
    return np.where(present.any(axis=0), present.argmax(axis=0), times).astype(np.int64)


def _position(panel: Panel, code: str) -> int:
    if code in panel.instruments:
        return panel.instruments.index(code)
    known = {instrument.upper(): at for at, instrument in enumerate(panel.instruments)}
    alike = [instrument for instrument in panel.instruments if instrument.upper() == code.upper()]
    if len(alike) > 1:
        raise DataError(
            f"`Mask` reads `{code}`, and the panel has {len(alike)} instruments that differ from it in case alone.",
            where=f"panel `{panel.name}`",
            got=code,
            expected=f"one of {', '.join(alike)}, as it is written there",
        )
    if not alike:
        raise DataError(
            f"The panel has no instrument `{code}`, which `Mask` reads.",
            where=f"panel `{panel.name}`",
            got=code,
            hint=closest(code.upper(), known),
        )
    return known[alike[0].upper()]


def _row_of(offsets: npt.NDArray[np.int64], codes: npt.NDArray[np.int32], panel: Panel) -> npt.NDArray[np.int64]:
    """Return (N, T) int64, the row of each instrument and time, −1 where there is none."""
    times = np.repeat(np.arange(len(panel.calendar)), np.diff(offsets))
    rows = np.full((len(panel.instruments), len(panel.calendar)), -1, dtype=np.int64)
    rows[codes, times] = np.arange(len(codes))
    return rows


def _buffer(out: Floats | None, n: int, features: int, computed: int) -> Floats:
    """Return a flat buffer for (n, computed) values: the beginning of `out`, or new memory."""
    if out is None:
        return np.empty(n * computed, dtype=np.float32)
    if out.shape != (n, features) or out.dtype != np.float32 or not out.flags.c_contiguous:
        raise DataError(
            "The buffer for features does not fit.",
            where="out",
            got=f"{out.dtype} {out.shape}",
            expected=f"C-contiguous float32 {(n, features)}",
        )
    return np.asarray(out).reshape(-1)[: n * computed]


def _threads() -> int:
    """Return Numba's thread count, which follows NUMBA_NUM_THREADS and the CPUs of this process."""
    return int(numba.config.NUMBA_NUM_THREADS)  # type: ignore[attr-defined]

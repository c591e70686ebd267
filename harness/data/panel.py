"""The panel: dense times × instruments arrays per field, with point-in-time membership of a universe."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.data.calendar import Calendar
from harness.data.codes import check_codes
from harness.errors import DataError, LookAheadError
from harness.store.codec import load, save
from harness.store.fingerprint import fingerprint_arrays

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

_PANEL, _FINGERPRINT = "panel", "fingerprint"
FINGERPRINT_FILE = f"{_FINGERPRINT}.json"
"""Of a stored panel."""
ALWAYS = 2**31 - 1
"""How far ahead a field of the calendar is known, in periods: of every time that there is."""


@dataclass(frozen=True, eq=False)
class Benchmark:
    """An index to compare portfolios with.

    Attributes:
        name: Its code, such as ``SH000300``.
        close: (T,) float32 closing level at each calendar time; NaN where it is not quoted.
    """

    name: str
    close: Floats


@dataclass(frozen=True, eq=False)
class Truth:
    """What a simulator knows: the conditional expectation of future returns, given the state at each time.

    The expected simple return of step t+k (from the close of t+k-1 to that of t+k) beyond what all instruments share,
    given everything at t, is Σ_j premia[t, k-1, j] · decay[j]^(k-1) · exposures[j, t, i]. It is exact for each step and
    so for sums of steps; for the compounded return of several steps it leaves out products of expected returns.

    Attributes:
        exposures: (J, T, N) float32, each instrument's exposure to factor j at time t.
        decay: (J,) float64, persistence of an exposure per step.
        premia: (T, K, J) float64, expected premium of factor j in step t+k given t, for k = 1 … K.
    """

    exposures: Floats
    decay: Doubles
    premia: Doubles

    def expected_return(self, first: int, last: int) -> Floats:
        """Return (T, N) float32, the expected sum of returns from the close of t+first-1 to the close of t+last.

        The label ``Ref($close, -21) / Ref($close, -1) - 1`` covers the steps 2 … 21.

        Raises:
            DataError: When the premia are not known that many steps ahead.
        """
        known = self.premia.shape[1]
        if not 1 <= first <= last <= known:
            what, got = "The simulator does not know expectations that far ahead.", f"steps {first} … {last}"
            raise DataError(what, got=got, expected=f"steps within 1 … {known}")
        total = np.zeros(self.exposures.shape[1:], dtype=np.float64)  # (T, N)
        for j, decay in enumerate(self.decay):
            steps = np.arange(first, last + 1)
            loading = self.premia[:, first - 1 : last, j] @ decay ** (steps - 1)  # (T,)
            total += loading[:, None] * self.exposures[j]
        return total.astype(np.float32)


def _unsigned_zeros(values: Floats) -> Floats:
    """Return values without −0.0: 1 / x tells it from 0.0, and the keys of results do not."""
    negative = values.view(np.int32) == np.iinfo(np.int32).min
    if not negative.any():
        return values
    found = np.where(negative, np.float32(0.0), values)
    found.setflags(write=False)
    return found


@dataclass(frozen=True, eq=False)
class Panel:
    """Market data as dense arrays; T times, N instruments.

    Attributes:
        calendar: The T times.
        instruments: The N codes, sorted.
        fields: name → (T, N) float32 C-contiguous, NaN where not traded; −0.0 is 0.0, as it is to fingerprints.
        membership: (T, N) bool: is the instrument in the universe at that time (as known at that time).
        benchmark: An index, if there is one.
        truth: The simulator's conditional expectation, if the panel is simulated.
        price_field: The field whose presence says that an instrument traded.
        known_ahead: Field → how many periods before its time its value is known, as a weather forecast is; all others
            are observed, that is known at their time. The price field is always observed.

    Raises:
        DataError: When shapes, dtypes or order disagree, or a code cannot be kept as it is.
        LookAheadError: When what is declared to be known ahead is no field, or the price field.
    """

    calendar: Calendar
    instruments: tuple[str, ...]
    fields: Mapping[str, Floats]
    membership: Bools
    benchmark: Benchmark | None = None
    truth: Truth | None = None
    price_field: str = "close"
    name: str = field(default="panel")
    known_ahead: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        shape = (len(self.calendar), len(self.instruments))
        check_codes(self.instruments, where="the instruments of the panel")
        if list(self.instruments) != sorted(set(self.instruments)):
            raise DataError("Instruments must be sorted and unique.", where="panel.instruments")
        if self.price_field not in self.fields:
            what, expected = "The panel lacks its price field.", f"one of {sorted(self.fields)}"
            raise DataError(what, where="panel.price_field", got=self.price_field, expected=expected)
        arrays = [(f"fields[{name!r}]", values, np.dtype(np.float32)) for name, values in self.fields.items()]
        for name, values, dtype in [*arrays, ("membership", self.membership, np.dtype(bool))]:
            if values.shape != shape or values.dtype != dtype:
                what, got = "A panel array has the wrong shape or dtype.", f"{values.dtype} {values.shape}"
                raise DataError(what, where=f"panel.{name}", got=got, expected=f"{dtype} {shape}")
            values.setflags(write=False)
        if self.benchmark is not None and self.benchmark.close.shape != shape[:1]:
            raise DataError("The benchmark must have one value per time.", got=self.benchmark.close.shape)
        for name in self.known_ahead:
            if name not in self.fields or name == self.price_field:
                what, expected = "This cannot be known ahead.", "a field, but not the one that says what has a row"
                raise LookAheadError(what, where="panel.known_ahead", got=name, expected=expected)
        fields = {name: _unsigned_zeros(values) for name, values in sorted(self.fields.items())}
        object.__setattr__(self, "fields", MappingProxyType(fields))

    @cached_property
    def traded(self) -> Bools:
        """(T, N) bool: does the instrument have a price at that time."""
        return ~np.isnan(self.fields[self.price_field])

    @cached_property
    def begins(self) -> Mapping[str, npt.NDArray[np.int64]]:
        """Field → (N,) calendar position of each instrument's first value, T where it has none."""
        known = {name: ~np.isnan(values) for name, values in self.fields.items()}
        return {name: np.where(one.any(axis=0), one.argmax(axis=0), len(self.calendar)) for name, one in known.items()}

    @property
    def present(self) -> Bools:
        """(T, N) bool: has the instrument a value of any field at that time; those of the calendar do not count."""
        own = (values for name, values in self.fields.items() if self.known_ahead.get(name) != ALWAYS)
        found: Bools = np.logical_or.reduce([~np.isnan(values) for values in own])
        return found

    @cached_property
    def fingerprint(self) -> str:
        """Hex SHA-256 over the whole content: calendar, instruments, every value, membership, benchmark."""
        arrays: dict[str, npt.NDArray[np.generic]] = {f"field:{k}": v for k, v in self.fields.items()}
        arrays |= {"membership": self.membership, "calendar": self.calendar.times}
        arrays |= {"instruments": np.array(self.instruments, np.str_), "price_field": np.array(self.price_field)}
        if self.benchmark is not None:
            arrays[f"benchmark:{self.benchmark.name}"] = self.benchmark.close
        if self.known_ahead:
            arrays |= {f"known ahead:{name}": np.array(lead) for name, lead in self.known_ahead.items()}
        if self.truth is not None:
            arrays |= {f"truth:{name}": getattr(self.truth, name) for name in ("exposures", "decay", "premia")}
        return fingerprint_arrays(arrays)


@dataclass(frozen=True, eq=False)
class Outline:
    """What is asked of a panel to find a result that stands on it; a panel is one, too."""

    calendar: Calendar
    fingerprint: str
    name: str


def last_seen(values: npt.NDArray[Any], present: Bools) -> npt.NDArray[Any]:
    """Return (T, N), the newest of the `values` that was `present` by each time; NaN before the first."""
    newest = np.maximum.accumulate(np.where(present, np.arange(values.shape[0])[:, None], -1), axis=0)
    return np.where(newest >= 0, np.take_along_axis(values, np.maximum(newest, 0), axis=0), np.nan)


def save_panel(panel: Panel, folder: Path) -> None:
    """Write `panel` and its fingerprint into an existing, empty folder, in two threads."""
    with ThreadPoolExecutor(1) as beside:
        fingerprint = beside.submit(lambda: panel.fingerprint)
        save(folder, panel, _PANEL)
        save(folder, fingerprint.result(), _FINGERPRINT)


def load_panel(folder: Path) -> Panel:
    """Read what `save_panel` wrote; arrays are memory-mapped, the fingerprint is the stored one."""
    fingerprint, panel = load(folder, str, _FINGERPRINT), load(folder, Panel, _PANEL)
    # The store has checked every byte against its checksum, so hashing the content once more would tell nothing new.
    panel.__dict__["fingerprint"] = fingerprint
    return panel

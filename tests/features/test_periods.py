"""The features of a period are those bits that the whole panel gives, wherever the period begins and ends."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from harness.data.panel import ALWAYS, Panel
from harness.execution.progress import Silent
from harness.features.engine import compute_features, compute_period, known_fields
from harness.features.expression import look_back, parse
from harness.features.feature_set import Alpha158, FeatureSet
from tests.features.panels import Floats, all_rows, bits, make_panel, random_fields
from tests.features.test_beginnings import SENSITIVE, TEMPLATES

NESTED = (
    *("Mean(IdxMax($close/$open, 5), 3)", "Std(Ref($close, 3)/$close, 4)", "Corr(Mean($close, 3), Ref($volume, 2), 6)"),
    *("Med($tied*(0-1), 5)", "Quantile($tied, 4, 0.5)", "Mean(EMA($close, 4), 3)", "Rank(Delta($flat, 2), 6)"),
    *("Mask(Mean($close, 5), I001)/$close", "Slope(Log($close), 7)", "Power($close, 0.5)*Abs(Sign($tied))"),
    *("Ref($known, -3)", "Mean(Ref($known, -2), 4)/$close"),
)
TEXTS = (*Alpha158().feature_set().expressions, *SENSITIVE, *TEMPLATES, *NESTED)


def panel_of(seed: int, times: int = 150) -> Panel:
    fields = random_fields(seed, times=times, instruments=4, gaps=0.15)
    fields["known"] = np.arange(times * 4, dtype=np.float32).reshape(times, 4)
    for values in fields.values():
        values[40:70, 2] = np.nan  # suspended for longer than most windows look back
        values[: times - 20, 3] = np.nan
    return replace(make_panel(fields), known_ahead={"known": ALWAYS})


def of_period(panel: Panel, features: FeatureSet, period: tuple[int, int]) -> Floats:
    offsets, codes = all_rows(panel)
    rows = int(offsets[period[1]] - offsets[period[0]])
    out = np.full((rows, len(known_fields(panel, features))), -1.0, dtype=np.float32)
    compute_period(panel, features, offsets, codes, period, out, Silent())
    return out


@pytest.mark.parametrize("seed", [0, 1])
def test_a_period_has_the_bits_that_it_has_in_the_whole(seed: int) -> None:
    """Every operator, bounded or not: features of a chunk depend on nothing before their look-back."""
    rng = np.random.default_rng(seed)
    panel = panel_of(seed)
    features = FeatureSet(tuple(f"f{i}" for i in range(len(TEXTS))), TEXTS, known_ahead={"known": ALWAYS})
    bounded = [i for i, text in enumerate(TEXTS) if look_back(parse(text)) is not None]
    short = FeatureSet(tuple(f"f{i}" for i in bounded), tuple(TEXTS[i] for i in bounded), known_ahead={"known": ALWAYS})
    offsets = all_rows(panel)[0]
    for chosen in (features, short):  # one without bound makes the others begin at the first time too
        whole = compute_features(panel, chosen, *all_rows(panel))
        computed = known_fields(panel, chosen)
        columns = [computed.index(name) for name in whole.names]
        for _ in range(2):
            start, stop = sorted(rng.choice(np.arange(150), 2, replace=False).tolist())
            part = of_period(panel, chosen, (start, stop))[:, columns]
            np.testing.assert_array_equal(bits(part), bits(whole.values[offsets[start] : offsets[stop]]))


@pytest.mark.parametrize("together", [1, 16_384], ids=["each alone", "together"])
def test_a_row_has_its_bits_whichever_rows_its_instrument_has(together: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """An instrument is computed for the times that its rows read, alone or with others whose rows are elsewhere."""
    monkeypatch.setattr("harness.features.engine._VALUES_PER_CHUNK", together)
    panel = panel_of(4)
    texts = tuple(text for text in TEXTS if look_back(parse(text)) is not None)
    features = FeatureSet(tuple(f"f{i}" for i in range(len(texts))), texts, known_ahead={"known": ALWAYS})
    whole, (offsets, codes) = compute_features(panel, features, *all_rows(panel)), all_rows(panel)
    times = np.repeat(np.arange(150), np.diff(offsets))
    has_row = (times >= np.array([90, 20, 75, 0])[codes]) & (times < np.array([97, 60, 150, 0])[codes])
    counts = np.bincount(times[has_row], minlength=150)
    few = compute_features(panel, features, np.concatenate([[0], np.cumsum(counts)]), codes[has_row])
    columns = [whole.names.index(name) for name in few.names]
    np.testing.assert_array_equal(bits(few.values), bits(whole.values[has_row][:, columns]))


def test_a_period_reads_nothing_before_its_look_back() -> None:
    panel, features = panel_of(3), FeatureSet(("a", "b"), ("Mean($close, 10)/$open", "Ref($close, 4)"))
    expected = of_period(panel, features, (80, 120))
    fields = {name: np.array(values) for name, values in panel.fields.items()}
    fields["close"][:71] = np.where(np.isnan(fields["close"][:71]), np.nan, 1e9)
    np.testing.assert_array_equal(of_period(replace(panel, fields=fields), features, (80, 120)), expected)
    fields = {name: np.array(values) for name, values in fields.items()}
    fields["close"][71] = 1e9
    assert not np.array_equal(of_period(replace(panel, fields=fields), features, (80, 120)), expected, equal_nan=True)

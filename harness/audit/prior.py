"""Prior knowledge: the part of a prediction that stays the same in a world whose labels all have the other sign.

An honest learner follows the labels that it is shown. What does not follow was there before: a rule, a random number,
or something that was learned elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from harness.audit.differences import dense
from harness.audit.verdict import Check, Finding
from harness.data.dates import configured_date, period_of
from harness.errors.limits import traits_of
from harness.evaluation.predictions import Predictions
from harness.samples.interfaces import PriorTraits

Doubles = npt.NDArray[np.float64]

_SMALL = 0.05  # of the variance of the scores: what rounding, ties and a random start leave of an honest learner
_DEVIATIONS = 3.0  # of the agreement with the real labels, over permutations of instruments
_GROUPS = 8  # of consecutive times, for the interval


class Association(NamedTuple):
    """How scores go with labels: mean IC, and that in deviations over permutations of instruments."""

    ic: float
    z: float


@dataclass(frozen=True)
class Share:
    """The share of the variance across instruments that is prior knowledge, with its 95 % interval; `agrees` or not.

    Attributes:
        share, low, high: From 0 to 1.
        knows: How the prior part goes with the real labels; None where nothing can be compared.
    """

    share: float
    low: float
    high: float
    knows: Association | None

    @property
    def is_informed(self) -> bool:
        """Whether the prior part knows the real labels."""
        return self.low > _SMALL and self.knows is not None and self.knows.z > _DEVIATIONS

    def __str__(self) -> str:
        """Return size, interval and agreement in words."""
        text = f"{self.share:.0%} of the predictions, {self.low:.0%} … {self.high:.0%}"
        if self.share <= _SMALL or self.knows is None:
            return text
        return f"{text}; it alone has an IC of {self.knows.ic:+.4f}, {self.knows.z:+.1f} deviations"


def prior_share(real: Sequence[Predictions], mirrored: Sequence[Predictions]) -> Share | None:
    """Return the prior share of windows that were predicted with the real labels and with mirrored ones.

    With a and b the two scores of a time, each without its mean across instruments, (a + b)/2 is the part that stays
    and (a − b)/2 the one that follows: the share is the sum of squares of the first in that of both. Its interval is a
    jackknife over groups of consecutive times. None where no score varies across instruments.
    """
    both = _halves(real, mirrored)
    parts = np.square(both.stays).sum(axis=1), np.square(both.follows).sum(axis=1)  # (S,) each
    total = float(sum(part.sum() for part in parts))
    size = float(sum(np.nansum(np.square(one.score.astype(np.float64))) for one in real))
    if total <= 1e-12 * size:
        return None  # rounding is all that varies
    share = float(parts[0].sum()) / total
    error = _jackknife(*parts)
    knows = association(np.where(both.known, both.stays, np.nan), both.label)
    return Share(share, max(share - 1.96 * error, 0.0), min(share + 1.96 * error, 1.0), knows)


Pair = tuple[Sequence[Predictions], Sequence[Predictions]]


def kept_share(real: Sequence[Predictions], mirrored: Sequence[Predictions], permuted: Sequence[Pair]) -> Share:
    """Return the share that stays in K worlds as well whose labels were permuted, each with either sign.

    A learner of |label| stays when signs turn: it is even, and its even part looks like knowledge. In a world without
    any relation of features and labels it learns noise, another in each world, and what was known before is still
    there. So the mean product of the even parts of two worlds, as a share of the scores' squares, is without bias the
    share that was known before; its interval is a jackknife over worlds.
    """
    both = _halves(real, mirrored)
    kept = np.stack([_halves(*pair).stays for pair in permuted])  # (K, S, N)
    products = np.einsum("jsn,ksn->jk", kept, kept) / float(np.square(both.stays).sum() + np.square(both.follows).sum())
    count = len(kept)

    def mean(worlds: npt.NDArray[np.int64]) -> float:
        chosen = products[np.ix_(worlds, worlds)]
        return float((chosen.sum() - np.trace(chosen)) / (worlds.size * (worlds.size - 1)))

    every = np.arange(count)
    left = np.array([mean(np.delete(every, at)) for at in every])
    error = float(np.sqrt((count - 1) / count * np.square(left - left.mean()).sum()))
    share, knows = mean(every), association(np.where(both.known, kept.mean(axis=0), np.nan), both.label)
    low, high = (min(max(share + side * 1.96 * error, 0.0), 1.0) for side in (-1, 1))
    return Share(min(max(share, 0.0), 1.0), low, high, knows)


class _Halves(NamedTuple):
    """(S, N) each: what stays of scores when labels turn and what follows, which rows there are, the real labels."""

    stays: Doubles
    follows: Doubles
    known: npt.NDArray[np.bool_]
    label: npt.NDArray[np.floating]


def _halves(ones: Sequence[Predictions], others: Sequence[Predictions]) -> _Halves:
    found = []
    names = sorted({name for one in (*ones, *others) for name in one.instruments})
    for left, right in zip(ones, others, strict=True):
        period = (left.start, left.stop)
        a, b = (_centred(dense(one, one.score, period, names)) for one in (left, right))
        known = np.isfinite(dense(left, left.score, period, names))
        found.append(((a + b) / 2, (a - b) / 2, known, dense(left, left.label, period, names)))
    return _Halves(*(np.concatenate(parts) for parts in zip(*found, strict=True)))


def _jackknife(stays: Doubles, follows: Doubles) -> float:
    groups = [at for at in np.array_split(np.arange(stays.size), min(_GROUPS, stays.size)) if at.size]
    if len(groups) < 2:
        return 0.0
    shares = []
    for at in groups:
        left, right = (float(part.sum() - part[at].sum()) for part in (stays, follows))
        shares.append(left / (left + right) if left + right > 0 else 0.0)
    count = len(shares)
    return float(np.sqrt((count - 1) / count * np.square(np.array(shares) - np.mean(shares)).sum()))


def association(scores: Doubles, labels: npt.NDArray[np.floating]) -> Association | None:
    """Return how scores go with labels, (S, N) each, NaN where there is none.

    Both are standardised at each time. Holding a permutation for all times keeps every autocorrelation, so that mean
    and variance of the statistic are exact for exchangeable instruments (Hoeffding, *A combinatorial central limit
    theorem*, 1951), however slowly scores and labels move. None when nothing can be compared.
    """
    left, right = _standardised(scores), _standardised(labels.astype(np.float64))
    pairs = left.T @ right  # (N, N): instrument of the score, instrument of the label
    n = pairs.shape[0]
    spread = pairs - pairs.mean(axis=0) - pairs.mean(axis=1)[:, None] + pairs.mean()
    deviation = float(np.sqrt(np.square(spread).sum() / max(n - 1, 1)))
    if deviation == 0.0:
        return None
    excess = float(np.trace(pairs) - pairs.sum() / n)
    norm = float(np.sqrt(np.square(left).sum() * np.square(right).sum()))
    return Association(ic=float(np.trace(pairs)) / norm, z=excess / deviation)


def _centred(values: npt.NDArray[np.floating]) -> Doubles:
    """Return (S, N) values without their mean at each time; 0 where there is none."""
    known = np.isfinite(values)
    filled = np.where(known, values, 0.0).astype(np.float64)
    mean = filled.sum(axis=1) / np.maximum(known.sum(axis=1), 1)
    return np.where(known, filled - mean[:, None], 0.0)


def _standardised(values: Doubles) -> Doubles:
    """Return (S, N) values with mean 0 and length 1 at each time; 0 where there is none."""
    centred = _centred(values)
    length = np.sqrt(np.square(centred).sum(axis=1))
    # What is left of a constant time is rounding error.
    defined = length > 1e-6 * np.sqrt(np.square(np.nan_to_num(values)).sum(axis=1))
    return np.where(defined[:, None], centred / np.where(defined, length, 1.0)[:, None], 0.0)


def is_pretrained(part: object) -> bool:
    """Whether a configured object says that it was learned elsewhere: files that its fields name are declared, too."""
    return bool(getattr(part, "prior", None) == "pretrained")


def declared(parts: dict[str, object]) -> dict[str, PriorTraits]:
    """Return what configured objects declare, by their name."""
    # A field `prior` that is no word is something else, such as the prior of a Bayesian model.
    saying = {name: part for name, part in parts.items() if isinstance(getattr(part, "prior", None), str)}
    return {name: traits_of(part, PriorTraits, name) for name, part in saying.items()}


def is_excused(parts: dict[str, object]) -> bool:
    """Whether a configured object says that it knew something beforehand."""
    return any(said.prior in ("rule", "pretrained") for said in declared(parts).values())


def prior_check(
    parts: dict[str, object], share: Share | None, first_decision: np.datetime64, kept: Share | None = None
) -> Check:
    """Return the check of prior knowledge: clean when there is none, when it is declared, or when it knows nothing.

    `parts` are the configured objects by name, any of which may declare; `first_decision` is when the test begins;
    `kept` is what stays of the share where labels were permuted too, if that was asked.
    """
    said_by = declared(parts)
    note = "every prediction is the same: there is nothing to follow" if share is None else str(share)
    if kept is not None:
        note += f"; with permuted labels: {kept}"
    findings = []
    for name, said in said_by.items():
        until = "" if said.prior_ends is None else f" until {said.prior_ends}"
        note += f"; {name} declares: {said.prior}{until}"
        if said.prior == "pretrained":
            until_then = period_of(configured_date(said.prior_ends, f"{name}.prior_ends"))  # a year to its last day
            if until_then.last >= first_decision:
                what = "What was learned beforehand may know the test period."
                expected = f"prior_ends before {str(first_decision)[:10]}, where the first decision is made"
                findings.append(Finding(what, name, str(said.prior_ends), expected))
    proved = share if kept is None else kept
    if proved is not None and proved.is_informed and not is_excused(parts):
        what = "A part of the predictions does not follow the labels that were shown, and knows the real ones."
        findings.append(Finding(what, "", str(proved), "a declaration, `prior: rule` or `prior: pretrained`"))
    elif proved is not None and proved.low > _SMALL and not said_by:
        note += "; undeclared, and no sign that it knows the real labels"
    return Check.of("prior", findings, note)

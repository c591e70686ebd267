"""Alpha158 and Alpha360 as data: templates of name and expression, in qlib's order.

The factors are those of qlib's ``Alpha158DL`` and ``Alpha360DL`` (``qlib.contrib.data.loader``); d is a window.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

_WINDOWS = (5, 10, 20, 30, 60)
_LAGS = 60
_TINY = "1e-12"

# The shape of one bar: body, range and shadows, relative to the open and to the range.
_BAR = {
    "KMID": "($close-$open)/$open",
    "KLEN": "($high-$low)/$open",
    "KMID2": f"($close-$open)/($high-$low+{_TINY})",
    "KUP": "($high-Greater($open, $close))/$open",
    "KUP2": f"($high-Greater($open, $close))/($high-$low+{_TINY})",
    "KLOW": "(Less($open, $close)-$low)/$open",
    "KLOW2": f"(Less($open, $close)-$low)/($high-$low+{_TINY})",
    "KSFT": "(2*$close-$high-$low)/$open",
    "KSFT2": f"(2*$close-$high-$low)/($high-$low+{_TINY})",
}
_PRICES = ("open", "high", "low", "vwap")

_TURNOVER = "Abs($close/Ref($close, 1)-1)*$volume"


def _strength(series: str) -> tuple[str, str, str]:
    """Return the shares of rises, of falls, and their difference, in the absolute moves of a series."""
    gain = f"Sum(Greater({series}-Ref({series}, 1), 0), {{d}})"
    loss = f"Sum(Greater(Ref({series}, 1)-{series}, 0), {{d}})"
    move = f"(Sum(Abs({series}-Ref({series}, 1)), {{d}})+{_TINY})"
    return f"{gain}/{move}", f"{loss}/{move}", f"({gain}-{loss})/{move}"


_SUMP, _SUMN, _SUMD = _strength("$close")
_VSUMP, _VSUMN, _VSUMD = _strength("$volume")

_ROLLING = {
    "ROC": "Ref($close, {d})/$close",
    "MA": "Mean($close, {d})/$close",
    "STD": "Std($close, {d})/$close",
    "BETA": "Slope($close, {d})/$close",
    "RSQR": "Rsquare($close, {d})",
    "RESI": "Resi($close, {d})/$close",
    "MAX": "Max($high, {d})/$close",
    "MIN": "Min($low, {d})/$close",
    "QTLU": "Quantile($close, {d}, 0.8)/$close",
    "QTLD": "Quantile($close, {d}, 0.2)/$close",
    "RANK": "Rank($close, {d})",
    "RSV": f"($close-Min($low, {{d}}))/(Max($high, {{d}})-Min($low, {{d}})+{_TINY})",
    "IMAX": "IdxMax($high, {d})/{d}",
    "IMIN": "IdxMin($low, {d})/{d}",
    "IMXD": "(IdxMax($high, {d})-IdxMin($low, {d}))/{d}",
    "CORR": "Corr($close, Log($volume+1), {d})",
    "CORD": "Corr($close/Ref($close, 1), Log($volume/Ref($volume, 1)+1), {d})",
    "CNTP": "Mean($close>Ref($close, 1), {d})",
    "CNTN": "Mean($close<Ref($close, 1), {d})",
    "CNTD": "Mean($close>Ref($close, 1), {d})-Mean($close<Ref($close, 1), {d})",
    "SUMP": _SUMP,
    "SUMN": _SUMN,
    "SUMD": _SUMD,
    "VMA": f"Mean($volume, {{d}})/($volume+{_TINY})",
    "VSTD": f"Std($volume, {{d}})/($volume+{_TINY})",
    "WVMA": f"Std({_TURNOVER}, {{d}})/(Mean({_TURNOVER}, {{d}})+{_TINY})",
    "VSUMP": _VSUMP,
    "VSUMN": _VSUMN,
    "VSUMD": _VSUMD,
}
# Divisor of each raw value in Alpha360.
_SCALED = {
    "close": "$close",
    "open": "$close",
    "high": "$close",
    "low": "$close",
    "vwap": "$close",
    "volume": f"($volume+{_TINY})",
}


def alpha158() -> Mapping[str, str]:
    """Return name → expression of the 158 factors: 9 of the bar, 4 prices, 29 over each of 5 windows."""
    prices = {f"{price.upper()}0": f"${price}/$close" for price in _PRICES}
    rolling = {f"{name}{d}": text.format(d=d) for name, text in _ROLLING.items() for d in _WINDOWS}
    return MappingProxyType({**_BAR, **prices, **rolling})


def alpha360() -> Mapping[str, str]:
    """Return name → expression of the 360 values: 60 periods of 6 fields, oldest first, divided by the newest."""
    return MappingProxyType(
        {
            f"{name.upper()}{lag}": f"Ref(${name}, {lag})/{by}" if lag else f"${name}/{by}"
            for name, by in _SCALED.items()
            for lag in range(_LAGS - 1, -1, -1)
        }
    )

"""A figure of the page: one or several plots that the reader switches between."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Variant:
    """One plot, in Plotly's form.

    Attributes
    ----------
    label
        What the reader chooses it by.
    traces
        Plotly traces; the key ``cell`` (index of a cell) gives a trace that cell's colour and switches it with the
        cell, ``daily`` marks the faint values behind a line.
    layout
        Plotly layout, without colours: the page's theme gives them.
    summary
        What a reader who cannot see it should know.
    """

    label: str
    traces: list[dict[str, Any]]
    layout: dict[str, Any] = field(default_factory=dict)
    summary: str = ""


@dataclass(frozen=True)
class Figure:
    """A figure with its caption.

    Attributes
    ----------
    key
        Identifies it on the page.
    title, caption
        Plain text.
    variants
        At least one.
    choose
        What the variants are, for the label of their selector.
    height
        In pixels.
    """

    key: str
    title: str
    caption: str
    variants: tuple[Variant, ...]
    choose: str = "show"
    height: int = 420

    def to_record(self) -> dict[str, Any]:
        """Return what the page's script reads."""
        return {
            "key": self.key,
            "height": self.height,
            "variants": [
                {"label": v.label, "traces": v.traces, "layout": v.layout, "summary": v.summary} for v in self.variants
            ],
        }

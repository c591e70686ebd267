"""Hyper-parameter search on the validation period."""

from __future__ import annotations

from harness.run.search.result import SearchRequest, SearchResult, TrialResult
from harness.run.search.trials import search

__all__ = ["SearchRequest", "SearchResult", "TrialResult", "search"]

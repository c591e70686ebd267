"""Hyper-parameter search on the validation period."""

from __future__ import annotations

from harness.run.search.trials import SearchRequest, SearchResult, TrialResult, search

__all__ = ["SearchRequest", "SearchResult", "TrialResult", "search"]

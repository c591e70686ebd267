"""Snapshots: versions, baselines, suites, tolerances and verdicts."""

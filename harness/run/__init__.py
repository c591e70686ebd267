"""The pipeline: stages, windows, experiments, their dispatch to executors, sweeps and searches."""

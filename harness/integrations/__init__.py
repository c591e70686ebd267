"""Other tools: MLflow, workflow files of qlib, and skeletons of files to begin with."""

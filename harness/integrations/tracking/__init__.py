"""Where finished runs are also sent: nowhere, or to MLflow. It reads what runs leave and changes no number."""

from harness.integrations.tracking.record import all_folders, read_tracked
from harness.integrations.tracking.sink import Mlflow, NoTracking, Sent, default_uri

__all__ = ["Mlflow", "NoTracking", "Sent", "all_folders", "default_uri", "read_tracked"]

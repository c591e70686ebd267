"""From a workflow file of qlib's rolling benchmarks to an experiment of ours."""

from harness.qlib_workflow.translation import Translation, translate
from harness.qlib_workflow.workflow import read_workflow

__all__ = ["Translation", "read_workflow", "translate"]

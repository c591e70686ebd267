"""From a workflow file of qlib's rolling benchmarks to an experiment of ours."""

from harness.integrations.qlib_workflow.translation import Translation, check_composes, translate
from harness.integrations.qlib_workflow.workflow import read_workflow

__all__ = ["Translation", "check_composes", "read_workflow", "translate"]

"""Working beginnings of a model, an adaptation, a source or a metric of one's own, with their tests."""

from harness.integrations.skeletons.writing import KINDS, Skeleton, write_skeleton

__all__ = ["KINDS", "Skeleton", "write_skeleton"]

"""The graph of a computation: nodes that many expressions share, in order, each knowing which results die with it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.features.nodes import Number

__all__ = ["FIELD", "MASK", "Mask", "Node", "Plan", "Step", "empty_nodes", "plan_nodes"]

FIELD, MASK = "field", "mask"
# Kernels whose result need not be missing where an input is.
_ANSWERS_MISSING = frozenset(
    {"power", "greater", "greater_equal", "less", "less_equal", "equal", "not_equal"}
    | {"logical_and", "logical_or", "logical_not"}
)


@dataclass(frozen=True)
class Node:
    """One kernel, the nodes or numbers it reads, and its parameters.

    Attributes
    ----------
    kernel
        `FIELD`, `MASK`, the name of a kernel, or of a NumPy ufunc.
    inputs
        Positions of earlier nodes, or constants.
    parameters
        Window, kind, level, sign, a field's name, …
    dtype
        bool, float32 or float64: what qlib's pandas series would have. An operation between float32 series is rounded
        to float32; every rolling result is float64.
    """

    kernel: str
    inputs: tuple[int | Number, ...]
    parameters: tuple[Any, ...]
    dtype: np.dtype[np.generic]

    @property
    def sources(self) -> tuple[int, ...]:
        """The nodes among the inputs."""
        return tuple(i for i in self.inputs if not isinstance(i, Number))

    @property
    def reads(self) -> tuple[int, ...]:
        """The nodes that are read for the same instrument: none for a mask."""
        return () if self.kernel == MASK else self.sources


@dataclass(frozen=True)
class Step:
    """A node to compute, and the nodes that nobody needs afterwards."""

    node: int
    dying: tuple[int, ...]


@dataclass(frozen=True)
class Mask:
    """A series of one other instrument, computed before the rest.

    Attributes
    ----------
    node
        The node that stands for it.
    source
        The node to compute for the other instrument.
    code
        The other instrument.
    steps
        What `source` needs, in order.
    """

    node: int
    source: int
    code: str
    steps: tuple[Step, ...]


@dataclass(frozen=True)
class Plan:
    """What to compute, in order.

    Attributes
    ----------
    nodes
        All nodes; inputs come before what reads them.
    outputs
        The node of each expression.
    hopeless
        For each expression: is it NaN everywhere whatever the other data, because a field is; such are not computed.
    steps
        The needed nodes, in order.
    masks
        What must be known of single instruments first; inner ones come before what reads them.
    """

    nodes: tuple[Node, ...]
    outputs: tuple[int, ...]
    hopeless: tuple[bool, ...]
    steps: tuple[Step, ...]
    masks: tuple[Mask, ...]


def plan_nodes(nodes: Sequence[Node], outputs: tuple[int, ...], empty_fields: frozenset[str]) -> Plan:
    """Return the plan that computes the nodes `outputs`, given the fields known to be NaN everywhere."""
    empty = empty_nodes(nodes, empty_fields)
    hopeless = tuple(empty[node] for node in outputs)
    kept = [node for node, nothing in zip(outputs, hopeless, strict=True) if not nothing]
    return Plan(tuple(nodes), outputs, hopeless, _schedule(nodes, kept), _masks(nodes, kept))


def empty_nodes(nodes: Sequence[Node], empty_fields: frozenset[str]) -> list[bool]:
    """Return for each node whether it must be NaN everywhere when `empty_fields` are."""
    empty: list[bool] = []
    for node in nodes:
        inputs = [not isinstance(i, Number) and empty[i] for i in node.inputs]
        if node.kernel == FIELD:
            empty.append(node.parameters[0] in empty_fields)
        elif node.kernel == "where":
            empty.append(all(inputs[1:]))
        else:
            empty.append(node.kernel not in _ANSWERS_MISSING and any(inputs))
    return empty


def _schedule(nodes: Sequence[Node], outputs: Iterable[int]) -> tuple[Step, ...]:
    """Return the needed nodes in order, each with the intermediate results that die with it."""
    needed: set[int] = set()
    stack = list(outputs)
    while stack:
        position = stack.pop()
        if position not in needed:
            needed.add(position)
            stack.extend(nodes[position].reads)
    order = sorted(needed)
    last_use = {i: position for position in order for i in nodes[position].reads}
    dying: dict[int, list[int]] = {}
    for position in order:
        dying.setdefault(last_use.get(position, position), []).append(position)
    return tuple(Step(position, tuple(dying.get(position, ()))) for position in order)


def _masks(nodes: Sequence[Node], outputs: Iterable[int]) -> tuple[Mask, ...]:
    """Return the series of single instruments that `outputs` need, inner ones first."""
    found: dict[int, Mask] = {}
    stack = [step.node for step in _schedule(nodes, outputs)]
    while stack:
        position = stack.pop()
        node = nodes[position]
        if node.kernel == MASK and position not in found:
            source = node.sources[0]
            found[position] = Mask(position, source, node.parameters[0], _schedule(nodes, [source]))
            stack.extend(step.node for step in found[position].steps)
    return tuple(found[position] for position in sorted(found))

"""The graph of a computation: nodes that many expressions share, in order, each knowing which results die with it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.features.nodes import Number

Positions = npt.NDArray[np.int64]

FIELD, MASK, CHOICE = "field", "mask", "where"


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
        elif node.kernel == CHOICE:
            empty.append(all(inputs[at] for at in _deciding(node)))
        else:
            empty.append(any(inputs))
    return empty


def first_times(
    nodes: Sequence[Node], fields: Mapping[str, Positions], position: Callable[[str], int]
) -> tuple[Positions, ...]:
    """Return for each node where the series of each instrument begins; windows begin to fill there.

    A field begins at its first value. What is computed begins when everything that it reads has begun, so that a
    series knows nothing of fields that it does not read; a choice begins with the first of its branches (what has not
    begun is false as its condition). A shift does not move the beginning: its first values are missing, as in qlib.

    Parameters
    ----------
    nodes
        All nodes; inputs come before what reads them.
    fields
        name → (N,) int64, the position of each instrument's first value; T when it has none.
    position
        Finds an instrument's column by its code, for masks.

    Returns
    -------
    One (N,) array per node. Nodes that begin together share one array.
    """
    known: dict[bytes, Positions] = {}
    begins: list[Positions] = []
    for node in nodes:
        inputs = [None if isinstance(i, Number) else begins[i] for i in node.inputs]
        if node.kernel == FIELD:
            first = fields[node.parameters[0]]
        elif node.kernel == MASK:
            source = begins[node.sources[0]]
            first = np.full_like(source, source[position(node.parameters[0])])
        else:
            deciding = [inputs[at] for at in _deciding(node)]
            combined = [begin for begin in deciding if begin is not None]
            first = combined[0]
            for other in combined[1:]:
                if other is not first:
                    first = (np.minimum if node.kernel == CHOICE else np.maximum)(first, other)
        begins.append(known.setdefault(first.tobytes(), first))
    return tuple(begins)


def _deciding(node: Node) -> tuple[int, ...]:
    """Return the inputs that decide where a node begins; a constant branch is there once its condition is."""
    if node.kernel != CHOICE:
        return tuple(range(len(node.inputs)))
    branches = {0 if isinstance(i, Number) else at for at, i in enumerate(node.inputs) if at > 0}
    return tuple(sorted(branches))


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

"""Other raw data underneath a configuration: every source that holds no other source is replaced, however nested."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

from harness.audit.poison import followed_by, other_future
from harness.config import ExperimentConfig
from harness.config.instantiate import build, lacking_methods, locate
from harness.config.records import rebuild
from harness.data.panel import Panel, load_panel, save_panel
from harness.data.source import Source
from harness.data.validation import check_panel
from harness.errors import HarnessError
from harness.store.artifacts import canonical_json
from harness.store.records import TARGET, describe, public_name, walk

Tree = dict[str, Any]


@dataclass(frozen=True)
class StoredPanel:
    """A source that stands for another one: a panel that was written beforehand.

    Attributes:
        folder: Where `harness.data.panel.save_panel` wrote it.
        name: What the source that it stands for is called.
    """

    folder: str
    name: str = "panel"

    def load(self) -> Panel:
        """Return the panel, its arrays memory-mapped."""
        return load_panel(Path(self.folder))

    def inputs(self) -> dict[str, str]:
        """Return its fingerprint."""
        return {"panel": self.load().fingerprint}


def tree_of(config: ExperimentConfig) -> Tree:
    """Return the plain data from which a fresh process makes the configuration again.

    What was composed stands in it as it was; a part that was put there by hand is described by its fields.
    """
    names = [f.name for f in dataclasses.fields(config) if f.name != "composed"]
    composed = json.loads(config.composed) if config.composed else {}
    original = rebuild(config.composed) if config.composed else None
    tree = {}
    for name in names:
        now = describe(getattr(config, name))
        as_composed = name in composed and describe(getattr(original, name)) == now
        tree[name] = composed[name] if as_composed else now
    return tree


@dataclass(frozen=True)
class Roots:
    """The root sources of a configuration; each is read once, however many futures it is given.

    Attributes:
        data: The plain data of the configured source.
        elsewhere: Plain data of other parts, in which sources may stand, too: features may be chosen by what they show.
        whole: The configured source as one root: where a wrapper takes nothing else in the place of what it wraps.
    """

    data: Any
    elsewhere: Any = None
    whole: bool = False
    _newest: dict[str, tuple[tuple[int, int], Panel]] = field(default_factory=dict, repr=False, compare=False)

    @cached_property
    def nodes(self) -> dict[str, Any]:
        """Canonical text → plain data of every root; two that are equal are one."""
        own = [self.data] if self.whole else _roots(self.data)
        return {canonical_json(node): node for node in (*own, *_roots(self.elsewhere))}

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """The classes of the roots: nobody loads the real data in a world that is given other ones."""
        return tuple(sorted({public_name(locate(node[TARGET], "data")) for node in self.nodes.values()}))

    @cached_property
    def panels(self) -> dict[str, Panel]:
        """Canonical text of a root → its panel."""
        return {text: _built(node).load() for text, node in self.nodes.items()}

    def _future(self, text: str, origin: int, seed: int) -> Panel:
        """Return a root's other future; the last one is kept."""
        if self._newest.get(text, (None,))[0] != (origin, seed):
            self._newest[text] = (origin, seed), other_future(self.panels[text], origin, seed)
        return self._newest[text][1]

    def write(
        self,
        folder: Path,
        after: str | None,
        seed: int,
        known_ahead: Mapping[str, int] = MappingProxyType({}),
        since: str | None = None,
    ) -> Any:
        """Write every root's panel below `folder`, and return the plain data of the source that stands on them.

        `after` is the time of the configured source's panel that nothing later may move; None: no root is poisoned. A
        date stands for its whole day, whatever happens in it; a source that calls a week by its first day says that it
        knows the week by then. `known_ahead` is what that panel declares. Calls that name one time `since`, at or
        before `after`, are followed by one other future, that of the first of them.
        """
        for number, (text, panel) in enumerate(self.panels.items()):
            target = _target(folder, number)
            target.mkdir(parents=True)
            cut, origin = (_cut(panel, at) for at in (after, after if since is None else since))
            if cut < len(panel.calendar) - 1:
                panel = followed_by(panel, self._future(text, origin, seed), cut, known_ahead)
                panel = check_panel(panel, where="the poisoned panel", any_sign=True)
            save_panel(panel, target)
        return self.replaced(self.data, folder)

    def replaced(self, node: Any, folder: Path) -> Any:
        """Return plain data with the panels in `folder` in the place of every root."""
        stand_ins = {
            text: {TARGET: public_name(StoredPanel), "folder": str(_target(folder, number)), "name": panel.name}
            for number, (text, panel) in enumerate(self.panels.items())
        }
        return _replaced(node, stand_ins)


def roots_of(data: Any, elsewhere: Any = None) -> Roots:
    """Return the roots of a configured source; the source itself where another root cannot stand in it."""
    roots = Roots(data, elsewhere)
    try:
        stand_in = {TARGET: public_name(StoredPanel), "folder": "", "name": ""}
        _built(_replaced(data, dict.fromkeys(roots.nodes, stand_in)))
    except HarnessError:
        return Roots(data, elsewhere, whole=True)
    return roots


def _target(folder: Path, number: int) -> Path:
    return folder / f"root-{number}"


def _cut(panel: Panel, after: str | None) -> int:
    """Return the last calendar position up to a time; the number of times where there is none."""
    return len(panel.calendar) if after is None else panel.calendar.stop_after(after) - 1


def _built(node: Any) -> Source:
    source = build(node, "data", Source)
    assert isinstance(source, Source)
    return source


def _is_source(node: object) -> bool:
    return isinstance(node, Mapping) and TARGET in node and not lacking_methods(locate(node[TARGET], "data"), Source)


def _roots(node: Any) -> Iterator[Any]:
    """Yield every source in plain data that holds no other one."""
    for _, part in walk(node):
        if _is_source(part) and not any(_is_source(inner) for _, inner in walk(part) if inner is not part):
            yield part


def _replaced(node: Any, stand_ins: Mapping[str, Any]) -> Any:
    if isinstance(node, Mapping):
        stand_in = stand_ins.get(canonical_json(node)) if TARGET in node else None
        return stand_in or {key: _replaced(value, stand_ins) for key, value in node.items()}
    return [_replaced(value, stand_ins) for value in node] if isinstance(node, list | tuple) else node

"""From history to proxy data and similarity, as of each feature choice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from baselines.adaptation.ddgda.feature_choice import Choice, Chosen, choose_features
from baselines.adaptation.ddgda.gbdt import gbdt_similarity
from baselines.adaptation.ddgda.proxy import known_rows, standardised
from baselines.adaptation.ddgda.shared_similarity import Rows, SharedSimilarity
from baselines.adaptation.ddgda.similarity import Similarity, linear_similarity
from baselines.adaptation.ddgda.turns import ProxyRecipe, Turn
from harness.samples.gram import GramBlocks
from harness.samples.interfaces import History, Piece, Stored
from harness.samples.preprocess import Pipeline, apply
from harness.samples.table import Artefact, SampleTable
from harness.samples.windows import Segment
from harness.store import codec
from harness.store.records import describe


@dataclass(frozen=True, eq=False)
class ProxyData:
    """What one feature choice gives.

    Attributes:
        choice: The features.
        table: Their rows, z-scored at every time; labels that were not known when it was made are NaN.
        blocks: Gram blocks of the table.
        similarity: Of the blocks.
        learned: The choice and the processors, with what their views recorded.
    """

    choice: Choice
    table: SampleTable
    blocks: GramBlocks
    similarity: Similarity
    learned: tuple[Artefact, ...] = ()


def prepare_all(turns: Sequence[Turn], recipe: ProxyRecipe, history: History) -> tuple[ProxyData, ...]:
    """Return proxy data per feature choice, in time order.

    Choice and similarity are stashed, so that experiments which differ only in what comes later share them.
    """
    prepared = []
    for turn in turns:
        data = history.stash("proxy", turn.parts(recipe, history), _stored(turn, recipe, history))
        learned = tuple(replace(artefact, decision=turn.at) for artefact in data.learned)
        prepared.append(replace(data, choice=replace(data.choice, decision=turn.at), learned=learned))
    return tuple(prepared)


def waves_of(turns: Sequence[Turn], recipe: ProxyRecipe, history: History) -> tuple[tuple[Piece, ...], ...]:
    """Return what workers can make before: the processed rows of every choice, then every block's proxy.

    Ridge proxies are solved from shared sums in a second; there is nothing to share out.
    """
    if recipe.sim_task_model == "linear":
        return ()
    shared = [_shared(turn.decision, turn.period, turn.last, recipe, history) for turn in turns]

    def rows_of(one: SharedSimilarity) -> Piece:
        return Piece({**one.parts, "block": None}, lambda: one.processed)

    def column_of(one: SharedSimilarity, k: int) -> Piece:
        return Piece(one.column_parts(k), lambda: one.column(k))

    rows = tuple(rows_of(one) for one in shared)
    return rows, tuple(column_of(one, k) for one in shared for k in range(len(one.blocks)))


def prepare(decision: int, period: Segment, last: int, recipe: ProxyRecipe, history: History) -> ProxyData:
    """Return proxy data and similarity from one feature choice.

    Args:
        decision, period: Features are chosen and processors fitted on `period`, through views as of `decision`.
        last: Rows up to this position are made. Each depends on its own time and on what was fitted, so it may be
            newer.
        recipe, history: The rule and the past; block 0 begins with `period`.
    """
    chosen = _chosen(decision, period, recipe, history)
    _tell(chosen.choice, history)
    table, blocks, fitted = _proxy_table(chosen.choice, decision, period, last, recipe, history)
    if recipe.sim_task_model == "gbdt" and history.shared:
        similarity, compared = _shared(decision, period, last, recipe, history).whole()
    else:
        similarity, compared = _similarity(table, blocks, decision, period, last, recipe, history)
    return ProxyData(chosen.choice, table, blocks, similarity, (chosen.learned, fitted, *compared))


def _chosen(decision: int, period: Segment, recipe: ProxyRecipe, history: History) -> Chosen:
    """Choose the features, or find them chosen."""

    def make() -> Chosen:
        seen = history.as_of(decision)
        choice = choose_features(seen, period, recipe.choice, recipe.seed)
        return Chosen(choice, Artefact("feature choice", decision, seen.reads))

    parts = {
        "decision": decision,
        "period": [period.start, period.stop],
        "rule": describe(recipe.choice),
        "seed": recipe.seed,
    }
    return history.stash("feature_choice", parts, Stored.record(make, Chosen))


def _shared(decision: int, period: Segment, last: int, recipe: ProxyRecipe, history: History) -> SharedSimilarity:
    def rows() -> Rows:
        if recipe.sim_preprocess is not None:
            return _all_features(decision, period, last, recipe.sim_preprocess, history)
        choice = _chosen(decision, period, recipe, history).choice
        return Rows(_proxy_table(choice, decision, period, last, recipe, history)[0], ())

    parts = Turn(decision, decision, period, last).parts(recipe, history)
    return SharedSimilarity(history, parts, period.start, last, rows, recipe.gbdt, recipe.seed)


def _all_features(decision: int, period: Segment, last: int, pipeline: Pipeline, history: History) -> Rows:
    """Return the rows of all features as `pipeline` processes them."""
    raw = known_rows(history.as_of(last), period.start)
    seen = raw.as_of(decision)
    table = apply(raw, pipeline.fit(seen, period))
    return Rows(table, (Artefact("similarity processors", decision, seen.reads),))


def _stored(turn: Turn, recipe: ProxyRecipe, history: History) -> Stored[ProxyData]:
    """Return how proxy data become files: what took long to learn; the table follows from it in a second."""

    def save(data: ProxyData, folder: Path) -> None:
        codec.save(folder, (data.choice, data.similarity, data.learned))

    def load(folder: Path) -> ProxyData:
        choice, similarity, learned = codec.load(folder, tuple[Choice, Similarity, tuple[Artefact, ...]], mapped=False)
        table, blocks, _ = _proxy_table(choice, turn.decision, turn.period, turn.last, recipe, history)
        return ProxyData(choice, table, blocks, similarity, learned)

    return Stored(lambda: prepare(turn.decision, turn.period, turn.last, recipe, history), save, load)


def _proxy_table(
    choice: Choice, decision: int, period: Segment, last: int, recipe: ProxyRecipe, history: History
) -> tuple[SampleTable, GramBlocks, Artefact]:
    """Return the rows of the chosen features, z-scored at every time, their Gram blocks, and what processors read."""
    start, newest = period.start, history.as_of(last)
    raw = known_rows(newest, start, None if choice.names == newest.feature_names else choice.names)
    seen = raw.as_of(decision)
    data = apply(raw, recipe.preprocess.fit(seen, period))
    table = standardised(data.labelled if recipe.profile.drop_before_scoring else data)
    fitted = Artefact("proxy processors", decision, seen.reads)
    return table, _blocks(table, start, history.step), fitted


def _similarity(
    table: SampleTable,
    blocks: GramBlocks,
    decision: int,
    period: Segment,
    last: int,
    recipe: ProxyRecipe,
    history: History,
) -> tuple[Similarity, tuple[Artefact, ...]]:
    """Measure similarity on the proxy data, or on all features where the recipe processes them for it."""
    start, step = period.start, history.step
    fitted: tuple[Artefact, ...] = ()
    if recipe.sim_preprocess is not None:
        rows = _all_features(decision, period, last, recipe.sim_preprocess, history)
        table, fitted = rows.table, rows.learned
        blocks = _blocks(table, start, step)
    view = table.as_of(last)
    if recipe.sim_task_model == "linear":
        return linear_similarity(view, start, blocks, step=step, alpha=recipe.sim_alpha), fitted
    return gbdt_similarity(view, start, step, recipe.gbdt, seed=recipe.seed, observer=history.observer), fitted


def _blocks(table: SampleTable, start: int, step: int) -> GramBlocks:
    return GramBlocks(table.features, table.label, table.index.offsets, step=step, origin=start)


def _tell(choice: Choice, history: History) -> None:
    if choice.used < len(choice.names):
        history.observer.notice(
            f"DDG-DA: the feature choice used only {choice.used} of {len(choice.names)} features; "
            "the others fill up the number in the table's order"
        )

"""What the leak-free profile and the parity profile do differently, one switch per difference."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Profile:
    """The switches; the default of each is the leak-free choice.

    Attributes:
        learn_choice_late: Choose features and fit processors on the train segment of the first *final* window, instead
            of on what is known at the first meta-task's decision.
        count_survivors: A ratio in `segments` counts the tasks that have enough history, instead of all; nothing is
            purged or refused.
        judge_in_test: Meta-test tasks may lie in the final test period.
        drop_before_scoring: Rows without a label are dropped before the per-time z-score, instead of after it.
        undefined_is_best: An undefined similarity is filled like a masked one, instead of being neutral.
        shrink_correlation: The loss is the Pearson correlation times (n − 1)/n.
        plain_tail: At inference, rows after the last block weigh 1, although in meta-training they weigh like the last
            block.
    """

    learn_choice_late: bool = False
    count_survivors: bool = False
    judge_in_test: bool = False
    drop_before_scoring: bool = False
    undefined_is_best: bool = False
    shrink_correlation: bool = False
    plain_tail: bool = False


POINT_IN_TIME = Profile()
QLIB = Profile(
    learn_choice_late=True,
    count_survivors=True,
    judge_in_test=True,
    drop_before_scoring=True,
    undefined_is_best=True,
    shrink_correlation=True,
    plain_tail=True,
)
PROFILES = {"point_in_time": POINT_IN_TIME, "qlib": QLIB}

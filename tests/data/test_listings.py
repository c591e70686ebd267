from __future__ import annotations

from typing import Any

import numpy as np

from harness.data.panel import last_seen
from harness.data.sources.synthetic import draw_listings, index_level, largest_members

NAN = np.nan


def _draw(seed=0, **changed):
    options: dict[str, Any] = {"late": 10, "delisted": 5, "suspension": (0.002, 5.0)} | changed
    return draw_listings((1000, 100), rng=np.random.default_rng(seed), **options)


def test_the_asked_number_comes_late_or_leaves_and_nobody_does_both():
    listed, _ = _draw()
    late, gone = ~listed[0], ~listed[-1]
    assert (late.sum(), gone.sum(), (late & gone).sum()) == (10, 5, 0)
    assert listed.any(axis=0).all()


def test_an_instrument_is_listed_in_one_span():
    assert (np.abs(np.diff(_draw()[0].astype(int), axis=0)).sum(axis=0) <= 1).all()


def test_suspensions_come_at_their_rate_and_last_their_length():
    _, suspended = _draw(suspension=(0.01, 4.0))
    begins = (np.diff(suspended.astype(int), axis=0) == 1).sum()
    assert abs(suspended.mean() - 0.04) < 0.005
    assert abs(suspended.sum() / begins - 4.0) < 0.3


def test_the_last_seen_price_stands_still_while_suspended():
    price = np.array([[1.0, 5.0], [2.0, 6.0], [3.0, 7.0]])
    traded = np.array([[True, False], [False, True], [True, False]])
    np.testing.assert_array_equal(last_seen(price, traded), [[1, NAN], [1, 6], [3, 6]])


def test_the_largest_are_members_from_the_review_on_by_sizes_known_before_it():
    size = np.array([[1.0, 2, 3], [9, 2, 3], [9, 2, 3], [0, 9, 0], [0, 9, 9]])
    members = largest_members(size, np.ones((5, 3), dtype=bool), count=1, review_every=2)
    # Position 2 is reviewed with the sizes of position 1, position 4 with those of 3.
    np.testing.assert_array_equal(members.argmax(axis=1), [2, 2, 0, 0, 1])
    assert (members.sum(axis=1) == 1).all()


def test_nobody_is_a_member_before_a_price_is_known_or_after_the_delisting():
    size = np.array([[NAN, 1.0], [5.0, 1.0], [5.0, 1.0], [5.0, 1.0]])
    listed = np.array([[True, True], [True, True], [True, True], [False, True]])
    members = largest_members(size, listed, count=2, review_every=2)
    np.testing.assert_array_equal(members, [[False, True], [False, True], [True, True], [False, True]])


def test_the_index_earns_the_mean_return_of_those_who_were_members_before_the_step():
    seen = np.array([[10.0, 10.0, NAN], [11.0, 10.0, 4.0], [11.0, 20.0, 4.0]])
    members = np.array([[True, True, True], [False, True, True], [True, True, True]])
    # Step 1: (10 % + 0 %) / 2, the third is not priced yet. Step 2: (100 % + 0 %) / 2.
    np.testing.assert_allclose(index_level(seen, members), [1000.0, 1050.0, 1575.0])

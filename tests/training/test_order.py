"""The number of a step decides what it sees."""

from __future__ import annotations

import numpy as np
import pytest

from kflow_sci.training.order import part_size, seeds_of_step


def test_seeds_are_the_stated_words_of_the_seed_sequence() -> None:
    words = np.random.SeedSequence((5, 17, 1)).generate_state(3, np.uint64)
    assert seeds_of_step(5, 17, 1) == tuple(int(word) // 2 for word in words)


def test_steps_processes_and_runs_share_no_seed() -> None:
    seeds = [
        s
        for seed in range(4)
        for step in range(50)
        for rank in range(4)
        for s in seeds_of_step(seed, step, rank)
    ]
    assert len(set(seeds)) == len(seeds)


@pytest.mark.parametrize(("batch", "world"), [(8, 1), (8, 2), (7, 2), (7, 3), (3, 3)])
def test_parts_of_a_batch_add_up_and_differ_by_one_at_most(batch: int, world: int) -> None:
    parts = [part_size(batch, rank, world) for rank in range(world)]
    assert sum(parts) == batch and max(parts) - min(parts) <= 1

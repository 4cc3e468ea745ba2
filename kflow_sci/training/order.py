"""Which part of the data and which random numbers a step sees.

The one idea: both follow from the number of the step alone. Nothing has to be remembered, so a run that was
killed and continued sees exactly what an uninterrupted one sees.
"""

from __future__ import annotations

import numpy as np


def seeds_of_step(seed: int, step: int, rank: int) -> tuple[int, int, int]:
    """Seeds of one step in one process: for its data, for the noise of its loss, and for torch's global generator.

    They are the first three 64-bit words, less the lowest bit, of ``np.random.SeedSequence((seed, step, rank))``, so
    steps, processes and runs with neighbouring seeds share no numbers.

    Args:
        seed: Seed of the run, >= 0.
        step: 0-based.
        rank: 0-based number of the process.
    """
    words = np.random.SeedSequence((seed, step, rank)).generate_state(3, np.uint64)
    data, noise, dropout = (int(word >> np.uint64(1)) for word in words)
    return data, noise, dropout


def part_size(batch_size: int, rank: int, world_size: int) -> int:
    """Examples of the joint batch that one process takes; the parts add up to the batch and differ by one at most."""
    return len(range(rank, batch_size, world_size))

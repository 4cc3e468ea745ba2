"""Proposals by name, learned ones included.

The one idea: what needs torch and weights is loaded only when it is asked for.
"""

from __future__ import annotations

from pathlib import Path

from kflow_sci.assembly.search.setup import PROPOSALS, Problem
from kflow_sci.assembly.search.setup import make_proposal as make_plain
from kflow_sci.assembly.search.starts import Proposal
from kflow_sci.errors import PackingError

LEARNED = {"flow": 1, "mixed": 2}
"""Every which trial is moved by the flow; the others are random."""


def make_proposal(problem: Problem, name: str = "random", weights: str | Path | None = None) -> Proposal:
    """Where the trials of a problem start.

    Args:
        problem: What the search is about.
        name: One of ``search.setup.PROPOSALS``, ``flow``, or ``mixed``: every second trial by the flow.
        weights: A file of ``kflow train`` for learned proposals; that of the package if None.

    Raises:
        PackingError: there is no such proposal, or it does not fit the problem.
        CheckpointError: the weights cannot be used.
    """
    if name in LEARNED:
        from kflow_sci.assembly.proposals.propose import flow_proposal

        return flow_proposal(problem, weights, every=LEARNED[name])
    if name not in PROPOSALS:
        raise PackingError(
            f"there are no proposals {name!r}: choose one of {', '.join([*PROPOSALS, *LEARNED])}"
        )
    return make_plain(problem, name)

"""The table of scores: which columns, and what each number means and does not mean.

The one idea: a number without its meaning is not shown. What a file brings that kflow does not know is said to be as
the file gives it, and a value that is the same for all candidates is told once, not in every row.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Info = Mapping[str, object]


@dataclass(frozen=True)
class Score:
    """One column.

    Attributes:
        key: In ``Cluster.info``.
        title: Heading, with the unit.
        meaning: What it says.
        decimals: Digits after the point; None for text and whole numbers.
    """

    key: str
    title: str
    meaning: str
    decimals: int | None = None


_SCORES = (
    Score("rank", "Rank", "Place in this list: the fewest clashing pairs first, then the lowest energy."),
    Score("id", "Id", "Name that the cluster carries."),
    Score(
        "sample",
        "Sample",
        "Number of the random start. With the seed it gives the same candidate again, however many are drawn.",
    ),
    Score(
        "energy",
        "Energy, kJ/mol",
        "Between the molecules, per molecule, in the force field or method named below. Lower is more strongly bound. "
        "Compare candidates of the same molecules in the same number only: it falls as clusters grow.",
        1,
    ),
    Score(
        "energy_relaxed",
        "Relaxed, kJ/mol",
        "The same after relaxation in that energy, as relaxed.extxyz has it; it decides the order. If all atoms were "
        "relaxed, it is measured from the molecules alone as they were before, so their strain is in it.",
        1,
    ),
    Score(
        "strain",
        "Strain, kJ/mol",
        "Energy of this conformer above the lowest one tried, per molecule, without neighbours. For the order it is "
        "added to the energy.",
        1,
    ),
    Score("conformer", "Conformer", "Which shape of the molecule was packed, from 0, the lowest in energy."),
    Score(
        "energy_central",
        "Central, kJ/mol",
        "Half of the energy between the innermost molecule and all others. That molecule has neighbours on all sides, "
        "so this is the cluster's nearest guess at a lattice energy.",
        1,
    ),
    Score(
        "energy_van_der_waals", "Contacts, kJ/mol", "The part of the energy from repulsion and dispersion.", 1
    ),
    Score("energy_coulomb", "Charges, kJ/mol", "The part of the energy from point charges.", 1),
    Score(
        "clashing_pairs",
        "Clashing pairs",
        "Pairs of atoms of different molecules, per molecule, that are nearer than 0.8 of the sum of their van der "
        "Waals radii (0.55 in a hydrogen bond). 0 is what a crystal has.",
        2,
    ),
    Score(
        "clashing_pairs_start",
        "Clashing, raw",
        "The same before clashes were resolved: what the flow itself left behind.",
        2,
    ),
    Score(
        "relax_shift",
        "Shift, Å",
        "How far molecules moved, root mean square, when clashes were resolved.",
        3,
    ),
    Score(
        "outside",
        "Outside",
        "Molecules that reach beyond the sphere or the box that was asked for. Above 0 the region is too small.",
    ),
    Score("volume", "Volume, Å³", "Per molecule; of kflow assemble what was asked for, not a prediction.", 1),
    Score("density", "Density, g/cm³", "Mass of the molecules over their volume.", 3),
    Score("space_group", "Group", "Space group."),
    Score("z_prime", "Z′", "Independent molecules in the crystal.", 1),
    Score("calls", "Calls", "How often the network was asked."),
    Score("energy_model", "Energy from", "Force field and charges, or the method, of the energy."),
    Score("energy_failed", "No energy", "Why this candidate has no energy; it stands last."),
    Score(
        "relax_failed",
        "Not relaxed",
        "Why this candidate could not be relaxed; it stands in relaxed.extxyz as it was.",
    ),
    Score("relax_steps", "Steps", "Of the relaxation in an energy."),
    Score("relax_rms", "Moved, Å", "How far atoms moved in that relaxation, root mean square.", 3),
)
_LATTICE = (
    Score("rank", "Rank", "Place in this list: the lowest energy first."),
    Score(
        "energy",
        "Lattice energy, kJ/mol",
        "Of the rigid molecules in the crystal, per molecule, in a force field. Lower is more strongly bound.",
        2,
    ),
    Score("above", "Above, kJ/mol", "Energy above the lowest crystal found.", 2),
    Score("strain", "Strain, kJ/mol", "Energy of this conformer above the lowest one.", 2),
    Score("found", "Found", "How many trials ended in this crystal."),
    Score("trial", "Trial", "Number of the random start."),
    Score("volume", "Volume, Å³", "Of the cell, per molecule, after relaxation.", 1),
    Score("rank_before", "Rank before", "Place in the force field, before another energy sorted the list."),
)
_AS_GIVEN = "As the file gives it; kflow does not know its meaning or its unit."
_NEVER_SHOWN = {"formula", "crystal"}

NOT_MEANT = (
    "The energy ranks candidates; it is no criterion of truth. The molecules are rigid, the cluster stands in vacuum "
    "with a large surface, the force field has errors of its own, and there is no temperature.",
    "The first candidate is not the crystal. That no atoms clash is necessary for a packing, and far from sufficient.",
    "Rank is not a probability, and the candidates are no thermal ensemble: random starts and a network drew them.",
    "Differences of a few kJ/mol between candidates are below what the force field can tell.",
)
NOT_MEANT_OF_CRYSTALS = (
    "The lattice energy ranks crystals; it is no criterion of truth. The molecules are rigid, the force field has "
    "errors of its own, and there is no temperature.",
    "The first crystal need not be the one that grows. Half of all pairs of polymorphs differ by less than 2 kJ/mol "
    "(Nyman and Day, CrystEngComm 2015, 17, 5154), below what a force field can tell, and kinetics may decide.",
    "What is shown is a piece of each crystal: the molecules nearest to one of them. Found counts trials, not "
    "probability.",
)
NOT_MEANT_OF_A_WALK = (
    "The way along the scale is how the generator decides, coarse before fine. It is no trajectory in time: nothing "
    "nucleates or grows that way.",
)
NOT_MEANT_OF_FILES = (
    "A picture of a structure says nothing of how good it is. Contacts come from distances and radii alone.",
)


def columns_for(infos: Sequence[Info]) -> tuple[list[Score], list[tuple[Score, object]]]:
    """What to put into the rows of the table, and what is the same for all of them.

    Args:
        infos: What is known of each candidate; lists and mappings in them are not shown.

    Returns:
        The columns in the order of interest; and the constant ones with their value.
    """
    present: dict[str, None] = {}
    for info in infos:
        present.update((k, None) for k, v in info.items() if _is_plain(v) and k not in _NEVER_SHOWN)
    lattice = is_lattice(present)
    known = {score.key: score for score in (*_SCORES, *(_LATTICE if lattice else ()))}
    if "energy" in present and not lattice and "energy_model" not in present:
        known["energy"] = Score("energy", "energy", _AS_GIVEN, 4)
    order = [known[key] for key in known if key in present]
    order += [Score(key, key, _AS_GIVEN, 4) for key in present if key not in known]
    varying: list[Score] = []
    constant: list[tuple[Score, object]] = []
    for score in order:
        values = [info.get(score.key) for info in infos]
        same = len(infos) > 1 and all(value == values[0] for value in values)
        if same and score.key not in ("rank", "clashing_pairs"):
            constant.append((score, values[0]))
        else:
            varying.append(score)
    return varying, constant


def is_lattice(info: Info) -> bool:
    """Whether the energy is that of a crystal and not of a cluster."""
    return "above" in info or ("space_group" in info and "energy_model" not in info)


def show_value(value: object, decimals: int | None) -> str:
    """A value as it stands in the table: a true minus sign, no digits that mean nothing, a dash for what is missing."""
    if value is None:
        return "–"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        return "not a number" if math.isnan(value) else "infinite"
    text = (
        f"{value:d}" if isinstance(value, int) else f"{value + 0.0:.{2 if decimals is None else decimals}f}"
    )
    text = text.lstrip("-") if not text.strip("-0.") else text
    return text.replace("-", "\N{MINUS SIGN}")


def _is_plain(value: object) -> bool:
    return isinstance(value, str | int | float | bool)

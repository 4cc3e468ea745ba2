"""The measures of one sample, and one table that says what each is.

The one idea: a measure is its name, unit, direction and a sentence; tables, files and the terminal read them from here.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float

from kflow_sci.assembly.scoring import packing, published
from kflow_sci.assembly.scoring.frame import Frame
from kflow_sci.assembly.scoring.matching import matched_pm
from kflow_sci.assembly.scoring.similarity import ANGLE, DISTANCE, SIZE, check_tolerances, overlay

Better = Literal["lower", "higher", "target 1"]


@dataclass(frozen=True)
class Measure:
    """What a number means.

    Attributes:
        name: Key in files.
        unit: Empty for a pure number; "share" for a mean of yes and no, in [0, 1].
        better: Direction.
        text: One line for a reader of the table.
        worst: What a failed sample counts as; None where no number is bad enough, then it is counted beside the mean.
    """

    name: str
    unit: str
    better: Better
    text: str
    worst: float | None = None

    def badness(self, values: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        """Values turned so that the smallest is the best."""
        if self.better == "target 1":
            return np.abs(values - 1.0)
        return values if self.better == "lower" else -values


MEASURES = (
    Measure("matched_pm", "Å", "lower", "PM-center at the best assignment of molecules"),
    Measure(
        "overlay_n", "molecules", "higher", "molecules around the centre that lie as in the reference", 0.0
    ),
    Measure("packed", "share", "higher", "more than half of the molecules match (8 of 15)", 0.0),
    Measure("packed_rmsd", "Å", "lower", "RMSD of the best such match, where there is one"),
    Measure("solved", "share", "higher", "some matching of more than half has an RMSD below 2 Å", 0.0),
    Measure("solved_clean", "share", "higher", "solved, and no clash", 0.0),
    Measure("clashes", "pairs/molecule", "lower", "atom pairs of different molecules that are too close"),
    Measure("clashing", "share", "lower", "samples with any such pair", 1.0),
    Measure("density_ratio", "", "target 1", "density of the centre (Voronoi) over that of the reference"),
    Measure("density_error", "", "lower", "abs(ln) of it"),
    Measure("gyration_ratio", "", "target 1", "volume by radius of gyration over that of the reference"),
    Measure(
        "coordination_error", "molecules", "lower", "abs. difference in neighbours that touch the centre"
    ),
    Measure("distortion", "Å", "lower", "largest change of a distance inside a molecule; 0 for rigid copies"),
)
PUBLISHED = (
    Measure("pm_atom", "Å", "lower", "PM-atom, atoms matched by index"),
    Measure("pm_center", "Å", "lower", "PM-center, molecules matched by index"),
    Measure(
        "collision",
        "%",
        "lower",
        "atom pairs below the sum of covalent radii, bonded pairs and diagonal included",
    ),
    Measure("separation", "%", "higher", "molecule pairs more than 0.5 Å apart"),
)
# In every row but in no mean: RMSD of all matched molecules (Å; small where few match), molecules that touch the
# centre, Voronoi volume of the centre (Å^3).
RECORD = ("overlay_rmsd", "coordination", "volume")
BY_NAME = {measure.name: measure for measure in MEASURES + PUBLISHED}


# A sample that has flown apart this far, in Å, has failed: nothing can be measured on it.
FARTHEST = 1e6


def usable(pred: Frame) -> bool:
    """Whether every coordinate is finite and below 1e6 Å."""
    with np.errstate(invalid="ignore"):
        return bool((np.abs(pred.positions) < FARTHEST).all())


@dataclass(frozen=True)
class Settings:
    """What the overlay compares; see ``similarity.overlay``."""

    size: int = SIZE
    distance: float = DISTANCE
    angle: float = ANGLE
    mirror: bool = False

    def check(self) -> None:
        """Refuse what the overlay cannot use, before any work is done.

        Raises:
            ScoreError: a value out of range.
        """
        check_tolerances(self.size, self.distance, self.angle)


@dataclass(frozen=True, eq=False)
class Reference:
    """A true cluster with what every one of its samples is compared to, computed once."""

    frame: Frame

    @cached_property
    def polar(self) -> Bool[np.ndarray, " atoms"]:
        """Hydrogens that make hydrogen bonds."""
        return packing.own_polar_hydrogens(self.frame.numbers, self.frame.positions, self.frame.molecule)

    @cached_property
    def volume(self) -> float:
        """Voronoi volume of the central molecule, Å^3."""
        return packing.voronoi_volume(self.frame.positions, self.frame.molecule, self.frame.centre)

    @cached_property
    def gyration_volume(self) -> float:
        """Å^3 per molecule."""
        return packing.gyration_volume(self.frame.centroids)

    @cached_property
    def coordination(self) -> int:
        """Molecules that touch the central one."""
        return packing.coordination(
            self.frame.numbers, self.frame.positions, self.frame.molecule, self.frame.centre
        )

    def score(self, pred: Frame, settings: Settings) -> dict[str, float]:
        """Every measure of one sample; NaN where a measure is not defined for it.

        Args:
            pred: The sample; atoms and molecules as in the reference.
            settings: What the overlay compares.

        Returns:
            Values keyed by measure, and ``extent`` and ``RECORD`` beside them.
        """
        with np.errstate(all="ignore"):
            row = published.score(
                self.frame.numbers, pred.positions, self.frame.positions, self.frame.molecule
            )
        names = [measure.name for measure in MEASURES]
        if not usable(pred):
            return row | dict.fromkeys([*names, *RECORD], float("nan"))
        match = overlay(
            pred,
            self.frame,
            size=settings.size,
            distance=settings.distance,
            angle=settings.angle,
            mirror=settings.mirror,
        )
        pairs = packing.clash_pairs(pred.numbers, pred.positions, pred.molecule, self.polar)
        volume = packing.voronoi_volume(pred.positions, pred.molecule, pred.centre)
        touching = packing.coordination(pred.numbers, pred.positions, pred.molecule, pred.centre)
        ratio = self.volume / volume
        values = {
            "matched_pm": matched_pm(pred.centroids, self.frame.centroids),
            "overlay_n": float(match.n_matched),
            "packed": float(match.packed),
            "packed_rmsd": match.rmsd_packed,
            "solved": float(match.solved),
            "solved_clean": float(match.solved and pairs == 0),
            "clashes": pairs / pred.n_molecules,
            "clashing": float(pairs > 0),
            "density_ratio": ratio,
            "density_error": abs(float(np.log(ratio))),
            "gyration_ratio": packing.gyration_volume(pred.centroids) / self.gyration_volume,
            "coordination_error": float(abs(touching - self.coordination)),
            "distortion": packing.distortion(pred, self.frame),
        }
        record = {"overlay_rmsd": match.rmsd, "coordination": float(touching), "volume": volume}
        return row | values | record

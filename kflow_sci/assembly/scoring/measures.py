"""The measures of one sample, and one table that says what each is.

The one idea: a measure is its name, unit, direction and a sentence; tables, files and the terminal read them from here.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float, Int

from kflow_sci.assembly.scoring import packing, published
from kflow_sci.assembly.scoring.frame import Frame
from kflow_sci.assembly.scoring.inside import Internal
from kflow_sci.assembly.scoring.matching import matched_pm
from kflow_sci.assembly.scoring.matching_atoms import matched_pm_atom
from kflow_sci.assembly.scoring.similarity import ANGLE, DISTANCE, SIZE, check_tolerances, overlay
from kflow_sci.errors import ScoreError

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
        optional: Whether the measure may be undefined for a good sample, as an RMSD without a match; that is then no
            failure, and the number of references behind the mean tells how often it was defined.
    """

    name: str
    unit: str
    better: Better
    text: str
    worst: float | None = None
    optional: bool = False

    def badness(self, values: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        """Values turned so that the smallest is the best."""
        if self.better == "target 1":
            return np.abs(values - 1.0)
        return values if self.better == "lower" else -values


MEASURES = (
    Measure("solved", "share", "higher", "some matching of more than half has an RMSD below 2 Å", 0.0),
    Measure("solved_clean", "share", "higher", "solved, and no clash", 0.0),
    Measure("packed", "share", "higher", "more than half of the molecules match (8 of 15)", 0.0),
    Measure(
        "overlay_n", "molecules", "higher", "molecules around the centre that lie as in the reference", 0.0
    ),
    Measure(
        "packed_rmsd", "Å", "lower", "RMSD of the best match of more than half, where one is", optional=True
    ),
    Measure("matched_pm", "Å", "lower", "PM-center at the best assignment of molecules"),
    Measure("matched_pm_atom", "Å", "lower", "PM-atom at the best assignment, molecular symmetry allowed"),
    Measure("contact_distance", "", "lower", "shift of nearest contacts (Wasserstein), in sums of radii"),
    Measure("clashes", "pairs/molecule", "lower", "atom pairs of different molecules that are too close"),
    Measure("clashing", "share", "lower", "samples with any such pair", 1.0),
    Measure("density_ratio", "", "target 1", "density of the centre (Voronoi) over that of the reference"),
    Measure("density_error", "", "lower", "abs(ln) of it"),
    Measure("gyration_ratio", "", "target 1", "volume by radius of gyration over that of the reference"),
    Measure(
        "coordination_error", "molecules", "lower", "abs. difference in neighbours that touch the centre"
    ),
    Measure("chirality_kept", "share", "higher", "stereocentres with their configuration", optional=True),
    Measure("distortion", "Å", "lower", "largest change of a distance inside a molecule; 0 for rigid copies"),
    Measure("distortion_rms", "Å", "lower", "root mean square of such changes"),
    Measure(
        "broken_bonds", "share", "lower", "bonds off by more than 25 % of their length", 1.0, optional=True
    ),
)
ENERGY = (
    Measure("energy", "kJ/mol", "lower", "energy between the molecules, per molecule"),
    Measure("energy_gap", "kJ/mol", "lower", "the same above that of the reference"),
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
BY_NAME = {measure.name: measure for measure in MEASURES + ENERGY + PUBLISHED}


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
        """Å^3 per molecule; NaN where all centroids are in one place, as no ratio to it means anything."""
        return packing.gyration_volume(self.frame.centroids) or float("nan")

    @cached_property
    def coordination(self) -> int:
        """Molecules that touch the central one."""
        return packing.coordination(
            self.frame.numbers, self.frame.positions, self.frame.molecule, self.frame.centre
        )

    @cached_property
    def internal(self) -> Internal:
        """What must not change inside the molecules."""
        return Internal(self.frame)

    @cached_property
    def kinds(self) -> Int[np.ndarray, " n"]:
        """Which of the different molecules each one is."""
        known: dict[bytes, int] = {}
        return np.array(
            [known.setdefault(self.frame.numbers[a].tobytes(), len(known)) for a in self.frame.members]
        )

    def score(self, pred: Frame | None, settings: Settings, names: Collection[str] = ()) -> dict[str, Any]:
        """Measures of one sample; NaN where one is not defined for it.

        Args:
            pred: The sample; atoms and molecules as in the reference. None for one that was not made.
            settings: What the overlay compares.
            names: Measures wanted, of ``MEASURES``; the published ones are always there. All if empty.

        Returns:
            Values keyed by measure, ``extent`` and ``RECORD`` beside them; ``failed`` and ``note``: why the sample, or
            some measure of it, has no value, else empty.
        """
        wanted = [m.name for m in MEASURES if not names or m.name in names]
        row: dict[str, Any] = {"failed": "", "note": ""}
        row |= dict.fromkeys([*wanted, *published.METRICS, *RECORD], float("nan"))
        if pred is None:
            return row | {"failed": "no sample"}
        parts: list[tuple[Collection[str], Callable[[], dict[str, float]]]] = [
            (published.METRICS, lambda: self._published(pred))
        ]
        if usable(pred):
            parts += [
                (_OVERLAY, lambda: self._overlay(pred, settings)),
                (_CLASHES, lambda: self._clashes(pred)),
                (_SPACE, lambda: self._space(pred)),
                (_INSIDE, lambda: self.internal.compare(pred)),
                (("matched_pm",), lambda: {"matched_pm": self._matched_pm(pred)}),
                (("matched_pm_atom",), lambda: {"matched_pm_atom": matched_pm_atom(pred, self.frame)}),
            ]
        else:
            row["failed"] = "not finite or beyond 1e6 Å"
        found: dict[str, float] = {}
        for keys, measure in parts:
            if not (set(keys) & row.keys()):
                continue
            try:
                found |= measure()
            except ScoreError as error:  # an element that a measure knows nothing of costs that measure only
                row["note"] = "; ".join(filter(None, [row["note"], str(error)]))
        if "solved" in found and "clashing" in found:
            found["solved_clean"] = float(found["solved"] == 1 and found["clashing"] == 0)
        return row | {key: value for key, value in found.items() if key in row}

    def _published(self, pred: Frame) -> dict[str, float]:
        with np.errstate(all="ignore"):
            return published.score(
                self.frame.numbers, pred.positions, self.frame.positions, self.frame.molecule
            )

    def _matched_pm(self, pred: Frame) -> float:
        return matched_pm(pred.centroids, self.frame.centroids, (self.kinds, self.kinds))

    def _overlay(self, pred: Frame, settings: Settings) -> dict[str, float]:
        match = overlay(
            pred,
            self.frame,
            size=settings.size,
            distance=settings.distance,
            angle=settings.angle,
            mirror=settings.mirror,
        )
        return {
            "overlay_n": float(match.n_matched),
            "packed": float(match.packed),
            "packed_rmsd": match.rmsd_packed,
            "solved": float(match.solved),
            "overlay_rmsd": match.rmsd,
        }

    def _clashes(self, pred: Frame) -> dict[str, float]:
        pairs = packing.clash_pairs(pred.numbers, pred.positions, pred.molecule, self.polar)
        return {"clashes": pairs / pred.n_molecules, "clashing": float(pairs > 0)}

    def _space(self, pred: Frame) -> dict[str, float]:
        volume = packing.voronoi_volume(pred.positions, pred.molecule, pred.centre)
        touching = packing.coordination(pred.numbers, pred.positions, pred.molecule, pred.centre)
        ratio = self.volume / volume
        return {
            "density_ratio": ratio,
            "density_error": abs(float(np.log(ratio))),
            "gyration_ratio": packing.gyration_volume(pred.centroids) / self.gyration_volume,
            "coordination_error": float(abs(touching - self.coordination)),
            "contact_distance": packing.contact_distance(pred, self.frame),
            "coordination": float(touching),
            "volume": volume,
        }


_OVERLAY = ("overlay_n", "packed", "packed_rmsd", "solved", "solved_clean")
_CLASHES = ("clashes", "clashing", "solved_clean")
_SPACE = ("density_ratio", "density_error", "gyration_ratio", "coordination_error", "contact_distance")
_INSIDE = ("distortion", "distortion_rms", "broken_bonds", "chirality_kept")

"""What the measures give for clusters that know nothing, so that no table is read without its floors.

The one idea: a number means something only beside what chance gives, and the published numbers beside what a perfect
crystal gets whose molecules have other numbers. These are constants, measured once by ``benchmarks/scoring.py``.
"""

from __future__ import annotations

FLOORS_OF = "means over 40 test crystals, 17 molecules at true density"

# Random ball: clashes resolved, 5 samples each; fcc/hcp: random orientations, 5; PackMol: 1; the true cluster: 5.
# fmt: off
FLOORS: dict[str, dict[str, float]] = {
    "random ball": {
        "solved": 0.0, "solved_clean": 0.0, "packed": 0.0, "overlay_n": 1.185, "matched_pm": 2.255,
        "matched_pm_atom": 3.46, "contact_distance": 0.161, "clashes": 2.277, "clashing": 0.33,
        "density_error": 0.097, "coordination_error": 2.73, "chirality_kept": 0.707, "pm_atom": 5.017,
        "pm_center": 4.242, "collision": 0.714, "separation": 99.835, "compactness": 1.0,
    },
    "fcc/hcp": {
        "solved": 0.0, "solved_clean": 0.0, "packed": 0.0, "overlay_n": 1.14, "matched_pm": 2.04,
        "matched_pm_atom": 3.382, "contact_distance": 0.198, "clashes": 14.21, "clashing": 1.0,
        "density_error": 0.113, "coordination_error": 1.845, "chirality_kept": 0.615, "pm_atom": 4.746,
        "pm_center": 3.833, "collision": 0.725, "separation": 97.757, "compactness": 1.0,
    },
    "PackMol": {
        "solved": 0.0, "solved_clean": 0.0, "packed": 0.0, "overlay_n": 1.175, "matched_pm": 2.283,
        "matched_pm_atom": 3.471, "contact_distance": 0.174, "clashes": 4.576, "clashing": 0.975,
        "density_error": 0.133, "coordination_error": 2.7, "chirality_kept": 0.594, "pm_atom": 5.058,
        "pm_center": 4.376, "collision": 0.715, "separation": 100.0, "compactness": 1.0,
    },
    "true, renumbered": {
        "solved": 1.0, "solved_clean": 0.975, "packed": 1.0, "overlay_n": 15.0, "matched_pm": 0.0,
        "matched_pm_atom": 0.0, "contact_distance": 0.0, "clashes": 0.01, "clashing": 0.025,
        "density_error": 0.001, "coordination_error": 0.0, "chirality_kept": 1.0, "pm_atom": 5.132,
        "pm_center": 4.305, "collision": 0.714, "separation": 100.0, "compactness": 1.0,
    },
}
# fmt: on

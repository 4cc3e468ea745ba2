"""What the script of the page draws: templates, poses along the scale and contacts, packed.

The one idea: a copy is a pose, so a cluster on its way through the scales costs twelve numbers per molecule and stop,
whatever its atoms; the page multiplies out the one that is looked at.
"""

from __future__ import annotations

import base64
import colorsys
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kflow_sci.assembly.bonds import bonded_pairs
from kflow_sci.assembly.cluster import Cluster
from kflow_sci.assembly.contacts import CLASH, HYDROGEN_BOND, SHORT, close_contacts
from kflow_sci.assembly.elements import SYMBOLS, VAN_DER_WAALS_RADIUS, look_up
from kflow_sci.assembly.model.walk import Walk
from kflow_sci.assembly.molecule import Molecule
from kflow_sci.errors import ClusterError
from kflow_sci.report.plots import ELEMENT_COLORS, OTHER_COLOR, ball_radius, view_axes

# Contacts along the way are sought in so many atoms at most, counted over all stops; more take seconds.
_MOST_ATOMS_ON_THE_WAY = 300_000
_MOLECULE_COLORS = 24


@dataclass(frozen=True, eq=False)
class Candidate:
    """A cluster to show, and how it came about where that is known.

    Attributes:
        cluster: What is shown in the end; its ``info`` holds the scores.
        walk: Poses along the flow; None where there are none.
    """

    cluster: Cluster
    walk: Walk | None = None


@dataclass(frozen=True)
class Payload:
    """What goes into the page.

    Attributes:
        text: JSON, safe inside a script element.
        shown: Candidates in it, from the first.
        walks: How many of them come with their walk.
        unknown: Symbols of elements without a van der Waals radius, of which no contacts are known.
    """

    text: str
    shown: int
    walks: int
    unknown: tuple[str, ...]


def pack(candidates: Sequence[Candidate], room: int) -> Payload:
    """Pack as many candidates as there is room for, the first ones whole.

    Where not all fit, walks are left out, the last ones first, then contacts, then candidates.

    Args:
        candidates: Best first.
        room: Bytes.

    Raises:
        ClusterError: no candidates, a pose that is not finite, or a first one that does not fit.
    """
    if not candidates:
        raise ClusterError("there is no candidate to show: give at least one")
    for number, candidate in enumerate(candidates):
        if not len(candidate.cluster) or not np.isfinite(candidate.cluster.positions).all():
            raise ClusterError(
                f"cluster {number} is empty or has positions that are not finite: leave it out"
            )
    radius = max(_reach(candidate) for candidate in candidates)
    numbers = np.unique(np.concatenate([m.numbers for c in candidates for m in c.cluster.molecules]))
    number_of: dict[int, int] = {}  # of each template
    molecules: list[dict[str, Any]] = []
    entries: list[dict[str, Any]] = []
    sizes: list[int] = []
    used, contacts = 2000, True
    for candidate in candidates:
        fresh = {id(m): m for m in candidate.cluster.molecules if id(m) not in number_of}
        packed = [_template(m) for m in fresh.values()]
        numbers_then = number_of | {key: len(molecules) + i for i, key in enumerate(fresh)}
        own = _size(packed)
        entry = _entry(candidate, numbers_then, False, contacts)
        if contacts and used + own + _size(entry) > room:
            contacts = False
            entry = _entry(candidate, numbers_then, False, False)
        if used + own + _size(entry) > room:
            break
        number_of, used = numbers_then, used + own + _size(entry)
        molecules += packed
        entries.append(entry)
        sizes.append(_size(entry))
    # What room is left goes to the walks of the first ones.
    for i, candidate in enumerate(candidates[: len(entries)]):
        if candidate.walk is not None:
            entry = _entry(candidate, number_of, True, contacts)
            used += _size(entry) - sizes[i]
            if used > room:
                break
            entries[i] = entry
    if not entries:
        atoms = len(candidates[0].cluster.numbers)
        raise ClusterError(
            f"a cluster of {atoms} atoms does not fit into the page ({room} bytes left): show fewer molecules"
        )
    data = {
        "elements": {
            int(z): {
                "symbol": SYMBOLS[z],
                "color": "#" + ELEMENT_COLORS.get(SYMBOLS[z], OTHER_COLOR),
                "radius": round(float(r), 3),
            }
            for z, r in zip(numbers, ball_radius(numbers), strict=True)
        },
        "colors": [_molecule_color(i) for i in range(_MOLECULE_COLORS)],
        "molecules": molecules,
        "candidates": entries,
        "radius": round(radius + 0.8, 2),
    }
    unknown = numbers[np.isnan(look_up(VAN_DER_WAALS_RADIUS, numbers))]
    return Payload(
        script_json(data),
        len(entries),
        sum("walk" in entry for entry in entries),
        tuple(SYMBOLS[z] for z in unknown),
    )


def script_json(data: object) -> str:
    """JSON that no text in it can end or change when it stands in a script element of HTML."""
    text = json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _template(molecule: Molecule) -> dict[str, Any]:
    return {
        "numbers": molecule.numbers.tolist(),
        "positions": _base64(molecule.positions, "<f4"),
        "bonds": bonded_pairs(molecule).ravel().tolist(),
    }


def _entry(
    candidate: Candidate, number_of: dict[int, int], with_walk: bool, with_contacts: bool
) -> dict[str, Any]:
    """A candidate as plain values."""
    cluster, walk = candidate.cluster, candidate.walk if with_walk else None
    stops = [*_stops(cluster, walk), cluster]
    positions = cluster.positions
    axes = view_axes(positions - positions.mean(axis=0))
    poses = np.stack([_pose(stop, axes) for stop in stops])
    kind = [number_of[id(cluster.molecules[k])] for k in cluster.kind]
    entry: dict[str, Any] = {"kind": kind, "poses": _base64(poses, "<f4"), "stops": len(stops)}
    if with_contacts:
        index = "<u2" if len(positions) < 2**16 else "<u4"  # as the page reads them
        few = len(positions) * len(stops) <= _MOST_ATOMS_ON_THE_WAY
        found = close_contacts(stops if few else [cluster])
        # On the way molecules stand in each other: short contacts mean something at the end only.
        listed = [
            [
                _base64(c.pairs[c.kind == k], index)
                for k in ((CLASH, HYDROGEN_BOND, SHORT)[: 3 if last else 2])
            ]
            for c, last in zip(found, [*[False] * (len(found) - 1), True], strict=True)
        ]
        entry["contacts"] = [*[None] * (len(stops) - len(found)), *listed]
    if walk is not None:
        entry["walk"] = {
            "time": np.round(walk.time, 4).tolist(),
            "scale": np.round(walk.scale, 4).tolist(),
            "progress": np.round(walk.progress, 4).tolist(),
            "moved": _significant(walk.moved),
            "turned": _significant(walk.turned),
        }
    return entry


def _size(value: object) -> int:
    return len(json.dumps(value))


def _reach(candidate: Candidate) -> float:
    """Farthest that any of its atoms may lie from the middle, whichever way the cluster is turned, Å."""
    cluster, walk = candidate.cluster, candidate.walk
    longest = np.array([m.radius for m in cluster.molecules])[cluster.kind]
    centroid = (
        cluster.centroid[None] if walk is None else np.concatenate([walk.centroid, cluster.centroid[None]])
    )
    away = np.linalg.norm(centroid - centroid.mean(axis=1, keepdims=True), axis=-1)
    return float((away + longest).max())


def _stops(cluster: Cluster, walk: Walk | None) -> list[Cluster]:
    """The cluster as it was on its way."""
    if walk is None:
        return []
    return [
        Cluster(cluster.molecules, cluster.kind, centroid, rotation, cluster.parity)
        for centroid, rotation in zip(walk.centroid, walk.rotation, strict=True)
    ]


def _pose(cluster: Cluster, axes: np.ndarray) -> np.ndarray:
    """Where each template goes as it is seen, ``(n, 12)``: a centroid, then the rows of a matrix."""
    middle = cluster.positions.mean(axis=0)
    turned = axes.T @ cluster.orientation
    return np.concatenate([(cluster.centroid - middle) @ axes, turned.reshape(-1, 9)], axis=1)


def _molecule_color(number: int) -> str:
    """Hues by the golden angle, in three tones, so that neighbours in number differ most."""
    rgb = colorsys.hls_to_rgb(
        (0.58 + 0.381966 * number) % 1.0, (0.56, 0.68, 0.46)[number % 3], (0.62, 0.7, 0.5)[number % 3]
    )
    return "#" + "".join(f"{round(255 * value):02x}" for value in rgb)


def _significant(values: np.ndarray) -> list[list[float]]:
    return [[float(f"{value:.4g}") for value in row] for row in values]


def _base64(values: np.ndarray, kind: str) -> str:
    return base64.b64encode(np.ascontiguousarray(values, dtype=kind).tobytes()).decode("ascii")

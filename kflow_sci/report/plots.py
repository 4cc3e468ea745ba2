"""The picture of the best candidates.

The one idea: one scale, one light and one caption for all, each cluster seen along the axis in which it is thinnest,
so that candidates can be compared by eye. The central molecule has the full colours of its elements, the carbons of
the others carry a pale tint of their own, so that molecules can be told apart.
"""

from __future__ import annotations

import colorsys
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int

from kflow_sci.assembly.bonds import bonded_pairs
from kflow_sci.assembly.cluster import Cluster
from kflow_sci.assembly.contacts import HYDROGEN_BOND, close_contacts
from kflow_sci.assembly.elements import BOND_RADIUS, NUMBER_OF, SYMBOLS, look_up
from kflow_sci.errors import ClusterError
from kflow_sci.files import atomic_write
from kflow_sci.report.render import Scene, render

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Colours of the elements, after Jmol's table; carbon darker, the pure colours a little softer on white.
ELEMENT_COLORS = {
    "H": "f2f2f2", "Li": "cc80ff", "Be": "b0e000", "B": "f5a9a9", "C": "6b7078", "N": "3d5fe0", "O": "e3342f",
    "F": "7fce4f", "Na": "ab5cf2", "Mg": "7ad600", "Al": "bfa6a6", "Si": "e0b890", "P": "f0821e", "S": "f0c929",
    "Cl": "35c24a", "K": "8f40d4", "Ca": "4bc81e", "As": "bd80e3", "Se": "f29a18", "Br": "a8402f", "Sn": "668080",
    "Te": "d07a10", "I": "8b2fa0",
}  # fmt: skip
OTHER_COLOR, _DOTS = "d06ab0", "2f8fa8"
_INK, _PALE_INK = "#22262b", "#6d737b"
_PANEL = 4.0  # inches
_CAPTION, _FOOT = 0.55, 0.42  # inches
_RIM = 0.7  # Å around the outermost atoms
_LEAST_DEPTH = 12.0  # Å over which things fade, however thin the clusters


def draw_clusters(
    clusters: Sequence[Cluster],
    path: str | os.PathLike[str],
    columns: int = 3,
    most: int = 6,
    dpi: int = 200,
    title: str | None = None,
    captions: Sequence[str] | None = None,
    alike: bool = False,
) -> None:
    """Draw the first clusters as balls and sticks on white, each with its rank, energy and clashes.

    Every cluster is turned so that it is seen along its thinnest axis, without mirroring it, or all as the last one,
    which is what states of one cluster need. All have the same scale; a bar gives it. Bonds are the molecule's, or by
    covalent radii where it has none.

    Args:
        clusters: Best first, as from ``interaction.rank``; ``info`` may hold ``rank``, ``energy`` (kJ/mol per molecule)
            and ``clashing_pairs`` (per molecule).
        path: The picture, png (or whatever else matplotlib writes by the suffix).
        columns: Pictures in a row.
        most: Draw no more than this many.
        dpi: Pixels per inch; a picture is 4 inches wide.
        title: A line above all; none if None.
        captions: One for each cluster, in place of rank, energy and clashes.
        alike: Turn all as the last one.

    Raises:
        ClusterError: no clusters, or a pose that is not finite.
        OutputError: ``path`` cannot be written.
    """
    chosen = list(clusters[:most])
    if not chosen:
        raise ClusterError("no clusters to draw: give at least one")
    if not all(np.isfinite(c.centroid).all() and np.isfinite(c.rotation).all() and len(c) for c in chosen):
        raise ClusterError("a cluster to draw is empty or has a pose that is not finite: leave it out")
    same = view_axes(_centred(chosen[-1])) if alike else None
    views = [_view(cluster, same) for cluster in chosen]
    width, height = (2 * max(float(view[:, k].max()) for view in views) + 2 * _RIM for k in (0, 1))
    front = max(float(view[:, 2].max()) for view in views)
    depth = (min(-front, front - _LEAST_DEPTH), front)
    pixels = _PANEL * dpi / width
    pictures = [
        render(_scene(cluster, view), width, height, pixels, depth)
        for cluster, view in zip(chosen, views, strict=True)
    ]
    if captions is None:
        told = [_caption(cluster, k + 1) for k, cluster in enumerate(chosen)]
        captions = [rf"$\bf{{{rank}}}$   {facts}" for rank, facts in told]
    _lay_out(chosen, pictures, captions, pixels / dpi, path, max(1, min(columns, len(chosen))), dpi, title)


def _centred(cluster: Cluster) -> Float[np.ndarray, "atoms 3"]:
    return cluster.positions - cluster.positions.mean(axis=0)


def _view(cluster: Cluster, axes: Float[np.ndarray, "3 3"] | None = None) -> Float[np.ndarray, "atoms 3"]:
    """Atoms about the middle, the longest axis to the right, the shortest towards the viewer, never mirrored."""
    positions = _centred(cluster)
    view = positions @ (view_axes(positions) if axes is None else axes)
    return view - (view.max(axis=0) + view.min(axis=0)) / 2


def view_axes(positions: Float[np.ndarray, "atoms 3"]) -> Float[np.ndarray, "3 3"]:
    """Columns that ``positions @ axes`` shows from their thinnest side, a proper rotation.

    The first component is the longest, the last one points at the viewer. Positions are about their mean, Å.
    """
    _, axes = np.linalg.eigh(positions.T @ positions)
    axes = axes[:, ::-1]
    # The heavier tail of the atoms decides the signs, so that the same cluster always looks the same.
    axes = axes * np.where(((positions @ axes) ** 3).sum(axis=0) < 0, -1.0, 1.0)
    axes[:, 2] *= np.sign(np.linalg.det(axes))
    return axes


def ball_radius(numbers: Int[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Radius of the ball that stands for each atom, Å."""
    covalent = np.nan_to_num(look_up(BOND_RADIUS, numbers), nan=1.5)
    return np.where(numbers == NUMBER_OF["H"], 0.23, 0.16 + 0.26 * covalent)


def _scene(cluster: Cluster, view: Float[np.ndarray, "atoms 3"]) -> Scene:
    """Balls and sticks of a cluster as it is seen."""
    numbers, owner = cluster.numbers, cluster.molecule_of
    middle = int(np.argmin(np.linalg.norm(cluster.centroid - cluster.centroid.mean(axis=0), axis=1)))
    starts = np.searchsorted(owner, np.arange(len(cluster)))
    sticks = np.concatenate(
        [bonded_pairs(cluster.molecules[k]) + start for k, start in zip(cluster.kind, starts, strict=True)]
    )
    color = np.array([_rgb(ELEMENT_COLORS.get(SYMBOLS[z], OTHER_COLOR)) for z in numbers])
    tints = _tints(cluster, starts, view)
    other = owner != middle
    carbon = (numbers == NUMBER_OF["C"]) & other
    color[carbon] = tints[owner[carbon]]
    color[other & ~carbon] = 0.80 * color[other & ~carbon] + 0.20
    hydrogen = numbers == NUMBER_OF["H"]
    radius = ball_radius(numbers)
    thickness = np.where((hydrogen[sticks]).any(axis=1), 0.10, 0.14)
    highlighted = owner == middle
    radius = np.where(highlighted, 1.12 * radius, radius)
    thickness = np.where(highlighted[sticks[:, 0]], 1.2 * thickness, thickness)
    dots = _hydrogen_bond_dots(cluster, view)
    return Scene(
        position=np.concatenate([view, dots]),
        radius=np.concatenate([radius, np.full(len(dots), 0.07)]),
        color=np.concatenate([color, np.tile(_rgb(_DOTS), (len(dots), 1))]),
        sticks=sticks,
        stick_radius=thickness,
    )


def _hydrogen_bond_dots(cluster: Cluster, view: Float[np.ndarray, "atoms 3"]) -> Float[np.ndarray, "d 3"]:
    """Dots along the hydrogen bonds between molecules; see ``contacts.close_contacts``."""
    contacts = close_contacts([cluster])[0]
    bonded = contacts.kind == HYDROGEN_BOND
    hydrogen, acceptor = contacts.pairs[bonded].T
    dots = [
        view[h] + (0.35 + step) / size * (view[a] - view[h])
        for h, a, size in zip(hydrogen, acceptor, contacts.distance[bonded], strict=True)
        for step in np.arange(0.0, size - 0.65, 0.28)
    ]
    return np.reshape(dots, (-1, 3))


def _tints(
    cluster: Cluster, starts: Int[np.ndarray, " n"], view: Float[np.ndarray, "atoms 3"]
) -> Float[np.ndarray, "n 3"]:
    """A pale colour for each molecule, far apart in hue for molecules that lie side by side."""
    # Neighbours in angle about the middle differ by the golden angle in hue.
    sizes = [len(cluster.molecules[k]) for k in cluster.kind]
    flat = np.array([view[a : a + size, :2].mean(axis=0) for a, size in zip(starts, sizes, strict=True)])
    turn = np.argsort(np.argsort(np.arctan2(flat[:, 1], flat[:, 0])))
    return np.array([colorsys.hls_to_rgb((0.08 + 0.381966 * k) % 1.0, 0.66, 0.36) for k in turn])


def _rgb(code: str) -> tuple[float, float, float]:
    return int(code[:2], 16) / 255, int(code[2:4], 16) / 255, int(code[4:], 16) / 255


def _caption(cluster: Cluster, place: int) -> tuple[str, str]:
    """Rank in bold, and what is known of the candidate."""
    info, facts = cluster.info, []
    if "energy" in info:
        facts.append(f"{float(info['energy']):.1f} kJ/mol per molecule".replace("-", "\N{MINUS SIGN}"))
    if "clashing_pairs" in info:
        pairs = round(float(info["clashing_pairs"]) * len(cluster))
        facts.append("no clashes" if pairs == 0 else f"{pairs} clashing pair{'s' if pairs > 1 else ''}")
    return str(info.get("rank", place)), " · ".join(facts)


def _lay_out(
    clusters: Sequence[Cluster],
    pictures: Sequence[Float[np.ndarray, "h w 3"]],
    captions: Sequence[str],
    inches_per_angstrom: float,
    path: str | os.PathLike[str],
    columns: int,
    dpi: int,
    title: str | None,
) -> None:
    """Pictures in rows, captions below them, the elements and the scale at the foot."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = -(-len(pictures) // columns)
    tall = pictures[0].shape[0] / dpi
    head = 0.5 if title else 0.1
    width, height = columns * _PANEL, head + rows * (tall + _CAPTION) + _FOOT
    figure = Figure(figsize=(width, height), dpi=dpi, facecolor="white")
    FigureCanvasAgg(figure)

    def write(x: float, y: float, text: str, **style: Any) -> None:
        figure.text(x / width, y / height, text, va="center", **style)

    if title:
        write(width / 2, height - 0.28, title, ha="center", fontsize=14, color=_INK, weight="bold")
    for k, (caption, picture) in enumerate(zip(captions, pictures, strict=False)):
        row, column = divmod(k, columns)
        bottom = height - head - row * (tall + _CAPTION) - tall
        figure.figimage(
            np.rint(255 * picture).astype(np.uint8), round(column * _PANEL * dpi), round(bottom * dpi)
        )
        write((column + 0.5) * _PANEL, bottom - 0.2, caption, ha="center", fontsize=10.5, color=_INK)
    _foot(figure, clusters, inches_per_angstrom)
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=dpi)


def _foot(figure: Figure, clusters: Sequence[Cluster], inches_per_angstrom: float) -> None:
    """Elements on the left, scale on the right."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Ellipse

    width, height = figure.get_size_inches()
    line = 0.22 / height
    style: dict[str, Any] = {"va": "center", "fontsize": 9, "color": _PALE_INK}
    present = sorted(
        {int(z) for cluster in clusters for z in cluster.numbers}, key=lambda z: (z != 6, z != 1, z)
    )
    for k, number in enumerate(present):
        x, color = 0.35 + 0.42 * k, "#" + ELEMENT_COLORS.get(SYMBOLS[number], OTHER_COLOR)
        ball = Ellipse(
            (x / width, line), 0.15 / width, 0.15 / height, facecolor=color, edgecolor=_PALE_INK, lw=0.5
        )
        figure.add_artist(ball)
        figure.text((x + 0.12) / width, line, SYMBOLS[number], **style)
    # A round number of Å, about a fifth of a picture.
    bar = min((1, 2, 5, 10, 20, 50), key=lambda length: abs(length * inches_per_angstrom - 0.2 * _PANEL))
    right = width - 0.35
    left = right - bar * inches_per_angstrom
    figure.add_artist(Line2D([left / width, right / width], [line, line], color=_PALE_INK, lw=1.5))
    figure.text((left - 0.08) / width, line, f"{bar} Å", ha="right", **style)

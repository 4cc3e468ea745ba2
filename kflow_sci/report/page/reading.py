"""Candidates from files that were written by kflow or by others.

The one idea: what is only looked at need not be one kind of rigid molecule, so each molecule of a frame is taken as it
stands, a template used once. Molecules are the file's own, or told apart by bonds.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from kflow_sci.assembly import DEFAULT_COPIES
from kflow_sci.assembly.bonds import find_bonds, fragments
from kflow_sci.assembly.cluster import Cluster
from kflow_sci.assembly.elements import BOND_RADIUS, SYMBOLS, look_up
from kflow_sci.assembly.molecule import Molecule
from kflow_sci.assembly.reading.formats import KINDS
from kflow_sci.assembly.scoring.frame import Frame
from kflow_sci.assembly.scoring.reading import UNKNOWN, read_frames
from kflow_sci.errors import ClusterError
from kflow_sci.report.page.payload import Candidate

CLUSTERS, SETTINGS, REPORT = "clusters.extxyz", "settings.json", "report.html"


def read_source(path: str | Path) -> tuple[list[Candidate], str, dict[str, Any]]:
    """What a file or the output folder of a command holds, what to call it, and how it was made as far as is noted.

    Raises:
        ClusterError: see ``read_candidates`` and ``read_settings``; or a folder without clusters.
        KFlowError: the file is refused by its reader.
    """
    path = Path(path)
    if not path.is_dir():
        return read_candidates(path), path.stem, {}
    if not (path / CLUSTERS).is_file():
        raise ClusterError(f"{path} holds neither {REPORT} nor {CLUSTERS}: give a file, or another folder")
    settings = read_settings(path)
    return read_candidates(path / CLUSTERS), path.resolve().name, settings


def read_candidates(path: str | Path) -> list[Candidate]:
    """What a file holds, to be shown.

    Args:
        path: xyz or extxyz with one frame per cluster; a cif, of which the molecules nearest to one are taken; sdf,
            mol, mol2 or pdb with one molecule.

    Raises:
        ClusterError: an unknown suffix, or a frame that cannot be shown.
        KFlowError: the file is refused by its reader.
    """
    path = Path(path)
    kind = KINDS.get(path.suffix.lower())
    if kind is None:
        known = ", ".join(sorted(suffix[1:] for suffix in KINDS))
        raise ClusterError(f"{path} has the unknown suffix '{path.suffix}': give a file of {known}")
    if not path.is_file():
        raise ClusterError(f"{path} does not exist or is not a file: check the path")
    if kind == "xyz":
        return [
            Candidate(_cluster(frame, f"frame {i} of {path.name}"))
            for i, frame in enumerate(read_frames(path))
        ]
    if kind == "cif":
        from kflow_sci.assembly.reading.crystal import cluster_from_crystal, read_crystal

        crystal = read_crystal(path)
        return [
            Candidate(cluster_from_crystal(crystal, DEFAULT_COPIES, centre))
            for centre in range(len(crystal.centres))
        ]
    from kflow_sci.assembly.reading.formats import read_file

    molecule = read_file(path)
    return [Candidate(_at_rest((molecule,), np.zeros((1, 3)), {}))]


def read_settings(folder: Path) -> dict[str, Any]:
    """What a command noted beside its results; nothing where it did not.

    Raises:
        ClusterError: the note is not what a command writes.
    """
    path = folder / SETTINGS
    if not path.is_file():
        return {}
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ClusterError(f"{path} is not json ({error}): mend or remove it") from None
    if not isinstance(values, dict):
        raise ClusterError(f"{path} holds no settings: mend or remove it")
    return values


def _cluster(frame: Frame, label: str) -> Cluster:
    """The molecules of a frame as they stand, each the only one of its kind."""
    numbers, positions = frame.numbers, frame.positions
    if not np.isfinite(positions).all():
        raise ClusterError(f"{label} has a coordinate that is not finite: repair it")
    unknown = numbers[np.isnan(look_up(BOND_RADIUS, numbers))]
    if len(unknown):
        raise ClusterError(f"{label}: bonds of {SYMBOLS[unknown[0]]} are not known here: remove these atoms")
    bonds = find_bonds(numbers, positions)
    owner = frame.molecule
    if (owner == UNKNOWN).any():
        owner = fragments(len(numbers), bonds)
    molecules, centroids = [], []
    place = np.empty(len(numbers), dtype=np.int64)
    for number in range(int(owner.max()) + 1):
        atoms = np.flatnonzero(owner == number)
        place[atoms] = np.arange(len(atoms))
        inside = bonds[(owner[bonds] == number).all(axis=1)]
        centroid = positions[atoms].mean(axis=0)
        centroids.append(centroid)
        molecules.append(Molecule(numbers[atoms], positions[atoms] - centroid, bonds=place[inside]))
    return _at_rest(tuple(molecules), np.array(centroids), frame.info)


def _at_rest(molecules: tuple[Molecule, ...], centroid: np.ndarray, info: dict[str, Any]) -> Cluster:
    n = len(molecules)
    return Cluster(
        molecules, np.arange(n), centroid, np.tile(np.eye(3), (n, 1, 1)), np.ones(n, dtype=np.int64), info
    )

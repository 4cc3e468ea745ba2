"""Rival: the real PackMol, filling a sphere of the right density.

The one idea: PackMol moves rigid copies until no two atoms of different molecules are closer than the tolerance and
all atoms are in the sphere; its output is fitted back to poses, so that it is scored like everything else. At crystal
density that is often impossible, then the sphere grows in fixed steps; the final radius is in the cluster's info.

Source: Martínez, Andrade, Birgin and Martínez, J. Comput. Chem. 30 (2009) 2157.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from kflow_sci.assembly.baselines.poses import ball_radius, random_parities, refuse_start, streams
from kflow_sci.assembly.cluster import Cluster
from kflow_sci.assembly.molecule import Molecule
from kflow_sci.assembly.superpose import superpose
from kflow_sci.errors import ClusterError

TOLERANCE = 2.0  # Å, PackMol's own default
GROWTH = 1.03  # factor on the radius after a failure
MAX_GROWTHS = 12
NLOOP = 20  # PackMol's outer iterations before it gives up
NO_SOLUTION = ("ENDED WITHOUT PERFECT PACKING", "Packmol was unable to put the molecules")
FIT_LIMIT = 1e-3  # Å; PackMol writes six decimals


def propose(
    molecule: Molecule,
    copies: int,
    n: int,
    seed: int,
    volume: float,
    timeout: float = 60.0,
    *,
    start: Sequence[Cluster] | None = None,
) -> list[Cluster]:
    """Pack the copies into the ball of volume ``copies * volume`` with a tolerance of 2.0 Å.

    Args:
        molecule: The molecule.
        copies: Molecules per cluster, >= 1.
        n: Number of clusters, >= 1.
        seed: Fixes every draw, >= 0.
        volume: Å^3 per molecule.
        timeout: Limit for one run of the program, s.
        start: Not used; must be None.

    Returns:
        Clusters whose info has the ``sphere_radius`` (Å) that PackMol managed and how often it ``sphere_grew``
        (by 3 % each time).

    Raises:
        ClusterError: a start, a number out of range, no program, a run beyond the time limit, or failure even in the
            largest sphere.
    """
    refuse_start("PackMol", start)
    program = find_program()
    clusters = []
    for rng in streams(copies, n, seed, volume):
        parity = np.sort(random_parities(molecule, copies, rng))[::-1]
        radius, growths = ball_radius(copies, volume), 0
        while (
            positions := _run(program, molecule, parity, radius, int(rng.integers(1, 2**31 - 1)), timeout)
        ) is None:
            if growths == MAX_GROWTHS:
                raise ClusterError(
                    f"PackMol cannot pack {copies} x {molecule.name} even in a sphere of {radius:.1f} Å: "
                    "give a larger volume"
                )
            radius, growths = radius * GROWTH, growths + 1
        centroid, rotation = fit(molecule, parity, positions)
        order = rng.permutation(copies)  # PackMol writes one hand after the other
        info = {"volume": volume, "sphere_radius": round(radius, 4), "sphere_grew": growths}
        kind = np.zeros(copies, dtype=np.int64)
        clusters.append(Cluster((molecule,), kind, centroid[order], rotation[order], parity[order], info))
    return clusters


def find_program() -> Path:
    """The program from the ``packmol`` package, beside the interpreter, or on the PATH.

    Raises:
        ClusterError: it is nowhere.
    """
    spec = find_spec("packmol")
    if spec is not None and spec.origin is not None:
        binary = Path(spec.origin).parent / "binaries" / "packmol"
        if binary.is_file():
            return binary
    found = shutil.which("packmol", path=str(Path(sys.executable).parent)) or shutil.which("packmol")
    if found is None:
        raise ClusterError("the program packmol is not installed: pip install packmol, or put it on the PATH")
    return Path(found)


def _run(
    program: Path, molecule: Molecule, parity: Int[np.ndarray, " n"], radius: float, seed: int, timeout: float
) -> Float[np.ndarray, "n a 3"] | None:
    """One run; None if PackMol says that it did not reach a solution."""
    lines = [f"tolerance {TOLERANCE}", "filetype xyz", "output out.xyz", f"seed {seed}", f"nloop {NLOOP}"]
    with tempfile.TemporaryDirectory(prefix="kflow-packmol-") as name:
        folder = Path(name)
        for hand in (1, -1):
            if (parity == hand).any():
                _write_xyz(folder / f"hand{hand}.xyz", molecule, hand)
                lines += [f"structure hand{hand}.xyz", f"  number {np.count_nonzero(parity == hand)}"]
                lines += [f"  inside sphere 0. 0. 0. {radius:.6f}", "end structure"]
        script = folder / "pack.inp"
        script.write_text("\n".join(lines) + "\n")
        try:
            # PackMol rewinds its input, so it must be a file and not a pipe.
            with script.open() as stdin:
                result = subprocess.run(
                    [program],
                    stdin=stdin,
                    cwd=folder,
                    timeout=timeout,
                    capture_output=True,
                    text=True,
                    check=False,
                )
        except subprocess.TimeoutExpired:
            raise ClusterError(
                f"PackMol did not finish {len(parity)} x {molecule.name} in {timeout:g} s: "
                "give a larger volume or more time"
            ) from None
        except OSError as error:
            raise ClusterError(
                f"PackMol cannot be started ({error.strerror}): reinstall it (pip install packmol)"
            ) from error
        output = folder / "out.xyz"
        if "Success!" not in result.stdout or not output.is_file():
            if not any(words in result.stdout for words in NO_SOLUTION):
                raise ClusterError(
                    f"PackMol stopped with code {result.returncode} on {molecule.name}: check the program"
                )
            return None
        rows = [line.split()[1:4] for line in output.read_text().splitlines()[2:]]
    return np.array(rows, dtype=np.float64).reshape(len(parity), len(molecule), 3)


def _write_xyz(path: Path, molecule: Molecule, hand: int) -> None:
    rows = [
        f"{symbol} {x:.8f} {y:.8f} {z:.8f}"
        for symbol, (x, y, z) in zip(molecule.symbols, hand * molecule.positions, strict=True)
    ]
    path.write_text("\n".join([str(len(rows)), molecule.name.replace("\n", " "), *rows]) + "\n")


def fit(
    molecule: Molecule, parity: Int[np.ndarray, " n"], positions: Float[np.ndarray, "n a 3"]
) -> tuple[Float[np.ndarray, "n 3"], Float[np.ndarray, "n 3 3"]]:
    """Poses of rigid copies from their atoms.

    Raises:
        ClusterError: an atom is more than 1e-3 Å from where the rigid copy has it.
    """
    centroid = positions.mean(axis=1)
    template = parity[:, None, None] * molecule.positions
    rotation = superpose(template, positions - centroid[:, None])
    error = float(np.abs(centroid[:, None] + template @ rotation.transpose(0, 2, 1) - positions).max())
    if not error <= FIT_LIMIT:
        raise ClusterError(
            f"PackMol's copies of {molecule.name} are distorted by {error:.2g} Å (limit {FIT_LIMIT:g} Å)"
        )
    return centroid, rotation

"""The energy of a crystal or a cluster of rigid molecules, and how it changes with cell, places and turns.

The one idea: whole molecules are counted or not, by the distance of their centroids, and in the last 2 Å before the
limit a pair fades out smoothly; no atom is ever cut from its molecule, so what is cut off is neutral. In a crystal the
dispersion beyond the limit is added as that of a uniform surrounding, and charges are summed after Ewald.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kflow_sci.assembly.cluster import Cluster
from kflow_sci.assembly.forcefield.parameters import ForceField
from kflow_sci.assembly.forcefield.system import LatticeEnergy, check_sum, system_of
from kflow_sci.errors import ConfigError

if TYPE_CHECKING:
    from kflow_sci.assembly.lattice.packing import Packing

BACKENDS = ("compiled", "torch")


def lattice_energy(
    packing: Packing | Cluster,
    field: ForceField,
    *,
    cutoff: float | None = None,
    gradient: bool = False,
    backend: str = "compiled",
) -> LatticeEnergy:
    """Energy of a crystal, or of a finite cluster, in a force field.

    A pair of molecules counts in full while their centroids are closer than the sum of their radii
    (``Molecule.radius``) + ``cutoff`` − 2 Å, and fades out over the 2 Å after that. Atoms closer than 0.6 of their
    distance of least energy repel with the force they have there.

    Args:
        packing: A crystal in its standard orientation, or a cluster (a crystal without images).
        field: From ``parameters.force_field`` for the molecules of the packing.
        cutoff: Reach beyond the radii, Å, > 2. Without one, 8 in crystals, and all pairs in clusters.
        gradient: Also give the three gradients.
        backend: ``compiled``, or ``torch`` (float64; see ``batched.lattice_energies`` for many crystals, and for GPUs).

    Raises:
        ConfigError: ``backend`` or ``cutoff`` out of range, or a field made for other molecules.
        ClusterError: poses that are not finite, or a cell so flat that too many images count.

    Source:
        Ewald, Ann. Phys. 369 (1921) 253, the direct half summed over neutral molecules; why neutrality matters is told
        by Wolf, Keblinski, Phillpot & Eggebrecht, J. Chem. Phys. 110 (1999) 8254.
    """
    if backend not in BACKENDS:
        raise ConfigError(f"backend is {backend!r}, but must be one of {', '.join(BACKENDS)}")
    if backend == "torch":
        from kflow_sci.assembly.forcefield.batched import lattice_energies

        return lattice_energies([packing], field, cutoff=cutoff, gradient=gradient)[0]
    from kflow_sci.assembly.forcefield.kernel import sum_pairs

    system = system_of(packing, field, cutoff)
    slopes = np.empty((3, 3)), np.empty((len(packing), 3)), np.empty((len(packing), 3))
    contacts, charges, tail, images = sum_pairs(*system, *slopes)
    check_sum(images, contacts + charges)
    z = len(packing)
    by_cell, by_place, by_turn = (slope / z if gradient else None for slope in slopes)
    return LatticeEnergy(
        total=(contacts + charges + tail) / z,
        van_der_waals=(contacts + tail) / z,
        coulomb=charges / z,
        by_cell=None if isinstance(packing, Cluster) else by_cell,
        by_place=by_place,
        by_turn=by_turn,
    )

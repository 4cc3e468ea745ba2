"""A packing as plain values, for json files and for the ``info`` of clusters, and back.

The one idea: the molecules are known to whoever reads it, so a crystal is a name and some dozen numbers.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kflow_sci.assembly.cluster import Cluster
from kflow_sci.assembly.lattice.packing import Packing, SpaceGroup, operations_of, triplets_of
from kflow_sci.assembly.molecule import Molecule
from kflow_sci.errors import PackingError


def record_of(packing: Packing, decimals: int | None = None) -> dict[str, Any]:
    """Plain values that ``packing_from_record`` turns back.

    Args:
        packing: The crystal; ``info`` is left out.
        decimals: Digits after the point; all where None. Five keep every atom within 0.001 Å.

    Returns:
        ``group`` (name, or the list of operations where it is in no table), ``cell`` (its free parameters: the
        coordinates in ``SpaceGroup.cell_basis``, Å), ``kind``, ``place`` (fractional), ``turn`` (rotation vectors, rad)
        and ``parity``.
    """
    from scipy.spatial.transform import Rotation

    def plain(values: np.ndarray) -> Any:
        return (values if decimals is None else np.round(values, decimals)).tolist()

    group = packing.group
    return {
        "group": group.name if group.is_tabulated else triplets_of(group),
        "cell": plain(np.einsum("kij,ij->k", group.cell_basis, packing.cell)),
        "kind": packing.kind.tolist(),
        "place": plain(packing.place % 1.0),
        "turn": plain(Rotation.from_matrix(packing.rotation).as_rotvec()),
        "parity": packing.parity.tolist(),
    }


def packing_from_record(
    record: dict[str, Any], molecules: tuple[Molecule, ...], info: dict[str, Any] | None = None
) -> Packing:
    """The packing that ``record_of`` wrote down.

    Args:
        record: Of ``record_of``.
        molecules: The templates.
        info: For the packing.

    Raises:
        PackingError: the record is not one, or does not fit the molecules.
    """
    from scipy.spatial.transform import Rotation

    try:
        named = record["group"]
        group = SpaceGroup.named(named) if isinstance(named, str) else operations_of(named)
        kind = np.array(record["kind"], dtype=np.int64)
        free = np.array(record["cell"], dtype=np.float64)
        if free.shape != (len(group.cell_basis),):
            raise ValueError(
                f"{group.name} has {len(group.cell_basis)} free cell parameters, not {free.size}"
            )
        packing = Packing(
            molecules=molecules,
            group=group,
            cell=np.einsum("k,kij->ij", free, group.cell_basis),
            kind=kind,
            place=np.array(record["place"], dtype=np.float64).reshape(-1, 3),
            rotation=Rotation.from_rotvec(
                np.array(record["turn"], dtype=np.float64).reshape(-1, 3)
            ).as_matrix(),
            parity=np.array(record["parity"], dtype=np.int64),
            info=dict(info or {}),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise PackingError(f"the record of a packing is damaged ({error}): make it again") from None
    if len(kind) == 0 or not 0 <= kind.min() <= kind.max() < len(molecules):
        raise PackingError(
            f"the record of a packing names {kind.max(initial=-1) + 1} molecules, not {len(molecules)}"
        )
    return packing


def packing_from_cluster(cluster: Cluster) -> Packing:
    """The crystal that a cluster of computed crystals was cut from, from its ``info["packing"]``.

    Raises:
        PackingError: the cluster has no such info.
    """
    record = cluster.info.get("packing")
    if not isinstance(record, dict):
        raise PackingError(
            f"cluster {cluster.info.get('id', '')} does not say which crystal it is from: take one that "
            "kflow data make-crystals wrote"
        )
    info = {key: value for key, value in cluster.info.items() if key != "packing"}
    return packing_from_record(record, cluster.molecules, info)

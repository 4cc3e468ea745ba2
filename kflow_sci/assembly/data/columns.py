"""One cluster as columns of whole numbers, and blocks of clusters as bytes.

The one idea: a store is a table of whole numbers, so the same poses give the same bytes, and bytes of one kind stand
side by side, where they compress best.

A block is the columns of ``COLUMNS`` one after the other, a block of starts those of ``START_COLUMNS``. A column is its
number of values (8-byte little-endian), then all lowest bytes of its values, then all second bytes, and so on (equal
bytes side by side compress better). Values of a signed column are written as 0, -1, 1, -2 … -> 0, 1, 2, 3 ….
Values of all clusters of the block are chained; ``counts`` tells how many belong to each: per cluster the numbers of
templates, copies, distinct rotations and bytes of text; ``template_counts`` per template those of atoms and bonds.
The text of a cluster is the json of ``{"info", "names", "smiles", "handed"}``. Bonds are stored as ``(i, j - i)``, bond
orders doubled (0: unknown), the rotation of each copy as an index into the cluster's distinct rotations. Starts share
templates, kinds and text with their clusters; ``start_counts`` are the numbers of copies and of distinct rotations.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator
from typing import Any, Literal

import numpy as np

from kflow_sci.assembly.cluster import Cluster
from kflow_sci.assembly.molecule import Molecule
from kflow_sci.errors import ClusterError

LENGTH_UNIT = 2.0**-15  # Å
ANGLE_UNIT = 2.0**-20  # rad

COLUMNS: dict[str, type] = {
    "counts": np.uint32, "template_counts": np.uint32,
    "numbers": np.uint8, "positions": np.int32, "charges": np.int8,
    "bonds": np.int16, "orders": np.uint8,
    "kind": np.uint8, "parity": np.int8, "turn": np.uint16, "centroid": np.int32, "rotations": np.int32,
    "text": np.uint8,
}  # fmt: skip
START_COLUMNS: dict[str, type] = {
    "start_counts": np.uint32, "start_parity": np.int8, "start_turn": np.uint16, "start_centroid": np.int32,
    "start_rotations": np.int32,
}  # fmt: skip
Record = dict[str, np.ndarray]


def encode(cluster: Cluster) -> Record:
    """The whole numbers of a cluster.

    Raises:
        ClusterError: see ``store.write_store``.
    """
    if not isinstance(cluster.info.get("id"), str):
        raise ClusterError("a cluster needs a text info['id'] to be stored: set it")
    templates = cluster.molecules
    lengths = [m.positions for m in templates] + [cluster.centroid]
    largest = max(float(np.abs(x).max(initial=0.0)) for x in lengths)
    if not largest < 6e4 or len(templates) > 255 or len(cluster) > 65535:
        raise ClusterError(
            f"{cluster.info['id']}: {len(templates)} templates, {len(cluster)} copies, reaching {largest:g} Å, "
            "but a store takes 255, 65535, 60000 Å: store smaller clusters"
        )
    poses = _poses_of(cluster)
    text = {
        "info": cluster.info,
        "names": [m.name for m in templates],
        "smiles": [m.smiles for m in templates],
        "handed": [m.handed for m in templates],
    }
    bonds = [np.stack([m.bonds[:, 0], m.bonds[:, 1] - m.bonds[:, 0]], axis=1) for m in templates]
    orders = [m.bond_orders if len(m.bond_orders) else np.zeros(len(m.bonds)) for m in templates]
    charges = [np.zeros(len(m)) if m.formal_charges is None else m.formal_charges for m in templates]
    columns = {
        "template_counts": np.array([[len(m), len(m.bonds)] for m in templates]),
        "numbers": np.concatenate([m.numbers for m in templates]),
        "positions": np.round(np.concatenate([m.positions for m in templates]) / LENGTH_UNIT),
        "charges": np.concatenate(charges),
        "bonds": np.concatenate(bonds),
        "orders": np.round(2 * np.concatenate(orders)),
        "kind": cluster.kind,
        **poses,
        "text": np.frombuffer(dump(text), dtype=np.uint8),
    }
    turns = len(poses["rotations"])
    columns["counts"] = np.array([len(templates), len(cluster), turns, len(columns["text"])])
    return {name: np.asarray(columns[name]).astype(kind).ravel() for name, kind in COLUMNS.items()}


def _poses_of(cluster: Cluster) -> dict[str, np.ndarray]:
    turns = _rotation_vectors(cluster.rotation.reshape(-1, 3, 3))
    _, first, turn = np.unique(turns, axis=0, return_index=True, return_inverse=True)
    rank = np.argsort(np.argsort(first))  # rotations in the order of their first use
    return {
        "parity": cluster.parity,
        "turn": rank[turn.reshape(-1)],
        "centroid": np.round(cluster.centroid / LENGTH_UNIT),
        "rotations": turns[np.sort(first)],
    }


def encode_pairs(clusters: Iterable[Cluster], starts: Iterable[Cluster]) -> Iterator[Record]:
    """The whole numbers of clusters and of the poses they start from.

    Raises:
        ClusterError: see ``store.write_store``.
    """
    for cluster, start in itertools.zip_longest(clusters, starts):
        if cluster is None or start is None:
            raise ClusterError("there are not as many starts as clusters: give one for each")
        if not np.array_equal(cluster.kind, start.kind) or not np.abs(start.centroid).max(initial=0.0) < 6e4:
            raise ClusterError(
                f"{cluster.info.get('id')}: its start has other copies than the cluster, or they are beyond 60000 Å: "
                "give the same copies in other poses"
            )
        poses = _poses_of(start)
        poses["counts"] = np.array([len(start), len(poses["rotations"])])
        yield encode(cluster) | {
            name: np.asarray(poses[name.removeprefix("start_")]).astype(kind).ravel()
            for name, kind in START_COLUMNS.items()
        }


def _rotation_vectors(rotation: np.ndarray) -> np.ndarray:
    """Rotation vectors in ``ANGLE_UNIT``; of the two that a half turn has, always the same one."""
    from scipy.spatial.transform import Rotation

    vector = Rotation.from_matrix(rotation).as_rotvec()
    angle = np.linalg.norm(vector, axis=1, keepdims=True)
    size = np.abs(vector)
    leading = np.take_along_axis(
        vector, np.argmax(size > 0.5 * size.max(axis=1, keepdims=True), axis=1)[:, None], axis=1
    )
    flip = (angle > np.pi - 8 * ANGLE_UNIT) & (leading < 0)
    vector = np.where(flip, vector * (1 - 2 * np.pi / np.maximum(angle, 1.0)), vector)
    return np.round(vector / ANGLE_UNIT).astype(np.int32)


def decode(record: Record, pose: Literal["", "start_"] = "") -> Cluster:
    """The cluster of a record, in its own poses or in those it starts from."""
    from scipy.spatial.transform import Rotation

    text = json.loads(record["text"].tobytes())
    molecules = []
    atom = bond = 0
    positions, bonds = record["positions"].reshape(-1, 3), record["bonds"].reshape(-1, 2).astype(np.int64)
    for k, (atoms, n_bonds) in enumerate(record["template_counts"].reshape(-1, 2).tolist()):
        a, b = slice(atom, atom + atoms), slice(bond, bond + n_bonds)
        charges, orders = record["charges"][a].astype(np.int64), record["orders"][b] / 2
        molecules.append(
            Molecule(
                numbers=record["numbers"][a].astype(np.int64),
                positions=positions[a] * LENGTH_UNIT,
                bonds=np.cumsum(bonds[b], axis=1),
                bond_orders=orders if orders.any() else np.zeros(0),
                formal_charges=charges if charges.any() else None,
                name=text["names"][k],
                smiles=text["smiles"][k],
                handed=text["handed"][k],
            )
        )
        atom, bond = atom + atoms, bond + n_bonds
    rotations = Rotation.from_rotvec(record[f"{pose}rotations"].reshape(-1, 3) * ANGLE_UNIT).as_matrix()
    return Cluster(
        molecules=tuple(molecules),
        kind=record["kind"].astype(np.int64),
        centroid=record[f"{pose}centroid"].reshape(-1, 3) * LENGTH_UNIT,
        rotation=rotations[record[f"{pose}turn"]],
        parity=record[f"{pose}parity"].astype(np.int64),
        info=text["info"],
    )


def pack(records: list[Record], kinds: dict[str, type]) -> bytes:
    """A block of bytes from the columns named by ``kinds`` (``COLUMNS`` or ``START_COLUMNS``)."""
    out = []
    for name, kind in kinds.items():
        column: np.ndarray = np.concatenate([r[name] for r in records])
        if np.issubdtype(kind, np.signedinteger):
            # Small numbers of either sign then have empty high bytes.
            column = (column << 1) ^ (column >> (8 * column.itemsize - 1))
        planes = column.astype(np.dtype(kind).newbyteorder("<")).view(np.uint8)
        planes = planes.reshape(len(column), np.dtype(kind).itemsize).T
        out += [len(column).to_bytes(8, "little"), planes.tobytes()]
    return b"".join(out)


def unpack(data: bytes, kinds: dict[str, type]) -> list[Record]:
    """The records of a block that ``pack`` made."""
    at = 0
    columns: Record = {}
    for name, kind in kinds.items():
        size, count = np.dtype(kind).itemsize, int.from_bytes(data[at : at + 8], "little")
        planes = np.frombuffer(data, np.uint8, count * size, at + 8).reshape(size, count)
        column = np.ascontiguousarray(planes.T).view(f"<u{size}").ravel()
        if np.issubdtype(kind, np.signedinteger):
            column = (column >> 1) ^ (~(column & 1) + np.array(1, column.dtype))
        columns[name] = column.astype(kind)
        at += 8 + count * size
    lengths = _start_lengths(columns) if "start_counts" in kinds else _lengths(columns)
    pieces = {name: np.split(columns[name], np.cumsum(lengths[name])[:-1]) for name in kinds}
    clusters = len(next(iter(lengths.values())))
    return [{name: pieces[name][k] for name in kinds} for k in range(clusters)]


def _lengths(columns: Record) -> dict[str, np.ndarray]:
    """Values per cluster in each column of a block."""
    templates, copies, turns, text = columns["counts"].reshape(-1, 4).T.astype(np.int64)
    per_template = columns["template_counts"].reshape(-1, 2).astype(np.int64)
    owner = np.repeat(np.arange(len(templates)), templates)
    atoms = np.bincount(owner, per_template[:, 0], len(templates)).astype(np.int64)
    bonds = np.bincount(owner, per_template[:, 1], len(templates)).astype(np.int64)
    return {
        "counts": np.full(len(templates), 4), "template_counts": 2 * templates,
        "numbers": atoms, "positions": 3 * atoms, "charges": atoms, "bonds": 2 * bonds, "orders": bonds,
        "kind": copies, "parity": copies, "turn": copies, "centroid": 3 * copies, "rotations": 3 * turns, "text": text,
    }  # fmt: skip


def _start_lengths(columns: Record) -> dict[str, np.ndarray]:
    copies, turns = columns["start_counts"].reshape(-1, 2).T.astype(np.int64)
    return {
        "start_counts": np.full(len(copies), 2), "start_parity": copies, "start_turn": copies,
        "start_centroid": 3 * copies, "start_rotations": 3 * turns,
    }  # fmt: skip


def dump(value: Any) -> bytes:
    """Short json.

    Raises:
        ClusterError: a value that json does not know.
    """
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
    except (TypeError, ValueError) as error:
        raise ClusterError(
            f"info can hold plain json values only ({error}): convert or drop the value"
        ) from None

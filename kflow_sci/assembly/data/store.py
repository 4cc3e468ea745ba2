"""Compact files of clusters: templates and poses instead of atoms.

The one idea: a rigid copy needs 6 numbers, not 3 per atom, and many copies of a crystal share a rotation. Lengths are
kept as whole multiples of 2^-15 Å and rotation vectors as whole multiples of 2^-20 rad, so every atom comes back
within 1e-4 Å and a cluster that is read and written again does not change by a bit.

**The file** (suffix ``.kfc``) is a zip archive that any tool opens. It holds

- ``header.json``: ``format`` ("kflow clusters"), ``version``, ``clusters``, ``block`` (clusters per block), ``info``
  (free plain values) and the units;
- ``ids.json``: the list of cluster ids;
- ``blocks/000000`` …: ``block`` clusters each, the last one fewer, compressed with deflate.

A block is the columns of ``COLUMNS`` one after the other. A column is its number of values (8-byte little-endian),
then all lowest bytes of its values, then all second bytes, and so on (equal bytes side by side compress better).
Values of a signed column are written as 0, -1, 1, -2 … -> 0, 1, 2, 3 ….
Values of all clusters of the block are chained; ``counts`` tells how many belong to each: per cluster the numbers of
templates, copies, distinct rotations and bytes of text; ``template_counts`` per template those of atoms and bonds.
The text of a cluster is the json of ``{"info", "names", "smiles", "handed"}``. Bonds are stored as ``(i, j - i)``, bond
orders doubled (0: unknown), the rotation of each copy as an index into the cluster's distinct rotations.
"""

from __future__ import annotations

import itertools
import json
import os
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from kflow_sci.assembly.cluster import Cluster
from kflow_sci.assembly.molecule import Molecule
from kflow_sci.errors import ClusterError
from kflow_sci.files import atomic_write

FORMAT = "kflow clusters"
VERSION = 1
SUFFIX = ".kfc"
BLOCK = 64
LENGTH_UNIT = 2.0**-15  # Å
ANGLE_UNIT = 2.0**-20  # rad
_CACHED_BLOCKS = 256

COLUMNS: dict[str, type] = {
    "counts": np.uint32, "template_counts": np.uint32,
    "numbers": np.uint8, "positions": np.int32, "charges": np.int8,
    "bonds": np.int16, "orders": np.uint8,
    "kind": np.uint8, "parity": np.int8, "turn": np.uint16, "centroid": np.int32, "rotations": np.int32,
    "text": np.uint8,
}  # fmt: skip
Record = dict[str, np.ndarray]


def write_store(path: str | Path, clusters: Iterable[Cluster], info: dict[str, Any] | None = None) -> int:
    """Write clusters to one file, all or nothing.

    Args:
        path: The file; by convention it ends in ``.kfc``. It appears under its name only when it is complete.
        clusters: Any number of clusters, read one after the other. Each needs a text ``info["id"]``.
        info: Plain values that describe the whole file (how and from what it was made).

    Returns:
        Number of clusters written.

    Raises:
        ClusterError: a cluster without id, with values json cannot hold, or too large for the format.
        OutputError: the file cannot be written.
    """
    return _write(path, map(_encode, clusters), info)


def merge_stores(path: str | Path, parts: Iterable[str | Path], info: dict[str, Any] | None = None) -> int:
    """Write the clusters of several files, in order, to one; the same bytes as writing them all at once.

    Raises:
        ClusterError: a part is damaged.
        OutputError: the file cannot be written.
    """
    return _write(path, (record for part in parts for record in open_store(part).records()), info)


def open_store(path: str | Path) -> Store:
    """Open a file of clusters; only its header is read.

    Raises:
        ClusterError: the file is missing, truncated, of another kind or of another version.
    """
    return Store(path)


class Store:
    """Random access to a file of clusters: ``len(store)``, ``store[i]``, ``store.ids``, ``store.info``.

    Blocks are read and unpacked when needed and the last ones are kept. A store may be handed to other processes.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._blocks: OrderedDict[int, list[Record]] = OrderedDict()
        self._archive: tuple[int, zipfile.ZipFile] | None = None
        header = self._json("header.json")
        if not isinstance(header, dict) or header.get("format") != FORMAT:
            raise ClusterError(f"{self.path} is not a file of clusters: give one that kflow data build wrote")
        if header.get("version") != VERSION:
            raise ClusterError(
                f"{self.path} has version {header.get('version')}, not {VERSION}: build it again"
            )
        self.info: dict[str, Any] = header["info"]
        self._count: int = header["clusters"]
        self._block: int = header["block"]
        self._ids: list[str] | None = None

    def __len__(self) -> int:
        return self._count

    @property
    def ids(self) -> list[str]:
        """``info["id"]`` of every cluster."""
        if self._ids is None:
            self._ids = self._json("ids.json")
        return self._ids

    def __getitem__(self, i: int) -> Cluster:
        if not -self._count <= i < self._count:
            raise IndexError(f"cluster {i} asked for, but {self.path} holds {self._count}")
        block, k = divmod(i % self._count, self._block)
        return _decode(self._records_of(block)[k])

    def __iter__(self) -> Iterator[Cluster]:
        return map(_decode, self.records())

    def records(self) -> Iterator[Record]:
        """The stored whole numbers of every cluster, in order."""
        for block in range(-(-self._count // self._block)):
            yield from self._records_of(block)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_archive": None, "_blocks": OrderedDict()}

    def _records_of(self, block: int) -> list[Record]:
        if block not in self._blocks:
            self._blocks[block] = _unpack(self._read(f"blocks/{block:06d}"))
            if len(self._blocks) > _CACHED_BLOCKS:
                self._blocks.popitem(last=False)
        self._blocks.move_to_end(block)
        return self._blocks[block]

    def _json(self, member: str) -> Any:
        text = self._read(member)
        try:
            return json.loads(text)
        except ValueError:
            raise ClusterError(f"{self.path}: {member} is damaged: build the file again") from None

    def _read(self, member: str) -> bytes:
        # A forked process shares the file position of its parent, so every process opens the file for itself.
        try:
            if self._archive is None or self._archive[0] != os.getpid():
                self._archive = os.getpid(), zipfile.ZipFile(self.path)
            return self._archive[1].read(member)
        except OSError as error:
            raise ClusterError(
                f"{self.path} cannot be read ({error.strerror or error}): give a {SUFFIX} file"
            ) from None
        except (zipfile.BadZipFile, KeyError, EOFError, zlib.error):
            raise ClusterError(
                f"{self.path} is truncated or not a file of clusters: build it again"
            ) from None


def _write(path: str | Path, records: Iterable[Record], info: dict[str, Any] | None) -> int:
    ids: list[str] = []
    with atomic_write(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        for number, block in enumerate(_blocks(records)):
            _member(archive, f"blocks/{number:06d}", _pack(block))
            ids += [json.loads(record["text"].tobytes())["info"]["id"] for record in block]
        _member(archive, "ids.json", _dump(ids))
        header = {
            "format": FORMAT, "version": VERSION, "clusters": len(ids), "block": BLOCK,
            "length_unit": LENGTH_UNIT, "angle_unit": ANGLE_UNIT, "info": info or {},
        }  # fmt: skip
        _member(archive, "header.json", _dump(header))
    return len(ids)


def _blocks(records: Iterable[Record]) -> Iterator[list[Record]]:
    remaining = iter(records)
    while block := list(itertools.islice(remaining, BLOCK)):
        yield block


def _member(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    # A fixed date, so that equal clusters give equal files.
    entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
    entry.compress_type = zipfile.ZIP_DEFLATED
    archive.writestr(entry, data, compresslevel=9)


def _dump(value: Any) -> bytes:
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
    except (TypeError, ValueError) as error:
        raise ClusterError(
            f"info can hold plain json values only ({error}): convert or drop the value"
        ) from None


def _encode(cluster: Cluster) -> Record:
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
    turns = _rotation_vectors(cluster.rotation.reshape(-1, 3, 3))
    _, first, turn = np.unique(turns, axis=0, return_index=True, return_inverse=True)
    rank = np.argsort(np.argsort(first))  # rotations in the order of their first use
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
        "parity": cluster.parity,
        "turn": rank[turn.reshape(-1)],
        "centroid": np.round(cluster.centroid / LENGTH_UNIT),
        "rotations": turns[np.sort(first)],
        "text": np.frombuffer(_dump(text), dtype=np.uint8),
    }
    columns["counts"] = np.array([len(templates), len(cluster), len(first), len(columns["text"])])
    return {name: np.asarray(columns[name]).astype(kind).ravel() for name, kind in COLUMNS.items()}


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


def _decode(record: Record) -> Cluster:
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
    rotations = Rotation.from_rotvec(record["rotations"].reshape(-1, 3) * ANGLE_UNIT).as_matrix()
    return Cluster(
        molecules=tuple(molecules),
        kind=record["kind"].astype(np.int64),
        centroid=record["centroid"].reshape(-1, 3) * LENGTH_UNIT,
        rotation=rotations[record["turn"]],
        parity=record["parity"].astype(np.int64),
        info=text["info"],
    )


def _pack(records: list[Record]) -> bytes:
    out = []
    for name, kind in COLUMNS.items():
        column: np.ndarray = np.concatenate([r[name] for r in records])
        if np.issubdtype(kind, np.signedinteger):
            # Small numbers of either sign then have empty high bytes.
            column = (column << 1) ^ (column >> (8 * column.itemsize - 1))
        planes = column.astype(np.dtype(kind).newbyteorder("<")).view(np.uint8).reshape(len(column), -1).T
        out += [len(column).to_bytes(8, "little"), planes.tobytes()]
    return b"".join(out)


def _unpack(data: bytes) -> list[Record]:
    at = 0
    columns: Record = {}
    for name, kind in COLUMNS.items():
        size, count = np.dtype(kind).itemsize, int.from_bytes(data[at : at + 8], "little")
        planes = np.frombuffer(data, np.uint8, count * size, at + 8).reshape(size, count)
        column = np.ascontiguousarray(planes.T).view(f"<u{size}").ravel()
        if np.issubdtype(kind, np.signedinteger):
            column = (column >> 1) ^ (~(column & 1) + np.array(1, column.dtype))
        columns[name] = column.astype(kind)
        at += 8 + count * size
    templates, copies, turns, text = columns["counts"].reshape(-1, 4).T.astype(np.int64)
    per_template = columns["template_counts"].reshape(-1, 2).astype(np.int64)
    owner = np.repeat(np.arange(len(templates)), templates)
    atoms = np.bincount(owner, per_template[:, 0], len(templates)).astype(np.int64)
    bonds = np.bincount(owner, per_template[:, 1], len(templates)).astype(np.int64)
    lengths = {
        "counts": np.full(len(templates), 4), "template_counts": 2 * templates,
        "numbers": atoms, "positions": 3 * atoms, "charges": atoms, "bonds": 2 * bonds, "orders": bonds,
        "kind": copies, "parity": copies, "turn": copies, "centroid": 3 * copies, "rotations": 3 * turns, "text": text,
    }  # fmt: skip
    pieces = {name: np.split(columns[name], np.cumsum(lengths[name])[:-1]) for name in COLUMNS}
    return [{name: pieces[name][k] for name in COLUMNS} for k in range(len(templates))]

"""Compact files of clusters: templates and poses instead of atoms.

The one idea: a rigid copy needs 6 numbers, not 3 per atom, and many copies of a crystal share a rotation. Lengths are
kept as whole multiples of 2^-15 Å and rotation vectors as whole multiples of 2^-20 rad, so every atom comes back
within 1e-4 Å and a cluster that is read and written again does not change by a bit.

**The file** (suffix ``.kfc``) is a zip archive that any tool opens. It holds

- ``header.json``: ``format`` ("kflow clusters"), ``version``, ``clusters``, ``block`` (clusters per block), ``info``
  (free plain values) and the units;
- ``ids.json``: the list of cluster ids;
- ``blocks/000000`` …: ``block`` clusters each, the last one fewer, compressed with deflate;
- ``starts/000000`` …, where the header says ``"starts": true``: a second pose of every copy (the initial state of a
  benchmark), block by block as the clusters.

What a block holds is told in ``columns``.
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

from kflow_sci.assembly.cluster import Cluster
from kflow_sci.assembly.data.columns import (
    ANGLE_UNIT,
    COLUMNS,
    LENGTH_UNIT,
    START_COLUMNS,
    Record,
    decode,
    dump,
    encode,
    encode_pairs,
    pack,
    unpack,
)
from kflow_sci.errors import ClusterError
from kflow_sci.files import atomic_write

FORMAT = "kflow clusters"
VERSION = 1
SUFFIX = ".kfc"
BLOCK = 64
_CACHED_BLOCKS = 256


def write_store(
    path: str | Path,
    clusters: Iterable[Cluster],
    info: dict[str, Any] | None = None,
    starts: Iterable[Cluster] | None = None,
) -> int:
    """Write clusters to one file, all or nothing.

    Args:
        path: The file; by convention it ends in ``.kfc``. It appears under its name only when it is complete.
        clusters: Any number of clusters, read one after the other. Each needs a text ``info["id"]``.
        info: Plain values that describe the whole file (how and from what it was made).
        starts: Where each cluster starts from: the same copies in other poses, as many as clusters; their info is
            not kept.

    Returns:
        Number of clusters written.

    Raises:
        ClusterError: a cluster without id, with values json cannot hold, or too large for the format; a start that is
            missing or has other copies than its cluster.
        OutputError: the file cannot be written.
    """
    records = map(encode, clusters) if starts is None else encode_pairs(clusters, starts)
    return _write(path, records, info)


def merge_stores(path: str | Path, parts: Iterable[str | Path], info: dict[str, Any] | None = None) -> int:
    """Write the clusters of several files, in order, to one; the same bytes as writing them all at once.

    Raises:
        ClusterError: a part is damaged, or some hold starts and others do not.
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

    Where ``store.has_starts``, ``store.start(i)`` is the same cluster in the poses it starts from.

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
        self.has_starts: bool = header.get("starts", False)
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
        return decode(self._record(i))

    def __iter__(self) -> Iterator[Cluster]:
        return map(decode, self.records())

    def start(self, i: int) -> Cluster:
        """Cluster i in its initial poses, with the info of the cluster.

        Raises:
            ClusterError: the file holds no starts.
        """
        self._need_starts()
        return decode(self._record(i), "start_")

    def starts(self) -> Iterator[Cluster]:
        """All clusters in their initial poses, in order.

        Raises:
            ClusterError: the file holds no starts.
        """
        self._need_starts()
        return (decode(record, "start_") for record in self.records())

    def _need_starts(self) -> None:
        if not self.has_starts:
            raise ClusterError(
                f"{self.path} holds no initial states: import a set that has them, or draw some (kflow data export "
                "--noise)"
            )

    def _record(self, i: int) -> Record:
        if not -self._count <= i < self._count:
            raise IndexError(f"cluster {i} asked for, but {self.path} holds {self._count}")
        block, k = divmod(i % self._count, self._block)
        return self._records_of(block)[k]

    def records(self) -> Iterator[Record]:
        """The stored whole numbers of every cluster, in order."""
        for block in range(-(-self._count // self._block)):
            yield from self._records_of(block)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_archive": None, "_blocks": OrderedDict()}

    def _records_of(self, block: int) -> list[Record]:
        if block not in self._blocks:
            records = unpack(self._read(f"blocks/{block:06d}"), COLUMNS)
            if self.has_starts:
                starts = unpack(self._read(f"starts/{block:06d}"), START_COLUMNS)
                records = [record | start for record, start in zip(records, starts, strict=True)]
            self._blocks[block] = records
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
    ids, count = bytearray(), 0  # as text: a list of half a million would take five times the room
    with_starts: set[bool] = set()
    with atomic_write(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        for number, block in enumerate(_blocks(records)):
            with_starts |= {"start_counts" in record for record in block}
            if len(with_starts) > 1:
                raise ClusterError(
                    f"{path} would hold starts for some clusters and not for others: keep them apart"
                )
            _member(archive, f"blocks/{number:06d}", pack(block, COLUMNS))
            if True in with_starts:
                _member(archive, f"starts/{number:06d}", pack(block, START_COLUMNS))
            for record in block:
                ids += b"," + dump(json.loads(record["text"].tobytes())["info"]["id"])
            count += len(block)
        _member(archive, "ids.json", b"[" + ids[1:] + b"]")
        header = {
            "format": FORMAT, "version": VERSION, "clusters": count, "block": BLOCK,
            "length_unit": LENGTH_UNIT, "angle_unit": ANGLE_UNIT, "info": info or {},
        }  # fmt: skip
        if True in with_starts:
            header["starts"] = True
        _member(archive, "header.json", dump(header))
    return count


def _blocks(records: Iterable[Record]) -> Iterator[list[Record]]:
    remaining = iter(records)
    while block := list(itertools.islice(remaining, BLOCK)):
        yield block


def _member(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    # A fixed date, so that equal clusters give equal files.
    entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
    entry.compress_type = zipfile.ZIP_DEFLATED
    archive.writestr(entry, data, compresslevel=9)

"""Clusters to files and from files, the format by the suffix.

The one idea: a table of formats. Atoms keep their order and bonds their orders in every format that has bonds; extxyz,
sdf and parquet also keep what travels with a cluster (ids, scores).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from kflow_sci.assembly import DEFAULT_COPIES
from kflow_sci.assembly.cluster import Cluster
from kflow_sci.assembly.elements import SYMBOLS
from kflow_sci.assembly.exchange.cif import cif_block, read_boxes
from kflow_sci.assembly.exchange.flat import Flat
from kflow_sci.assembly.exchange.pdb import pdb_text, read_pdb_models
from kflow_sci.assembly.exchange.sdf import read_sdf_records, sdf_record
from kflow_sci.assembly.exchange.table import read_table, write_table
from kflow_sci.assembly.scoring.reading import UNKNOWN, read_frames
from kflow_sci.assembly.templates import Templates
from kflow_sci.assembly.writing import write_clusters
from kflow_sci.errors import ClusterError, ConfigError
from kflow_sci.files import atomic_write

FORMATS = ("extxyz", "xyz", "sdf", "pdb", "cif", "parquet")
_SAME_AS = {"sd": "sdf", "mol": "sdf", "ent": "pdb"}


def check_format(name: str) -> str:
    """The format of that name or suffix.

    Raises:
        ConfigError: there is none.
    """
    known = _SAME_AS.get(name.lower(), name.lower())
    if known not in FORMATS:
        raise ConfigError(f"there is no format '{name}': give one of {', '.join(FORMATS)}")
    return known


def write_as(path: str | os.PathLike[str], clusters: Sequence[Cluster]) -> None:
    """Write clusters in the format of the suffix, whole or not at all.

    extxyz: see ``writing.write_clusters``. xyz: one frame each, coordinates alone. sdf: one record each. pdb: one
    model each, which must hold the same molecules. cif: one block each, a P1 box with 5 Å about the atoms, which are
    moved into it. parquet: one row each.

    Raises:
        ConfigError: an unknown format, or a package that is missing.
        ClusterError: no cluster, positions that are not finite, or what the format cannot hold.
        OutputError: the file cannot be written.
    """
    kind = check_format(Path(path).suffix.removeprefix("."))
    if not clusters:
        raise ClusterError(f"there is no cluster to write to {path}: generate at least one")
    if kind == "extxyz":
        write_clusters(path, clusters)
        return
    flats = [Flat.of(cluster) for cluster in clusters]
    if kind == "parquet":
        with atomic_write(path) as temporary:
            write_table(temporary, flats)
        return
    names = [title(cluster, number) for number, cluster in enumerate(clusters)]
    if kind == "pdb":
        text = pdb_text(flats, [cluster.kind.tolist() for cluster in clusters])
    else:
        writer: Callable[[Flat, str], str] = {"xyz": _xyz_frame, "sdf": sdf_record, "cif": cif_block}[kind]
        text = "".join(writer(flat, name) for flat, name in zip(flats, names, strict=True))
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def title(cluster: Cluster, number: int) -> str:
    """What to call a cluster in a file: its id, or its place and sample."""
    if cluster.info.get("id"):
        return str(cluster.info["id"])
    words = [f"{key}-{cluster.info[key]}" for key in ("rank", "sample") if key in cluster.info]
    return "_".join(["cluster", *(words or [str(number + 1)])])


def _xyz_frame(flat: Flat, name: str) -> str:
    rows = [
        f"{SYMBOLS[z]:<2s} {x:14.8f} {y:14.8f} {w:14.8f}"
        for z, (x, y, w) in zip(flat.numbers, flat.positions, strict=True)
    ]
    return "\n".join([str(len(rows)), " ".join(name.split()), *rows, ""])


def read_clusters(path: str | os.PathLike[str]) -> list[Cluster]:
    """The clusters of a file, as rigid copies of templates.

    Molecules are the file's own (the column ``molecule`` of extxyz, the fields of sdf and parquet), else told apart by
    bonds. A template lies within 0.01 Å of every atom of its copies, and clusters of one file share them. Of a crystal
    in a cif, the ``DEFAULT_COPIES`` molecules nearest to the first one are taken.

    Args:
        path: extxyz, xyz, sdf, mol, pdb, cif or parquet.

    Raises:
        KFlowError: the file is missing, broken or of another format, or a molecule in it is refused.
    """
    path = Path(path)
    kind = check_format(path.suffix.removeprefix("."))
    if not path.is_file():
        raise ClusterError(f"{path} does not exist or is not a file: check the path")
    if kind in ("extxyz", "xyz"):
        flats = [
            Flat(f.numbers, f.positions, None if (f.molecule == UNKNOWN).any() else f.molecule, info=f.info)
            for f in read_frames(path)
        ]
    elif kind == "parquet":
        flats = read_table(path)
    else:
        text = _text(path)
        readers = {"sdf": read_sdf_records, "pdb": read_pdb_models, "cif": read_boxes}
        flats = readers[kind](text, path.name)
    if not flats:
        from kflow_sci.assembly.reading.crystal import cluster_from_crystal, read_crystal

        return [cluster_from_crystal(read_crystal(path), DEFAULT_COPIES)]
    shared = Templates()
    return [flat.cluster(f"cluster {number} of {path.name}", shared) for number, flat in enumerate(flats)]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig", errors="strict").replace("\r\n", "\n")
    except UnicodeDecodeError:
        raise ClusterError(f"{path} is not text: give a {path.suffix[1:]} file") from None
    except OSError as error:
        raise ClusterError(f"{path} cannot be read ({error.strerror}): check its permissions") from None

"""Who trains and who is tested: a table of ids that is published with the results.

The one idea: the split belongs to the molecule. It follows from the seed and the molecule alone, so all packings of a
molecule are on one side, and a crystal is on the same side in every subset and every later version of a set.
"""

from __future__ import annotations

import csv
import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kflow_sci.assembly.cluster import Cluster
from kflow_sci.assembly.data.identity import molecule_hash
from kflow_sci.assembly.data.published import KEPT, published_split
from kflow_sci.assembly.data.store import open_store
from kflow_sci.errors import ClusterError
from kflow_sci.files import atomic_write

PARTS = ("train", "val", "test")
LEFT_OUT = "none"


@dataclass(frozen=True)
class SplitReport:
    """What came of a split.

    Attributes:
        crystals: Crystals in each part; ``none`` are those the published code drops.
        molecules: Different molecules in each part.
        leaked: Crystals of the test part whose molecule is also in the training part: 0 for a split by molecule.
    """

    crystals: Counter[str]
    molecules: Counter[str]
    leaked: int


def part_of(mol_hash: str, seed: int, val: float = 0.1, test: float = 0.1) -> str:
    """The part that a molecule belongs to.

    Args:
        mol_hash: Any text that is equal for equal molecules.
        seed: Another seed gives another split.
        val: Expected share of molecules for validation.
        test: Expected share for testing.

    Raises:
        ClusterError: a share below 0, or nothing is left to train on.
    """
    if not (val >= 0 and test >= 0 and val + test < 1):
        raise ClusterError(
            f"the shares are {val} for validation and {test} for testing, but both must be at least 0 and their sum "
            "below 1: choose smaller ones"
        )
    draw = int.from_bytes(hashlib.sha256(f"{seed}|{mol_hash}".encode()).digest()[:7], "big") / 256**7
    return "test" if draw < test else "val" if draw < test + val else "train"


def split_store(
    store: str | Path,
    out: str | Path,
    seed: int,
    *,
    val: float = 0.1,
    test: float = 0.1,
    as_published: bool = False,
) -> SplitReport:
    """Write the split of a store as a csv file that training reads.

    Columns: ``id`` (of the crystal), ``split``, ``mol_hash``, ``formula``, ``flags`` (of ``cluster17_pair.FLAGS``).
    The split of the published code separates packings of one molecule, which training would refuse; there the column
    of the molecule is called ``same_as``, so that it says so and is not enforced.

    Args:
        store: A file of clusters.
        out: The csv file.
        seed: For the published split 0, 42 and 123.
        val: Expected share of molecules for validation.
        test: Expected share for testing.
        as_published: Divide clusters as the published code does (80/10/10 at random, whatever molecules they hold);
            those it drops get ``none``.

    Raises:
        ClusterError: the store is missing, damaged or empty, or a share is out of range.
        OutputError: the table cannot be written.
    """
    rows = list(_rows(store))
    if not rows:
        raise ClusterError(f"{store} holds no cluster: there is nothing to split")
    if as_published:
        kept = [k for k, row in enumerate(rows) if row[4] == KEPT]
        parts = [LEFT_OUT] * len(rows)
        for k, part in zip(kept, published_split(len(kept), seed), strict=True):
            parts[k] = PARTS[part]
    else:
        parts = [part_of(mol_hash, seed, val, test) for _, mol_hash, *_ in rows]
    header = ("id", "split", "same_as" if as_published else "mol_hash", "formula", "flags")
    table = [(row[0], part, *row[1:4]) for row, part in zip(rows, parts, strict=True)]
    with atomic_write(out) as temporary, open(temporary, "w", newline="", encoding="utf-8") as stream:
        csv.writer(stream, lineterminator="\n").writerows([header, *table])
    home = {part: {row[1] for row, p in zip(rows, parts, strict=True) if p == part} for part in set(parts)}
    seen = home.get("train", set())
    leaked = sum(part == "test" and row[1] in seen for row, part in zip(rows, parts, strict=True))
    return SplitReport(Counter(parts), Counter({part: len(home[part]) for part in home}), leaked)


def _rows(store: str | Path) -> Iterator[tuple[str, str, str, str, str]]:
    """Id, molecule, formula, flags and verdict of each crystal, in the order of the store."""
    seen: set[str] = set()
    for cluster in open_store(store):
        name = str(cluster.info.get("crystal", cluster.info["id"]))  # a crystal may give several clusters
        if name in seen:
            continue
        seen.add(name)
        flags = " ".join(cluster.info.get("flags", ()))
        yield name, molecule_hash(cluster), _formula(cluster), flags, cluster.info.get("published", KEPT)


def _formula(cluster: Cluster) -> str:
    return ".".join(sorted({molecule.formula for molecule in cluster.molecules}))

"""Molecules that must not be used, told by two names.

The one idea: neither a misread bond order nor a hydrogen on another nitrogen may hide that a molecule is on the list.
The InChIKey knows mobile hydrogens; the graph knows nothing but elements and who is joined to whom.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass, field
from pathlib import Path

from kflow_sci.assembly.bonds import bonded_pairs
from kflow_sci.assembly.data.identity import graph_hash
from kflow_sci.assembly.molecule import Molecule
from kflow_sci.errors import MoleculeError


@dataclass(frozen=True)
class Excluded:
    """Molecules that must not be used, by either name.

    Attributes:
        inchikeys: First blocks of InChIKeys: constitutions, whatever their stereo.
        graphs: Of ``data.identity.graph_hash``.
    """

    inchikeys: frozenset[str] = field(default_factory=frozenset)
    graphs: frozenset[str] = field(default_factory=frozenset)

    @classmethod
    def read(cls, path: str | Path) -> Excluded:
        """Read a csv with a column ``inchikey``, ``graph``, or both; empty cells say nothing.

        Raises:
            MoleculeError: the file cannot be read or has neither column.
        """
        try:
            with open(path, newline="", encoding="utf-8") as stream:
                rows = list(csv.DictReader(stream))
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            what = error.strerror if isinstance(error, OSError) else error
            raise MoleculeError(
                f"{path} cannot be read ({what}): give a csv with a column inchikey"
            ) from None
        columns = set(rows[0]) if rows else set()
        if not columns & {"inchikey", "graph"}:
            raise MoleculeError(f"{path} has no column inchikey or graph: give a csv with one of them")
        return cls(
            frozenset(row["inchikey"][:14] for row in rows if row.get("inchikey")),
            frozenset(row["graph"] for row in rows if row.get("graph")),
        )

    def __contains__(self, molecule: object) -> bool:
        from kflow_sci.assembly.reading.identity import inchikey

        if not isinstance(molecule, Molecule):
            return False
        key = inchikey(molecule) if self.inchikeys else None
        return (key is not None and key[:14] in self.inchikeys) or (
            bool(self.graphs) and graph_hash(molecule.numbers, bonded_pairs(molecule)) in self.graphs
        )

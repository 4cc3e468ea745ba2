"""What the factory of crystals reads and what it writes beside its store: the list, the table and the card.

The one idea: a data set that does not say how it was made, of what, and what was left out, is not finished.
"""

from __future__ import annotations

import csv
import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kflow_sci import __version__
from kflow_sci.errors import MoleculeError
from kflow_sci.files import atomic_write

COLUMNS = (
    "smiles", "id", "made", "reason", "message", "atoms", "energy", "density", "space_group", "trials", "distinct",
)  # fmt: skip


@dataclass(frozen=True)
class Recipe:
    """How crystals are made; equal recipes make equal crystals.

    Attributes:
        trials: Starts per molecule.
        keep: Distinct crystals of lowest energy that are stored of each molecule, at most.
        window: Crystals this much above the lowest of their molecule are left out, kJ/mol.
        copies: Molecules per stored cluster.
        groups: ``common``, or names separated by commas.
        seed: >= 0.
    """

    trials: int = 100
    keep: int = 5
    window: float = 10.0
    copies: int = 32
    groups: str = "common"
    seed: int = 0


def read_smiles(path: str | Path) -> list[str]:
    """The SMILES of a list, in order, each once.

    Args:
        path: A csv with a column ``smiles``, or a text with one SMILES at the beginning of each line; lines that begin
            with # and empty ones say nothing.

    Raises:
        MoleculeError: the file cannot be read, has no such column, or holds no SMILES.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        what = error.strerror if isinstance(error, OSError) else "not text"
        raise MoleculeError(f"{path} cannot be read ({what}): give a list of SMILES") from None
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    if str(path).lower().endswith(".csv"):
        table = csv.DictReader(lines)
        if "smiles" not in (table.fieldnames or []):
            raise MoleculeError(
                f"{path} has no column smiles: name it so, or give a text with one SMILES per line"
            )
        found = [row["smiles"] or "" for row in table]
    else:
        found = [line.split()[0] for line in lines]
    listed = list(dict.fromkeys(smiles.strip() for smiles in found if smiles.strip()))
    if not listed:
        raise MoleculeError(f"{path} holds no SMILES: give one per line")
    return listed


def write_table(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """One line per molecule: what was made of it, or why nothing was.

    Raises:
        OutputError: the file cannot be written.
    """
    with atomic_write(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as stream:
        table = csv.DictWriter(stream, COLUMNS, restval="", lineterminator="\n")
        table.writeheader()
        table.writerows(rows)


def write_card(
    path: Path,
    store: Path,
    recipe: Recipe,
    made: Sequence[dict[str, Any]],
    skipped: Counter[str],
    crystals: int,
    excluded: int,
) -> None:
    """Describe a finished store.

    Args:
        path: The text to write.
        store: The file of clusters.
        recipe: How they were made.
        made: Rows of the molecules with crystals.
        skipped: How many molecules have none, by reason.
        crystals: Stored crystals.
        excluded: Constitutions that were not allowed.

    Raises:
        OutputError: the file cannot be written.
    """
    digest = hashlib.sha256(store.read_bytes()).hexdigest()
    groups = Counter(str(row["space_group"]) for row in made).most_common(6)
    lines = [
        f"# {store.name}: computed crystals",
        "",
        f"{crystals} crystals of {len(made)} molecules, made by `kflow data make-crystals` of kflow_sci {__version__}.",
        "Nothing in it is taken from a collection of others.",
        "",
        f"- sha256 `{digest}`",
        f"- Each molecule: one conformer (the lowest of ten in MMFF94), {recipe.trials} random starts in the groups",
        f"  `{recipe.groups}`, relaxed as a rigid body in a pair force field. The {recipe.keep} distinct crystals of",
        f"  lowest lattice energy, at most {recipe.window:g} kJ/mol above the lowest, are stored as clusters of",
        f"  {recipe.copies} molecules. Seed {recipe.seed}.",
        f"- Space groups of the lowest: {', '.join(f'{name} {count}' for name, count in groups)}.",
        f"- Molecules without crystals: {skipped.total()}"
        f" ({', '.join(f'{reason} {count}' for reason, count in skipped.most_common()) or 'none'}); the csv says why.",
        f"- Constitutions that were not allowed, by InChIKey: {excluded}.",
        "",
        "What it does not know: these crystals minimise a cheap pair energy, at no temperature. They predict nothing",
        "of the crystal that grows: other conformers, disorder and polarisation are missing.",
    ]
    with atomic_write(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")

"""What a CIF says, before any chemistry: cell, symmetry operations, atom sites, formula.

The one idea: a file that cannot be trusted is refused here, each time with one of the words in ``REASONS``, so that
whoever builds a data set can count why crystals were left out. Nothing is repaired silently.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int

from kflow_sci.assembly.elements import COVALENT_RADIUS, NUMBER_OF, SYMBOLS
from kflow_sci.errors import CrystalError

if TYPE_CHECKING:
    import gemmi

# Every word that can stand in the ``reason`` column of skipped.csv.
REASONS = {
    "unreadable": "the file is missing, empty, not text or not a CIF",
    "no_atoms": "no data block holds atom sites with fractional coordinates",
    "coordinates": "an atom site has no coordinates, or they are not numbers",
    "element": "an element is unknown or has no covalent radius in our table",
    "no_cell": "cell lengths or angles are missing",
    "odd_cell": "the cell has no volume, an angle outside 0-180 degrees, or contradicts its own symmetry",
    "symmetry": "the symmetry is missing, unknown, no group, or stated twice and differently",
    "disorder": "sites are partly occupied, belong to disorder groups, or are alternatives of each other",
    "overlap": "two atoms lie on top of each other",
    "missing_hydrogens": "the formula or the geometry asks for hydrogens that have no site",
    "formula": "the atoms found do not make up the formula the file states (for example solvent left out)",
    "polymer": "a bonded network runs through the whole crystal",
    "several_molecules": "the cell holds more than one kind of molecule or ion",
    "molecule": "the molecule has fewer or more atoms than a rigid molecule here may have",
}

_CELL_TAGS = tuple(f"_cell_length_{x}" for x in "abc") + tuple(
    f"_cell_angle_{x}" for x in ("alpha", "beta", "gamma")
)
_OPERATION_TAGS = (
    "_space_group_symop_operation_xyz", "_symmetry_equiv_pos_as_xyz", "_space_group_symop.operation_xyz",
)  # fmt: skip
_NAME_TAGS = ("_space_group_name_H-M_alt", "_symmetry_space_group_name_H-M", "_space_group_name_H-M_full")
_HALL_TAGS = ("_space_group_name_Hall", "_symmetry_space_group_name_Hall")
_NUMBER_TAGS = ("_space_group_IT_number", "_symmetry_Int_Tables_number")
_FULL_OCCUPANCY = 0.999
_METRIC_TOLERANCE = 0.02  # relative; above it the cell cannot have the stated symmetry


@dataclass(frozen=True, eq=False)
class Sites:
    """The asymmetric unit as the file states it.

    Attributes:
        name: Name of the file without its suffix, or of the data block where text was given.
        cell: Rows are the cell vectors a, b, c in Å, ``(3, 3)``; a along x, b in the xy plane.
        turn: Rotation parts of the operations in fractional coordinates, ``(g, 3, 3)``; the identity first.
        shift: Translation parts, ``(g, 3)``.
        numbers: Atomic numbers, ``(n,)``; deuterium counts as hydrogen.
        fractional: ``(n, 3)``.
        labels: Site labels for messages.
        formula: Atoms per formula unit, or None where the file states none.
        space_group: Hermann–Mauguin name, of the operations where they are in the tables.
    """

    name: str
    cell: Float[np.ndarray, "3 3"]
    turn: Int[np.ndarray, "g 3 3"]
    shift: Float[np.ndarray, "g 3"]
    numbers: Int[np.ndarray, " n"]
    fractional: Float[np.ndarray, "n 3"]
    labels: tuple[str, ...]
    formula: Counter[int] | None
    space_group: str


def read_cif(source: str | Path) -> Sites:
    """Read the first data block that holds atom sites.

    Args:
        source: A path, or the text of a CIF (recognised by a line break).

    Raises:
        CrystalError: anything in ``REASONS`` up to ``disorder``, and ``missing_hydrogens`` where the file says so.
    """
    import gemmi

    name, text = _read_text(source)
    try:
        document = gemmi.cif.read_string(text)
    except ValueError as error:
        where = " ".join(str(error).split())
        raise CrystalError("unreadable", f"{name} is not a CIF ({where}): give a CIF of a crystal") from None
    if not len(document):
        raise CrystalError("unreadable", f"{name} holds no data block: give a CIF of a crystal")
    blocks = [b for b in document if len(b.find_values("_atom_site_fract_x"))]
    if not blocks:
        raise CrystalError(
            "no_atoms", f"{name} has no atom sites with fractional coordinates: give a CIF of a crystal"
        )
    block = blocks[0]
    name = Path(source).stem if not isinstance(source, str) or not _is_text(source) else block.name or name
    cell = _cell(block, name)
    turn, shift, space_group = _operations(block, name)
    cell = _symmetric_cell(cell, turn, name)
    sites = [s for s in gemmi.make_small_structure_from_block(block).sites if not _is_dummy(s, block)]
    _check_sites(sites, block, name)
    return Sites(
        name=name,
        cell=cell,
        turn=turn,
        shift=shift,
        numbers=np.array([s.element.atomic_number for s in sites], dtype=np.int64),
        fractional=np.array([s.fract.tolist() for s in sites], dtype=np.float64).reshape(-1, 3),
        labels=tuple(s.label for s in sites),
        formula=_formula(block),
        space_group=space_group,
    )


def _is_text(source: str) -> bool:
    return "\n" in source or "\r" in source


def _read_text(source: str | Path) -> tuple[str, str]:
    if isinstance(source, str) and _is_text(source):
        return "CIF text", source
    path = Path(source)
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise CrystalError(
            "unreadable", f"{path} cannot be read ({error.strerror}): give the path of a CIF"
        ) from None
    if not raw.strip():
        raise CrystalError("unreadable", f"{path} is empty: give a CIF of a crystal")
    if b"\0" in raw:
        raise CrystalError("unreadable", f"{path} is binary, not text: give a CIF of a crystal")
    # Old CIFs hold author names in various eight-bit codes; every tag read here is ASCII, so latin-1 loses nothing.
    return path.name, raw.removeprefix(b"\xef\xbb\xbf").decode("latin-1")


def _first(block: gemmi.cif.Block, tags: tuple[str, ...]) -> str | None:
    import gemmi

    for tag in tags:
        value = block.find_value(tag)
        if value is not None and value not in ("?", "."):
            return " ".join(gemmi.cif.as_string(value).split()) or None
    return None


def _cell(block: gemmi.cif.Block, name: str) -> Float[np.ndarray, "3 3"]:
    import gemmi

    values = []
    for tag in _CELL_TAGS:
        raw = block.find_value(tag)
        number = math.nan if raw is None else gemmi.cif.as_number(raw)
        if math.isnan(number):
            raise CrystalError("no_cell", f"{name} has no {tag}: a crystal needs six cell parameters")
        values.append(number)
    a, b, c, *angles = values
    if min(a, b, c) <= 0 or not all(0 < x < 180 for x in angles):
        raise CrystalError(
            "odd_cell", f"{name} has the cell {values}: lengths > 0 and angles of 0-180 degrees are needed"
        )
    cos_a, cos_b, cos_g = (math.cos(math.radians(x)) for x in angles)
    squared = 1 - cos_a**2 - cos_b**2 - cos_g**2 + 2 * cos_a * cos_b * cos_g
    if squared <= 1e-6:
        raise CrystalError(
            "odd_cell", f"{name} has the angles {angles}, which enclose no volume: correct the cell"
        )
    cosines = np.array([[1, cos_g, cos_b], [cos_g, 1, cos_a], [cos_b, cos_a, 1]])
    return np.linalg.cholesky(cosines * np.outer([a, b, c], [a, b, c]))


def _symmetric_cell(
    cell: Float[np.ndarray, "3 3"], turn: Int[np.ndarray, "g 3 3"], name: str
) -> Float[np.ndarray, "3 3"]:
    """The cell whose metric has the symmetry exactly, so that every operation is a motion to the last digit."""
    metric = cell @ cell.T
    mean = np.einsum("gki,kl,glj->ij", turn, metric, turn) / len(turn)
    worst = np.abs(mean - metric).max() / np.abs(metric).max()
    if worst > _METRIC_TOLERANCE:
        raise CrystalError(
            "odd_cell",
            f"{name} has a cell that its symmetry changes by {worst:.1%} (limit {_METRIC_TOLERANCE:.0%}): mend it",
        )
    return np.linalg.cholesky(mean)


def _operations(block: gemmi.cif.Block, name: str) -> tuple[np.ndarray, np.ndarray, str]:
    """Operations (explicit list first, else by name or number), identity first, and the space group's name."""
    import gemmi

    triplets = [gemmi.cif.as_string(v) for tag in _OPERATION_TAGS for v in block.find_values(tag)]
    triplets = [t for t in triplets if t.strip() not in ("", "?", ".")]
    stated, group = _stated_group(block)
    if triplets:
        try:
            operations = [gemmi.Op(t) for t in triplets]
        except RuntimeError as error:
            raise CrystalError(
                "symmetry", f"{name} has an unreadable symmetry operation ({error}): correct it"
            ) from None
    elif group is not None:
        operations = list(group)
    else:
        what = f"the space group {stated!r} is not known" if stated else "no symmetry is stated"
        raise CrystalError("symmetry", f"{name}: {what}: give the list of symmetry operations")
    turn = _rotations(operations)
    shift = np.array([o.tran for o in operations], dtype=np.int64) % gemmi.Op.DEN
    if any(value % gemmi.Op.DEN for o in operations for row in o.rot for value in row):
        raise CrystalError("symmetry", f"{name} has an operation with a fractional rotation: correct it")
    turn, shift = _group(turn, shift, gemmi.Op.DEN, name)
    if triplets and group is not None and _kinds(_rotations(group.sym_ops)) != _kinds(turn):
        raise CrystalError(
            "symmetry", f"{name} lists operations that cannot be those of {stated}: correct one of them"
        )
    known = gemmi.find_spacegroup_by_ops(gemmi.GroupOps(operations))
    label = known.hm if known is not None else stated or f"group of {len(turn)} operations"
    return turn, shift / gemmi.Op.DEN, label


def _rotations(operations: Iterable[gemmi.Op]) -> np.ndarray:
    import gemmi

    return np.array([o.rot for o in operations], dtype=np.int64) // gemmi.Op.DEN


def _kinds(turn: np.ndarray) -> Counter[tuple[int, int]]:
    """How many distinct rotations of each kind (determinant, trace) there are, which no choice of axes changes."""
    distinct = np.unique(turn, axis=0)
    return Counter((round(float(np.linalg.det(w))), int(np.trace(w))) for w in distinct)


def _stated_group(block: gemmi.cif.Block) -> tuple[str | None, gemmi.GroupOps | None]:
    import gemmi

    hall = _first(block, _HALL_TAGS)
    if hall is not None:
        try:
            return hall, gemmi.symops_from_hall(hall)
        except RuntimeError:
            pass  # a misspelt Hall symbol; the Hermann-Mauguin name or the number may still tell
    angles = [gemmi.cif.as_number(block.find_value(tag) or "?") for tag in _CELL_TAGS[3:]]
    stated = _first(block, _NAME_TAGS)
    number = _first(block, _NUMBER_TAGS)
    found = gemmi.find_spacegroup_by_name(stated, angles[0], angles[2]) if stated else None
    if found is None and stated is None and number is not None and number.isdigit():
        stated = f"number {number}"
        found = gemmi.find_spacegroup_by_number(int(number))
    return stated or hall, found.operations() if found is not None else None


def _group(turn: np.ndarray, shift: np.ndarray, den: int, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Distinct operations, sorted so that the order in the file plays no part; refused unless they form a group."""
    if not np.isin(np.round(np.linalg.det(turn)).astype(int), (1, -1)).all() or np.abs(turn).max() > 2:
        raise CrystalError("symmetry", f"{name} has an operation that is no motion of a lattice: correct it")
    rows = np.concatenate([turn.reshape(-1, 9), shift], axis=1)
    identity = np.concatenate([np.eye(3, dtype=np.int64).ravel(), np.zeros(3, dtype=np.int64)])
    rows = np.unique(rows, axis=0)
    # Proper operations come first: where several carry a molecule to the same place, the proper one is used.
    determinant = np.linalg.det(rows[:, :9].reshape(-1, 3, 3))
    first = (rows == identity).all(axis=1)
    rows = rows[np.lexsort((np.arange(len(rows)), -determinant, ~first))]
    turn, shift = rows[:, :9].reshape(-1, 3, 3), rows[:, 9:]
    product_turn = np.einsum("gij,hjk->ghik", turn, turn).reshape(-1, 9)
    product_shift = (np.einsum("gij,hj->ghi", turn, shift) + shift[:, None]).reshape(-1, 3) % den
    products = np.unique(np.concatenate([product_turn, product_shift], axis=1), axis=0)
    if not first.any() or len(products) != len(rows):
        raise CrystalError(
            "symmetry", f"{name} lists {len(rows)} operations that form no group: complete them"
        )
    return turn, shift


def _is_dummy(site: gemmi.SmallStructure.Site, block: gemmi.cif.Block) -> bool:
    flags = dict(
        zip(block.find_values("_atom_site_label"), block.find_values("_atom_site_calc_flag"), strict=False)
    )
    return bool(flags) and flags.get(site.label, "").lower() == "dum"


def _check_sites(sites: list[gemmi.SmallStructure.Site], block: gemmi.cif.Block, name: str) -> None:
    if not sites:
        raise CrystalError("no_atoms", f"{name} has no atom sites: give a CIF of a crystal")
    for site in sites:
        number = site.element.atomic_number
        if not 0 < number < len(SYMBOLS) or np.isnan(COVALENT_RADIUS[number]):
            raise CrystalError(
                "element",
                f"{name} has the unsupported element {site.element.name} at {site.label}: leave it out",
            )
    for site in sites:
        if not all(math.isfinite(x) for x in site.fract.tolist()):
            reason = "missing_hydrogens" if site.element.atomic_number == 1 else "coordinates"
            raise CrystalError(reason, f"{name} has no coordinates for site {site.label}: complete the file")
    for site in sites:
        # gemmi reads an unstated occupancy as 1
        if site.occ < _FULL_OCCUPANCY or site.occ > 2 - _FULL_OCCUPANCY:
            raise CrystalError(
                "disorder",
                f"{name} has occupancy {site.occ:g} at {site.label}: give a crystal without disorder",
            )
    for tag in ("_atom_site_disorder_group", "_atom_site_label_alt_id"):
        groups = sorted({v for v in block.find_values(tag) if v not in (".", "?", "0")})
        if groups:
            raise CrystalError(
                "disorder", f"{name} has {tag} {', '.join(groups)}: give a crystal without disorder"
            )
    implicit = [v for v in block.find_values("_atom_site_attached_hydrogens") if v not in (".", "?", "0")]
    if implicit:
        raise CrystalError(
            "missing_hydrogens", f"{name} counts hydrogens without placing them: complete the file"
        )


def _formula(block: gemmi.cif.Block) -> Counter[int] | None:
    """Atoms per formula unit, deuterium as hydrogen; None where absent or not a plain list of whole numbers."""
    text = _first(block, ("_chemical_formula_sum",))
    if text is None:
        return None
    counts: Counter[int] = Counter()
    for part in text.replace(",", " ").split():
        match = re.fullmatch(r"([A-Z][a-z]?)(\d*)", part)
        symbol = "H" if match and match[1] in ("D", "T") else (match[1] if match else "")
        if match is None or symbol not in NUMBER_OF:
            return None
        counts[NUMBER_OF[symbol]] += int(match[2] or 1)
    return counts

"""Clusters made up for tests, written in the published csv layout by hand: the molecules here are no one's data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from tests.crystals_by_hand import CHFCLBR, CHFCLBR_SYMBOLS

COPIES = 17
HEADER = "mol,atom,x,y,z"
Symbols = tuple[str, ...]


def moved(molecule: np.ndarray, seed: int, spread: float = 8.0, copies: int = COPIES) -> np.ndarray:
    """Rigid copies of a molecule, turned and placed at random, Å, ``(copies, n, 3)``."""
    rng = np.random.default_rng(seed)
    turns = Rotation.random(copies, random_state=seed).as_matrix()
    return molecule @ turns.transpose(0, 2, 1) + spread * rng.normal(size=(copies, 1, 3))


def text(symbols: Symbols, positions: np.ndarray, header: str = HEADER, end: str = "\n") -> str:
    """A file of the layout; coordinates in full precision."""
    rows = [
        f"{molecule},{symbol},{x!r},{y!r},{z!r}"
        for molecule, atoms in enumerate(positions.tolist())
        for symbol, (x, y, z) in zip(symbols, atoms, strict=True)
    ]
    return "".join(line + end for line in ([header] if header else []) + rows)


def write(raw: Path, name: str, final: str | None, start: str | None) -> None:
    """The two files of an id; None leaves one out."""
    for folder, end, content in (
        ("FinalPositions", "_cluster16.csv", final),
        ("InitialPositions", "_cluster16_noised.csv", start),
    ):
        (raw / folder).mkdir(parents=True, exist_ok=True)
        if content is not None:
            (raw / folder / f"{name}{end}").write_text(content, encoding="utf-8", newline="")


def pair(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Final and initial positions of CHFClBr, all of one hand."""
    return moved(CHFCLBR, 2 * seed), moved(CHFCLBR, 2 * seed + 1)


def good(raw: Path, name: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A cluster without fault."""
    final, start = pair(seed)
    write(raw, name, text(CHFCLBR_SYMBOLS, final), text(CHFCLBR_SYMBOLS, start))
    return final, start

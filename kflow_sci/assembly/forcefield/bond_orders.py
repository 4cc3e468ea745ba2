"""Bond orders and formal charges from the bare bonds, for molecules that come from crystals or xyz files.

The one idea: with every hydrogen present, orders are what makes every atom's valence one of its usual ones at the
least formal charge; ties go to the shorter bonds. That is a small integer programme with a unique best answer, so a
thiophene is not given the S⁺ that a search which stops at the first fitting valence finds.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import coo_matrix

from kflow_sci.assembly.bonds import bonded_pairs
from kflow_sci.assembly.elements import COVALENT_RADIUS, NUMBER_OF
from kflow_sci.assembly.molecule import Molecule
from kflow_sci.errors import MoleculeError

# Per element: (sum of bond orders, formal charge, cost). Costs rank Lewis structures: no charge before charge, charge
# on N, O and S before charge on C, and a low valence of S and P before a high one.
_VALENCES = {
    "H": ((1, 0, 0.0),),
    "B": ((3, 0, 0.0), (4, -1, 1.0)),
    "C": ((4, 0, 0.0), (3, -1, 3.0), (3, 1, 3.0)),
    "N": ((3, 0, 0.0), (4, 1, 1.0), (2, -1, 1.0)),
    "O": ((2, 0, 0.0), (1, -1, 1.0), (3, 1, 2.0)),
    "F": ((1, 0, 0.0),),
    "Si": ((4, 0, 0.0),),
    "P": ((3, 0, 0.0), (5, 0, 0.2), (4, 1, 1.0)),
    "S": ((2, 0, 0.0), (4, 0, 0.2), (6, 0, 0.4), (1, -1, 1.0), (3, 1, 1.5)),
    "Cl": ((1, 0, 0.0), (7, 0, 0.6)),
    "As": ((3, 0, 0.0), (5, 0, 0.2), (4, 1, 1.0)),
    "Se": ((2, 0, 0.0), (4, 0, 0.2), (6, 0, 0.4), (1, -1, 1.0), (3, 1, 1.5)),
    "Br": ((1, 0, 0.0),),
    "Te": ((2, 0, 0.0), (4, 0, 0.2), (6, 0, 0.4)),
    "I": ((1, 0, 0.0), (3, 0, 0.2), (5, 0, 0.4)),
}
# Weight of bond lengths; small, so that they decide between structures of equal charge only.
_LENGTH_WEIGHT = 0.2


@lru_cache(maxsize=256)
def bond_orders(molecule: Molecule) -> tuple[Float[np.ndarray, " m"], Int[np.ndarray, " n"]]:
    """Orders of ``bonds.bonded_pairs(molecule)`` and the formal charges.

    Orders that the molecule brings are kept if they explain every valence, and either a SMILES vouches for them or no
    structure needs less formal charge (a guess by distances makes zwitterions of thiophenes and thioamides). Else
    they are found from bonds and lengths, at a total charge of ``formal_charges`` (0 where there are none).

    Returns:
        Orders 1, 2, 3 (1.5 only where the molecule brings them), and formal charges.

    Raises:
        MoleculeError: no usual valences fit: an atom is missing, a radical, or an element of unusual bonds.
    """
    pairs = bonded_pairs(molecule)
    charges = np.zeros(len(molecule), dtype=np.int64)
    if molecule.formal_charges is not None:
        charges = np.asarray(molecule.formal_charges, dtype=np.int64)
    given = np.asarray(molecule.bond_orders, dtype=np.float64)
    cost = np.inf
    if len(given) == len(pairs):
        cost = _cost(molecule.numbers, pairs, given, charges)
    if np.isfinite(cost) and (molecule.smiles is not None or not charges.any()):
        return given, charges
    try:
        found, formal, least = _least_charged(molecule, pairs, int(charges.sum()))
    except MoleculeError:
        if np.isfinite(cost):
            return given, charges
        raise
    return (given, charges) if cost < least + 0.05 else (found, formal)


def _cost(numbers: np.ndarray, pairs: np.ndarray, orders: np.ndarray, charges: np.ndarray) -> float:
    """Cost of a Lewis structure; infinite if some atom has none of its usual valences at the charge it bears."""
    total = 0.0
    valence = np.bincount(pairs.ravel(), np.repeat(orders, 2), minlength=len(numbers))
    aromatic = np.bincount(pairs.ravel(), np.repeat(orders == 1.5, 2), minlength=len(numbers)) > 0
    for atom, number in enumerate(numbers):
        # Orders of 1.5 do not add up to a whole valence at every atom (three of them at a ring fusion, two at a
        # pyrrole N).
        slack = 1.0 if aromatic[atom] else 1e-6
        total += min(
            (
                cost
                for v, charge, cost in _options(int(number))
                if charge == charges[atom] and abs(v - valence[atom]) <= slack
            ),
            default=np.inf,
        )
    return total


def _options(number: int) -> tuple[tuple[int, int, float], ...]:
    for symbol, options in _VALENCES.items():
        if NUMBER_OF[symbol] == number:
            return options
    return ()


def _least_charged(
    molecule: Molecule, pairs: Int[np.ndarray, "m 2"], charge: int
) -> tuple[Float[np.ndarray, " m"], Int[np.ndarray, " n"], float]:
    """The Lewis structure of least cost, and that cost.

    Unknowns: the extra order of each bond (0, 1 or 2), then one switch per atom and valence. Each atom has one valence
    switched on, which its bonds add up to, and the charges add up to the total.
    """
    failure = MoleculeError(
        f"{molecule.name}: no bond orders fit its bonds at charge {charge}: check for missing hydrogens or radicals"
    )
    options = [
        (atom, *option) for atom, number in enumerate(molecule.numbers) for option in _options(int(number))
    ]
    n, m, k = len(molecule), len(pairs), len(options)
    if len({option[0] for option in options}) < n:
        raise failure
    atom, valence, charges, cost = (np.array(column) for column in zip(*options, strict=True))
    length = np.linalg.norm(molecule.positions[pairs[:, 0]] - molecule.positions[pairs[:, 1]], axis=1)
    stretch = length / COVALENT_RADIUS[molecule.numbers[pairs]].sum(axis=1)
    bond, switch = np.arange(m), m + np.arange(k)
    # Σ extra − Σ switch · valence = −degree, per atom;  Σ switch = 1, per atom;  Σ switch · charge = total.
    rows = np.concatenate([pairs.ravel(), atom, n + atom, np.full(k, 2 * n)])
    columns = np.concatenate([np.repeat(bond, 2), switch, switch, switch])
    values = np.concatenate([np.ones(2 * m), -valence, np.ones(k), charges])
    right = np.concatenate([-np.bincount(pairs.ravel(), minlength=n), np.ones(n), [charge]])
    answer = milp(
        np.concatenate([_LENGTH_WEIGHT * (stretch - 0.8), cost]),
        integrality=np.ones(m + k),
        bounds=Bounds(0, np.concatenate([np.full(m, 2), np.ones(k)])),
        constraints=LinearConstraint(
            coo_matrix((values, (rows, columns)), shape=(2 * n + 1, m + k)).tocsc(), right, right
        ),
        options={"time_limit": 5.0},
    )
    if answer.x is None:
        raise failure
    found = np.rint(answer.x).astype(np.int64)
    formal = np.bincount(atom, found[m:] * charges, minlength=n).astype(np.int64)
    return 1.0 + found[:m], formal, float(cost @ found[m:])

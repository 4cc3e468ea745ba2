"""Bonds by distance alone."""

from __future__ import annotations

import numpy as np
import pytest

from kflow_sci.assembly.bonds import are_bonded, bonded_pairs, find_bonds, fragments, partners
from kflow_sci.assembly.molecule import Molecule

WATER = np.array([[0, 0, 0], [0.957, 0, 0], [-0.24, 0.927, 0]])


@pytest.mark.parametrize(("length", "bonded"), [(1.91, True), (1.93, False)])
def test_carbons_are_bonded_up_to_their_covalent_radii_and_the_slack(length: float, bonded: bool) -> None:
    # Cordero gives carbon 0.76 Å: 2 · 0.76 + 0.4 = 1.92 Å.
    assert len(find_bonds(np.array([6, 6]), np.array([[0, 0, 0], [length, 0, 0]]))) == bonded


@pytest.mark.parametrize(("length", "bonded"), [(2.77, True), (2.79, False)])
def test_metals_are_bonded_by_the_same_rule(length: float, bonded: bool) -> None:
    # Cordero gives platinum 1.36 Å and chlorine 1.02 Å: with the slack 2.78 Å; Pt-Cl is about 2.3 Å.
    assert len(find_bonds(np.array([78, 17]), np.array([[0, 0, 0], [length, 0, 0]]))) == bonded


def test_a_hydrogen_in_a_short_hydrogen_bond_stays_with_its_donor() -> None:
    numbers = np.array([8, 1, 8, 1, 1, 1])
    positions = np.array(
        [[0, 0, 0], [1.03, 0, 0], [2.37, 0, 0], [-0.3, 0.9, 0], [2.7, 0.9, 0], [2.7, -0.9, 0]]
    )
    assert [0, 1] in find_bonds(numbers, positions).tolist()
    assert [1, 2] not in find_bonds(numbers, positions).tolist()
    assert fragments(6, find_bonds(numbers, positions)).tolist() == [0, 0, 1, 0, 1, 1]


def test_a_hydrogen_half_way_bridges_its_two_partners() -> None:
    # One bridge of diborane: B-H 1.33 Å on both sides, B-B 1.77 Å.
    positions = np.array([[-0.885, 0, 0], [0.885, 0, 0], [0, 0.993, 0]])
    assert find_bonds(np.array([5, 5, 1]), positions).tolist() == [[0, 1], [0, 2], [1, 2]]


def test_hydrogens_are_bonded_to_each_other_in_hydrogen_alone() -> None:
    assert find_bonds(np.array([1, 1]), np.array([[0, 0, 0], [0.74, 0, 0]])).tolist() == [[0, 1]]
    close = np.array(
        [[0, 0, 0], [0.957, 0, 0], [0.957, 0.7, 0]]
    )  # 0.31 + 0.31 + 0.4 = 1.02 Å would join them
    assert [1, 2] not in find_bonds(np.array([8, 1, 1]), close).tolist()


def test_pairs_may_be_listed_once_or_in_both_directions() -> None:
    numbers, distance = np.array([8, 1, 8]), np.array([1.0, 1.25])
    i, j = np.array([0, 1]), np.array([1, 2])
    assert are_bonded(numbers, i, j, distance).tolist() == [True, False]
    both = are_bonded(numbers, np.append(i, j), np.append(j, i), np.tile(distance, 2))
    assert both.tolist() == [True, False, True, False]


def test_a_molecule_keeps_the_bonds_it_brings_and_gets_some_where_it_has_none() -> None:
    numbers = np.array([8, 1, 1])
    assert bonded_pairs(Molecule(numbers, WATER)).tolist() == [[0, 1], [0, 2]]
    assert bonded_pairs(Molecule(numbers, WATER, bonds=np.array([[0, 1]]))).tolist() == [[0, 1]]


def test_parts_are_numbered_by_their_first_atoms_and_a_lone_atom_is_a_part() -> None:
    assert fragments(6, np.array([[3, 1], [0, 5]])).tolist() == [0, 1, 2, 1, 3, 0]
    assert fragments(2, np.zeros((0, 2), dtype=int)).tolist() == [0, 1]
    assert sorted(partners(np.array([[3, 1], [0, 3]]), 3).tolist()) == [0, 1]

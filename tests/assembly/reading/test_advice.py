"""What a chemist is told: the way out of a refusal, and what a SMILES left open."""

from __future__ import annotations

import pytest

from kflow_sci.assembly.reading.advice import notes_on, refuse_charged
from kflow_sci.assembly.reading.embed import from_smiles
from kflow_sci.errors import MoleculeError


@pytest.mark.parametrize(
    ("smiles", "words"),
    [
        ("CC(=O)[O-].[Na+]", r"is a salt \(charges 1- and 1\+\).*give the neutral molecule, 'CC\(=O\)O'"),
        ("[Cl-].C[NH3+]", "give the neutral molecule, 'CN'"),
        ("[Na+].[Cl-]", "salts are not supported yet: give one neutral molecule$"),
        (
            "C[N+](C)(C)C.[Br-]",
            "salts are not supported yet: give one neutral molecule$",
        ),  # no proton to give: there is no neutral form
        ("[Fe+2].c1cc[cH-]c1.c1cc[cH-]c1", "element Fe is not supported"),  # and not: a salt
        ("N[Pt](N)(Cl)Cl", "element Pt is not supported"),
        ("*CCO", r"dummy atom \(\*\): put what is attached"),
        ("O.O.CCO", 'each with its count: "O" 8 "CCO" 4$'),
    ],
)
def test_salts_complexes_and_parts_are_refused_with_the_way_out(smiles: str, words: str) -> None:
    with pytest.raises(MoleculeError, match=words) as caught:
        from_smiles(smiles)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("smiles", "words"),
    [
        ("CC(=O)[O-]", r"charge -1, .*neutral form 'CC\(=O\)O'"),
        ("C[N+](C)(C)C", r"charge \+1, .*give the neutral form; salts"),
    ],
)
def test_an_ion_is_refused_with_its_neutral_form(smiles: str, words: str) -> None:
    with pytest.raises(MoleculeError, match=words):
        refuse_charged(from_smiles(smiles, conformers=1))
    refuse_charged(from_smiles("[NH3+]CC(=O)[O-]", conformers=1))  # a zwitterion is neutral


@pytest.mark.parametrize(
    ("smiles", "words"),
    [
        ("CC(=O)Oc1ccccc1C(=O)O", None),
        ("CC(F)O", None),  # one centre: both mirror images are used
        ("C[C@H](O)[C@@H](O)CC", None),
        ("C[C@H](O)C(O)CC", "leaves 1 of 2 stereocentres open"),
        ("CC=CC", "leaves 1 double bond open"),
        ("C/C=C/C", None),
        ("OC(F)C(Cl)C=CC=CC", "leaves 2 of 2 stereocentres and 2 double bonds open"),
        (
            "CCCCCCCCCC",
            "7 rotatable bonds",
        ),  # ten carbons: nine bonds, those to the ends turn only methyl groups
        ("[2H]O[2H]", "isotopes are not told apart"),
    ],
)
def test_what_a_smiles_leaves_open_is_said(smiles: str, words: str | None) -> None:
    notes = notes_on(from_smiles(smiles, conformers=1))
    assert len(notes) == (words is not None)
    assert words is None or words in notes[0]

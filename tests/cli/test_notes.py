"""What a molecule leaves open is said before the work begins, and an ion is refused there."""

from __future__ import annotations

import pytest

from kflow_sci.cli.assembling import Wish, read_molecules
from kflow_sci.errors import MoleculeError


def test_an_open_double_bond_is_noted_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    read_molecules(Wish(("FC=CF",)))
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("kflow: note: ") and "1 double bond open" in err and err.count("\n") == 1
    read_molecules(Wish(("F/C=C/F",)))
    assert capsys.readouterr() == ("", "")


def test_an_ion_is_refused_when_it_is_read() -> None:
    with pytest.raises(MoleculeError, match=r"neutral form 'CC\(=O\)O'"):
        read_molecules(Wish(("CC(=O)[O-]",)))

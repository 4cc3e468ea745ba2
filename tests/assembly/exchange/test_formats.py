"""Clusters out and in: what must survive each format, held against RDKit, ASE and gemmi as readers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kflow_sci.assembly.cluster import Cluster
from kflow_sci.assembly.exchange.formats import FORMATS, read_clusters, write_as
from kflow_sci.assembly.exchange.objects import to_cluster
from kflow_sci.assembly.molecule import Molecule
from kflow_sci.assembly.reading.embed import from_smiles
from kflow_sci.errors import ClusterError, ConfigError, KFlowError

# Half a unit of the last decimal that each format has.
ROUNDING = {"extxyz": 1e-8, "xyz": 1e-8, "sdf": 5.1e-5, "pdb": 5.1e-4, "cif": 1e-6, "parquet": 1e-12}
QUARTER = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])


@pytest.fixture(scope="module")
def nitro() -> Molecule:
    """Nitromethane: formal charges and a double bond."""
    return from_smiles("C[N+](=O)[O-]", conformers=1)


def mixture(a: Molecule, b: Molecule, **info: object) -> Cluster:
    """Two of the first, one its mirror image, and one of the second between them."""
    return Cluster(
        (a, b), np.array([0, 1, 0]), np.array([[0, 0, 0], [0, 0, 12.1234567], [9.5, 1.25, 0]]),
        np.stack([np.eye(3), QUARTER, QUARTER.T]), np.array([1, 1, -1]), dict(info),
    )  # fmt: skip


@pytest.mark.parametrize("suffix", FORMATS)
def test_atoms_their_order_and_bond_orders_come_back(
    suffix: str, aspirin: Molecule, nitro: Molecule, tmp_path: Path
) -> None:
    before = [mixture(aspirin, nitro, rank=1, id="a b", words=["x"]), mixture(aspirin, nitro, rank=2)]
    path = tmp_path / f"c.{suffix}"
    write_as(path, before)
    after = read_clusters(path)
    assert len(after) == 2
    for one, other in zip(before, after, strict=True):
        assert np.array_equal(one.numbers, other.numbers)
        moved = (one.positions - other.positions).mean(0) if suffix == "cif" else 0.0
        assert np.abs(one.positions - other.positions - moved).max() < 20 * ROUNDING[suffix] + 1e-9
        assert np.array_equal(one.molecule_of, other.molecule_of)
        assert other.kind.tolist() == [0, 1, 0]
        for template, found in zip(one.molecules, other.molecules, strict=True):
            assert np.array_equal(template.bonds, found.bonds)
            assert np.array_equal(template.bond_orders, found.bond_orders)
            assert found.formal_charges is not None
            assert np.array_equal(template.formal_charges, found.formal_charges)
    if suffix in ("extxyz", "sdf", "parquet"):
        assert [c.info for c in after] == [c.info for c in before]


def test_xyz_and_sdf_of_one_cluster_agree_within_1e_4_angstrom(aspirin: Molecule, tmp_path: Path) -> None:
    import ase.io
    from rdkit import Chem

    cluster = mixture(aspirin, aspirin)
    for suffix in ("xyz", "sdf", "pdb"):
        write_as(tmp_path / f"c.{suffix}", [cluster])
    xyz = ase.io.read(tmp_path / "c.xyz")
    (mol,) = Chem.SDMolSupplier(str(tmp_path / "c.sdf"), removeHs=False)
    assert np.abs(mol.GetConformer().GetPositions() - xyz.positions).max() < 1e-4
    assert np.abs(xyz.positions - cluster.positions).max() < 1e-7
    assert [a.GetAtomicNum() for a in mol.GetAtoms()] == xyz.numbers.tolist() == cluster.numbers.tolist()
    # RDKit sees three molecules of aspirin in the sdf as in the pdb.
    pdb = Chem.MolFromPDBFile(str(tmp_path / "c.pdb"), removeHs=False, proximityBonding=False)
    for whole in (mol, pdb):
        names = {Chem.MolToSmiles(Chem.RemoveHs(m)) for m in Chem.GetMolFrags(whole, asMols=True)}
        assert names == {"CC(=O)Oc1ccccc1C(=O)O"}
        assert len(Chem.GetMolFrags(whole)) == 3


def test_a_large_cluster_is_written_as_v3000_and_read_by_rdkit(aspirin: Molecule, tmp_path: Path) -> None:
    from rdkit import Chem

    copies = 50  # of 21 atoms: 1050, more than V2000 counts
    grid = 12.0 * np.stack(np.unravel_index(np.arange(copies), (4, 4, 4)), axis=1)
    cluster = Cluster(
        (aspirin,), np.zeros(copies, dtype=int), grid, np.tile(np.eye(3), (copies, 1, 1)), np.ones(copies, dtype=int)
    )  # fmt: skip
    write_as(tmp_path / "c.sdf", [cluster])
    assert "V3000" in (tmp_path / "c.sdf").read_text()
    (mol,) = Chem.SDMolSupplier(str(tmp_path / "c.sdf"), removeHs=False)
    assert len(Chem.GetMolFrags(mol)) == copies
    assert np.abs(mol.GetConformer().GetPositions() - cluster.positions).max() < 1e-5
    (back,) = read_clusters(tmp_path / "c.sdf")
    assert len(back) == copies and len(back.molecules) == 1


def test_the_box_of_a_cif_leaves_five_angstrom_to_each_face(aspirin: Molecule, tmp_path: Path) -> None:
    import gemmi

    write_as(tmp_path / "c.cif", [mixture(aspirin, aspirin)])
    structure = gemmi.read_small_structure(str(tmp_path / "c.cif"))
    assert structure.spacegroup_hm == "P 1"
    places = np.array([structure.cell.orthogonalize(s.fract).tolist() for s in structure.sites])
    assert np.allclose(places.min(0), 5.0, atol=1e-5)
    assert np.allclose(np.array(structure.cell.parameters[:3]) - places.max(0), 5.0, atol=1e-5)


def test_parquet_can_be_filtered_by_its_numbers(aspirin: Molecule, tmp_path: Path) -> None:
    import pandas

    write_as(tmp_path / "c.parquet", [mixture(aspirin, aspirin, energy=-k / 2) for k in range(4)])
    table = pandas.read_parquet(tmp_path / "c.parquet")
    assert table[table.energy < -0.9].index.tolist() == [2, 3]


def test_molecules_of_plain_files_of_others_are_told_apart_by_bonds(
    aspirin: Molecule, tmp_path: Path
) -> None:
    cluster = mixture(aspirin, aspirin)
    write_as(tmp_path / "c.pdb", [cluster])
    text = (tmp_path / "c.pdb").read_text()
    (tmp_path / "bare.pdb").write_text("\n".join(x for x in text.split("\n") if not x.startswith("CONECT")))
    for name in ("c.pdb", "bare.pdb"):
        (found,) = read_clusters(tmp_path / name)
        assert len(found) == 3
        assert np.array_equal(found.molecules[0].bond_orders, aspirin.bond_orders)


def test_clusters_of_ase_rdkit_and_pymatgen(aspirin: Molecule, tmp_path: Path) -> None:
    from pymatgen.core import Molecule as PymatgenMolecule
    from rdkit import Chem

    cluster = mixture(aspirin, aspirin)
    write_as(tmp_path / "c.sdf", [cluster])
    (mol,) = Chem.SDMolSupplier(str(tmp_path / "c.sdf"), removeHs=False)
    objects = [cluster.to_ase(), mol, PymatgenMolecule(cluster.numbers, cluster.positions)]
    for source in objects:
        found = to_cluster(source)
        assert len(found) == 3 and np.abs(found.positions - cluster.positions).max() < 1e-3
    periodic = cluster.to_ase()
    periodic.set_cell([30, 30, 30])
    periodic.pbc = True
    for bad, words in ((periodic, "periodic"), (Chem.MolFromSmiles("C"), "no coordinates"), (3, "a int")):
        with pytest.raises(ClusterError, match=words):
            to_cluster(bad)


def test_pdb_refuses_what_it_cannot_hold(aspirin: Molecule, nitro: Molecule, tmp_path: Path) -> None:
    other = replace(mixture(aspirin, nitro), kind=np.array([0, 1, 1]))
    far = mixture(aspirin, nitro)
    far.centroid[0, 0] = 5000.0
    for clusters, words in (
        ([mixture(aspirin, nitro), other], "different molecules"),
        ([far], "columns of pdb"),
    ):
        with pytest.raises(ClusterError, match=words):
            write_as(tmp_path / "c.pdb", clusters)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("c.doc", "x", "no format 'doc'"),
        ("c.sdf", "", "no record"),
        ("c.sdf", "a\n\n\n  5  4  0\n", "record 0"),
        ("c.pdb", "REMARK\n", "no ATOM"),
        ("c.pdb", "HETATM    1  C1  M01 A   1       x       0.000   0.000\n", "coordinates"),
        ("c.pdb", f"{'HETATM    1  Q1  M01 A   1       0.000   0.000   0.000':76s} Q\n", "no element"),
        ("c.cif", "hello", "cif"),
        ("c.parquet", "hello", "parquet"),
        ("c.xyz", "1\n\nC 0 0 0\n", "at least 2"),
        ("c.xyz", "2\n\nC 0 0 nan\nH 0 0 1\n", "not finite"),
        ("missing.sdf", None, "does not exist"),
    ],
)
def test_bad_files_are_refused_in_one_line(
    name: str, content: str | None, words: str, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(KFlowError, match=words) as caught:
        read_clusters(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_no_cluster_and_no_format_are_refused(aspirin: Molecule, tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match="no cluster"):
        write_as(tmp_path / "c.sdf", [])
    with pytest.raises(ConfigError, match="extxyz, xyz, sdf"):
        write_as(tmp_path / "c.png", [mixture(aspirin, aspirin)])

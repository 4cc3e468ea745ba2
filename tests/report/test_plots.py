"""The picture of the best candidates."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from kflow_sci.assembly.cluster import Cluster
from kflow_sci.assembly.molecule import Molecule
from kflow_sci.errors import ClusterError, OutputError
from kflow_sci.report import plots
from kflow_sci.report.plots import draw_clusters


def water(bonds: bool = True) -> Molecule:
    half = np.radians(104.5 / 2)
    hydrogen = 0.96 * np.array([np.sin(half), np.cos(half), 0.0])
    positions = np.array([[0.0, 0.0, 0.0], hydrogen, hydrogen * [-1, 1, 1]])
    fields = {"bonds": np.array([[0, 1], [0, 2]])} if bonds else {}
    return Molecule(np.array([8, 1, 1]), positions - positions.mean(0), name="water", **fields)


def droplet(n: int = 5, seed: int = 0, molecule: Molecule | None = None, **info: object) -> Cluster:
    centroid = 3.0 * np.random.default_rng(seed).normal(size=(n, 3))
    rotation = Rotation.random(n, random_state=seed).as_matrix()
    return Cluster((molecule or water(),), np.zeros(n, int), centroid, rotation, np.ones(n, int), dict(info))


def read(path) -> np.ndarray:
    from matplotlib.image import imread

    return imread(path)[..., :3]


def test_picture_has_one_panel_per_candidate_on_white(tmp_path):
    draw_clusters(
        [droplet(seed=k, rank=k + 1, energy=-12.3, clashing_pairs=0.0) for k in range(4)],
        tmp_path / "a.png",
        dpi=40,
    )
    image = read(tmp_path / "a.png")
    assert image.shape[1] == 3 * 4 * 40
    assert (image[0] == 1).all()
    panels = [image[: image.shape[0] // 2, k * 160 : (k + 1) * 160] for k in range(3)]
    assert all((panel < 0.9).any(axis=2).mean() > 0.02 for panel in panels)
    # The fourth begins a second row.
    second = image[image.shape[0] // 2 :]
    assert (second[: len(second) // 2, 20:140] < 0.9).any()
    assert (second[: len(second) // 2, 320:] == 1).all()


def test_no_more_than_asked_for_are_drawn(tmp_path):
    draw_clusters([droplet(seed=k) for k in range(5)], tmp_path / "a.png", columns=4, most=2, dpi=30)
    assert read(tmp_path / "a.png").shape[1] == 2 * 4 * 30


def test_same_clusters_give_the_same_file(tmp_path):
    for name in ("a.png", "b.png"):
        draw_clusters([droplet(energy=-1.0)], tmp_path / name, dpi=30, title="Water")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_bonds_are_found_where_there_are_none(tmp_path):
    draw_clusters([droplet(molecule=water(bonds=True))], tmp_path / "a.png", dpi=30)
    draw_clusters([droplet(molecule=water(bonds=False))], tmp_path / "b.png", dpi=30)
    assert np.array_equal(read(tmp_path / "a.png"), read(tmp_path / "b.png"))


def test_view_turns_but_never_mirrors_and_looks_along_the_thinnest_axis():
    cluster = droplet(9, seed=3)
    view, before = plots._view(cluster), cluster.positions
    turn, *_ = np.linalg.lstsq(before - before.mean(0), view - view.mean(0), rcond=None)
    assert np.allclose(turn @ turn.T, np.eye(3))
    assert np.linalg.det(turn) == pytest.approx(1)
    spread = view.var(axis=0)
    assert spread[0] >= spread[1] >= spread[2]


def test_view_is_the_same_however_the_cluster_lies():
    cluster = droplet(9, seed=3)
    turn = Rotation.from_rotvec([1.0, -0.4, 2.2]).as_matrix()
    poses = (cluster.centroid @ turn.T + 5.0, turn @ cluster.rotation, cluster.parity)
    assert np.allclose(plots._view(Cluster(cluster.molecules, cluster.kind, *poses)), plots._view(cluster))


def test_caption_tells_rank_energy_and_clashes():
    assert plots._caption(droplet(4, rank=2, energy=-31.27, clashing_pairs=0.0), 1) == (
        "2",
        "\N{MINUS SIGN}31.3 kJ/mol per molecule · no clashes",
    )
    assert plots._caption(droplet(4, clashing_pairs=0.25), 3) == ("3", "1 clashing pair")
    assert plots._caption(droplet(4, clashing_pairs=0.5), 3) == ("3", "2 clashing pairs")
    assert plots._caption(droplet(4), 3) == ("3", "")


def test_states_of_one_cluster_are_seen_from_one_side_under_their_own_words(tmp_path, monkeypatch):
    end = droplet(6)
    begin = Cluster(end.molecules, end.kind, 2.0 * end.centroid[:, ::-1], end.rotation, end.parity)
    turned, told = [], []
    monkeypatch.setattr(
        plots, "_scene", lambda cluster, view, real=plots._scene: turned.append(view) or real(cluster, view)
    )
    monkeypatch.setattr(plots, "_lay_out", lambda *arguments: told.append(arguments[2]))
    plots.draw_clusters([begin, end], tmp_path / "states.png", captions=["begin", "end"], alike=True)
    assert told == [["begin", "end"]]
    axes = plots.view_axes(end.positions - end.positions.mean(0))
    for view, cluster in zip(turned, [begin, end], strict=True):
        seen = cluster.positions @ axes
        assert np.allclose(view - view.mean(0), seen - seen.mean(0))


def test_hydrogen_bonds_are_dotted():
    donor = water()
    bond = donor.positions[1] - donor.positions[0]
    bond /= np.linalg.norm(bond)

    def dots(hydrogen_to_oxygen: float) -> int:
        centroid = np.stack([np.zeros(3), bond * (0.96 + hydrogen_to_oxygen)])
        pair = Cluster((donor,), np.zeros(2, int), centroid, np.tile(np.eye(3), (2, 1, 1)), np.ones(2, int))
        return len(plots._hydrogen_bond_dots(pair, pair.positions))

    assert dots(1.9) == 5
    assert dots(2.9) == 0


def test_nothing_to_draw_is_refused(tmp_path):
    with pytest.raises(ClusterError, match="no clusters to draw"):
        draw_clusters([], tmp_path / "a.png")
    lost = droplet()
    lost.centroid[2] = np.nan
    with pytest.raises(ClusterError, match="not finite"):
        draw_clusters([lost], tmp_path / "a.png")
    assert not list(tmp_path.iterdir())


def test_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="file"):
        draw_clusters([droplet()], tmp_path / "file" / "a.png", dpi=20)


def test_matplotlib_is_loaded_only_to_draw():
    code = "import sys, kflow_sci.report.plots; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

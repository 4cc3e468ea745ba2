"""The flow over crystals: the chart, what the network may depend on, pairs, samples."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from kflow_sci.assembly.lattice.packing import SpaceGroup
from kflow_sci.assembly.proposals.chart import cell_of, from_chart, shape_of, to_chart
from kflow_sci.assembly.proposals.library import GROUPS, Library, class_of, group_weights
from kflow_sci.assembly.proposals.model import (
    ProposalConfig,
    ProposalModel,
    draw_batch,
    random_starts,
    tables_of,
)
from kflow_sci.assembly.proposals.propose import move_starts
from kflow_sci.errors import ConfigError
from tests.assembly.proposals.conftest import chiral, random_packing, water


def test_a_cubic_cell_has_no_shape() -> None:
    log_volume, shape = shape_of(2.0 * torch.eye(3, dtype=torch.float64))
    assert float(log_volume) == pytest.approx(np.log(8.0)) and not shape.any()


def test_cells_and_poses_come_back_from_the_chart(library: Library) -> None:
    batch = draw_batch(library, 16, np.random.default_rng(0))
    back = from_chart(to_chart(batch.target, batch.start), batch.start)
    for one, other in zip(back[:3], batch.target[:3], strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)
    log_volume, shape = shape_of(batch.start.cell)
    torch.testing.assert_close(cell_of(log_volume, shape), batch.start.cell, atol=1e-4, rtol=1e-4)


def test_a_crystal_that_is_its_own_start_has_nowhere_to_go(library: Library) -> None:
    entry = library.entries[0]
    ways = entry.ways
    start = random_starts([entry.packing.group], [library.molecules[0]], np.random.default_rng(0))
    here = start._replace(
        cell=torch.tensor(ways.cell[-1:]).float(),
        rotation=torch.tensor(ways.rotation[-1:]).float(),
        place=torch.tensor(ways.place[-1:]).float() + 0.5,  # an equivalent origin
    )
    from kflow_sci.assembly.proposals.model import pairs_of

    apart = to_chart(pairs_of([entry], here), here) - to_chart(here, here)
    assert float(apart.abs().max()) < 1e-3


def test_samples_do_not_depend_on_the_frame_of_the_molecule(model: ProposalModel) -> None:
    packing = random_packing(chiral(), "P21/c")
    turn = np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])
    molecule = packing.molecules[0]
    turned = replace(molecule, positions=molecule.positions @ turn.T)
    other = replace(packing, molecules=(turned,), rotation=packing.rotation @ turn.T)
    one, two = move_starts(model, [packing])[0], move_starts(model, [other])[0]
    assert np.abs(one.cell - packing.cell).max() > 1e-3  # it does move
    np.testing.assert_allclose(two.cell, one.cell, atol=1e-4)
    np.testing.assert_allclose(two.place, one.place, atol=1e-4)
    np.testing.assert_allclose(two.rotation @ turn, one.rotation, atol=1e-4)


@pytest.mark.parametrize("group", ["P-1", "P21/c", "C2/c", "Pbca"])
def test_samples_keep_the_symmetry_of_the_cell(model: ProposalModel, group: str) -> None:
    moved = move_starts(model, [random_packing(water(), group)])[0]
    np.testing.assert_allclose(moved.group.symmetric_cell(moved.cell), moved.cell, atol=1e-9)
    np.testing.assert_allclose(moved.rotation[0] @ moved.rotation[0].T, np.eye(3), atol=1e-12)
    assert np.linalg.det(moved.rotation[0]) == pytest.approx(1.0)


def test_starts_of_groups_that_were_never_learned_stay(model: ProposalModel) -> None:
    packing = random_packing(water(), "P21/c")
    other = replace(packing, group=SpaceGroup.named("P21/m"))
    assert move_starts(model, [other])[0] is other


def test_a_batch_gives_what_its_members_give(model: ProposalModel, library: Library) -> None:
    batch = draw_batch(library, 5, np.random.default_rng(0))
    together = model.sample(batch.start, batch.table)
    for k in range(5):
        start = type(batch.start)(*(x[k : k + 1] for x in batch.start))
        alone = model.sample(start, type(batch.table)(*(x[k : k + 1] for x in batch.table)))
        torch.testing.assert_close(alone.cell[0], together.cell[k], atol=1e-4, rtol=1e-4)


def test_the_loss_falls_on_a_few_crystals(library: Library) -> None:
    torch.manual_seed(0)
    model = ProposalModel(ProposalConfig(hidden=32, layers=1, images=6))
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    batch = draw_batch(library, 32, np.random.default_rng(0))
    losses = []
    for _ in range(40):
        loss = model.loss(batch, torch.Generator().manual_seed(0))["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]


def test_pca_modes_are_shells_too(library: Library) -> None:
    model = ProposalModel(ProposalConfig(shells=("pca",) * 3, widths=(1.0, 1.0, 1.0), steps=(1, 1, 1)))
    model.fit_pca(draw_batch(library, 64, np.random.default_rng(0)))
    assert int(model.transform.dimension.sum()) == 12
    batch = draw_batch(library, 4, np.random.default_rng(1))
    assert torch.isfinite(model.sample(batch.start, batch.table).cell).all()


def test_low_energies_count_by_boltzmanns_factor(library: Library) -> None:
    # 4 kJ/mol above the lowest at a temperature of 4 kJ/mol: 1/e.
    assert library.share[:2] == pytest.approx([1 / (1 + np.exp(-1)), np.exp(-1) / (1 + np.exp(-1))])


def test_groups_follow_what_was_seen_for_molecules_of_the_same_class(library: Library) -> None:
    counts = {name: x.tolist() for name, x in library.group_shares().items()}
    assert class_of(chiral()) == "chiral" and class_of(water()) == "mirrored"
    assert sum(counts["chiral"]) == pytest.approx(1.0) and counts["centred"] == [0.0] * len(GROUPS)
    groups = [SpaceGroup.named("P21/c"), SpaceGroup.named("Pna21")]
    chiral_weights = group_weights(chiral(), groups, [1.0, 1.0], counts)
    assert chiral_weights == pytest.approx((5.0 + 1 / (1 + np.exp(-1)), 5.0))


def test_rows_of_a_table_follow_the_molecules() -> None:
    one, other = water(), chiral()
    table = tables_of([one, other, one])
    assert (table.element > 0).sum(1).tolist() == [3, 5, 3]


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"shells": ("volume", "shape")}, "name each of"), ({"widths": (1.0,)}, "1 widths for 4 shells")],
)
def test_shells_that_make_no_sense_are_refused(changes: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        ProposalConfig(**changes)  # type: ignore[arg-type]

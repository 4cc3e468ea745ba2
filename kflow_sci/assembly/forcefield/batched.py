"""The energy of many crystals or clusters at once, as tensors, on the processor or a GPU.

The one idea: the same sum as ``kernel``, with the pairs of molecules of all crystals in one list and automatic
derivatives. Which images count is found by the same compiled search, so that both back ends sum the same terms.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from kflow_sci.assembly.cluster import Cluster
from kflow_sci.assembly.forcefield.energy import SWITCH, LatticeEnergy, System, check_sum, system_of
from kflow_sci.assembly.forcefield.parameters import COULOMB, FORMS, ForceField
from kflow_sci.errors import ConfigError

if TYPE_CHECKING:
    from kflow_sci.assembly.forcefield.images import Tables
    from kflow_sci.assembly.lattice.packing import Packing

# Pairs of atoms held at once: bounds the memory, about 1 GB with the derivatives.
CHUNK = 4_000_000


def lattice_energies(
    packings: Sequence[Packing | Cluster],
    field: ForceField,
    *,
    cutoff: float | None = None,
    gradient: bool = False,
    device: str | torch.device = "cpu",
) -> list[LatticeEnergy]:
    """Energies of many crystals or clusters of the same molecules, in float64; see ``energy.lattice_energy``.

    Args:
        packings: Crystals or clusters, all with the molecules that ``field`` was made for.
        field: From ``parameters.force_field``.
        cutoff: Reach beyond the radii, Å; without one, 8 in crystals, and all pairs in clusters.
        gradient: Also give the gradients.
        device: Where the tensors live; it must know float64.

    Raises:
        ConfigError: ``cutoff`` out of range, a field made for other molecules, or packings of different molecules.
        ClusterError: poses that are not finite, or a cell so flat that too many images count.
    """
    if not packings:
        return []
    if any(packing.molecules != packings[0].molecules for packing in packings):
        raise ConfigError("the packings are of different molecules: give those of one molecule at a time")
    systems = [system_of(packing, field, cutoff) for packing in packings]
    batch = _Batch.of(systems, torch.device(device))
    sums, slopes = batch.evaluate(gradient)
    results = []
    for k, packing in enumerate(packings):
        own = slice(batch.first[k], batch.first[k + 1])
        z = len(packing)
        contacts, charges = (float(s) / z for s in sums[k])
        check_sum(0, contacts + charges)
        by_cell, by_place, by_turn = (
            (slopes[0][k] / z, slopes[1][own] / z, slopes[2][own] / z) if slopes else (None, None, None)
        )
        results.append(
            LatticeEnergy(
                contacts + charges,
                contacts,
                charges,
                None if isinstance(packing, Cluster) else by_cell,
                by_place,
                by_turn,
            )
        )
    return results


def _contact(tables: Tables, a: Tensor, b: Tensor, c: Tensor, r: Tensor) -> tuple[Tensor, Tensor]:
    """``contact.contact_of`` for tensors."""
    form = FORMS[tables.form]
    v = 1.0 / r
    sixth = v**6
    if form == "exp-6":
        repulsion, dispersion = a * torch.exp(-b * r), c * sixth
        return repulsion - dispersion, 6.0 * dispersion * v - b * repulsion
    if form in ("12-6", "9-6"):
        power = 12 if form == "12-6" else 9
        repulsion, dispersion = a * v**power, c * sixth
        return repulsion - dispersion, (6.0 * dispersion - power * repulsion) * v
    x = r * b
    outer, inner = 1.07 / (x + 0.07), 1.0 / (x**7 + 0.12)
    front, rest = a * outer**7, 1.12 * inner - 2.0
    return front * rest, b * front * (-7.0 / 1.07 * outer * rest - 7.84 * x**6 * inner * inner)


def _switch(t: Tensor) -> Tensor:
    t = t.clamp(0.0, 1.0)
    return 1.0 - t**3 * (10.0 - t * (15.0 - 6.0 * t))


@dataclass(frozen=True, eq=False)
class _Batch:
    """Many systems as flat lists: molecules over all systems, operations over all systems, and pairs."""

    tables: Tables
    constants: Float[Tensor, "5 n n"]  # a, b, c, wall, product
    atoms: Float[Tensor, "k m 3"]  # of each template, padded
    row: Int[Tensor, "k m"]  # of each atom in the constants
    real: Tensor  # which atoms are no padding, (k, m)
    dipole: Float[Tensor, "k 3"]
    radius: Float[Tensor, " k"]
    first: Int[np.ndarray, " s1"]  # first molecule of each system
    kind: Int[Tensor, " z"]
    system: Int[Tensor, " z"]
    operations: Tensor  # of each system, (s,)
    polar: Float[Tensor, "s 3 3"]
    periodic: bool
    cell: Float[Tensor, "s 3 3"]
    place: Float[Tensor, "z 3"]
    orientation: Float[Tensor, "z 3 3"]
    pairs: Int[Tensor, "p 2"]  # molecules i and j
    turn: Float[Tensor, "p 3 3"]  # W of each pair
    cartesian: Float[Tensor, "p 3 3"]
    shift: Float[Tensor, "p 3"]  # w + t
    weight: Float[Tensor, " p"]

    @classmethod
    def of(cls, systems: Sequence[System], device: torch.device) -> _Batch:
        bodies, tables = systems[0].bodies, systems[0].tables
        sizes = np.diff(bodies.start)
        atoms = np.zeros((len(sizes), sizes.max(), 3))
        row = np.zeros(atoms.shape[:2], dtype=np.int64)
        for k, (begin, size) in enumerate(zip(bodies.start, sizes, strict=False)):
            atoms[k, :size] = bodies.atoms[begin : begin + size]
            row[k, :size] = begin + np.arange(size)
        first = np.concatenate([[0], np.cumsum([len(s.place) for s in systems])])
        parts = [_pairs(s, int(offset)) for s, offset in zip(systems, first[:-1], strict=True)]
        pairs, turn, cartesian, shift, weight = (
            torch.as_tensor(np.concatenate(column), device=device) for column in zip(*parts, strict=True)
        )

        def there(values: object) -> Tensor:
            return torch.as_tensor(np.asarray(values), device=device)

        constants = np.stack([tables.a, tables.b, tables.c, tables.wall, tables.product])
        return cls(
            tables, there(constants), there(atoms), there(row), there(np.arange(sizes.max()) < sizes[:, None]),
            there(bodies.dipole), there(bodies.radius), first,
            there(np.concatenate([s.bodies.kind for s in systems])),
            there(np.repeat(np.arange(len(systems)), np.diff(first))),
            there([float(len(s.symmetry.handed)) for s in systems]),
            there([s.symmetry.polar for s in systems]), bool(systems[0].symmetry.periodic),
            there([s.cell for s in systems]), there(np.concatenate([s.place for s in systems])),
            there(np.concatenate([s.orientation for s in systems])), pairs, turn, cartesian, shift, weight,
        )  # fmt: skip

    def evaluate(
        self, gradient: bool
    ) -> tuple[Float[np.ndarray, "s 2"], tuple[np.ndarray, np.ndarray, np.ndarray] | None]:
        """Contacts and charges of the asymmetric units, and the gradients by cells, places and turns."""
        cell, place = self.cell.clone(), self.place.clone()
        spin = torch.zeros_like(place)
        leaves = [leaf.requires_grad_(gradient) for leaf in (cell, place, spin)]
        sums = torch.zeros(len(cell), 2, dtype=cell.dtype, device=cell.device)
        slopes = [torch.zeros_like(leaf) for leaf in leaves]
        step = max(1, CHUNK // self.atoms.shape[1] ** 2)
        chunks = [slice(begin, begin + step) for begin in range(0, len(self.pairs), step)]
        for part in [*chunks, None]:
            energy = self._beyond(cell, spin) if part is None else self._pairs(part, cell, place, spin)
            sums += energy.detach()
            if gradient and energy.requires_grad:
                found = torch.autograd.grad(energy.sum(), leaves, allow_unused=True)
                slopes = [s if g is None else s + g for s, g in zip(slopes, found, strict=True)]
        by_cell, by_place, by_turn = (s.cpu().numpy() for s in slopes)
        return sums.cpu().numpy(), (by_cell, by_place, by_turn) if gradient else None

    def _turned(self, spin: Tensor) -> Tensor:
        """Orientations after the turns, to first order: what the gradient at no turn needs."""
        return self.orientation + torch.linalg.cross(spin[:, :, None], self.orientation, dim=1)

    def _pairs(self, part: slice, cell: Tensor, place: Tensor, spin: Tensor) -> Tensor:
        i, j = self.pairs[part].T
        kind_i, kind_j = self.kind[i], self.kind[j]
        own = self.system[i]
        apart = torch.einsum("pij,pj->pi", self.turn[part], place[j]) + self.shift[part] - place[i]
        apart = torch.einsum("pi,pij->pj", apart, cell[own]) if self.periodic else apart
        turned = self._turned(spin)
        here = self.atoms[kind_i] @ turned[i].transpose(1, 2)
        there = self.atoms[kind_j] @ (self.cartesian[part] @ turned[j]).transpose(1, 2) + apart[:, None]
        square = (there[:, None] - here[:, :, None]).square().sum(dim=-1)
        r = square.clamp_min(1e-12).sqrt()
        rows = self.row[kind_i][:, :, None], self.row[kind_j][:, None]
        a, b, c, wall, product = (table[rows] for table in self.constants)
        # Below the wall a pair goes on linearly; above it the last factors are zero, and so are their derivatives.
        held = torch.maximum(r, wall)
        value, slope = _contact(self.tables, a, b, c, held)
        contact = value + slope * (r - held)
        charge = product / held - product / held**2 * (r - held)
        both = self.real[kind_i][:, :, None] & self.real[kind_j][:, None]
        limit = self.radius[kind_i] + self.radius[kind_j] + self.tables.reach
        distance = apart.square().sum(dim=1).clamp_min(1e-12).sqrt()
        on = self.weight[part] * (
            _switch((distance - limit + SWITCH) / SWITCH) if self.periodic else torch.ones_like(distance)
        )
        energies = torch.stack([(term * both).sum(dim=(1, 2)) * on for term in (contact, charge)], dim=1)
        return torch.zeros(len(cell), 2, dtype=cell.dtype, device=cell.device).index_add(0, own, energies)

    def _beyond(self, cell: Tensor, spin: Tensor) -> Tensor:
        """Tail and surface term of each system."""
        nothing = torch.zeros(len(cell), 2, dtype=cell.dtype, device=cell.device)
        if not self.periodic:
            return nothing
        volume = torch.linalg.det(cell).abs()
        tail = torch.as_tensor(self.tables.tail, device=cell.device)
        counts = torch.zeros(len(cell), len(tail), dtype=cell.dtype, device=cell.device)
        counts.index_put_(
            (self.system, self.kind), torch.ones_like(self.weight[:1]).expand(len(self.kind)), True
        )
        beyond = 0.5 * self.operations / volume * torch.einsum("sk,km,sm->s", counts, tail, counts)
        arms = torch.einsum("zij,zj->zi", self._turned(spin), self.dipole[self.kind])
        total = torch.zeros(len(cell), 3, dtype=cell.dtype, device=cell.device).index_add(
            0, self.system, arms
        )
        kept = torch.einsum("sij,sj->si", self.polar, total).square().sum(dim=1)
        surface = -2.0 * np.pi / 3.0 * COULOMB * self.operations / volume * kept
        return torch.stack([beyond, surface], dim=1)


def _pairs(system: System, offset: int) -> tuple[np.ndarray, ...]:
    """All pairs of molecules of one system: molecules, W, Q, w + t, weight."""
    from kflow_sci.assembly.forcefield.images import MOST_IMAGES, find_images

    bodies, tables, symmetry, cell, place, _ = system
    operation = np.empty(MOST_IMAGES, dtype=np.int64)
    apart, weight = np.empty((MOST_IMAGES, 3)), np.empty(MOST_IMAGES)
    pairs, operations, shifts, weights = [], [], [], []
    for i in range(len(place)):
        for j in range(i, len(place)):
            limit = bodies.radius[bodies.kind[i]] + bodies.radius[bodies.kind[j]] + tables.reach
            m = find_images(i, j, limit, cell, place, symmetry, operation, apart, weight)
            check_sum(m, 0.0)
            k = operation[:m].copy()
            pairs.append(np.tile([offset + i, offset + j], (m, 1)))
            operations.append(k)
            shifts.append(apart[:m] + place[i] - symmetry.rotations[k] @ place[j])
            weights.append(weight[:m].copy())
    k = np.concatenate(operations)
    return (
        np.concatenate(pairs),
        symmetry.rotations[k],
        symmetry.cartesian[k],
        np.concatenate(shifts),
        np.concatenate(weights),
    )

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
from kflow_sci.assembly.forcefield.parameters import COULOMB, FORMS, ForceField
from kflow_sci.assembly.forcefield.system import CUT, SWITCH, LatticeEnergy, System, check_sum, system_of
from kflow_sci.assembly.forcefield.wells import buffered_14_7
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
    well, slope = buffered_14_7(r * b)
    return a * well, a * b * slope


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
    charges: Float[Tensor, "k m"]
    radius: Float[Tensor, " k"]
    first: Int[np.ndarray, " s1"]  # first molecule of each system
    kind: Int[Tensor, " z"]
    system: Int[Tensor, " z"]
    operations: Tensor  # of each system, (s,)
    periodic: bool
    cell: Float[Tensor, "s 3 3"]
    place: Float[Tensor, "z 3"]
    orientation: Float[Tensor, "z 3 3"]
    pairs: Int[Tensor, "p 2"]  # molecules i and j
    turn: Float[Tensor, "p 3 3"]  # W of each pair
    cartesian: Float[Tensor, "p 3 3"]
    shift: Float[Tensor, "p 3"]  # w + t
    weight: Float[Tensor, " p"]
    image: Int[Tensor, "s q"]  # molecule of each image in the cells, padded
    there: Float[Tensor, "s q"]  # 0 for padding
    image_turn: Float[Tensor, "s q 3 3"]  # W
    image_cartesian: Float[Tensor, "s q 3 3"]  # Q
    image_shift: Float[Tensor, "s q 3"]  # w

    @classmethod
    def of(cls, systems: Sequence[System], device: torch.device) -> _Batch:
        bodies, tables = systems[0].bodies, systems[0].tables
        sizes = np.diff(bodies.start)
        atoms = np.stack([_padded(column, bodies.start) for column in bodies.atoms.T], axis=-1)
        row = _padded(np.arange(len(bodies.atoms)), bodies.start)
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
            there(_padded(bodies.charges, bodies.start)), there(bodies.radius), first,
            there(np.concatenate([s.bodies.kind for s in systems])),
            there(np.repeat(np.arange(len(systems)), np.diff(first))),
            there([float(len(s.symmetry.handed)) for s in systems]),
            bool(systems[0].symmetry.periodic),
            there([s.cell for s in systems]), there(np.concatenate([s.place for s in systems])),
            there(np.concatenate([s.orientation for s in systems])), pairs, turn, cartesian, shift,
            weight, *(there(a) for a in _images(systems, first)),
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
        parts = [(self._pairs, part) for part in chunks]
        parts += [(self._waves, part) for part in self._wave_chunks()] if self.periodic else []
        for sum_of, part in [*parts, (self._beyond, slice(0, 0))]:
            energy = sum_of(part, cell, place, spin)
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
        damping = self.tables.damping
        gauss = 2.0 / np.sqrt(np.pi) * damping * torch.exp(-((damping * held) ** 2))
        charge = product * torch.erfc(damping * held) / held
        charge = charge - (charge + product * gauss) / held * (r - held)
        both = self.real[kind_i][:, :, None] & self.real[kind_j][:, None]
        limit = self.radius[kind_i] + self.radius[kind_j] + self.tables.reach
        distance = apart.square().sum(dim=1).clamp_min(1e-12).sqrt()
        on = self.weight[part] * (
            _switch((distance - limit + SWITCH) / SWITCH) if self.periodic else torch.ones_like(distance)
        )
        energies = torch.stack([(term * both).sum(dim=(1, 2)) * on for term in (contact, charge)], dim=1)
        return torch.zeros(len(cell), 2, dtype=cell.dtype, device=cell.device).index_add(0, own, energies)

    def _beyond(self, part: slice, cell: Tensor, place: Tensor, spin: Tensor) -> Tensor:
        """Tail, and minus the own part of the molecules in the waves, of each system."""
        nothing = torch.zeros(len(cell), 2, dtype=cell.dtype, device=cell.device)
        if not self.periodic:
            return nothing
        tail, own = (torch.as_tensor(v, device=cell.device) for v in (self.tables.tail, self.tables.own))
        counts = torch.zeros(len(cell), len(tail), dtype=cell.dtype, device=cell.device)
        counts.index_put_((self.system, self.kind), torch.ones_like(place[:, 0]), accumulate=True)
        volume = torch.linalg.det(cell).abs()
        beyond = 0.5 * self.operations / volume * torch.einsum("sk,km,sm->s", counts, tail, counts)
        return torch.stack([beyond, counts @ own], dim=1)

    def _wave_numbers(self) -> Float[Tensor, "w 3"]:
        """Every h that some system may need, one of each pair h and -h, without 0."""
        lengths = torch.linalg.norm(self.cell, dim=2).amax(dim=0)
        longest = 2.0 * self.tables.damping * np.sqrt(CUT)
        most = (longest * lengths / (2.0 * np.pi)).floor().long().tolist()
        grid = torch.cartesian_prod(
            *(torch.arange(-n if x else 0, n + 1, device=self.cell.device) for x, n in enumerate(most))
        )
        x, y, z = grid.T
        return grid[(x > 0) | ((x == 0) & ((y > 0) | ((y == 0) & (z > 0))))].to(self.cell.dtype)

    def _wave_chunks(self) -> list[slice]:
        step = max(1, CHUNK // (self.image.numel() * self.atoms.shape[1]))
        return [slice(begin, begin + step) for begin in range(0, len(self._wave_numbers()), step)]

    def _waves(self, part: slice, cell: Tensor, place: Tensor, spin: Tensor) -> Tensor:
        inverse = torch.linalg.inv(cell)
        h = self._wave_numbers()[part]
        wave = 2.0 * np.pi * torch.einsum("sxy,wy->swx", inverse, h)
        square = wave.square().sum(dim=2)
        longest = 2.0 * self.tables.damping * np.sqrt(CUT)
        kinds = self.kind[self.image]
        turned = self.image_cartesian @ self._turned(spin)[self.image]
        arms = torch.einsum("sqij,sqaj->sqai", turned, self.atoms[kinds])
        centres = torch.einsum("sqij,sqj->sqi", self.image_turn, place[self.image]) + self.image_shift
        phase = 2.0 * np.pi * torch.einsum("wx,sqx->swq", h, centres)[..., None]
        phase = phase + torch.einsum("swx,sqax->swqa", wave, arms)
        charge = (self.charges[kinds] * self.there[..., None])[:, None]
        real = (charge * torch.cos(phase)).sum(dim=(2, 3))
        imaginary = (charge * torch.sin(phase)).sum(dim=(2, 3))
        fall = torch.exp(-0.25 / self.tables.damping**2 * square) / square * (square <= longest**2)
        volume = torch.linalg.det(cell).abs()
        energy = 4.0 * np.pi * COULOMB / volume / self.operations
        energy = energy * (fall * (real.square() + imaginary.square())).sum(dim=1)
        return torch.stack([torch.zeros_like(energy), energy], dim=1)


def _padded(values: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Values of the atoms of every template, filled up with zeros, ``(k, m)``."""
    sizes = np.diff(start)
    table = np.zeros((len(sizes), sizes.max()), dtype=values.dtype)
    for k, size in enumerate(sizes):
        table[k, :size] = values[start[k] : start[k] + size]
    return table


def _images(systems: Sequence[System], first: np.ndarray) -> tuple[np.ndarray, ...]:
    """All molecules of all cells, padded: molecule, 1 or 0, W, Q and w."""
    most = max(len(s.place) * len(s.symmetry.handed) for s in systems)
    molecule, there = np.zeros((len(systems), most), dtype=np.int64), np.zeros((len(systems), most))
    turn, cartesian = np.zeros((2, len(systems), most, 3, 3))
    shift = np.zeros((len(systems), most, 3))
    for k, s in enumerate(systems):
        z, g = len(s.place), len(s.symmetry.handed)
        own = slice(0, z * g)
        molecule[k, own] = first[k] + np.tile(np.arange(z), g)
        there[k, own] = 1.0
        turn[k, own] = np.repeat(s.symmetry.rotations, z, axis=0)
        cartesian[k, own] = np.repeat(s.symmetry.cartesian, z, axis=0)
        shift[k, own] = np.repeat(s.symmetry.translations, z, axis=0)
    return molecule, there, turn, cartesian, shift


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

"""A second opinion on the order of crystals, by a calculator of the user's.

The one idea: any ASE calculator gives the energy of a cell; per molecule and relative to the lowest, energies of
different crystals of one molecule can be compared, whatever the zero of the method.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from kflow_sci.assembly.lattice.objects import to_ase
from kflow_sci.assembly.lattice.packing import Packing
from kflow_sci.errors import PackingError

if TYPE_CHECKING:
    from ase.calculators.calculator import Calculator

KJ_PER_EV = 96.48533212  # kJ/mol, CODATA 2018


def find_calculator(name: str) -> Callable[[], Calculator]:
    """What makes an ASE calculator, by its name.

    Args:
        name: ``module:function`` or ``module:Class``, called without arguments; ``tblite.ase:TBLite`` for example.

    Raises:
        PackingError: there is no such module or name in it.
    """
    module, _, attribute = name.partition(":")
    if not module or not attribute:
        raise PackingError(
            f"the calculator {name!r} has no colon: give MODULE:NAME, for example tblite.ase:TBLite"
        )
    try:
        found: Any = getattr(importlib.import_module(module), attribute)
    except ImportError as error:
        raise PackingError(
            f"the calculator {name} cannot be imported ({error}): install it or correct the name"
        ) from None
    except AttributeError:
        raise PackingError(f"the module {module} has no {attribute}: correct the name") from None
    if not callable(found):
        raise PackingError(f"{name} makes no calculator: name a class or a function")
    make: Callable[[], Calculator] = found
    return make


def rerank(
    packings: Sequence[Packing],
    calculator: Calculator,
    progress: Callable[[int, int], None] | None = None,
) -> list[Packing]:
    """Sort crystals by the energy a calculator gives them, as they are: nothing is relaxed.

    Args:
        packings: Crystals of one molecule; conformers may differ, since the energy is that of all atoms.
        calculator: An ASE calculator for periodic systems.
        progress: Called with the number done and of all.

    Returns:
        Lowest first. ``info`` gains ``above`` (kJ/mol per molecule above the lowest), ``rank`` is the new one, and
        ``rank_before`` the old; ``energy`` stays the lattice energy.

    Raises:
        PackingError: the calculator failed on a crystal, or gave an energy that is not finite.
    """
    from ase.calculators.calculator import CalculatorError

    energies = []
    for done, packing in enumerate(packings, 1):
        atoms = to_ase(packing)
        atoms.calc = calculator
        try:
            energy = float(atoms.get_potential_energy())
        except (CalculatorError, RuntimeError, NotImplementedError) as error:
            raise PackingError(
                f"the calculator failed on crystal {packing.info.get('rank', done)} ({' '.join(str(error).split())}): "
                "choose another, or leave --rerank out"
            ) from None
        if not np.isfinite(energy):
            raise PackingError(
                f"the calculator gave crystal {packing.info.get('rank', done)} the energy {energy}: choose another"
            )
        energies.append(energy * KJ_PER_EV / packing.copies)
        if progress:
            progress(done, len(packings))
    lowest = min(energies)
    order = np.argsort(energies, kind="stable")
    return [
        replace(
            packings[k],
            info={
                **packings[k].info,
                "rank_before": packings[k].info.get("rank", int(k) + 1),
                "rank": rank,
                "above": round(energies[k] - lowest, 3),
            },
        )
        for rank, k in enumerate(order.tolist(), 1)
    ]

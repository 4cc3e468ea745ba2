"""A search: the same answer however it is run, stopped and continued, and crystals that are minima."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kflow_sci.assembly.forcefield.energy import lattice_energy
from kflow_sci.assembly.forcefield.parameters import ForceField
from kflow_sci.assembly.lattice.packing import Packing
from kflow_sci.assembly.molecule import Molecule
from kflow_sci.assembly.search import run as running
from kflow_sci.assembly.search.ranking import POLISH_REACH, shortlist
from kflow_sci.assembly.search.run import SearchResult, search
from kflow_sci.assembly.search.setup import Problem, make_proposal
from kflow_sci.assembly.search.trials import crystals_of, read_trials, run_trials
from kflow_sci.errors import PackingError

TRIALS = 30


def facts(result: SearchResult) -> list[dict[str, object]]:
    return [packing.info for packing in result.packings]


@pytest.fixture(scope="module")
def found(urea: Problem, urea_field: ForceField) -> SearchResult:
    return search(make_proposal(urea), urea_field, trials=TRIALS, keep=5)


def test_crystals_are_ranked_by_energy_and_say_what_they_are(found: SearchResult) -> None:
    energies = [packing.info["energy"] for packing in found.packings]
    assert energies == sorted(energies) and len(energies) == 5
    assert [packing.info["rank"] for packing in found.packings] == [1, 2, 3, 4, 5]
    assert found.trials == TRIALS and found.stopped == ""
    for packing in found.packings:
        assert packing.info["density"] == pytest.approx(packing.density, abs=1e-3)
        assert packing.info["space_group"] == packing.group.name
        assert packing.info["found"] >= 1
    # Urea: 1.1 to 1.4 g/cm^3, and some -90 kJ/mol (its heat of sublimation is 88, CODATA via NIST).
    assert 1.0 < found.packings[0].density < 1.6
    assert -130 < energies[0] < -60


def test_what_is_kept_is_a_minimum_at_the_large_cut_off(found: SearchResult, urea_field: ForceField) -> None:
    for packing in found.packings[:2]:
        energy = lattice_energy(packing, urea_field, cutoff=POLISH_REACH, gradient=True)
        assert energy.total == pytest.approx(packing.info["energy"], abs=0.02)
        assert energy.by_turn is not None and np.abs(energy.by_turn).max() < 0.2


@pytest.mark.parametrize("workers", [1, 2])
def test_any_number_of_workers_gives_the_same_answer(
    found: SearchResult, urea: Problem, urea_field: ForceField, tmp_path: Path, workers: int
) -> None:
    again = search(make_proposal(urea), urea_field, trials=TRIALS, keep=5, workers=workers, folder=tmp_path)
    assert facts(again) == facts(found)
    for one, other in zip(again.packings, found.packings, strict=True):
        np.testing.assert_array_equal(one.cell, other.cell)


def test_a_search_that_was_interrupted_shows_what_it_found_and_goes_on(
    found: SearchResult, urea: Problem, urea_field: ForceField, tmp_path: Path
) -> None:
    def interrupt(done: int, total: int, lowest: float | None) -> None:
        assert lowest is not None and lowest < 0 and total == TRIALS
        if done >= 10:
            raise KeyboardInterrupt

    proposal = make_proposal(urea)
    first = search(proposal, urea_field, trials=TRIALS, keep=5, folder=tmp_path, progress=interrupt)
    assert first.stopped == "interrupted" and first.trials == 10 and first.packings
    dates = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("*.part")}
    rest = search(proposal, urea_field, trials=TRIALS, keep=5, folder=tmp_path)
    assert facts(rest) == facts(found) and rest.stopped == ""
    assert all((tmp_path / name).stat().st_mtime_ns == date for name, date in dates.items())


def test_time_that_is_up_ends_a_search(urea: Problem, urea_field: ForceField, tmp_path: Path) -> None:
    result = search(make_proposal(urea), urea_field, trials=500, keep=2, seconds=1e-3, folder=tmp_path)
    assert result.stopped == "time" and result.trials == running.PART
    memory = search(make_proposal(urea), urea_field, trials=500, keep=2, seconds=1e-3)
    assert memory.stopped == "time" and memory.trials == 1


def test_a_damaged_file_of_trials_is_removed_and_said_so(tmp_path: Path) -> None:
    path = tmp_path / "x.part"
    path.write_text('{"trial": 1, "ene')
    with pytest.raises(PackingError, match="damaged"):
        read_trials(path)
    assert not path.exists()


def test_strain_of_a_conformer_is_added_to_its_energy(urea: Problem, urea_field: ForceField) -> None:
    class Strained:
        """The random starts, each with a conformer of 7 kJ/mol."""

        def __init__(self) -> None:
            self.plain = make_proposal(urea)

        @property
        def molecules(self) -> tuple[Molecule, ...]:
            return self.plain.molecules

        @property
        def settings(self) -> list[object]:
            return ["strained"]

        def __call__(self, trial: int) -> Packing:
            start = self.plain(trial)
            start.info["strain"] = 7.0
            return start

    plain = list(run_trials(range(3), make_proposal(urea), urea_field))
    strained = list(run_trials(range(3), Strained(), urea_field))
    for one, other in zip(plain, strained, strict=True):
        assert other["energy"] == pytest.approx(one["energy"] + 7.0)
    before = shortlist(crystals_of(plain, urea.conformers), urea_field, 3)
    after = shortlist(crystals_of(strained, urea.conformers), urea_field, 3)
    for plain_one, strained_one in zip(before, after, strict=True):
        assert strained_one.info["energy"] == pytest.approx(plain_one.info["energy"] + 7.0, abs=1e-3)
        assert strained_one.info["strain"] == 7.0


def test_rows_are_plain_json(urea: Problem, urea_field: ForceField) -> None:
    rows = list(run_trials(range(2), make_proposal(urea), urea_field))
    assert json.loads(json.dumps(rows)) == rows


def test_a_search_without_any_crystal_says_why(urea: Problem, urea_field: ForceField) -> None:
    class Nowhere:
        """Starts without a cell."""

        def __init__(self) -> None:
            self.plain = make_proposal(urea)

        @property
        def molecules(self) -> tuple[Molecule, ...]:
            return self.plain.molecules

        @property
        def settings(self) -> list[object]:
            return ["nowhere"]

        def __call__(self, trial: int) -> Packing:
            start = self.plain(trial)
            return replace(start, cell=np.full((3, 3), np.nan))

    with pytest.raises(PackingError, match="none of 3 trials gave a crystal") as error:
        search(Nowhere(), urea_field, trials=3)
    assert "--trials" in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"trials": 0}, "trials is 0"),
        ({"trials": 5, "keep": 0}, "keep is 0"),
        ({"trials": 5, "seconds": 0.0}, "time is 0"),
        ({"trials": 5, "workers": 0}, "workers is 0"),
        ({"trials": 5, "workers": 2}, "needs a folder"),
    ],
)
def test_options_out_of_range_are_refused(
    urea: Problem, urea_field: ForceField, options: dict[str, int], message: str
) -> None:
    with pytest.raises(PackingError, match=message):
        search(make_proposal(urea), urea_field, **options)  # type: ignore[arg-type]

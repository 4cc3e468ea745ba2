"""The rooms of the assembly: what each may know of the others."""

from __future__ import annotations

import pytest

from tests.test_architecture import MODULES, PACKAGE, imports, name_of

HALL = "the hall"  # files that lie in no room: elements, molecules, clusters and what follows from them alone

# room -> the rooms it may import; all may import the hall
KNOWS = {
    HALL: set(),
    "reading": set(),
    "exchange": {"reading", "scoring"},
    "forcefield": {"reading"},
    "energy": {"forcefield", "reading"},
    "scoring": set(),
    "baselines": {"scoring", "model"},
    "data": {"reading"},
    "model": {"exchange", "reading", "energy", "scoring"},
    "lattice": {"reading"},
    "search": {"reading", "data", "lattice", "forcefield"},
    "proposals": {"lattice", "model", "search"},
}


def room_of(name: str) -> str | None:
    """``kflow_sci.assembly.energy.relax`` -> ``energy``; None outside the assembly."""
    parts = name.split(".")
    if parts[:2] != ["kflow_sci", "assembly"]:
        return None
    return parts[2] if len(parts) > 2 and (PACKAGE / "assembly" / parts[2]).is_dir() else HALL


def test_every_room_is_in_the_table() -> None:
    assert {room_of(name_of(path)) for path in MODULES} - {None} == set(KNOWS)


@pytest.mark.parametrize("room", KNOWS)
def test_a_room_imports_only_what_it_may_know(room: str) -> None:
    found = [
        f"{name_of(path)}:{line} imports {name}"
        for path in MODULES
        if room_of(name_of(path)) == room
        for name, line in imports(path, inside_functions=True)
        if room_of(name) not in KNOWS[room] | {room, HALL, None}
    ]
    assert not found, "\n".join(found)

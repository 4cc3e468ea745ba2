"""Which methods there are, what each may know, and what it is trained by.

The one idea: a method is a line of a table. Floors name the file that proposes, learned methods name their config; all
else (training, sampling, scoring, timing) is the same for all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kflow_sci.errors import ConfigError
from kflow_sci.settings import nearest, read_values

REFERENCE, ABLATION = "kflow", "plain"
TRUTH = "renumbered"
CEILING = "the answer"
TRUE_VOLUME = "true"
GUESSED_VOLUME = "guessed"


@dataclass(frozen=True)
class Method:
    """One line of the benchmark.

    Attributes:
        name: What the user types, and the folder of its cells.
        title: What the table shows.
        floor: Module of ``assembly.baselines`` whose ``propose`` makes its samples; empty for learned methods.
        config: Config that trains it, below the folder of configs or a path; empty for floors.
        own: The user gave the config.
    """

    name: str
    title: str
    floor: str = ""
    config: str = ""
    own: bool = False

    @property
    def volume(self) -> str:
        """What it knows of the volume, where all begins at random."""
        if self.name == TRUTH:
            return CEILING
        return TRUE_VOLUME if self.floor else GUESSED_VOLUME

    def values(self, configs: str | Path) -> dict[str, Any]:
        """Keys and values of its config.

        Raises:
            ConfigError: The file is missing or no flat yaml mapping.
        """
        return read_values(self.path(configs))

    def path(self, configs: str | Path) -> Path:
        """Its config."""
        return Path(self.config) if self.own else Path(configs) / self.config


_ALL = (
    Method(TRUTH, "the crystal itself, renumbered", floor="renumbered"),
    Method("random-ball", "random ball", floor="random_ball"),
    Method("lattice", "fcc/hcp, random orientations", floor="lattice"),
    Method("packmol", "PackMol", floor="packmol"),
    Method("kflow", "K-Flow, graph, overlap", config="bench/kflow.yaml"),
    Method("kflow-strict", "K-Flow, graph, strict", config="bench/kflow_strict.yaml"),
    Method("kflow-pca", "K-Flow, PCA, overlap", config="bench/kflow_pca.yaml"),
    Method("kflow-pca-strict", "K-Flow, PCA, strict", config="bench/kflow_pca_strict.yaml"),
    Method("plain", "plain flow matching, same net", config="bench/plain.yaml"),
    Method("assembleflow-molecule", "AssembleFlow-Molecule", config="rivals/assembleflow_molecule_cpu.yaml"),
    Method("assembleflow-atom", "AssembleFlow-Atom", config="rivals/assembleflow_atom_cpu.yaml"),
    Method("regression", "regression, SinkFast manner", config="rivals/regression.yaml"),
    Method("bridge", "bridge, AssemUDB manner", config="rivals/bridge.yaml"),
    Method("gnn-md", "GNN-MD", config="rivals/gnn_md.yaml"),
    Method("crystal-sde-ve", "CrystalSDE-VE", config="rivals/crystal_sde_ve.yaml"),
    Method("crystal-sde-vp", "CrystalSDE-VP", config="rivals/crystal_sde_vp.yaml"),
    Method("crystal-flow-ve", "CrystalFlow-VE", config="rivals/crystal_flow_ve.yaml"),
    Method("crystal-flow-vp", "CrystalFlow-VP", config="rivals/crystal_flow_vp.yaml"),
    Method("crystal-flow-lerp", "CrystalFlow-LERP", config="rivals/crystal_flow_lerp.yaml"),
)
METHODS = {method.name: method for method in _ALL}
"""Every method by name, in the order of the table."""


def choose_methods(words: str) -> tuple[list[Method], list[str]]:
    """The methods that a user asked for, in the order of the table, and what was added to them.

    Args:
        words: ``all``, or names with commas between; ``NAME=CONFIG.yaml`` is a learned method of one's own.

    Returns:
        The methods, and the names of those that were not asked for: plain flow matching stands beside every K-Flow.

    Raises:
        ConfigError: No name, an unknown one (the nearest is named), or one given twice.
    """
    names = [word.strip() for word in words.split(",") if word.strip()]
    if not names:
        raise ConfigError(f"--methods names none: give all, or some of {', '.join(METHODS)}")
    chosen: dict[str, Method] = {}
    for word in names:
        for method in _methods_of(word):
            if method.name in chosen:
                raise ConfigError(f"--methods names {method.name} twice: remove one")
            chosen[method.name] = method
    added: list[str] = []
    if ABLATION not in chosen and any(name.startswith(REFERENCE) and name in METHODS for name in chosen):
        chosen[ABLATION] = METHODS[ABLATION]
        added.append(ABLATION)
    order = [*METHODS, *(name for name in chosen if name not in METHODS)]
    return sorted(chosen.values(), key=lambda method: order.index(method.name)), added


def _methods_of(word: str) -> Sequence[Method]:
    name, given, path = word.partition("=")
    if given:
        fine = bool(name) and all(c.isalnum() or c in "-_." for c in name) and not name.startswith(".")
        if name in METHODS or not fine or name == "all":
            raise ConfigError(
                f"--methods {word}: '{name}' is taken or no plain word: choose another name for the config"
            )
        if not Path(path).is_file():
            raise ConfigError(f"--methods {word}: there is no file {path}: give a config of kflow train")
        return [Method(name, name, config=path, own=True)]
    if word == "all":
        return _ALL
    if word not in METHODS:
        raise ConfigError(f"method '{word}' is unknown: {nearest(word, [*METHODS, 'all'])}")
    return [METHODS[word]]

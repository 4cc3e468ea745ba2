"""What is installed: the declared packages are those imported, versions agree, and importing costs nothing."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import kflow_sci

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
HARD = {canonicalize_name(Requirement(line).name): Requirement(line) for line in PROJECT["dependencies"]}
SOFT = {
    canonicalize_name(Requirement(line).name): Requirement(line)
    for lines in PROJECT["optional-dependencies"].values()
    for line in lines
    if canonicalize_name(Requirement(line).name) != canonicalize_name(PROJECT["name"])
}
LARGEST_WEIGHTS = 16 * 2**20


def pinned() -> dict[str, Version]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pairs = (line.split("==") for line in lines if line and not line.startswith("#"))
    return {canonicalize_name(name): Version(version) for name, version in pairs}


def imported(*, inside_functions: bool) -> dict[str, str]:
    """Distributions the package imports, with one file that does so."""
    # Several distributions may hold one name (pymatgen and its core); the plain name is the one to declare.
    owners = packages_distributions()
    found: dict[str, str] = {}
    for path in sorted((ROOT / "kflow_sci").rglob("*.py")):
        pending: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
        while pending:
            node = pending.pop()
            if isinstance(node, ast.FunctionDef) and not inside_functions:
                continue
            if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
                pending.extend(node.orelse)  # what stands above is for the type checker alone
                continue
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names = [str(node.module)]
            for name in (name.split(".")[0] for name in names):
                if name != "kflow_sci" and name not in sys.stdlib_module_names:
                    candidates = [canonicalize_name(owner) for owner in owners.get(name, [name])]
                    known = [owner for owner in candidates if owner in HARD | SOFT]
                    found[(known or candidates)[0]] = str(path.relative_to(ROOT))
            pending.extend(ast.iter_child_nodes(node))
    return found


def test_every_declared_package_is_imported_and_every_imported_one_declared() -> None:
    used = imported(inside_functions=True)
    assert not {name: file for name, file in used.items() if name not in HARD | SOFT}
    assert not set(HARD) - set(used), "declared, but the package does not import them"


def test_what_an_extra_brings_is_imported_only_where_it_is_used() -> None:
    assert not {name: file for name, file in imported(inside_functions=False).items() if name not in HARD}


def test_the_pinned_versions_lie_in_the_declared_ranges() -> None:
    pins = pinned()
    for name, requirement in (HARD | SOFT).items():
        assert name in pins, f"{name} is missing in constraints.txt"
        assert pins[name] in requirement.specifier, f"{requirement} against {pins[name]}"


def test_the_version_is_written_in_one_place() -> None:
    assert "version" in PROJECT["dynamic"]
    assert re.fullmatch(r"\d+\.\d+\.\d+", kflow_sci.__version__)
    assert f"## {kflow_sci.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_command_points_at_a_function() -> None:
    module, _, name = PROJECT["scripts"]["kflow"].partition(":")
    assert callable(getattr(importlib.import_module(module), name))


def test_importing_the_package_imports_nothing_else() -> None:
    code = "import sys; before = set(sys.modules); import kflow_sci; print(*set(sys.modules) - before)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    outside = {name.split(".")[0] for name in done.stdout.split()} - set(sys.stdlib_module_names)
    assert outside == {"kflow_sci"}


@pytest.mark.parametrize("name", kflow_sci.__all__)
def test_every_public_name_exists(name: str) -> None:
    assert name in dir(kflow_sci)
    assert getattr(kflow_sci, name) is not None


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nonsense"):
        _ = kflow_sci.nonsense


def test_the_weights_in_the_package_are_small_and_run_no_code() -> None:
    files = [path for path in (ROOT / "kflow_sci" / "weights").rglob("*") if path.is_file()]
    assert {path.suffix for path in files} <= {".safetensors", ".json", ".md", ".yaml", ".py"}
    assert sum(path.stat().st_size for path in files) <= LARGEST_WEIGHTS


def test_each_target_the_readme_names_is_in_the_makefile() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = set(re.findall(r"\bmake ([a-z]+)\b", (ROOT / "README.md").read_text(encoding="utf-8")))
    assert {"demo", "test"} <= named <= targets

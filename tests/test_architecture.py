"""The house keeps its shape: which way imports run, and how a file reads.

Every rule is a table or one number here, checked on the text of the package, so a change of the rules is seen as such.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "kflow_sci"
MODULES = sorted(PACKAGE.rglob("*.py"))
LONGEST_FILE = 400

# Data and drawing libraries are for the rooms at the edge; the core knows tensors.
OUTSIDE_THE_CORE = {"lightning", "rdkit", "ase", "pymatgen", "gemmi", "diffusers", "matplotlib", "pandas"}
ROOMS = {"transforms", "flow", "nets", "assembly", "images", "fetching", "training", "report", "bench", "cli"}

# room -> what it never imports, at any depth of the code
FORBIDDEN = {
    "transforms": (ROOMS - {"transforms"}) | OUTSIDE_THE_CORE,
    "flow": (ROOMS - {"flow", "transforms"}) | OUTSIDE_THE_CORE,
    "nets": {"flow", "images", "training", "report", "bench", "cli"} | OUTSIDE_THE_CORE,
    "assembly": {"images", "training", "report", "bench", "cli"},
    "images": {"assembly", "training", "report", "bench", "cli"},
    "fetching": (ROOMS - {"fetching"}) | OUTSIDE_THE_CORE,
    "training": {"report", "bench", "cli"},
    "report": {"training", "bench", "cli"},
    "bench": {"images", "cli"},
    "errors": ROOMS | OUTSIDE_THE_CORE,
    "files": ROOMS | OUTSIDE_THE_CORE,
}

# What a command may load before it is known to be called: its own parameters and the errors.
LIGHT = {"__future__", "click", "kflow_sci", "kflow_sci.errors", "kflow_sci.files"}

MACHINE_PATH = re.compile(r"(?<![\w.])/(work|tmp|root|home|opt|Users|mnt)/")
NOTE_TO_SELF = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X)\b")


def name_of(path: Path) -> str:
    """``kflow_sci/flow/path.py`` -> ``kflow_sci.flow.path``; a package is named as its folder."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


NAMES = {name_of(path) for path in MODULES}


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def is_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def imports(path: Path, *, inside_functions: bool) -> Iterator[tuple[str, int]]:
    """Full names of what a file imports, with the line; imports for type checkers alone do not count."""
    pending: list[ast.AST] = [tree(path)]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = name_of(path).split(".") + ([""] if path.name == "__init__.py" else [])
            base = (
                ".".join([*package[: -node.level], node.module or ""]).rstrip(".")
                if node.level
                else node.module
            )
            for alias in node.names:
                full = f"{base}.{alias.name}"
                yield (full if full in NAMES else str(base)), node.lineno
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) and not inside_functions:
            continue
        pending.extend(node.orelse if is_for_types(node) else ast.iter_child_nodes(node))


def room(name: str) -> str:
    """``kflow_sci.flow.path`` -> ``flow``; ``rdkit.Chem`` -> ``rdkit``."""
    parts = name.split(".")
    return parts[1] if parts[0] == "kflow_sci" and len(parts) > 1 else parts[0]


@pytest.mark.parametrize("owner", sorted(FORBIDDEN))
def test_imports_run_one_way(owner: str) -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in MODULES
        if room(name_of(path)) == owner
        for name, line in imports(path, inside_functions=True)
        if room(name) in FORBIDDEN[owner]
    ]
    assert not found, "\n".join(found)


def test_no_module_imports_itself_by_a_detour() -> None:
    graph = {
        name_of(path): {name for name, _ in imports(path, inside_functions=True) if name in NAMES}
        for path in MODULES
        if name_of(path) != "kflow_sci"  # every module lies inside it, and it imports by name on use only
    }
    finished: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " -> ".join((*trail[trail.index(name) :], name))
        if name in finished or name not in graph:
            return
        for other in sorted(graph[name]):
            visit(other, (*trail, name))
        finished.add(name)

    for name in sorted(graph):
        visit(name, ())


def test_commands_load_only_what_their_help_needs() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in MODULES
        if room(name_of(path)) == "cli"
        for name, line in imports(path, inside_functions=False)
        if not (name in LIGHT or name.startswith(("kflow_sci.cli", "click.")) or is_standard(name))
    ]
    assert not found, "\n".join(found)


def is_standard(name: str) -> bool:
    return name.split(".")[0] in sys.stdlib_module_names


def test_tools_import_the_package_and_not_the_other_way_round() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in MODULES
        for name, line in imports(path, inside_functions=True)
        if name.split(".")[0] in {"tests", "benchmarks", "configs", "datasets", "pytest", "hypothesis"}
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_fits_one_sitting_and_says_what_it_is_for(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= LONGEST_FILE
    assert ast.get_docstring(tree(path)), "a module docstring: what for, and the one idea"
    assert path.name == "__init__.py" or "from __future__ import annotations" in text


def public_functions(node: ast.AST, trail: str = "") -> Iterator[tuple[str, ast.FunctionDef]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef) and not child.name.startswith("_"):
            yield from public_functions(child, f"{trail}{child.name}.")
        elif isinstance(child, ast.FunctionDef) and not child.name.startswith("_"):
            yield f"{trail}{child.name}", child


def test_every_public_function_has_a_docstring() -> None:
    functions = [(path, name, node) for path in MODULES for name, node in public_functions(tree(path))]
    # What a base class has said of a method holds for those that override it.
    said = {name.split(".")[-1] for _, name, node in functions if "." in name and ast.get_docstring(node)}
    missing = [
        f"{path.relative_to(ROOT)}:{node.lineno} {name}"
        for path, name, node in functions
        if not ast.get_docstring(node)
        and not ("." in name and (name.split(".")[-1] in said or is_hook_of_a_framework(name)))
    ]
    assert not missing, "\n".join(missing)


def is_hook_of_a_framework(name: str) -> bool:
    # Their meaning is that of torch or lightning, which document them.
    method = name.split(".")[-1]
    return method == "forward" or method.startswith(("on_", "configure_")) or method.endswith("_step")


def test_the_number_of_molecules_is_an_input() -> None:
    # 17 is what the published set has; written into models, metrics and readers it stops every other use. It is
    # written once, as the default of what a user may ask for.
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in MODULES
        if path != ROOT / "kflow_sci" / "assembly" / "__init__.py"
        for parent in ast.walk(tree(path))
        if not is_table_of_elements(parent)
        for node in ast.iter_child_nodes(parent)
        if isinstance(node, ast.Constant) and type(node.value) in (int, float) and node.value == 17
    ]
    assert not found, "\n".join(found)


def is_table_of_elements(node: ast.AST) -> bool:
    # Chlorine is element 17 too, and stands beside fluorine, sulfur or bromine.
    values = {item.value for item in ast.iter_child_nodes(node) if isinstance(item, ast.Constant)}
    return isinstance(node, ast.Tuple | ast.List | ast.Set | ast.Dict) and bool(values & {9, 16, 35})


def test_input_checks_are_errors_and_not_assertions() -> None:
    # python -O removes an assert, and its message is not for users.
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in MODULES
        if path.name != "testing.py"  # assertions are what it is for
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Assert)
    ]
    assert not found, "\n".join(found)


UNSAFE = re.compile(
    r"\b(pickle|cloudpickle|dill|joblib|marshal|shelve)\b"
    r"|\byaml\.(Loader|FullLoader|UnsafeLoader|unsafe_load|full_load)\b"
    r"|\ballow_pickle=(?!False)|\bweights_only=(?!True)|\btorch\.load\((?!.*weights_only=True)"
    r"|(?<![\w.])(eval|exec)\("
)


def test_loading_runs_no_code_of_others() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno} {ast.unparse(node)[:60]}"
        for path in MODULES
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Import | ast.ImportFrom | ast.Call | ast.Attribute)
        and UNSAFE.search(ast.unparse(node))
    ]
    assert not found, "\n".join(found)


def test_texts_are_free_of_machine_paths_and_notes_to_self() -> None:
    kinds = {".py", ".md", ".toml", ".yaml", ".yml", ".csv", ".txt", ".cff", ".json"}
    folders = ("kflow_sci", "tests", "benchmarks", "configs", "datasets", "docs")
    files = [path for folder in folders for path in (ROOT / folder).rglob("*") if path.suffix in kinds]
    files += [path for path in ROOT.iterdir() if path.suffix in kinds] + [ROOT / "Makefile"]
    found = [
        f"{path.relative_to(ROOT)}:{number} {line.strip()[:80]}"
        for path in files
        if path.is_file()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if MACHINE_PATH.search(line) or NOTE_TO_SELF.search(line)
    ]
    assert not found, "\n".join(found)

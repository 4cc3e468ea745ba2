"""A digest of the code that a result depends on.

The one idea: a cached result is good as long as the code that made it computes the same. That code is what the entry
module imports, directly or not, inside this package; docstrings and comments are not part of it.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path

PACKAGE = "kflow_sci"


def code_digest(modules: Sequence[str]) -> str:
    """SHA-256, 16 digits, over all modules of the package that these import, however deep.

    Args:
        modules: Full names, ``kflow_sci.training.clusters``. What is imported by name at run time is not seen and must
            be listed.
    """
    seen: set[str] = set()
    pending = [*modules]
    while pending:
        name = pending.pop()
        if name in seen or _path(name) is None:
            continue
        seen.add(name)
        pending += _read(name)[1]
    total = hashlib.sha256()
    for name in sorted(seen):
        total.update(f"{name}\n{_read(name)[0]}\n".encode())
    return total.hexdigest()[:16]


@cache
def _path(name: str) -> Path | None:
    """The file of a module of the package, None for what is no module of it."""
    first, *rest = name.split(".")
    if first != PACKAGE or not rest:  # the package itself imports by name on use only
        return None
    base = Path(str(files(PACKAGE))).joinpath(*rest)
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if path.is_file():
            return path
    return None


@cache
def _read(name: str) -> tuple[str, tuple[str, ...]]:
    """Digest of a module without its docstrings, and what it imports."""
    path = _path(name)
    tree = ast.parse(path.read_text(encoding="utf-8") if path is not None else "")
    found = tuple(_imported(tree))
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
            and ast.get_docstring(node) is not None
        ):
            node.body = node.body[1:]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest(), found


def _imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)

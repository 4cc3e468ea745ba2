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
    seen: dict[str, str] = {}
    pending = [*modules]
    while pending:
        name = pending.pop()
        path = _path(name)
        if name in seen or path is None:
            continue
        # Asked anew each time: somebody may edit the package while a long benchmark runs.
        seen[name], found = _read(path, path.stat().st_mtime_ns)
        pending += found
    text = "".join(f"{name} {digest}\n" for name, digest in sorted(seen.items()))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


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
def _read(path: Path, stamp: int) -> tuple[str, tuple[str, ...]]:
    """Digest of a module without its docstrings, and what it imports."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
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

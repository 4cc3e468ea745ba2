"""What can be fetched by name: a table of recipes, and the files each of them means.

The one idea: a recipe holds facts only (``recipes.yaml``), so a new data set is a few lines there and no code. Every
address begins with the recipe's ``server``, so a mirror is one word.
"""

from __future__ import annotations

import posixpath
import urllib.parse
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from kflow_sci.errors import FetchError
from kflow_sci.fetching.download import USUAL, Patience
from kflow_sci.fetching.hub import list_hub
from kflow_sci.fetching.wanted import Wanted, differs_from_sha256

TABLE = Path(__file__).with_name("recipes.yaml")
KINDS = ("files", "hub", "cod")


@dataclass(frozen=True)
class Recipe:
    """Where a data set is.

    Attributes:
        name: What the user calls it.
        kind: ``files``, ``hub`` or ``cod``, see ``recipes.yaml``.
        title: What it is, in a line.
        server: What every address begins with.
        licence: Who may use it.
        by_hand: What to put where, if there is no network; ``{folder}`` stands for the folder.
        then: What to do next.
        files: ``path``, ``url`` behind the server, ``size`` and ``sha256`` of each file.
        repository: As ``datasets/owner/name``.
        revision: Branch, tag or commit.
        folder: Folder of the repository.
    """

    name: str
    kind: str
    title: str
    server: str
    licence: str
    by_hand: str
    then: str = ""
    files: tuple[dict[str, Any], ...] = field(default=())
    repository: str = ""
    revision: str = ""
    folder: str = ""


def recipes() -> dict[str, Recipe]:
    """All recipes, by name."""
    table = yaml.safe_load(TABLE.read_text(encoding="utf-8"))
    return {
        name: Recipe(name=name, **{**facts, "files": tuple(facts.get("files", ()))})
        for name, facts in table.items()
    }


def recipe_of(name: str) -> Recipe:
    """The recipe of this name.

    Raises:
        FetchError: there is none.
    """
    known = recipes()
    if name not in known:
        raise FetchError(f"{name!r} is nothing that can be fetched: choose one of {', '.join(known)}")
    return known[name]


def wanted_files(recipe: Recipe, mirror: str | None = None, patience: Patience = USUAL) -> list[Wanted]:
    """The files of a recipe of kind ``files`` or ``hub``; the hub is asked which they are.

    Args:
        recipe: What to fetch.
        mirror: Stands in for the recipe's server.
        patience: When to give up asking.

    Raises:
        FetchError: the hub cannot be asked, or its answer is none.
    """
    server = (mirror or recipe.server).rstrip("/")
    if recipe.kind == "hub":
        return list_hub(server, recipe.repository, recipe.revision, recipe.folder, patience)
    return [
        Wanted(
            path=file["path"],
            urls=(server + file["url"],),
            size=file["size"],
            check=partial(differs_from_sha256, expected=file["sha256"]),
        )
        for file in recipe.files
    ]


def wanted_address(url: str) -> Wanted:
    """The file at an address of the user's own, of which nothing is known.

    Raises:
        FetchError: the address names no file.
    """
    name = posixpath.basename(urllib.parse.unquote(urllib.parse.urlsplit(url).path))
    if not name or name.startswith("."):
        raise FetchError(f"{url} names no file: give the address of one")
    return Wanted(path=name, urls=(url,))

"""Which files a folder of a Hugging Face repository holds, as the hub tells.

The one idea: the hub states size and checksum of every file (SHA-256 of large ones, the git sum of small ones), so a
recipe need not repeat them. Only the public, documented listing is used: ``/api/TYPE/OWNER/NAME/tree/REVISION/FOLDER``.
"""

from __future__ import annotations

import json
import re
from functools import partial
from typing import Any
from urllib.parse import quote, urlsplit

from kflow_sci.errors import FetchError
from kflow_sci.fetching.download import USUAL, Patience, read
from kflow_sci.fetching.wanted import Wanted, differs_from_git, differs_from_sha256

MOST_PAGES = 10_000


def list_hub(
    server: str, repository: str, revision: str, folder: str, patience: Patience = USUAL
) -> list[Wanted]:
    """List the files of a folder and the folders in it.

    Args:
        server: ``https://huggingface.co`` or a mirror of it.
        repository: ``datasets/owner/name`` or ``models/owner/name``.
        revision: Branch, tag or commit.
        folder: Folder of the repository; empty for all of it.
        patience: When to give up.

    Raises:
        FetchError: the hub cannot be asked, has no such folder, or its answer is none.
    """
    url = f"{server}/api/{repository}/tree/{quote(revision, safe='')}/{quote(folder)}?recursive=true"
    place = repository.removeprefix("models/")
    files: list[Wanted] = []
    for _ in range(MOST_PAGES):
        body, headers = read(url, patience)
        try:
            files += [
                _wanted(f"{server}/{place}/resolve/{quote(revision, safe='')}", entry)
                for entry in json.loads(body)
                if entry["type"] == "file"
            ]
        except FetchError:
            raise
        except (ValueError, TypeError, KeyError, AttributeError):
            raise FetchError(f"{url} gives no list of files: check the address of the mirror") from None
        following = re.search(r'<([^>]*)>\s*;\s*rel="next"', headers.get("Link", "") or "")
        if following is None:
            break
        asked = urlsplit(following[1])
        url = f"{server}{asked.path}?{asked.query}"  # on the same mirror, whatever the hub calls itself
    if not files:
        raise FetchError(f"{server}/{place} holds no files in {folder or 'it'}: it has moved; give --url")
    return files


def _wanted(address: str, entry: dict[str, Any]) -> Wanted:
    large = entry.get("lfs")
    if large:
        check = partial(differs_from_sha256, expected=str(large["oid"]).removeprefix("sha256:"))
    else:
        check = partial(differs_from_git, expected=str(entry["oid"]))
    path = str(entry["path"])
    return Wanted(path, (f"{address}/{quote(path)}",), int(entry["size"]), check)

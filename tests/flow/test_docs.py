"""The examples of docs/method.md run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

METHOD = Path(__file__).parents[2] / "docs" / "method.md"


def blocks() -> list[str]:
    return re.findall(r"```python\n(.*?)```", METHOD.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("code", [b for b in blocks() if "kflow_sci.flow" in b])
def test_examples_of_the_flow_run(code: str) -> None:
    compiled = compile(code, str(METHOD), "exec")
    exec(compiled, {})


def test_every_picture_of_the_page_is_there() -> None:
    names = re.findall(r"!\[[^]]*\]\(([^)]+)\)", METHOD.read_text(encoding="utf-8"))
    assert names and not [name for name in names if not (METHOD.parent / name).is_file()]

"""The page as text: whole, small, escaped, and shut against everything outside."""

from __future__ import annotations

import base64
import hashlib
import html
import re
from pathlib import Path

import pytest

from kflow_sci.errors import OutputError
from kflow_sci.report.page.document import LARGEST_PAGE, write_page
from kflow_sci.report.page.payload import Candidate
from tests.report.page.by_hand import cluster, walked

EVIL = "</script><script>window.hacked = 1</script><img src=x onerror='window.hacked = 1'> {{library}}"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("page") / "report.html"
    candidates = [walked(cluster(seed=k, rank=k + 1, energy=-1.5 * k, note=EVIL)) for k in range(3)]
    write_page(
        path, candidates, title=EVIL, command=f"kflow assemble {EVIL}", made={EVIL: [EVIL, None, True]}
    )
    assert path.stat().st_size <= LARGEST_PAGE
    return path.read_text(encoding="utf-8")


def scripts(page: str) -> list[tuple[str, str]]:
    return re.findall(r"<script([^>]*)>(.*?)</script>", page, re.DOTALL)


def test_what_others_named_stands_as_text(page: str) -> None:
    assert "<img src=x" not in page and "<script>window" not in page
    assert page.count(html.escape(EVIL)) == 6  # title and heading, the same for all, command, name and value
    assert [attributes for attributes, _ in scripts(page)] == [' type="application/json" id="data"', "", ""]


def test_only_the_scripts_that_were_put_in_may_run(page: str) -> None:
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)
    assert policy is not None
    allowed = re.findall(r"'sha256-([^']*)'", policy[1])
    run = [text for attributes, text in scripts(page) if "json" not in attributes]
    assert allowed == [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in run]
    assert "default-src 'none'" in policy[1] and "unsafe-eval" not in policy[1]
    assert "http" not in policy[1]


def test_nothing_is_linked_from_outside(page: str) -> None:
    frame = re.sub(r"<script[^>]*>.*?</script>", "", page, flags=re.DOTALL)
    assert not re.search(r"<(link|iframe|object|embed|base|img|form)\b", frame)
    assert "url(" not in frame and "@import" not in frame


def test_scores_can_be_read_without_scripts(page: str) -> None:
    assert page.count("<tr id=") == 3
    assert "\N{MINUS SIGN}3.0" in page
    assert "Rank is not a probability" in page and "no trajectory in time" in page
    assert "does not know its meaning" in page


def test_what_does_not_fit_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kflow_sci.report.page.document.MOST_ROWS", 2)
    candidates = [Candidate(cluster(seed=k)) for k in range(5)]
    payload = write_page(tmp_path / "a.html", candidates, title="five")
    text = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert payload.shown == 2 and text.count("<tr id=") == 2
    assert "The first 2 of 5 candidates are here" in text
    assert "no trajectory in time" not in text


def test_a_place_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("mine")
    with pytest.raises(OutputError, match="taken"):
        write_page(tmp_path / "taken" / "a.html", [Candidate(cluster())], title="a")
    assert (tmp_path / "taken").read_text() == "mine"

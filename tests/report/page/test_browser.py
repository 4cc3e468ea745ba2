"""The page in a real browser: it loads by itself, turns, moves along the scale, and runs nothing brought in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.spatial.distance import pdist

from kflow_sci.assembly.cluster import Cluster
from kflow_sci.report.page.document import write_page
from tests.report.page.by_hand import STOPS, cluster, walked
from tests.report.page.conftest import Visit

CORNERS = 42  # of a ball in a small cluster
EVIL = "</script><script>window.hacked = 1</script><img src=x onerror='window.hacked = 1'>"
CANDIDATES = [walked(cluster(seed=k, rank=k + 1, energy=-1.5 * k, note=EVIL)) for k in range(3)]


@pytest.fixture(scope="module")
def browser(launch: Callable[..., Any]) -> Any:
    return launch()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "<img src=x onerror=window.hacked=1>.html"
    write_page(path, CANDIDATES, title=EVIL, command=f"kflow assemble {EVIL}", made={EVIL: EVIL})
    return path


@pytest.fixture(scope="module")
def visit(browser: Any, report: Path) -> Visit:
    return Visit(browser, report, viewport={"width": 1200, "height": 900})


def atoms_drawn(visit: Visit) -> np.ndarray:
    """Middles of the balls on the screen, in the order of the atoms."""
    n = len(CANDIDATES[0].cluster.numbers) * CORNERS
    corners = visit.page.evaluate(
        f"""() => {{ const mesh = document.getElementById("picture").data[0];
        return ["x", "y", "z"].map((axis) => Array.from(mesh[axis].slice(0, {n}))); }}"""
    )
    return np.array(corners).T.reshape(-1, CORNERS, 3).mean(axis=1)


def at_stop(stop: int) -> np.ndarray:
    made, walk = CANDIDATES[0].cluster, CANDIDATES[0].walk
    return Cluster(made.molecules, made.kind, walk.centroid[stop], walk.rotation[stop], made.parity).positions


def test_the_page_loads_without_errors_and_asks_nobody_for_anything(visit: Visit) -> None:
    assert visit.errors == []
    assert len(visit.requests) == 1 and visit.requests[0].startswith("file:")
    assert np.allclose(pdist(atoms_drawn(visit)), pdist(CANDIDATES[0].cluster.positions), atol=1e-3)


def test_names_that_look_like_scripts_do_nothing(visit: Visit) -> None:
    assert visit.page.evaluate("window.hacked") is None
    assert visit.page.inner_text("h1") == EVIL
    assert visit.page.inner_text("pre") == f"kflow assemble {EVIL}"
    assert visit.page.locator("main img, h1 *").count() == 0


def test_the_slider_moves_atoms_along_the_scale(visit: Visit) -> None:
    visit.page.focus("#scale")
    visit.page.keyboard.press("Home")
    visit.wait_for(0, 0)
    assert visit.page.inner_text("#stop") == "k = 0.00 of 2"
    assert np.allclose(pdist(atoms_drawn(visit)), pdist(at_stop(0)), atol=1e-3)
    visit.page.keyboard.press("ArrowRight")
    visit.page.keyboard.press("ArrowRight")
    visit.wait_for(0, 2)
    assert visit.page.inner_text("#stop") == "k = 1.00 of 2"
    assert np.allclose(pdist(atoms_drawn(visit)), pdist(at_stop(2)), atol=1e-3)
    assert "shell 1 done" in " ".join(visit.page.inner_text("#shells").split())
    assert "shell 2 waits" in " ".join(visit.page.inner_text("#shells").split())
    # The line in the curve follows.
    assert visit.page.evaluate('document.getElementById("curve").layout.shapes[0].x0') == 1
    visit.page.keyboard.press("End")
    visit.wait_for(0, STOPS)
    assert np.allclose(pdist(atoms_drawn(visit)), pdist(CANDIDATES[0].cluster.positions), atol=1e-3)


def test_the_curve_has_a_line_for_each_shell(visit: Visit) -> None:
    visit.page.wait_for_selector("#curve .scatterlayer")
    lines = visit.page.evaluate(
        'document.getElementById("curve").data.map((line) => [line.name, line.yaxis, line.y])'
    )
    walk = CANDIDATES[0].walk
    assert [line[:2] for line in lines] == [
        ["shell 1", "y"], ["shell 2", "y"], ["shell 1", "y2"], ["shell 2", "y2"],
    ]  # fmt: skip
    assert np.allclose([line[2] for line in lines], [*walk.moved.T, *walk.turned.T], rtol=1e-3)


def test_arrows_and_buttons_change_the_candidate(visit: Visit) -> None:
    visit.page.focus("#picture")
    visit.page.keyboard.press("ArrowDown")
    visit.wait_for(1, STOPS)
    assert visit.page.input_value("#candidate") == "1"
    assert "shown" in visit.page.get_attribute("#row1", "class")
    assert np.allclose(pdist(atoms_drawn(visit)), pdist(CANDIDATES[1].cluster.positions), atol=1e-3)
    visit.page.focus("button[data-show='2']")
    visit.page.keyboard.press("Enter")
    visit.wait_for(2, STOPS)
    assert visit.page.is_disabled("#next")
    visit.page.select_option("#candidate", "0")
    visit.wait_for(0, STOPS)


def test_focus_can_be_seen_on_everything_the_tab_key_reaches(visit: Visit) -> None:
    visit.page.evaluate("document.activeElement.blur()")
    seen = []
    for _ in range(12):
        visit.page.keyboard.press("Tab")
        seen.append(
            visit.page.evaluate(
                """() => { const at = document.activeElement, style = getComputedStyle(at);
                return [at.id || at.name, style.outlineStyle, style.outlineWidth]; }"""
            )
        )
    assert {"candidate", "coloring", "contacts", "reset", "picture", "play", "scale"} <= {
        name for name, *_ in seen
    }
    assert all(style == "solid" and width == "3px" for _, style, width in seen), seen


def test_the_mouse_and_the_keys_turn_the_cluster(visit: Visit) -> None:
    page = visit.page
    page.click("#reset")
    page.evaluate(
        """() => document.getElementById("picture").on("plotly_relayout", (change) => {
        const eye = change["scene.camera"].eye; window.eye = [eye.x, eye.y, eye.z]; })"""
    )
    picture = page.locator("#picture")
    box = picture.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    before = picture.screenshot()
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 60, y, steps=4)
    page.mouse.up()
    page.wait_for_function("() => window.eye")
    turned = np.array(page.evaluate("window.eye"))
    assert turned[0] < -0.1 and abs(turned[1]) < 1e-6  # what is dragged to the right is seen from the left
    assert picture.screenshot() != before
    # Moving along the scale does not turn it back.
    page.focus("#picture")
    page.keyboard.press("ArrowLeft")
    visit.wait_for(0, STOPS - 1)
    kept = page.evaluate('document.getElementById("picture").layout.scene.camera.eye')
    assert np.allclose([kept[axis] for axis in "xyz"], turned)
    page.keyboard.press("End")
    visit.wait_for(0, STOPS)

    page.click("#reset")
    front = np.array(page.evaluate("window.eye"))
    page.focus("#picture")
    page.keyboard.press("Shift+ArrowRight")
    turned = np.array(page.evaluate("window.eye"))
    angle = np.arccos(turned @ front / np.linalg.norm(turned) / np.linalg.norm(front))
    assert angle == pytest.approx(0.15, rel=1e-6) and turned[0] < 0


def test_colours_go_by_element_or_by_molecule_and_contacts_can_be_hidden(visit: Visit) -> None:
    def trace(number: int, name: str) -> Any:
        return visit.page.evaluate(f'Array.from(document.getElementById("picture").data[{number}]["{name}"])')

    first_balls = slice(0, 6 * CORNERS, CORNERS)
    assert len(set(trace(0, "intensity")[first_balls])) == 2  # O and H
    visit.page.check("input[value=molecule]")
    visit.page.wait_for_function('() => document.getElementById("picture").data[0].colorscale.length > 10')
    by_molecule = trace(0, "intensity")[first_balls]
    assert by_molecule[0] == by_molecule[1] == by_molecule[2] != by_molecule[3]
    visit.page.check("input[value=all]")
    told = visit.page.inner_text("#said")
    count = int(told.split(" short contact")[0].split()[-1])
    assert count > 0
    visit.page.wait_for_function(
        f'() => document.getElementById("picture").data.at(-1).x.length === {3 * count}'  # two ends and a gap
    )
    visit.page.check("input[value=none]")
    visit.page.wait_for_function(
        '() => document.getElementById("picture").data.slice(-3).every((t) => !t.x.length)'
    )
    assert visit.errors == []


def luminance(color: str) -> float:
    """Of WCAG 2.2, from 0 (black) to 1 (white)."""
    channels = np.array([int(word) for word in color[color.index("(") + 1 : -1].split(",")[:3]]) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_in_light_and_dark_and_on_a_narrow_screen(
    browser: Any, report: Path, scheme: str
) -> None:
    visit = Visit(browser, report, color_scheme=scheme, viewport={"width": 360, "height": 740})
    paper = visit.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (luminance(paper) > 0.5) == (scheme == "light")
    for place in ("h1", "header p", "dt", "td", "#keys", "#shells span"):
        ink = visit.page.evaluate("place => getComputedStyle(document.querySelector(place)).color", place)
        low, high = sorted([luminance(ink), luminance(paper)])
        assert (high + 0.05) / (low + 0.05) >= 4.5, (place, ink, paper)  # WCAG 2.2, level AA
    assert visit.page.evaluate("document.documentElement.scrollWidth") <= 360
    assert visit.errors == []


def test_without_webgl_the_tables_remain_and_the_page_says_why(
    launch: Callable[..., Any], report: Path
) -> None:
    visit = Visit(launch("--disable-3d-apis"), report, drawn=False)
    visit.page.wait_for_selector("#trouble:visible")
    assert "WebGL" in visit.page.inner_text("#trouble")
    assert visit.page.locator("tr[id]").count() == 3
    visit.page.wait_for_selector("#curve .scatterlayer")
    assert visit.errors == []

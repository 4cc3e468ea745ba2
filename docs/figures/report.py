"""The picture of the report, in docs/index.md.

    kflow assemble "CC(=O)Oc1ccccc1C(=O)O" --samples 10 --seed 0 --out demo
    python docs/figures/report.py demo/report.html

Opens the page in the Chromium of the system and draws ``report.png`` beside this script.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

HERE = Path(__file__).parent
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def main(page_file: Path) -> None:
    """Photograph the page."""
    browser = next(filter(None, map(shutil.which, NAMES)), None)
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        page = opened.new_page(viewport={"width": 1280, "height": 900})
        page.set_default_timeout(600_000)
        page.goto(page_file.resolve().as_uri())
        page.wait_for_selector("#picture[data-ready]", state="attached")
        page.wait_for_selector("#curve .scatterlayer")
        page.screenshot(path=HERE / "report.png")
        opened.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))

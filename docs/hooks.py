"""What the site shows beside the pages of this folder: texts that stand elsewhere, and the help of ``kflow``.

The one idea: a text stands once, where it belongs, and its links are those of the repository. Here tables, cards and
the list of changes are lent to the site, and links to them, or from them, are turned to where they stand there.
"""

from __future__ import annotations

import os
import posixpath
import re
from pathlib import Path
from typing import Any

import click
import griffe
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
LENT = (
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "benchmarks/*.md",
    "benchmarks/*.png",
    "datasets/**/*.md",
    "kflow_sci/weights/*.md",
)
LINK = re.compile(r"(?<=\]\()([^)\s#]+)(#[^)\s]*)?(?=\))")
CODE = re.compile(r"^(?:```.*?^```|(?: {4}.*\n)+)", re.DOTALL | re.MULTILINE)
HELP = "<!-- help of all commands -->"


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put what was measured on images, ``images_*.md``, below the page on images."""
    measured = [path.name for path in sorted((ROOT / "docs").glob("images_*.md"))]
    for section in config.nav or []:
        for pages in section.values():
            for entry in pages if isinstance(pages, list) else []:
                if isinstance(entry, dict) and entry.get("Images") == "images.md":
                    entry["Images"] = ["images.md", *measured]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what is lent."""
    for pattern in LENT:
        for path in sorted(ROOT.glob(pattern)):
            name = path.relative_to(ROOT).as_posix()
            files.append(File.generated(config, name, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn the links of the repository into those of the site; put the help of the commands where it belongs."""
    if HELP in markdown:
        markdown = markdown.replace(HELP, help_of_all())
    uri = page.file.src_uri
    own = uri if page.file.generated_by else f"docs/{uri}"

    def turned(link: re.Match[str]) -> str:
        target, anchor = link[1], link[2] or ""
        if "://" in target or target.startswith(("mailto:", "/")):
            return link[0]
        there = posixpath.normpath(posixpath.join(posixpath.dirname(own), target))
        there = there.removeprefix("docs/")
        return posixpath.relpath(there, posixpath.dirname(uri) or ".") + anchor

    return LINK.sub(turned, markdown)


def help_of_all() -> str:
    """Headings and help texts of ``kflow`` and all commands below it."""
    from kflow_sci.cli.main import kflow

    return "\n".join(_help_of(kflow, click.Context(kflow, info_name="kflow", terminal_width=100)))


def _help_of(command: click.Command, context: click.Context) -> list[str]:
    depth = len(context.command_path.split())
    lines = [
        f"{'#' * (depth + 1)} {context.command_path}",
        "",
        "```text",
        command.get_help(context),
        "```",
        "",
    ]
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            inner: Any = command.get_command(context, name)
            lines += _help_of(inner, click.Context(inner, info_name=name, parent=context))
    return lines


class Examples(griffe.Extension):
    """Docstrings here say ``Example:``; the reader of docstrings knows ``Examples:`` as code."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Change the word."""
        if obj.docstring is not None:
            obj.docstring.value = re.sub(r"^Example:$", "Examples:", obj.docstring.value, flags=re.MULTILINE)


# The help is the same wherever the pages are built.
os.environ["NO_COLOR"] = "1"

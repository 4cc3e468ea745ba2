"""``kflow data``: get crystals and turn them into data sets of clusters.

A subcommand is a module of this package with a click command named ``command``, and one line of ``COMMANDS``.
"""

from __future__ import annotations

import click

from kflow_sci.cli.lazy import LazyGroup

COMMANDS = {
    "fetch": "Get a data set from the network, or say what to put where.",
    "build": "Turn a folder of CIFs into a data set of clusters.",
    "import-cluster17": "Turn the published csv files of COD-Cluster17 into one.",
    "split": "Say which crystals train and which are tested, by molecule.",
    "export": "Write a data set as extended xyz or in the published csv layout.",
    "make-crystals": "Search crystals of many molecules and keep the best of each.",
}


@click.group("data", cls=LazyGroup, table=COMMANDS, package=__name__)
def command() -> None:
    """Get and make data sets."""

"""Clusters as parquet: one row per cluster, for those who sort and select candidates by the thousand.

The one idea: atoms and bonds are list columns, what travels with a cluster is one column of json, and its plain numbers
stand in columns of their own as well, so that a table can be filtered without reading any atoms.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kflow_sci.assembly.exchange.flat import Flat
from kflow_sci.errors import ClusterError, ConfigError

_ATOMS = ("numbers", "positions", "molecule", "bonds", "orders", "charges", "info")


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise ConfigError("parquet needs pyarrow, which is not installed: pip install pyarrow") from None
    return pyarrow, parquet


def write_table(path: Path, flats: Sequence[Flat]) -> None:
    """Write clusters, one row each: ``positions`` in Å, x y z after each other; ``bonds`` as pairs after each other.

    Raises:
        ConfigError: pyarrow is not installed.
    """
    pyarrow, parquet = _pyarrow()
    columns: dict[str, Any] = {
        "numbers": pyarrow.array([f.numbers.tolist() for f in flats], pyarrow.list_(pyarrow.int16())),
        "positions": pyarrow.array([f.positions.ravel().tolist() for f in flats]),
        "molecule": pyarrow.array([_list(f.owner) for f in flats], pyarrow.list_(pyarrow.int32())),
        "bonds": pyarrow.array([_list(f.bonds) for f in flats], pyarrow.list_(pyarrow.int32())),
        "orders": pyarrow.array([_list(f.orders) for f in flats], pyarrow.list_(pyarrow.float64())),
        "charges": pyarrow.array([_list(f.charges) for f in flats], pyarrow.list_(pyarrow.int16())),
        "info": pyarrow.array([json.dumps(f.info) for f in flats]),
    }
    for key in dict.fromkeys(key for f in flats for key in f.info):
        values = [f.info.get(key) for f in flats]
        if key not in columns and all(type(v) in (int, float) for v in values):
            columns[key] = pyarrow.array([float(v) for v in values if v is not None])
    parquet.write_table(pyarrow.table(columns), path)


def _list(values: np.ndarray | None) -> list[Any]:
    return [] if values is None else values.ravel().tolist()


def read_table(path: Path) -> list[Flat]:
    """The clusters of a table that ``write_table`` wrote.

    Raises:
        ConfigError: pyarrow is not installed.
        ClusterError: the file is no parquet, or lacks a column.
    """
    pyarrow, parquet = _pyarrow()
    try:
        rows = parquet.read_table(path).to_pylist()
    except (pyarrow.ArrowException, OSError) as error:
        raise ClusterError(f"{path} is no parquet file ({' '.join(str(error).split())[:80]})") from None
    missing = [name for name in _ATOMS if rows and name not in rows[0]]
    if missing or not rows:
        raise ClusterError(
            f"{path} has no column {(missing or ['numbers'])[0]}: give a table that kflow wrote"
        )
    return [
        Flat(
            np.array(row["numbers"], dtype=np.int64),
            np.array(row["positions"], dtype=np.float64).reshape(-1, 3),
            np.array(row["molecule"], dtype=np.int64),
            np.array(row["bonds"], dtype=np.int64).reshape(-1, 2),
            np.array(row["orders"], dtype=np.float64),
            np.array(row["charges"], dtype=np.int64),
            json.loads(row["info"]),
        )
        for row in rows
    ]

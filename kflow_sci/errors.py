"""Errors a caller may want to catch.

Every message is one line that names the thing, its value, the limit and the mend; the command line prints it
and exits with code 2.
"""

from __future__ import annotations


class KFlowError(ValueError):
    """Base of all errors that bad input can cause."""


class MoleculeError(KFlowError):
    """A molecule cannot be read, embedded or treated as one rigid body."""


class CrystalError(KFlowError):
    """A crystal is refused. ``reason`` is the short stable word that ``skipped.csv`` counts."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class ClusterError(KFlowError):
    """Poses, copies or batches that do not fit together."""


class ImageError(KFlowError):
    """An image, a set of images or its latents that cannot be used."""


class TransformError(KFlowError):
    """A transform, its shells or its input break the contract of ``transforms.base``."""


class ScheduleError(KFlowError):
    """A schedule, a scale or a time outside what is defined."""


class ScoreError(KFlowError):
    """Prediction and reference cannot be compared."""


class ConfigError(KFlowError):
    """A configuration key or value that is not known or out of range."""


class CheckpointError(KFlowError):
    """Weights that are missing, truncated, of another version, or not weights at all."""


class OutputError(KFlowError):
    """An output place that cannot be written."""


class PackingError(KFlowError):
    """A space group, a cell or a packing that cannot be, or a search that found none."""


class WorkError(KFlowError):
    """Work given to other processes or machines could not be done there."""


class FetchError(KFlowError):
    """A file that cannot be fetched, or is not the one that was asked for."""

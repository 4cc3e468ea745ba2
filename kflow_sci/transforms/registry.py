"""Transforms by name, for configuration files and for one's own.

The one idea: a name stands for a callable that returns a ``KTransform``; those of this package are imported only when
they are made.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

from kflow_sci.errors import TransformError
from kflow_sci.transforms.base import KTransform

_HOME = {
    "fourier": "kflow_sci.transforms.fourier:FourierTransform",
    "graph": "kflow_sci.transforms.graph:GraphSpectralTransform.from_points",
    "graph-partial": "kflow_sci.transforms.partial:PartialGraphTransform.from_points",
    "nested": "kflow_sci.transforms.nested:NestedTransform.from_points",
    "node-pca": "kflow_sci.transforms.node_pca:NodePCATransform",
    "pca": "kflow_sci.transforms.pca:PCATransform",
    "pca-file": "kflow_sci.transforms.pca:PCATransform.load",
    "wavelet": "kflow_sci.transforms.wavelet:WaveletTransform",
}
_OWN: dict[str, Callable[..., KTransform]] = {}

Factory = TypeVar("Factory", bound=Callable[..., KTransform])


def transform_names() -> list[str]:
    """All names that ``make_transform`` knows.

    Example:
        >>> "wavelet" in transform_names()
        True
    """
    return sorted({*_HOME, *_OWN})


def register_transform(name: str) -> Callable[[Factory], Factory]:
    """Give one's own transform a name; prove it with ``kflow_sci.testing.assert_transform``.

    Args:
        name: A name that is not taken.

    Returns:
        A decorator for a class, or for a function that returns a transform.

    Raises:
        TransformError: the name is taken.

    Example:
        >>> from kflow_sci.transforms.wavelet import WaveletTransform
        >>> @register_transform("haar")
        ... class Haar(WaveletTransform):
        ...     def __init__(self, shape):
        ...         super().__init__(shape, "haar")
        >>> make_transform("haar", shape=(8, 8)).n_shells
        4
    """

    def keep(factory: Factory) -> Factory:
        known = _OWN.get(name)
        # A module that is loaded twice (a notebook cell, a reload) may register its own again.
        if name in _HOME or (known is not None and known.__qualname__ != factory.__qualname__):
            raise TransformError(f"transform '{name}' is taken: choose another name")
        _OWN[name] = factory
        return factory

    return keep


def make_transform(name: str, **options: Any) -> KTransform:
    """The transform of a name.

    Args:
        name: One of ``transform_names()``.
        options: Arguments of its constructor, by name.

    Raises:
        TransformError: unknown name, or options that the constructor does not have or that it lacks; all errors of
            the constructor.

    Example:
        >>> make_transform("fourier", shape=(8, 8), shells=2).n_shells
        2
    """
    factory = _find(name)
    try:
        inspect.signature(factory).bind(**options)
    except TypeError as error:
        parameters = ", ".join(inspect.signature(factory).parameters)
        raise TransformError(
            f"options {sorted(options)} of transform '{name}': {error}; it takes {parameters}"
        ) from None
    made = factory(**options)
    if not isinstance(made, KTransform):
        raise TransformError(
            f"'{name}' made a {type(made).__name__}, not a KTransform: derive it from KTransform"
        )
    return made


def _find(name: str) -> Callable[..., KTransform]:
    if name in _OWN:
        return _OWN[name]
    if name not in _HOME:
        near = difflib.get_close_matches(name, transform_names(), n=1)
        meant = f": did you mean '{near[0]}'?" if near else ""
        raise TransformError(
            f"transform '{name}' is unknown{meant} Choose one of {', '.join(transform_names())}"
        )
    module, _, path = _HOME[name].partition(":")
    found: Any = importlib.import_module(module)
    for part in path.split("."):
        found = getattr(found, part)
    factory: Callable[..., KTransform] = found
    return factory

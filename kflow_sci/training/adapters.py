"""LoRA: a trained net is changed by a few numbers beside its weights.

The one idea: to each matrix W of a trained net a product B A of low rank is added, and only A and B are trained. What
is saved is the sum, under the names of the net without it; so such weights are like any others, smaller to train and
not smaller to keep, and whoever loads them needs to know nothing of this.

The layers are those of peft. The first layer of what the net is told (``nets.scale``) is trained whole: it is small,
and what it hears is what is new.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from kflow_sci.errors import ConfigError
from kflow_sci.nets.scale import ScaleEmbedding

_NAME = "default"


def add_lora(net: nn.Module, rank: int, seed: int) -> None:
    """Freeze a net and put low-rank products beside its linear layers and convolutions; at first they are zero.

    Args:
        net: Changed in place.
        rank: Of the products.
        seed: Of A; B begins at zero.

    Raises:
        ConfigError: peft is missing, or no layer is larger than the rank.

    Source:
        Hu et al., *LoRA: Low-Rank Adaptation of Large Language Models*, ICLR (2022); the factor α/r is 1.

    Example:
        >>> net = nn.Sequential(nn.Linear(8, 8), nn.SiLU(), nn.Linear(8, 8))
        >>> add_lora(net, 2, seed=0)
        >>> trained_share(net)  # two times 8 × 2 + 2 × 8 of 144
        (64, 144)
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise ConfigError("lora_rank needs peft: pip install 'kflow_sci[lora]'") from error
    whole = [module.scale[0] for module in net.modules() if isinstance(module, ScaleEmbedding)]
    kinds = (nn.Linear, nn.Conv2d)
    layers = {n: m for n, m in net.named_modules() if isinstance(m, kinds) and m not in whole}
    largest = max((min(m.weight.shape[:2]) for m in layers.values()), default=0)
    if rank >= largest:
        raise ConfigError(
            f"lora_rank = {rank} is not below {largest}, the rank of the largest layer: lower it, or set null"
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=rank, target_modules=list(layers)), net)
    for module in whole:
        module.requires_grad_(True)


def trained_share(module: nn.Module) -> tuple[int, int]:
    """How many numbers are trained, and how many the net has without what LoRA adds."""
    named = dict(module.named_parameters())
    trained = sum(p.numel() for p in named.values() if p.requires_grad)
    return trained, sum(p.numel() for name, p in named.items() if not _added(name))


def merged_weights(module: nn.Module) -> dict[str, Tensor]:
    """The state of a module with what LoRA learned added to the weights, under the names it had before ``add_lora``."""
    from peft.tuners.lora import LoraLayer

    state = module.state_dict()
    plain = {name.replace(".base_layer.", "."): value for name, value in state.items() if not _added(name)}
    with torch.no_grad():
        for name, layer in module.named_modules():
            if isinstance(layer, LoraLayer):
                added: Any = layer  # peft says what a linear layer has, not what it is
                plain[f"{name}.weight"] = plain[f"{name}.weight"] + added.get_delta_weight(_NAME)
    return plain


def _added(name: str) -> bool:
    return ".lora_" in name

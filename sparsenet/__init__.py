"""sparsenet: sparsity-based pruning of neural networks, from scratch: score -> mask -> retrain -> a real speed-up."""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

# Module -> its public names. Loaded on first use, so that `import sparsenet` and `sparsenet --help` need no Numba.
_HOMES = {
    "nn.layers": ("Conv2d", "Dropout", "Flatten", "Linear", "ReLU"),
    "nn.pooling": ("AvgPool2d", "GlobalAvgPool2d", "MaxPool2d"),
    "nn.normalization": ("BatchNorm", "WeightNorm"),
    "nn.merge": ("Add", "Concat", "PadShortcut"),
    "nn.network": ("Graph", "Network", "Node", "chain"),
    "nn.losses": ("mean_squared_error", "softmax_cross_entropy"),
    "nn.distillation": ("distillation", "label_accuracy", "with_teacher"),
    "nn.optimizers": ("SGD", "Adam"),
    "nn.training": ("evaluate", "fit", "predict"),
    "files.checkpoint": ("load_network", "save_network"),
    "pruning.granularity": ("Block", "Channel", "Filter", "Weight"),
    "pruning.masks": ("make_masks",),
    "pruning.strategies": ("Strategy",),
    "pruning.scoring": ("score",),
    "pruning.cycle": ("iterative_prune", "prune"),
    "pruning.quantization": ("quantize",),
    "pruning.reconstruction": ("obc_prune", "obc_prune_nm", "reconstruct"),
    "pruning.dependency": ("dependency_groups",),
    "pruning.foresight": ("prune_at_initialization",),
    "pruning.surgery": ("remove_pruned_structures",),
    "engine.compile": ("compile",),
    "engine.plan": ("Plan",),
    "data.datasets": ("Dataset", "Split", "load_dataset"),
    "lab.auto_prune": ("auto_prune",),
    "lab.break_even": ("LayerShape", "calibrate"),
    "lab.budget": ("Budget",),
    "lab.costs": ("cost_report",),
    "lab.robustness": ("robustness",),
    "lab.sensitivity": ("sensitivity",),
    "machine.threads": ("threads",),
}
_MODULES = {
    "augment": "nn.augment",
    "corruptions": "nn.corruptions",
    "losses": "nn.losses",
    "models": "nn.models",
    "optimizers": "nn.optimizers",
    "masks": "pruning.masks",
    "schedules": "pruning.schedules",
    "scores": "pruning.scores",
    "strategies": "pruning.strategies",
    "verify": "verify",
}
_PLACES = {name: home for home, names in _HOMES.items() for name in names}
__all__ = sorted([*_PLACES, *_MODULES])


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f".{_MODULES[name]}", __name__)
    if name in _PLACES:
        return getattr(import_module(f".{_PLACES[name]}", __name__), name)
    raise AttributeError(f"module 'sparsenet' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]

"""All entries: one formula each, a module for each kind."""

from . import (
    augmentation,
    criteria_article,
    files,
    kernels,
    layers,
    losses,
    masks,
    optimizers,
    plans,
    pooling,
    quantization,
    schedules,
    sparse,
    surgery,
)

ENTRIES = (
    *layers.ENTRIES,
    *pooling.ENTRIES,
    *losses.ENTRIES,
    *optimizers.ENTRIES,
    *augmentation.ENTRIES,
    *criteria_article.ENTRIES,
    *masks.ENTRIES,
    *schedules.ENTRIES,
    *quantization.ENTRIES,
    *surgery.ENTRIES,
    *kernels.ENTRIES,
    *sparse.ENTRIES,
    *plans.ENTRIES,
    *files.ENTRIES,
)

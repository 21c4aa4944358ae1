"""One pass of a network, fixed or supernet, and what it does to the running statistics."""

import flax.linen as nn


def forward(model: nn.Module, params, batch_stats, images, sample, *, train: bool, update: bool = True, **options):
    """Returns (logits, out, running statistics after the pass).

    Args:
      sample: what a supernet takes besides the images (channel masks, probabilities of operations); None for a fixed
        network.
      update: whether a pass in training mode moves the running statistics.
      **options: passed on to the model.
    """
    variables = {"params": params, "batch_stats": batch_stats}
    args = (images,) if sample is None else (images, sample)
    if train and update:
        (logits, out), changed = model.apply(variables, *args, train=True, mutable=["batch_stats"], **options)
        return logits, out, changed["batch_stats"]
    logits, out = model.apply(variables, *args, train=train, **options)
    return logits, out, batch_stats

"""Scores of a kernel, in float64 on the host."""

from typing import NamedTuple

import numpy as np

JITTER = 1e-6  # of the mean diagonal entry, added before the determinant is taken


class Scores(NamedTuple):
    """Of a kernel K [N, N] with eigenvalues λ.

    A kernel that is singular up to rounding has finite scores too: eigenvalues below the noise of float32,
    N · 2⁻²³ · λ_max, are raised to it where they divide. `rank` counts those above it.

    Attributes:
      lambda_min: the least eigenvalue as it was computed, which may be a little below 0.
      lambda_max: the largest.
      frobenius: √Σ K_ij².
      trace: Σ λ.
      condition: λ_max / λ_min.
      log_det: log det(K + 10⁻⁶ · (tr K / N) · I), base e.
      mean: of all entries.
      rank: number of eigenvalues above the noise.
      fit: √(yᵀ K⁻¹ y / N), summed over the columns of y; NaN without labels.
    """

    lambda_min: float
    lambda_max: float
    frobenius: float
    trace: float
    condition: float
    log_det: float
    mean: float
    rank: int
    fit: float

    @property
    def degenerate(self) -> bool:
        """Whether the kernel has rank 0 or 1, as that of a network whose output does not depend on its input."""
        return self.rank <= 1


def ntk_scores(kernel: np.ndarray, labels: np.ndarray | None = None) -> Scores:
    """Returns the scores of a kernel.

    Args:
      kernel: [N, N], symmetric up to rounding.
      labels: y. Integers [N] become one-hot columns less their mean; floats [N] or [N, C] are taken as they are.

    Raises:
      ValueError: a kernel that is not square, not finite or not symmetric; labels of another length.
    """
    kernel = np.asarray(kernel, np.float64)
    if kernel.ndim != 2 or kernel.shape[0] != kernel.shape[1] or not len(kernel):
        raise ValueError(f"a kernel of shape {kernel.shape}: expected [N, N]; scores take one kernel at a time.")
    if not np.isfinite(kernel).all():
        raise ValueError("the kernel has entries that are not finite; the network overflows at these parameters.")
    scale = np.abs(kernel).max()
    if np.abs(kernel - kernel.T).max() > 1e-4 * scale:
        raise ValueError("the kernel is not symmetric; mix a cross kernel with its transpose (mixed_kernels) first.")
    size = len(kernel)
    values, vectors = np.linalg.eigh((kernel + kernel.T) / 2)
    noise = max(size * 2.0**-23 * values[-1], np.finfo(np.float32).tiny)
    floored = np.maximum(values, noise)
    jitter = max(JITTER * np.trace(kernel) / size, np.finfo(np.float32).tiny)
    fit = np.nan
    if labels is not None:
        coordinates = vectors.T @ _targets(labels, size)
        fit = np.sqrt((coordinates**2 / floored[:, None]).sum() / size).item()
    return Scores(
        lambda_min=values[0].item(),
        lambda_max=values[-1].item(),
        frobenius=np.sqrt((kernel**2).sum()).item(),
        trace=np.trace(kernel).item(),
        condition=(floored[-1] / floored[0]).item() if scale else size**-1 * 2.0**23,
        log_det=np.log(np.maximum(values + jitter, jitter)).sum().item(),
        mean=kernel.mean().item(),
        rank=int((values > noise).sum()),
        fit=fit,
    )


def _targets(labels: np.ndarray, size: int) -> np.ndarray:
    """[N, C] float64."""
    labels = np.asarray(labels)
    if labels.ndim not in (1, 2) or len(labels) != size:
        raise ValueError(f"labels of shape {labels.shape} for a kernel of {size} examples: expected [N] or [N, C].")
    if labels.dtype.kind in "iu" and labels.ndim == 1:
        hot = (labels[:, None] == np.unique(labels)).astype(np.float64)
        return hot - hot.mean(0)
    return labels.reshape(size, -1).astype(np.float64)

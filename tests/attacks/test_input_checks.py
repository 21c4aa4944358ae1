"""Inputs on which an attack would mean nothing."""

import numpy as np
import pytest

from rnas.attacks import check_inputs

IMAGES = np.linspace(0, 1, 3 * 2 * 2 * 1, dtype=np.float32).reshape(3, 2, 2, 1)
LABELS = np.array([0, 1, 2], np.int32)


def changed(value, row=1):
    images = IMAGES.copy()
    images[row, 0, 1, 0] = value
    return images


def test_accepts():
    check_inputs(IMAGES, LABELS, 3)
    check_inputs(IMAGES[:0], LABELS[:0], 2)
    check_inputs(changed(1 + 5e-7), LABELS.astype(np.int64), 3)


@pytest.mark.parametrize(
    ("images", "labels", "classes", "words"),
    [
        ((IMAGES * 255).astype(np.uint8), LABELS, 3, "uint8.*images / 255"),
        (IMAGES[0], LABELS, 3, r"\[N, H, W, C\], got \(2, 2, 1\)"),
        (IMAGES * 255, LABELS, 3, r"span \[0, 255\].*image 0.*divide by 255"),
        (changed(-0.5), LABELS, 3, r"span \[-0.5, 1\].*image 1.*normalisation the first layer"),
        (changed(1.01, row=2), LABELS, 3, "image 2"),
        (changed(np.nan), LABELS, 3, "finite.*1 of 3.*first image 1"),
        (changed(np.inf), LABELS, 3, "finite"),
        (IMAGES, np.eye(3, dtype=np.int32), 3, r"shape \(3,\).*got \(3, 3\).*argmax"),
        (IMAGES, LABELS[:, None], 3, r"got \(3, 1\). Use labels.reshape\(-1\)"),
        (IMAGES[:1], LABELS[None, :1], 3, r"got \(1, 1\). Use labels.reshape\(-1\)"),
        (IMAGES, LABELS.astype(np.float32), 3, "integers, got float32"),
        (IMAGES, LABELS[:2], 3, r"shape \(3,\), one per image; got \(2,\)"),
        (IMAGES, LABELS, 2, r"\[0, 2\), but label 2 is 2"),
        (IMAGES, LABELS - 1, 3, "label 0 is -1"),
        (IMAGES, 0 * LABELS, 1, "at least 2 classes, got num_classes=1"),
    ],
)
def test_refuses(images, labels, classes, words):
    with pytest.raises(ValueError, match=words):
        check_inputs(images, labels, classes)

"""Fixtures, and the one switch: MNIST tests run where SPARSENET_DATA names a folder that has the files."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

import sparsenet as sn

settings.register_profile("sparsenet", deadline=None, max_examples=30, derandomize=True)
settings.load_profile("sparsenet")


def mnist_folder():
    folder = os.environ.get("SPARSENET_DATA", "")
    return folder if folder and (Path(folder) / "mnist").is_dir() else None


def pytest_collection_modifyitems(items):
    if mnist_folder() is None:
        for item in items:
            if item.get_closest_marker("mnist"):
                item.add_marker(pytest.mark.skip(reason="SPARSENET_DATA names no folder with mnist/"))


@pytest.fixture
def rng():
    return np.random.default_rng(20260101)


@pytest.fixture(scope="session")
def digits():
    return sn.load_dataset("digits")


@pytest.fixture(scope="session")
def trained(digits):
    """SimpleCNN trained on the digits for a few epochs; copy it before changing it."""
    network = sn.models.simple_cnn(digits.input_shape, digits.classes, seed=1)
    sn.fit(network, digits.train, epochs=6, optimizer=sn.SGD(lr=0.05, momentum=0.9), batch_size=32, seed=1)
    return network

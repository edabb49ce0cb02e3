"""Fixtures; MNIST and CIFAR-10 tests run where SPARSENET_DATA's folder has the files, torch tests where torch is."""

import os
from importlib.util import find_spec
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


def cifar10_folder():
    folder = os.environ.get("SPARSENET_DATA", "")
    return folder if folder and list((Path(folder) / "cifar10").rglob("*.bin")) else None


def pytest_collection_modifyitems(items):
    missing = {}
    if mnist_folder() is None:
        missing["mnist"] = pytest.mark.skip(reason="SPARSENET_DATA names no folder with mnist/")
    if cifar10_folder() is None:
        missing["cifar10"] = pytest.mark.skip(reason="SPARSENET_DATA names no folder with cifar10/*.bin")
    if find_spec("torch") is None:
        missing["torch"] = pytest.mark.skip(reason="torch is not installed")
    for item in items:
        for marker in missing.keys() & {mark.name for mark in item.iter_markers()}:
            item.add_marker(missing[marker])


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

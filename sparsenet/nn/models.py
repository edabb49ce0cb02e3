"""Reference networks. Convolutions and hidden layers start with He's initialisation, biases at zero."""

import numpy as np

from ..checks import check_count, check_shape
from .layer import Layer, Shape, glorot_uniform
from .layers import Conv2d, Flatten, Linear, ReLU
from .network import Network, chain
from .normalization import BatchNorm, WeightNorm
from .pooling import MaxPool2d

Seed = int | np.random.Generator


def _image_shape(input_shape: Shape) -> tuple[int, int, int]:
    shape = check_shape("input_shape", input_shape)
    if len(shape) != 3:
        raise ValueError(f"input_shape must be (channels, height, width), not {input_shape}")
    return shape


def _features(layers: dict[str, Layer], input_shape: Shape) -> int:
    """Number of features that the layers so far make of an image of `input_shape`."""
    try:
        return int(np.prod(chain(layers).shapes(input_shape)[list(layers)[-1]]))
    except ValueError as error:
        raise ValueError(f"input_shape {input_shape} is too small for this network: {error}") from None


def simple_cnn(
    input_shape: Shape = (1, 28, 28),
    classes: int = 10,
    *,
    seed: Seed = 0,
    batch_norm: bool = False,
    weight_norm: bool = False,
) -> Network:
    """The article's SimpleCNN: conv 16 - conv 32 - linear 128 - linear `classes`; 206,922 parameters on 28x28.

    Parameters
    ----------
    batch_norm, weight_norm : bool
        Put batch normalisation behind each convolution; train conv and linear layers as w = g v / ||v||.
    """
    channels, _, _ = _image_shape(input_shape)
    rng = np.random.default_rng(seed)
    wrap = WeightNorm if weight_norm else lambda layer: layer

    def block(number, inputs, outputs):
        return {
            f"conv{number}": wrap(Conv2d(inputs, outputs, 3, padding=1, seed=rng)),
            **({f"norm{number}": BatchNorm(outputs)} if batch_norm else {}),
            f"relu{number}": ReLU(),
            f"pool{number}": MaxPool2d(2),
        }

    layers = {**block(1, channels, 16), **block(2, 16, 32), "flatten": Flatten()}
    layers["fc1"] = wrap(Linear(_features(layers, input_shape), 128, seed=rng))
    layers["relu3"] = ReLU()
    layers["fc2"] = wrap(Linear(128, check_count("classes", classes), init=glorot_uniform, seed=rng))
    return chain(layers)


def lenet_300_100(input_shape: Shape = (1, 28, 28), classes: int = 10, *, seed: Seed = 0) -> Network:
    """LeNet-300-100 (LeCun et al. 1998): two hidden layers; 266,610 parameters on 28x28."""
    rng = np.random.default_rng(seed)
    features = int(np.prod(check_shape("input_shape", input_shape)))
    return chain(
        {
            "flatten": Flatten(),
            "fc1": Linear(features, 300, seed=rng),
            "relu1": ReLU(),
            "fc2": Linear(300, 100, seed=rng),
            "relu2": ReLU(),
            "fc3": Linear(100, check_count("classes", classes), init=glorot_uniform, seed=rng),
        }
    )


def lenet_5(input_shape: Shape = (1, 28, 28), classes: int = 10, *, seed: Seed = 0) -> Network:
    """LeNet-5 in Caffe's form, the one of the pruning literature: 20 - 50 - 500 - 10; 431,080 parameters on 28x28."""
    channels, _, _ = _image_shape(input_shape)
    rng = np.random.default_rng(seed)
    layers = {
        "conv1": Conv2d(channels, 20, 5, seed=rng),
        "pool1": MaxPool2d(2),
        "conv2": Conv2d(20, 50, 5, seed=rng),
        "pool2": MaxPool2d(2),
        "flatten": Flatten(),
    }
    layers["fc1"] = Linear(_features(layers, input_shape), 500, seed=rng)
    layers["relu1"] = ReLU()
    layers["fc2"] = Linear(500, check_count("classes", classes), init=glorot_uniform, seed=rng)
    return chain(layers)


MODELS = {"simple_cnn": simple_cnn, "lenet_300_100": lenet_300_100, "lenet_5": lenet_5}

"""The engines that `benchmarks/run.py` compares.

An engine is a function load(threads) that imports its package and returns prepare(network, x) -> `Program`. All get the
same masked weights, so that all compute the same function. Where an engine offers a choice that makes it faster without
changing what it computes (ReLU in place, outputs into buffers of its own), it is taken.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from onnx_export import to_onnx
from workloads import channels_around, norm_numbers, padded_channels, pooling_windows

import sparsenet as sn


@dataclass(frozen=True)
class Program:
    """One network in one engine: `call()` is what is timed, `read(call())` the outputs as an array.

    `keeps` holds arrays that the engine uses without owning them.
    """

    call: Callable[[], object]
    read: Callable[[object], np.ndarray] = lambda y: y
    detail: str = ""
    keeps: tuple[object, ...] = ()


@dataclass(frozen=True)
class Engine:
    """How to load an engine, where it stands in the comparison, and what a reader of its figures must know.

    role : "ours", "our dense", "dense peer", "sparse peer", or "sparse product", which is not the whole layer.
    """

    role: str
    load: Callable[[int], Callable[[sn.Network, np.ndarray], Program]]
    packages: tuple[str, ...]
    about: str
    allocates: str
    takes: Callable[[sn.Network], bool] = lambda network: True


def has_conv(network: sn.Network) -> bool:
    return any(isinstance(layer, sn.Conv2d) for layer in network.layers().values())


def is_plain(network: sn.Network) -> bool:
    """Whether every convolution is one product: it has no groups; and no dilation, for short."""
    convs = [layer for layer in network.layers().values() if isinstance(layer, sn.Conv2d)]
    return all(layer.groups == 1 and layer.dilation == (1, 1) for layer in convs)


def is_one_conv(network: sn.Network) -> bool:
    return is_plain(network) and [type(layer) for layer in network.layers().values()] == [sn.Conv2d, sn.ReLU]


def load_sparsenet(form, threads):
    def prepare(network, x):
        plan = sn.compile(network, x.shape[1:], batch=len(x), threads=threads, form=form)
        return Program(partial(plan, x), detail=plan.explain())

    return prepare


def load_torch(kind, threads):
    """`kind` is "eager", "channels-last" or "compile"."""
    import torch

    torch.set_num_threads(threads)
    torch.set_grad_enabled(False)
    if kind == "compile":
        from torch._inductor import config

        config.freezing = True  # weights become constants in the layout that oneDNN prefers
        config.compile_threads = 1  # no helper processes beside the engines that are timed
        torch.compile(lambda x: x + 1)(torch.zeros(1))  # fails here where there is no C++ compiler

    def prepare(network, x):
        model, x = torch_network(network), torch.from_numpy(x)
        if kind == "channels-last":
            model, x = (thing.to(memory_format=torch.channels_last) for thing in (model, x))
        if kind == "compile":
            torch.compiler.reset()
            model = torch.compile(model, dynamic=False)
        return Program(partial(model, x), lambda y: y.numpy())

    return prepare


def torch_network(network):
    """The network as a torch module, batch normalisation folded into the convolution before it."""
    import torch
    from torch.nn.utils.fusion import fuse_conv_bn_eval

    modules, reads, source = torch.nn.ModuleList(), [], {"input": 0}
    for node in network.nodes:
        before = node.inputs[0]
        if isinstance(node.layer, sn.BatchNorm) and follows_alone(network, node, sn.Conv2d):
            place = source[before]
            modules[place - 1] = fuse_conv_bn_eval(modules[place - 1].eval(), torch_module(node.layer).eval())
            source[node.name] = place
            continue
        modules.append(torch_module(node.layer, alone=reads_alone(network, node)))
        reads.append([source[name] for name in node.inputs])
        source[node.name] = len(modules)
    last_reader = {place: number for number, places in enumerate(reads) for place in places}

    class Graph(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.steps = modules

        def forward(self, x):
            values = [x]
            for number, (module, places) in enumerate(zip(self.steps, reads, strict=True)):
                values.append(module(*(values[place] for place in places)))
                for place in places:  # free what nobody reads again, as a handwritten network does
                    if last_reader[place] == number:
                        values[place] = None
            return values[-1]

    return Graph().eval()


def reads_alone(network, node):
    """Whether a node may change its input: it is no other's, and not the caller's."""
    (*others, source) = node.inputs
    return not others and source != "input" and len(network.consumers(source)) == 1


def follows_alone(network, node, kind):
    """Whether a node is the only reader of a layer of this kind."""
    return reads_alone(network, node) and isinstance(network[node.inputs[0]], kind)


def torch_module(layer, alone=False):
    """The layer as a torch module with its weights; ReLU in place where it is `alone` to read its input."""
    import torch
    from torch import nn

    class Function(nn.Module):
        def __init__(self, forward):
            super().__init__()
            self.forward = forward

    match layer:
        case sn.Conv2d():
            sizes = layer.kernel_size, layer.stride, layer.padding, layer.dilation, layer.groups
            module = nn.Conv2d(layer.in_channels, layer.out_channels, *sizes)
        case sn.Linear():
            module = nn.Linear(layer.in_features, layer.out_features)
        case sn.BatchNorm():
            module = nn.BatchNorm2d(layer.channels, layer.eps)
            numbers = module.running_mean, module.running_var, module.weight, module.bias
            for target, values in zip(numbers, norm_numbers(layer), strict=True):
                target.copy_(torch.from_numpy(values))
            return module
        case sn.ReLU():
            return nn.ReLU(inplace=alone)
        case sn.MaxPool2d():
            return nn.MaxPool2d(layer.window, layer.stride, layer.padding)
        case sn.GlobalAvgPool2d():
            return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        case sn.Flatten():
            return nn.Flatten()
        case sn.Add():
            return Function(lambda *inputs: sum(inputs[1:], inputs[0]))
        case sn.Concat():
            return Function(lambda *inputs: torch.cat(inputs, 1))
        case sn.PadShortcut():
            sides, stride = (0, 0, 0, 0, *channels_around(layer)), layer.stride
            return Function(lambda x: nn.functional.pad(x[:, :, ::stride, ::stride], sides))
        case _:
            raise TypeError(f"torch has no twin of {layer!r} here")
    module.weight.copy_(torch.from_numpy(layer.weight.value))
    module.bias.copy_(torch.from_numpy(layer.bias.value))
    return module


def load_torch_sparse(threads):
    import torch

    torch.set_num_threads(threads)
    torch.set_grad_enabled(False)

    def product(layer):
        rows = torch.from_numpy(layer.weight.value).flatten(1).to_sparse_csr()
        bias = torch.from_numpy(layer.bias.value)[:, None]
        return lambda columns: (rows @ columns).add_(bias)

    def step(layer, alone):
        if not isinstance(layer, sn.Conv2d | sn.Linear):
            return torch_module(layer, alone).eval()
        multiply = product(layer)
        if isinstance(layer, sn.Linear):
            return lambda x: multiply(x.T).T
        unfold = torch.nn.Unfold(layer.kernel_size, padding=layer.padding, stride=layer.stride)

        def convolve(x):
            shape = layer.output_shape(tuple(x.shape[1:]))
            columns = unfold(x)
            y = multiply(columns.movedim(0, 1).flatten(1))
            return y.reshape(shape[0], len(x), *shape[1:]).movedim(1, 0)

        return convolve

    return lambda network, x: in_turn(network, torch.from_numpy(x), step, lambda y: y.numpy())


def in_turn(network, x, step, read=lambda y: y):
    """The program that applies the function step(layer, alone) of each layer in turn; see `reads_alone`."""
    steps = [(node, step(node.layer, reads_alone(network, node))) for node in network.nodes]

    def call():
        outputs = {"input": x}
        for node, run in steps:
            outputs[node.name] = run(*(outputs[name] for name in node.inputs))
        return outputs[node.name]

    return Program(call, read)


def load_scipy(threads):
    return lambda network, x: in_turn(network, x, scipy_step)


def scipy_step(layer, alone):
    match layer:
        case sn.Conv2d():
            rows = to_rows(layer)
            return lambda x: to_images(add_bias(rows @ to_columns(layer, x), layer), layer, x.shape)
        case sn.Linear():
            rows = to_rows(layer)
            return lambda x: add_bias(rows @ x.T, layer).T
        case sn.BatchNorm():
            mean, var, gamma, beta = (numbers[:, None, None] for numbers in norm_numbers(layer))
            scale = gamma / np.sqrt(var + np.float32(layer.eps))
            return lambda x: scale * x + (beta - scale * mean)
        case sn.ReLU():
            return lambda x: np.maximum(x, 0, out=x if alone else None)
        case sn.MaxPool2d():
            return lambda x: pooling_windows(layer, x).max(axis=(-2, -1))
        case sn.GlobalAvgPool2d():
            return lambda x: x.mean(axis=(2, 3))
        case sn.Flatten():
            return lambda x: x.reshape(len(x), -1)
        case sn.Add():
            return lambda *inputs: sum(inputs[1:], inputs[0])
        case sn.Concat():
            return lambda *inputs: np.concatenate(inputs, axis=1)
        case sn.PadShortcut():
            return partial(padded_channels, layer)
        case _:
            raise TypeError(f"no SciPy form of {layer!r}")


def to_rows(layer):
    """The weights in CSR, a row per output."""
    from scipy.sparse import csr_array

    return csr_array(layer.weight.value.reshape(len(layer.bias.value), -1))


def add_bias(y, layer):
    y += layer.bias.value[:, None]
    return y


def to_columns(layer, x):
    """(C kernel positions, N output positions): what each output position sees, a column each."""
    (ph, pw), (sh, sw) = layer.padding, layer.stride
    x = np.pad(x, ((0, 0), (0, 0), (ph, ph), (pw, pw)))
    windows = np.lib.stride_tricks.sliding_window_view(x, layer.kernel_size, axis=(2, 3))[:, :, ::sh, ::sw]
    return windows.transpose(1, 4, 5, 0, 2, 3).reshape(layer.weight.value[0].size, -1)


def to_images(y, layer, input_shape):
    """(O, N positions) as images (N, O, height, width), a view."""
    channels, *size = layer.output_shape(input_shape[1:])
    return y.reshape(channels, input_shape[0], *size).swapaxes(0, 1)


def load_scipy_product(threads):
    def prepare(network, x):
        layer, _ = network.layers().values()
        rows, columns = to_rows(layer), to_columns(layer, x)
        return Program(
            lambda: rows @ columns,
            lambda y: np.maximum(to_images(add_bias(y, layer), layer, x.shape), 0),
        )

    return prepare


def load_onnxruntime(threads):
    import onnx  # noqa: F401  needed by to_onnx: absent, the engine is skipped
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1

    def prepare(network, x):
        model = to_onnx(network, x)
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
        y = np.empty((len(x), *network.shapes(x.shape[1:])[session.get_outputs()[0].name]), np.float32)
        given, wanted = (onnxruntime.OrtValue.ortvalue_from_numpy(array) for array in (x, y))
        binding = session.io_binding()
        binding.bind_ortvalue_input("input", given)
        binding.bind_ortvalue_output(session.get_outputs()[0].name, wanted)
        return Program(partial(session.run_with_iobinding, binding), lambda _: wanted.numpy(), keeps=(given, wanted))

    return prepare


def load_openvino(threads):
    import onnx  # noqa: F401  needed by to_onnx: absent, the engine is skipped
    import openvino

    core = openvino.Core()
    config = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32"}

    def prepare(network, x):
        model = core.read_model(to_onnx(network, x).SerializeToString())
        request = core.compile_model(model, "CPU", config).create_infer_request()
        given = openvino.Tensor(x, shared_memory=True)
        request.set_input_tensor(given)
        return Program(partial(request.infer, share_outputs=True), lambda y: y[0], keeps=(given, x))

    return prepare


OUTPUT = "the output of each call"
EACH_STEP = "the output of each layer and the columns, in each call"
NOTHING = "nothing: input and output are bound once"
ENGINES = {
    "sparsenet": Engine("ours", partial(load_sparsenet, "auto"), ("sparsenet",), 'plan, form="auto"', OUTPUT),
    "sparsenet-dense": Engine(
        "our dense", partial(load_sparsenet, "dense"), ("sparsenet",), 'plan, form="dense"', OUTPUT
    ),
    "torch": Engine(
        "dense peer",
        partial(load_torch, "eager"),
        ("torch",),
        "eager, contiguous, no gradients, ReLU in place",
        "the output of each layer with weights, in each call",
    ),
    "torch-channels-last": Engine(
        "dense peer",
        partial(load_torch, "channels-last"),
        ("torch",),
        "eager, input given and output left in channels-last order, no gradients, ReLU in place",
        "the output of each layer with weights, in each call",
        has_conv,
    ),
    "torch-compile": Engine(
        "dense peer", partial(load_torch, "compile"), ("torch",), "torch.compile with frozen weights", OUTPUT
    ),
    "onnxruntime": Engine(
        "dense peer", load_onnxruntime, ("onnxruntime", "onnx"), "session with all graph optimisations", NOTHING
    ),
    "openvino": Engine("dense peer", load_openvino, ("openvino", "onnx"), "latency hint, float32", NOTHING),
    "scipy": Engine(
        "sparse peer", load_scipy, ("scipy",), "CSR times the columns of im2col, one thread", EACH_STEP, is_plain
    ),
    "scipy-product": Engine(
        "sparse product",
        load_scipy_product,
        ("scipy",),
        "CSR times columns made before: no im2col, bias or ReLU, one thread",
        OUTPUT,
        is_one_conv,
    ),
    "torch-sparse": Engine(
        "sparse peer",
        load_torch_sparse,
        ("torch",),
        "CSR times the columns of unfold, ReLU in place",
        EACH_STEP,
        is_plain,
    ),
}

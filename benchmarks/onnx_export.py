"""A network as an ONNX model: what ONNX Runtime and OpenVINO are given."""

import numpy as np
from workloads import channels_around, norm_numbers

import sparsenet as sn


def to_onnx(network, x):
    """The network as an ONNX model for the shape of x."""
    from onnx import TensorProto, helper, numpy_helper

    nodes, constants = [], {}
    for node in network.nodes:
        operators, arrays = onnx_operators(node)
        nodes += [helper.make_node(kind, inputs, [output], **others) for kind, inputs, output, others in operators]
        constants |= arrays
    last, initializers = network.nodes[-1].name, [numpy_helper.from_array(a, name) for name, a in constants.items()]
    ends = [("input", x.shape), (last, (len(x), *network.shapes(x.shape[1:])[last]))]
    first, final = (helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in ends)
    graph = helper.make_graph(nodes, "network", [first], [final], initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def onnx_operators(node):
    """Operators (kind, inputs, output, attributes) of a node, in order, and its constants by name."""
    layer, name, inputs = node.layer, node.name, list(node.inputs)
    own = {}
    if isinstance(layer, sn.Conv2d | sn.Linear):
        own = {f"{name}.weight": layer.weight.value, f"{name}.bias": layer.bias.value}
    elif isinstance(layer, sn.BatchNorm):
        mean, var, gamma, beta = norm_numbers(layer)
        own = {f"{name}.gamma": gamma, f"{name}.beta": beta, f"{name}.mean": mean, f"{name}.var": var}
    elif isinstance(layer, sn.PadShortcut):
        return pad_operators(layer, name, inputs)
    elif isinstance(layer, sn.GlobalAvgPool2d):
        average = f"{name}.average"
        return [("GlobalAveragePool", inputs, average, {}), ("Flatten", [average], name, {})], {}
    kind, attributes = onnx_operator(layer, len(inputs))
    return [(kind, [*inputs, *own], name, attributes)], own


def pad_operators(layer, name, inputs):
    """Every second position or so of each channel, then channels of zeros."""
    before, behind = channels_around(layer)
    numbers = {
        "starts": [0, 0],
        "ends": [2**31 - 1] * 2,
        "axes": [2, 3],
        "steps": [layer.stride] * 2,
        "pads": [0, before, 0, 0, 0, behind, 0, 0],
    }
    constants = {f"{name}.{key}": np.array(values, np.int64) for key, values in numbers.items()}
    *slices, pads = constants
    sliced = f"{name}.sliced"
    return [("Slice", [*inputs, *slices], sliced, {}), ("Pad", [sliced, pads], name, {})], constants


def onnx_operator(layer, inputs=1):
    """(operator, attributes) of a layer of so many inputs that is one operator."""
    match layer:
        case sn.Conv2d():
            sizes = {"kernel_shape": layer.kernel_size, "strides": layer.stride, "pads": layer.padding * 2}
            return "Conv", sizes | {"dilations": layer.dilation, "group": layer.groups}
        case sn.Linear():
            return "Gemm", {"transB": 1}
        case sn.BatchNorm():
            return "BatchNormalization", {"epsilon": layer.eps}
        case sn.ReLU():
            return "Relu", {}
        case sn.MaxPool2d():
            return "MaxPool", {"kernel_shape": layer.window, "strides": layer.stride, "pads": layer.padding * 2}
        case sn.Flatten():
            return "Flatten", {}
        case sn.Add():
            return "Add" if inputs == 2 else "Sum", {}
        case sn.Concat():
            return "Concat", {"axis": 1}
        case _:
            raise TypeError(f"no ONNX operator for {layer!r}")

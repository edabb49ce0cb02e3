"""Networks with branches: Add, Concat, PadShortcut by hand, graphs and their gradients, copies, files; the models."""

from collections import Counter

import numpy as np
import pytest
from helpers import check_gradients, random_graph

import sparsenet as sn
from sparsenet.nn.counting import count_layers
from sparsenet.verify.definitions.differences import central_difference

SEEDS = range(14)


def size(network):
    return sum(parameter.value.size for parameter in network.parameters().values())


def test_addition_by_hand():
    a, b, c = np.array([[1.0, 2.0]]), np.array([[10.0, 20.0]]), np.array([[100.0, 200.0]])
    layer = sn.Add()
    assert layer.forward(a, b).tolist() == [[11, 22]]
    assert layer.forward(a, b, c).tolist() == [[111, 222]]
    assert [dx.tolist() for dx in layer.backward(np.array([[3.0, 4.0]]))] == [[[3, 4]]] * 3
    assert (a.tolist(), b.tolist(), c.tolist()) == ([[1, 2]], [[10, 20]], [[100, 200]])
    assert layer.forward(a.astype(np.float32), b.astype(np.float32)).dtype == np.float32


def test_concatenation_by_hand():
    """Two samples of 1 x 2 images: one channel, then two; each sample's channels lie behind each other."""
    a = np.array([[[[1, 2]]], [[[3, 4]]]], float)
    b = np.array([[[[5, 6]], [[7, 8]]], [[[9, 10]], [[11, 12]]]], float)
    layer = sn.Concat()
    assert layer.forward(a, b)[:, :, 0].tolist() == [[[1, 2], [5, 6], [7, 8]], [[3, 4], [9, 10], [11, 12]]]
    assert layer.forward(b, a)[:, :, 0].tolist() == [[[5, 6], [7, 8], [1, 2]], [[9, 10], [11, 12], [3, 4]]]
    db, da = layer.backward(np.arange(12.0).reshape(2, 3, 1, 2))
    assert db[:, :, 0].tolist() == [[[0, 1], [2, 3]], [[6, 7], [8, 9]]]
    assert da[:, :, 0].tolist() == [[[4, 5]], [[10, 11]]]
    assert layer.forward(np.array([[1.0]]), np.array([[2.0, 3.0]]), np.array([[4.0]])).tolist() == [[1, 2, 3, 4]]


@pytest.mark.parametrize("channels", [(3, 3), (2, 2, 2)])
def test_gradients_of_addition(rng, channels):
    check_gradients(sn.Add(), tuple(rng.standard_normal((2, c, 3, 2)) for c in channels), rng)


@pytest.mark.parametrize("shapes", [((2, 3, 2), (4, 3, 2)), ((1, 2, 2), (3, 2, 2), (2, 2, 2)), ((3,), (1,), (5,))])
def test_gradients_of_concatenation(rng, shapes):
    check_gradients(sn.Concat(), tuple(rng.standard_normal((2, *shape)) for shape in shapes), rng)


@pytest.mark.parametrize(
    ("outputs", "stride", "expected"),
    [
        (1, 1, [[[1, 2, 3], [4, 5, 6], [7, 8, 9]]]),
        (1, 2, [[[1, 3], [7, 9]]]),
        (1, 3, [[[1]]]),
        (2, 2, [[[1, 3], [7, 9]], [[0, 0], [0, 0]]]),  # one channel more: it comes behind
        (4, 2, [[[0, 0], [0, 0]], [[1, 3], [7, 9]], [[0, 0], [0, 0]], [[0, 0], [0, 0]]]),
    ],
)
def test_the_padded_shortcut_by_hand(outputs, stride, expected):
    layer = sn.PadShortcut(1, outputs, stride)
    x = np.arange(1.0, 10).reshape(1, 1, 3, 3)
    assert layer.forward(x).tolist() == [expected]
    assert layer.output_shape((1, 3, 3)) == np.array(expected).shape


@pytest.mark.parametrize(
    ("inputs", "outputs", "stride", "image"), [(2, 5, 2, (4, 5)), (3, 3, 1, (2, 2)), (1, 4, 3, (7, 1))]
)
def test_the_padded_shortcut_and_its_gradient_are_adjoint(rng, inputs, outputs, stride, image):
    """<P x, dy> = <x, P^T dy>, and P x is what is there: P has one 1 in each row or none."""
    layer, x = sn.PadShortcut(inputs, outputs, stride), rng.standard_normal((3, inputs, *image))
    y = layer.forward(x)
    dy = rng.standard_normal(y.shape)
    assert np.sum(y * dy) == pytest.approx(np.sum(x * layer.backward(dy)), rel=1e-12)
    check_gradients(layer, x, rng)


@pytest.mark.parametrize("outputs", [16, 21])
def test_the_padded_shortcut_fits_beside_a_strided_convolution(outputs):
    for image in ((32, 32), (7, 8), (1, 5)):
        conv = sn.Conv2d(16, outputs, 3, 2, 1)
        assert sn.PadShortcut(16, outputs, 2).output_shape((16, *image)) == conv.output_shape((16, *image))


@pytest.mark.parametrize(
    ("layer", "shapes", "message"),
    [
        (sn.Add(), [(3, 4, 4)], "Add joins two or more branches, not 1"),
        (sn.Add(), [(3, 4, 4), (4, 4, 4)], r"Add takes branches of one shape, not \(3, 4, 4\), \(4, 4, 4\)"),
        (sn.Add(), [(3, 4, 4), (3, 4, 4), (3, 1, 1)], "Add takes branches of one shape"),  # not broadcast
        (sn.Add(), [(3, 4, 4), (3,)], "Add takes branches of one shape"),
        (sn.Concat(), [(3, 4, 4)], "Concat joins two or more branches, not 1"),
        (sn.Concat(), [(3, 4, 4), (3, 4, 5)], "Concat takes branches alike but for their channels"),
        (sn.Concat(), [(3, 4, 4), (3,)], "Concat takes branches alike but for their channels"),
        (sn.Concat(), [(), ()], "Concat takes branches alike but for their channels"),
        (sn.PadShortcut(2, 4), [(3, 4, 4)], "PadShortcut takes images of 2 channels"),
        (sn.PadShortcut(2, 4), [(2,)], "PadShortcut takes images of 2 channels"),
    ],
)
def test_branches_that_do_not_fit_are_refused(layer, shapes, message):
    with pytest.raises(ValueError, match=message):
        layer.output_shape(*shapes)
    if all(shapes) and not isinstance(layer, sn.PadShortcut):
        with pytest.raises(ValueError, match=message):  # by a layer alone as well: NumPy would broadcast
            layer.forward(*(np.zeros((2, *shape), np.float32) for shape in shapes))


def test_a_network_names_the_layer_where_branches_do_not_fit():
    graph = sn.Graph()
    y = graph.add("half", sn.MaxPool2d(2))
    graph.add("sum", sn.Add(), y, "input")
    with pytest.raises(ValueError, match=r"layer 'sum': Add takes branches of one shape, not \(3, 4, 4\), \(3, 8, 8\)"):
        graph.network()(np.zeros((1, 3, 8, 8), np.float32))


@pytest.mark.parametrize("layer", [sn.Linear(4, 4), sn.ReLU(), sn.BatchNorm(4), sn.Flatten(), sn.MaxPool2d(2)])
def test_a_layer_of_one_input_does_not_take_two(layer):
    graph = sn.Graph()
    graph.add("first", sn.ReLU())
    graph.add("second", layer, "first", "input")
    with pytest.raises(ValueError, match=r"layer 'second': \w+ does not take 2 inputs \(first, input\)"):
        graph.network()


def test_a_padded_shortcut_tells_its_channels_where_they_are_not_in_order(rng):
    told = {"in_channels": 2, "out_channels": 4, "stride": 3}
    assert sn.PadShortcut(2, 4, 3).config() == sn.PadShortcut(2, 4, 3, (-1, 0, 1, -1)).config() == told
    assert sn.PadShortcut(2, 4, 3, (1, -1, -1, 0)).config() == told | {"channels": (1, -1, -1, 0)}
    x = rng.standard_normal((1, 2, 1, 1))
    y = sn.PadShortcut(2, 4, 3, (1, -1, -1, 0)).forward(x)
    assert y[0, :, 0, 0].tolist() == [x[0, 1, 0, 0], 0, 0, x[0, 0, 0, 0]]
    assert not sn.PadShortcut(2, 2, channels=(-1, -1)).forward(x).any()


def test_wrong_settings_of_a_padded_shortcut_are_refused():
    for arguments, name in (((0, 4), "in_channels"), ((4, 3), "out_channels"), ((2, 4, 0), "stride")):
        with pytest.raises(ValueError, match=name):
            sn.PadShortcut(*arguments)
    with pytest.raises(TypeError, match="stride"):
        sn.PadShortcut(2, 4, 1.5)


def test_a_graph_is_written_down_from_one_layer_to_the_next():
    graph = sn.Graph()
    assert graph.add("a", sn.ReLU()) == "a"
    graph.add("b", sn.ReLU())
    graph.add("c", sn.ReLU(), "a")
    graph.add("d", sn.ReLU(), None)
    graph.add("sum", sn.Add(), "b", None)
    inputs = {node.name: node.inputs for node in graph.network().nodes}
    assert inputs == {"a": ("input",), "b": ("a",), "c": ("a",), "d": ("c",), "sum": ("b", "d")}
    assert [node.name for node in graph.network().consumers("a")] == ["b", "c"]


def test_a_graph_that_is_no_network_is_refused():
    with pytest.raises(ValueError, match="at least one layer"):
        sn.Graph().network()
    for sources, message in ((("nowhere",), "inputs of 'b' names 'nowhere'"), (("b",), "inputs of 'b' names 'b'")):
        graph = sn.Graph()
        graph.add("a", sn.ReLU())
        graph.add("b", sn.ReLU(), *sources)
        with pytest.raises(ValueError, match=message):
            graph.network()
    graph = sn.Graph()
    graph.add("a", sn.ReLU())
    graph.add("b", sn.ReLU(), "input")
    with pytest.raises(ValueError, match="only the last layer may go unread, not 'a', 'b'"):
        graph.network()
    graph.add("a", sn.Add(), "a", "b")
    with pytest.raises(ValueError, match="two layers are named 'a'"):
        graph.network()


def test_a_branch_added_to_itself_counts_twice():
    graph = sn.Graph()
    y = graph.add("fc", sn.Linear(2, 2, init=lambda shape, rng: np.array([[1, 2], [3, 4]], np.float32)))
    graph.add("twice", sn.Add(), y, y)
    network = graph.network()
    x, dy = np.array([[1.0, 10.0]], np.float32), np.array([[1.0, 100.0]], np.float32)
    assert network(x).tolist() == [[42, 86]]
    assert network.backward(dy).tolist() == [[602, 804]]  # 2 W^T dy
    assert network["fc"].weight.grad.tolist() == [[2, 20], [200, 2000]]
    assert "twice: Add() of fc, fc" in repr(network)


def test_the_input_added_to_itself(rng):
    network = sn.Network([sn.Node("twice", sn.Add(), ("input", "input"))])
    x = rng.standard_normal((2, 3)).astype(np.float32)
    np.testing.assert_array_equal(network(x), 2 * x)
    dy = np.ones((2, 3), np.float32)
    dx = network.backward(dy)
    np.testing.assert_array_equal(dx, 2 * dy)
    network = sn.Network([sn.Node("pair", sn.Concat(), ("input", "input"))])
    np.testing.assert_array_equal(network(x), np.concatenate([x, x], 1))
    dy = rng.standard_normal((2, 6)).astype(np.float32)
    np.testing.assert_array_equal(network.backward(dy), dy[:, :3] + dy[:, 3:])


def test_a_gradient_handed_out_is_the_callers_own(rng):
    """Add passes dy on, Concat pieces of it: what the caller gets must not be what the caller gave."""
    x = rng.standard_normal((2, 3)).astype(np.float32)
    graph = sn.Graph()
    graph.add("fc", sn.Linear(3, 3))
    graph.add("sum", sn.Add(), "fc", "input")
    for network in (graph.network(), sn.chain({"relu": sn.ReLU()})):
        network(x)
        dy = np.ones((2, 3), np.float32)
        dx = network.backward(dy)
        assert not np.shares_memory(dx, dy)
        assert (dy == 1).all()


def three_branches():
    """Three different branches of one source, added, flattened, and a linear layer."""
    graph = sn.Graph()
    x = graph.add("stem", sn.Conv2d(2, 4, 3, padding=1, seed=1))
    a = graph.add("a", sn.Conv2d(4, 4, 3, padding=1, groups=4, seed=2), x)
    graph.add("b", sn.Conv2d(4, 4, 1, seed=3), x)
    b = graph.add("b_relu", sn.ReLU())
    graph.add("sum", sn.Add(), a, b, x)
    graph.add("flat", sn.Flatten())
    graph.add("fc", sn.Linear(4 * 12, 3, seed=4))
    return graph.network()


def test_gradients_of_three_branches(rng):
    check_gradients(three_branches().astype(np.float64), rng.standard_normal((2, 2, 4, 3)), rng, rtol=1e-5)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("seed", SEEDS)
def test_gradients_of_random_graphs(seed, training):
    """A few entries of x and of every parameter against central differences in float64."""
    rng = np.random.default_rng(seed)
    network = random_graph(seed).astype(np.float64)
    x = rng.standard_normal((3, 3, 9, 8))
    upstream = rng.standard_normal((3, 3))

    def loss():
        return float((network.forward(x, training=training) * upstream).sum())

    loss()
    gradients = {"x": (x, network.backward(upstream))}
    gradients |= {name: (p.value, p.grad.copy()) for name, p in network.parameters().items()}
    for name, (array, gradient) in gradients.items():
        start = rng.integers(max(1, array.size - 3))
        piece, expected = array.reshape(-1)[start : start + 3], gradient.reshape(-1)[start : start + 3]
        found = central_difference(loss, piece)
        np.testing.assert_allclose(expected, found, rtol=1e-5, atol=1e-7 * max(1, np.abs(gradient).max()), err_msg=name)


def test_random_graphs_have_all_there_is():
    """Otherwise the tests on them would say less than they seem to."""
    networks = [random_graph(seed) for seed in SEEDS]
    nodes = [node for network in networks for node in network.nodes]
    counts = Counter(type(node.layer).__name__ for node in nodes)
    for kind in ("Add", "Concat", "PadShortcut", "Conv2d", "BatchNorm", "MaxPool2d", "AvgPool2d", "GlobalAvgPool2d"):
        assert counts[kind] >= 3, kind
    convs = [node.layer for node in nodes if isinstance(node.layer, sn.Conv2d)]
    assert any(conv.stride == (2, 2) for conv in convs)
    assert any(1 < conv.groups < conv.in_channels for conv in convs)
    assert any(conv.groups == conv.in_channels > 1 for conv in convs)
    sums = [node for node in nodes if isinstance(node.layer, sn.Add)]
    assert any(len(node.inputs) == 3 for node in sums)
    assert any(len(set(node.inputs)) < len(node.inputs) for node in sums)


def pruned_graph(seed):
    """A random graph, half of its weights pruned and one epoch trained, and images for it."""
    rng = np.random.default_rng(seed)
    network, x = random_graph(seed), rng.standard_normal((6, 3, 9, 8)).astype(np.float32)
    network.apply_masks({name: rng.random(mask.shape) < 0.5 for name, mask in network.masks().items()})
    sn.fit(network, (x, np.arange(6) % 3), epochs=1, batch_size=3, optimizer=sn.SGD(0.01, momentum=0.9))
    return network, x


@pytest.mark.parametrize("seed", SEEDS[:6])
def test_copies_files_and_rollbacks_of_random_graphs_are_the_same_network(seed, tmp_path):
    network, x = pruned_graph(seed)
    expected = network(x)
    sn.save_network(tmp_path / "graph.sparsenet", network, state=True)
    loaded, restored = sn.load_network(tmp_path / "graph.sparsenet"), random_graph(seed)
    restored.restore(network)
    for twin in (network.copy(), loaded, restored):
        assert [(n.name, n.inputs) for n in twin.nodes] == [(n.name, n.inputs) for n in network.nodes]
        assert repr(twin) == repr(network)
        assert np.array_equal(twin(x), expected)
        assert all(np.array_equal(mask, network.masks()[name]) for name, mask in twin.masks().items())
        for model in (twin, after := network.copy()):  # one more step, with the optimiser's memory
            sn.fit(model, (x, np.arange(6) % 3), epochs=1, batch_size=3, optimizer=sn.SGD(0.01, momentum=0.9))
        assert np.array_equal(twin(x), after(x))
    assert np.array_equal(network(x), expected)


@pytest.mark.parametrize("seed", SEEDS[:6])
def test_bits_of_random_graphs_do_not_depend_on_the_threads(seed):
    network, x = pruned_graph(seed)
    results = []
    for count in (1, 2):
        with sn.threads(count):
            y = network.forward(x, training=True)
            results.append([y, network.backward(y), *(p.grad.copy() for p in network.parameters().values())])
    assert all(np.array_equal(a, b) for a, b in zip(*results, strict=True))


def test_a_network_with_branches_forgets_what_it_saved():
    network, x = pruned_graph(3)
    network(x)
    assert any(layer.saved is not None for layer in network.layers().values())
    network.forget()
    assert all(layer.saved is None for layer in network.layers().values())
    with pytest.raises(RuntimeError, match="backward needs a forward"):
        network.backward(np.zeros((6, 3), np.float32))


def test_every_layer_takes_pieces_of_arrays(rng):
    """Concat hands out pieces of dy, and x may be one: they are not contiguous, and stay as they are."""
    layers = [sn.Conv2d(4, 6, 3, padding=1), sn.Conv2d(4, 6, 1, 2), sn.Conv2d(4, 4, 3, groups=4), sn.ReLU()]
    layers += [sn.BatchNorm(4), sn.MaxPool2d(2), sn.AvgPool2d(3, 1, 1), sn.GlobalAvgPool2d(), sn.Flatten()]
    layers += [sn.PadShortcut(4, 7, 2), sn.WeightNorm(sn.Conv2d(4, 6, 3)), sn.Dropout(0.0)]

    def piece(array):
        whole = np.full((len(array), array.shape[1] + 2, *array.shape[2:]), np.nan, array.dtype)
        whole[:, 1:-1] = array
        return whole[:, 1:-1]

    for layer in layers:
        x = rng.standard_normal((3, 4, 6, 6)).astype(np.float32)
        dy = rng.standard_normal(layer.forward(x, training=True).shape).astype(np.float32)
        results = []
        for given, upstream in ((x, dy), (piece(x), dy), (x, piece(dy))):
            kept = upstream.copy()
            y = layer.forward(given, training=True)
            gradients = [layer.backward(upstream), *(p.grad for p in layer.parameters().values())]
            results.append([array.copy() for array in (y, *gradients)])
            assert np.array_equal(upstream, kept)
        for other in results[1:]:
            for a, b in zip(results[0], other, strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5, err_msg=repr(layer))


# Parameters of a ResNet with n blocks a stage: weights of the convolutions, their biases, scale and shift, linear layer
def resnet_parameters(n, projections):
    first = 27 * 16
    stages = [(16, 16), (16, 32), (32, 64)]
    weights = first + sum(9 * (a * b + (2 * n - 1) * b * b) for a, b in stages)
    channels = 16 + sum(2 * n * b for _, b in stages)
    if projections:
        weights += 16 * 32 + 32 * 64
        channels += 32 + 64
    return weights + 3 * channels + 64 * 10 + 10


@pytest.mark.parametrize(("depth", "millions"), [(20, 0.27), (32, 0.46), (44, 0.66), (56, 0.85)])
def test_resnets_have_their_published_size(depth, millions):
    for shortcut in ("pad", "conv"):
        count = size(sn.models.resnet20(depth=depth, shortcut=shortcut))
        assert count == resnet_parameters((depth - 2) // 6, shortcut == "conv")
        assert shortcut == "conv" or abs(count / 1e6 - millions) < 0.01
    assert size(sn.models.resnet20()) == 270_410


def test_multiply_adds_of_a_resnet():
    """40.55 million of the convolutions, as is known of ResNet-20, and 640 of the linear layer."""
    counts = count_layers(sn.models.resnet20(), (3, 32, 32))
    stem, same, first = 27 * 16 * 1024, 9 * 16 * 16 * 1024, 9 * 16 * 32 * 256
    assert same == 9 * 32 * 32 * 256 == 9 * 64 * 64 * 64
    assert first == 9 * 32 * 64 * 64
    assert sum(each.macs for each in counts.values()) == stem + 16 * same + 2 * first + 640 == 40_551_040


def test_a_block_of_a_resnet_is_the_papers():
    """y = relu(F(x) + x) of the first block, where channels double beside the padded or the projected shortcut."""
    network = sn.models.resnet20(depth=8)
    inputs = {node.name: node.inputs for node in network.nodes}
    assert inputs["block1_1a"] == ("stem_relu",)
    assert inputs["block1_1_sum"] == ("block1_1b_norm", "stem_relu")
    assert inputs["block2_1_sum"] == ("block2_1b_norm", "block2_1_shortcut")
    assert inputs["block2_1_shortcut"] == ("block1_1_relu",)
    assert isinstance(network["block2_1_shortcut"], sn.PadShortcut)
    projected = sn.models.resnet20(depth=8, shortcut="conv")
    assert {n.name: n.inputs for n in projected.nodes}["block3_1_sum"] == ("block3_1b_norm", "block3_1_shortcut_norm")
    conv = projected["block3_1_shortcut"]
    assert (conv.kernel_size, conv.stride, conv.in_channels, conv.out_channels) == ((1, 1), (2, 2), 32, 64)


def test_the_size_of_the_other_models():
    """Weights of 3 x 3, or of 3 x 3 a channel and 1 x 1 between them; of each channel bias, scale and shift."""
    pairs = [(3, 64), (64, 64), (64, 128), (128, 128), (128, 256), (256, 256)]
    expected = sum(9 * a * b + 3 * b for a, b in pairs) + 256 * 16 * 10 + 10
    assert size(sn.models.vgg_small()) == expected
    pairs = [(32, 64), (64, 128), (128, 128), (128, 256), (256, 256)]
    expected = 27 * 32 + 3 * 32 + sum(9 * a + 3 * a + a * b + 3 * b for a, b in pairs) + 256 * 10 + 10
    assert size(sn.models.mobilenet_small()) == expected


MODELS = [sn.models.resnet20, sn.models.vgg_small, sn.models.mobilenet_small]


@pytest.mark.parametrize("model", MODELS)
def test_models_with_branches_take_other_images_and_classes(rng, model):
    network = model((1, 18, 11), 7, seed=3)
    x = rng.standard_normal((2, 1, 18, 11)).astype(np.float32)
    assert network(x).shape == (2, 7)
    assert np.isfinite(network.forward(x, training=True)).all()
    again, other = model((1, 18, 11), 7, seed=3), model((1, 18, 11), 7, seed=4)
    weights = network.weights()
    assert all(np.array_equal(w.value, weights[n].value) for n, w in again.weights().items())
    assert not any(np.array_equal(w.value, weights[n].value) for n, w in other.weights().items())


@pytest.mark.parametrize("model", MODELS)
def test_wrong_settings_of_the_models_are_refused(model):
    for shape in ((32, 32), (3, 32, 0), (0, 32, 32)):
        with pytest.raises(ValueError, match="input_shape"):
            model(shape)
    with pytest.raises(ValueError, match="classes must be at least 1"):
        model(classes=0)


def test_depths_and_shortcuts_that_are_none_are_refused():
    for depth in (2, 7, 18, 21, 51, -4):
        with pytest.raises(ValueError, match="depth must be"):
            sn.models.resnet20(depth=depth)
    with pytest.raises(TypeError, match="depth must be an integer"):
        sn.models.resnet20(depth=20.0)
    with pytest.raises(ValueError, match="shortcut must be one of pad, conv, not 'none'"):
        sn.models.resnet20(shortcut="none")
    with pytest.raises(ValueError, match="at least 8 x 8"):
        sn.models.vgg_small((3, 7, 32))


def test_a_network_with_branches_learns(digits):
    """Half as deep as the smallest of the paper: a shortcut that led nowhere, or to the wrong place, would not."""
    network = sn.models.resnet20(digits.input_shape, depth=8, seed=0)
    x, y = digits.train.x[:300], digits.train.y[:300]
    history = sn.fit(network, (x, y), epochs=4, batch_size=32, optimizer=sn.SGD(0.1, momentum=0.9), seed=0)
    assert history[-1].accuracy > 0.9
    assert history[-1].loss < 0.3 * history[0].loss

"""Built-in encoders: the grammar, shapes, what is refused, and that they can learn."""

import pytest
import torch
from torch import nn

from polytask.data import InputSpec
from polytask.errors import ConfigError
from polytask.share import CNN, ENCODERS, MLP, Tabular, build_encoder
from polytask.share.encoders import parse

VECTOR = InputSpec("vector", (5,))
IMAGE = InputSpec("image", (1, 14, 14))
COLOUR = InputSpec("image", (3, 32, 32))
TABLE = InputSpec("table", (), numeric=3, cardinalities=(4, 300))

CASES = [
    ("mlp:7", VECTOR, 7),
    ("mlp:16,7;dropout=0.1", VECTOR, 7),
    ("mlp:16,7", IMAGE, 7),
    ("cnn:4", IMAGE, 128),
    ("cnn:4,8;width=20", IMAGE, 20),
    ("cnn:4,8,8,8,8;width=20;dropout=0.5", COLOUR, 20),
    ("tabular:16,9", TABLE, 9),
    ("tabular:9;dropout=0.2;embedding=5", TABLE, 9),
    ("tabular:9", InputSpec("table", (), numeric=3), 9),
    ("tabular:9", InputSpec("table", (), cardinalities=(4, 2)), 9),
]
"""Specification, inputs, width of the representation. A new encoder adds its lines."""


def example(inputs, rows=6):
    if inputs.kind != "table":
        return torch.randn(rows, *inputs.shape)
    codes = torch.tensor(inputs.cardinalities).expand(rows, -1) - 1
    return {"numeric": torch.randn(rows, inputs.numeric), "categorical": codes}


def test_every_encoder_has_a_case():
    assert {parse(spec).name for spec, _, _ in CASES} == set(ENCODERS)


@pytest.mark.parametrize(("spec", "inputs", "width"), CASES)
def test_representation_has_the_width_that_is_said(spec, inputs, width):
    encoder = build_encoder(spec, inputs)
    assert encoder.out_features == width
    assert encoder(example(inputs)).shape == (6, width)
    assert encoder(example(inputs, rows=0)).shape == (0, width)
    one, two = (build_encoder(spec, inputs, seed=3).state_dict() for _ in range(2))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_layers_are_as_written():
    encoder = build_encoder("mlp:16,7;dropout=0.25", VECTOR)
    assert [type(m) for m in encoder.layers] == [nn.Linear, nn.ReLU, nn.Dropout] * 2
    assert encoder.layers[2].p == 0.25
    blocks = build_encoder("cnn:4,8", IMAGE).blocks
    assert [type(m) for m in blocks] == [nn.Conv2d, nn.MaxPool2d, nn.ReLU] * 2
    assert [(m.in_channels, m.out_channels) for m in blocks if isinstance(m, nn.Conv2d)] == [(1, 4), (4, 8)]
    widths = [e.embedding_dim for e in build_encoder("tabular:9", TABLE).embeddings]
    assert widths == [4, 32]  # ⌈1.6·4^0.56⌉ and the bound
    assert [e.num_embeddings for e in build_encoder("tabular:9", TABLE).embeddings] == [4, 300]


@pytest.mark.parametrize("spec", ["mlp:400,400,400,400", "cnn:32,32;width=400"])
def test_activations_keep_their_size_through_the_layers(spec):
    """Standard normal inputs: the mean square of ReLU outputs stays near 1; taking maxima raises it a little."""
    inputs = InputSpec("image", (3, 16, 16)) if spec.startswith("cnn") else InputSpec("vector", (400,))
    encoder = build_encoder(spec, inputs, seed=0)
    squares = []
    for module in encoder.modules():
        if isinstance(module, nn.ReLU):
            module.register_forward_hook(lambda _module, _given, output: squares.append(float(output.square().mean())))
    with torch.no_grad():
        encoder(example(inputs, rows=64))
    assert all(0.5 < square < 8 for square in squares), squares
    assert all(not p.any() for name, p in encoder.named_parameters() if name.endswith("bias"))


def test_grammar():
    parsed = parse(" mlp : 64, 32 ; dropout = 0.1 ;")
    assert (parsed.name, parsed.widths, parsed.options) == ("mlp", (64, 32), {"dropout": 0.1})


@pytest.mark.parametrize(
    ("spec", "inputs", "message"),
    [
        ("mpl:32", VECTOR, "unknown encoder 'mpl'; did you mean 'mlp'.*is written NAME:WIDTH"),
        ("mlp", VECTOR, "one or more positive widths.*is written NAME:WIDTH"),
        ("mlp:", VECTOR, "cannot read the encoder 'mlp:'.*is written NAME:WIDTH"),
        ("mlp:a", VECTOR, "cannot read"),
        ("mlp:8,-1", VECTOR, "positive widths"),
        ("mlp:8;dropout", VECTOR, "cannot read"),
        ("mlp:8;dropuot=0.1", VECTOR, "unknown option 'dropuot'; did you mean 'dropout'"),
        ("cnn:8,8,8,8", IMAGE, "too often for 14×14"),
        ("cnn:8", VECTOR, r"takes images of shape \(C, H, W\).*use mlp"),
        ("cnn:8", TABLE, "use tabular"),
        ("mlp:8", TABLE, "the data is a table; use tabular:8"),
        ("tabular:8", VECTOR, "takes a table, the data is a vector; use mlp"),
        ("tabular:8", InputSpec("table", ()), "at least one input column"),
        ("mlp:8;dropout=1.5", VECTOR, "between 0 and 1, found 1.5"),
        ("cnn:8;width=0", IMAGE, "width=.*whole number.*found 0"),
        ("cnn:8;width=2.5", IMAGE, "width=.*whole number.*found 2.5"),
    ],
)
def test_mistakes_are_refused_with_a_remedy(spec, inputs, message):
    with pytest.raises(ConfigError, match=message):
        build_encoder(spec, inputs)


@pytest.mark.parametrize(("spec", "inputs"), [("mlp:8", VECTOR), ("cnn:4", IMAGE), ("tabular:8", TABLE)])
def test_parameters_depend_on_the_seed_alone(spec, inputs):
    state = torch.get_rng_state()
    first, second, other = (build_encoder(spec, inputs, seed=seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    torch.testing.assert_close(first, second, rtol=0, atol=0)
    assert any(not torch.equal(first[name], other[name]) for name in first)


@pytest.mark.parametrize("cls", [MLP, CNN, Tabular])
def test_every_encoder_is_in_the_registry(cls):
    assert cls.from_spec in ENCODERS.values()


def test_tabular_sees_every_column():
    encoder = build_encoder("tabular:32", TABLE)
    rows = example(TABLE, rows=1)
    before = encoder(rows)
    for column in range(2):
        changed = {name: value.clone() for name, value in rows.items()}
        changed["categorical"][0, column] = (changed["categorical"][0, column] + 1) % 4
        assert not torch.equal(encoder(changed), before)
    changed = {**rows, "numeric": rows["numeric"] + 1}
    assert not torch.equal(encoder(changed), before)


def test_convolution_learns_where_a_bright_bar_is():
    """Two classes, horizontal or vertical bar anywhere: needs more than a linear map of the pixels."""
    generator = torch.Generator().manual_seed(0)
    images = 0.1 * torch.randn(200, 1, 14, 14, generator=generator)
    label = torch.arange(200) % 2
    for i, place in enumerate(torch.randint(14, (200,), generator=generator).tolist()):
        images[(i, 0, place) if label[i] else (i, 0, slice(None), place)] += 1
    model = nn.Sequential(build_encoder("cnn:8,16;width=32", IMAGE, seed=0), nn.Linear(32, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(40):
        optimizer.zero_grad()
        nn.functional.binary_cross_entropy_with_logits(model(images[:150])[:, 0], label[:150].float()).backward()
        optimizer.step()
    accuracy = ((model(images[150:])[:, 0] > 0) == label[150:]).float().mean()
    assert accuracy > 0.95


def test_pooling_before_relu_is_the_same_function() -> None:
    encoder = build_encoder("cnn:6,8;width=10", IMAGE, seed=0)
    x = torch.randn(5, 1, 14, 14)
    z = x
    for convolution in (layer for layer in encoder.blocks if isinstance(layer, nn.Conv2d)):
        z = nn.functional.max_pool2d(torch.relu(convolution(z)), 2)
    torch.testing.assert_close(encoder(x), encoder.project(z.contiguous()))

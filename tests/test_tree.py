"""Trees of tensors and numbers: apart and together again, through JSON; what is no tree is refused by where it stands."""

import json
import math
import random
from dataclasses import dataclass, field
from typing import NamedTuple

import pytest
import torch

from bnn_zoo._tree import NODES, node, put_together, take_apart


@node
class Metric(NamedTuple):
    variance: torch.Tensor
    count: int


@node
@dataclass(frozen=True)
class Walk:
    metric: Metric
    position: torch.Tensor
    made: str = field(init=False, default="by hand")

    def __post_init__(self):
        raise AssertionError("what is put together is not made anew")


@node
@dataclass(slots=True)
class Slotted:
    left: object
    right: object = None


def walk(metric, position):
    made = object.__new__(Walk)
    for name, value in (("metric", metric), ("position", position), ("made", "here")):
        object.__setattr__(made, name, value)
    return made


def same(a, b):
    """Equal types, dtypes and values, bit for bit; nan equals nan."""
    if type(a) is not type(b):
        return False
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and a.shape == b.shape and bits(a) == bits(b)
    if isinstance(a, float):
        return a.hex() == b.hex()
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return list(a) == list(b) and all(map(same, a.keys(), b.keys())) and all(map(same, a.values(), b.values()))
    if isinstance(a, Walk):
        return same((a.metric, a.position, a.made), (b.metric, b.position, b.made))
    if isinstance(a, Slotted):
        return same((a.left, a.right), (b.left, b.right))
    return a == b


def bits(tensor):
    return tensor.clone(memory_format=torch.contiguous_format).reshape(-1).view(torch.uint8).tolist()


DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.uint8, torch.bool)


def a_tensor(rng):
    shape = rng.choice([(), (0,), (3,), (2, 3), (0, 4), (1, 1, 2)])
    tensor = torch.tensor([rng.gauss(0, 3) for _ in range(math.prod(shape))], dtype=torch.float64).reshape(shape)
    tensor = tensor.to(rng.choice(DTYPES))
    way = rng.randrange(4)
    if way == 0 and tensor.ndim == 2:
        return tensor.T
    if way == 1:
        return tensor.expand(2, *tensor.shape)  # memory that is shared by rows
    return tensor.repeat(3)[::2] if way == 2 and tensor.ndim == 1 else tensor


def a_tree(rng, depth=0):
    kind = rng.randrange(6 if depth > 4 else 13)
    inner = lambda: a_tree(rng, depth + 1)
    if kind < 6:
        floats = [0.1, -0.0, 1e300, 5e-324, math.inf, -math.inf, math.nan, rng.gauss(0, 1), 3.0]
        texts = ["", "tensor", "a.b", '\u2207\n"', "\ud800"]
        return [None, rng.random() < 0.5, rng.choice([0, -7, 2**130]), rng.choice(floats), rng.choice(texts), a_tensor(rng)][
            kind
        ]
    if kind < 9:
        items = [inner() for _ in range(rng.randrange(4))]
        return items if kind == 6 else tuple(items)
    if kind < 11:
        keys = [0, 1, -3, "0", "1", "0.weight", "a", "a.b", "b", "tensor", "__metadata__", "node", "fields", ""]
        return {key: inner() for key in rng.sample(keys, rng.randrange(5))}
    if kind == 11:
        return Slotted(inner(), inner())
    return walk(Metric(a_tensor(rng), rng.randrange(9)), inner())


@pytest.mark.parametrize("seed", range(4))
def test_any_tree_comes_back(seed):
    rng = random.Random(seed)
    for _ in range(100):
        tree = a_tree(rng)
        skeleton, tensors = take_apart(tree)
        assert "__metadata__" not in tensors
        text = json.dumps(skeleton, allow_nan=False)
        assert same(put_together(json.loads(text), tensors), tree)


def test_tensors_are_named_by_where_they_stand():
    metric = Metric(torch.ones(2), 3)
    tree = {
        "walk": walk(metric, torch.zeros(2)),
        "list": [torch.zeros(1), (torch.zeros(1),)],
        "walk.metric": Metric(torch.ones(1), 1),
    }
    names = list(take_apart(tree)[1])
    assert names == ["walk.metric.variance", "walk.position", "list.0", "list.1.0", "walk.metric.variance'"]
    assert list(take_apart(torch.zeros(2))[1]) == ["tree"]


def test_nothing_is_computed_when_a_dataclass_is_put_together():
    with pytest.raises(AssertionError):
        Walk(Metric(torch.ones(1), 1), torch.ones(1))
    back = put_together(*take_apart(walk(Metric(torch.ones(1), 1), None)))
    assert back.made == "here" and type(back.metric) is Metric
    with pytest.raises(AttributeError):
        back.made = "there"  # it is still frozen


class Stranger(NamedTuple):
    x: int


@pytest.mark.parametrize(
    "tree, message",
    [
        ({"walk": [1, {2, 3}]}, r"walk\.1 is a builtins\.set: expected None, a bool"),
        ({"a": Stranger(1)}, r"a is a test_tree\.Stranger"),
        ((torch.Size([1]),), r"0 is a torch\.Size"),
        (lambda: 0, "the tree itself is a builtins.function"),
        ({"a": {1.5: 0}}, r"a has the key 1\.5: expected str or int"),
        ({True: 0}, "the tree itself has the key True"),
        ([torch.ones(1, requires_grad=True)], "0 requires a gradient"),
        ([torch.ones(2, 2).to_sparse()], "0 requires a gradient or is not a dense tensor"),
        ([torch.ones(2, device="meta")], "0 requires a gradient or is not a dense tensor with values"),
        ([__import__("numpy").float64(1)], r"0 is a numpy\.float64"),
    ],
)
def test_what_is_no_tree_is_refused_by_where_it_stands(tree, message):
    with pytest.raises(TypeError, match=message):
        take_apart(tree)


@pytest.mark.parametrize(
    "skeleton, message",
    [
        ({"node": "Gone", "fields": {}}, "the tree itself: no class 'Gone' is registered"),
        (
            {"dict": [["a", {"node": "Metric", "fields": {"count": 1}}]]},
            r"a: Metric has the fields \['count', 'variance'\], got \['count'\]",
        ),
        ([{"tensor": "y"}], "0: the tensor 'y' is missing"),
        ({"tuple": [{"tensor": "x"}, {"tensor": "x"}]}, "1: the tensor 'x' is missing, or is named twice"),
        ([1], r"the tree has no place for the tensors \['x'\]"),
        ([{"float": "1"}], "0: expected a part of a tree's skeleton, got {'float': '1'}"),
        ([{"dict": [["a"]]}], "0: expected a part"),
        ([{"tuple": 3}], "0: expected a part"),
        ([{"node": "Metric"}], "0: expected a part"),
        ({}, "expected a part"),
        ([{"tuple": [], "list": []}], "0: expected a part"),
    ],
)
def test_a_skeleton_that_is_none_is_refused(skeleton, message):
    with pytest.raises(ValueError, match=message):
        put_together(skeleton, {"x": torch.ones(1)})


def test_a_changed_skeleton_gives_a_tree_or_a_value_error():
    rng = random.Random(0)
    for _ in range(300):
        skeleton, tensors = take_apart(a_tree(rng))
        text = json.dumps(skeleton)
        other = json.dumps(take_apart(a_tree(rng))[0])
        words = [
            w
            for w in ('"tensor"', '"tuple"', '"node"', '"Slotted"', '"left"', "[", "null", other)
            if w in text or w == other
        ]
        changed = text.replace(rng.choice(words), rng.choice(['"float"', "3", "[[]]", other]), 1)
        try:
            put_together(json.loads(changed), tensors)
        except ValueError:  # json's own error is one too
            continue


def test_two_classes_under_one_name_are_refused_and_one_that_is_run_again_is_taken():
    def define():
        class Twice(NamedTuple):
            x: int

        return Twice

    def another():
        class Twice(NamedTuple):
            x: int

        return Twice

    try:
        node(define())
        again = node(define())
        assert type(put_together(*take_apart(again(1)))) is again
        with pytest.raises(TypeError, match=r"two kinds of nodes are called Twice: .*define.* and .*another"):
            node(another())
    finally:
        del NODES["Twice"]
    with pytest.raises(TypeError, match="expected a NamedTuple class or a dataclass"):
        node(Random := type("Random", (), {}))
    assert Random.__name__ not in NODES


@pytest.mark.cuda
def test_tensors_go_to_the_device():
    skeleton, tensors = take_apart([torch.ones(2, device="cuda"), 1])
    assert put_together(skeleton, tensors)[0].device.type == "cpu"
    assert put_together(skeleton, tensors, "cuda")[0].device.type == "cuda"

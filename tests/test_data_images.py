"""Image sets from tiny files written here, and from the real MNIST and notMNIST where they are."""

import gzip
import hashlib
import pickle
import struct
import sys

import numpy as np
import pytest
import torch

import bnn_zoo as bz
from bnn_zoo import data
from bnn_zoo.types import DataError

TRAIN_IMAGES = "train-images-idx3-ubyte"


def vision():
    return pytest.importorskip("torchvision", reason="torchvision is not installed: pip install 'bnn-zoo[vision]'")


def idx_bytes(array, kind=8):
    return bytes([0, 0, kind, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def pixels(rng):
    return rng.integers(0, 256, (6, 5, 4), dtype=np.uint8)


LABELS = np.array([0, 1, 2, 0, 1, 2], dtype=np.uint8)


@pytest.fixture
def folder(tmp_path, pixels):
    """Laid out as MNIST: training files plain, test files gzipped."""
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name, array in (("images-idx3-ubyte", pixels), ("labels-idx1-ubyte", LABELS)):
        (raw / f"train-{name}").write_bytes(idx_bytes(array))
        (raw / f"t10k-{name}.gz").write_bytes(gzip.compress(idx_bytes(array[:4])))
    return raw.parent


def some(n=6, channels=1, side=4, classes=3):
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(n, channels, side, side, generator=generator)
    return data.Images(x, torch.arange(n) % classes, tuple("abcdefghij"[:classes]))


# ------------------------------------------------------------------------------------------------------------ Images


def test_images_are_rows_that_can_be_picked():
    held = some()
    assert len(held) == 6 and held.rows == (held.x, held.y) and held.to("cpu").x is held.x
    assert repr(held) == "Images(6 of 1×4×4, 3 classes, cpu)"
    for index in ([1, -2], torch.tensor([1, 4]), np.array([1, 4]), [False, True, False, False, True, False]):
        part = held.subset(index)
        assert torch.equal(part.x, held.x[[1, 4]]) and part.y.tolist() == [1, 1] and part.classes == held.classes
    assert len(held.subset(slice(0, None, 2))) == 3
    with pytest.raises(IndexError):
        held.subset([6])
    with pytest.raises(IndexError):
        held.subset(torch.ones(5, dtype=torch.bool))


@pytest.mark.cuda
def test_images_move_to_the_device(folder):
    there = data.mnist_like(folder, device="cuda")
    assert there.x.is_cuda and there.y.is_cuda and torch.equal(there.x.cpu(), data.mnist_like(folder).x)
    assert there.subset(torch.tensor([1, 2])).x.is_cuda and not there.to("cpu").x.is_cuda
    assert torch.allclose(data.standardise(there)[0].x.cpu(), data.standardise(there.to("cpu"))[0].x, atol=1e-5)


def test_standardise_uses_the_first_set_alone():
    train, test = some(8, channels=3), some(4, channels=3)
    one, other = data.standardise(train, test)
    torch.testing.assert_close(one.x.mean((0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(one.x.std((0, 2, 3), correction=0), torch.ones(3))
    mean, sd = train.x.numpy().mean((0, 2, 3)), train.x.numpy().std((0, 2, 3))
    expected = (test.x.numpy() - mean[:, None, None]) / sd[:, None, None]
    np.testing.assert_allclose(other.x.numpy(), expected, atol=1e-5)
    assert other.y is test.y and one.classes == train.classes


X, Y = torch.rand(2, 1, 3, 3), torch.tensor([0, 1])
FLAT = data.Images(torch.full((2, 1, 3, 3), 0.1), Y, ("a", "b"))
BAD = [
    ("no channels", lambda: data.Images(X[:, 0], Y, "ab"), r"\[n, channels, height, width\].*\(2, 3, 3\)"),
    ("bytes", lambda: data.Images((X * 255).byte(), Y, "ab"), "floats.*torch.uint8"),
    ("labels of int32", lambda: data.Images(X, Y.int(), "ab"), "int64.*torch.int32"),
    ("other number", lambda: data.Images(X, Y[:1], "ab"), r"2 images and labels \(1,\)"),
    ("empty", lambda: data.Images(X[:0], Y[:0], "ab"), r"at least one image, got shape \(0, 1, 3, 3\)"),
    ("label without a name", lambda: data.Images(X, Y, "a"), r"labels 0 … 0, got 0 … 1"),
    ("negative label", lambda: data.Images(X, Y - 1, "ab"), r"got -1 … 0"),
    ("a single row", lambda: some().subset(3), r"one axis, got shape \(\)"),
    ("no rows", lambda: some().subset([]), r"one axis, got shape \(0,\)"),
    ("no device", lambda: some().to("gpu"), "'cpu' or 'cuda'"),
    ("flat", lambda: data.standardise(FLAT), "contrast in every channel"),
    ("other channels", lambda: data.standardise(some(), some(channels=3)), "1 channels as in the first set, got 3"),
    ("unknown name", lambda: data.images("mnist", "."), "MNIST, FashionMNIST, KMNIST, CIFAR10, SVHN, got 'mnist'"),
    ("NaN", lambda: data.Images(X * float("nan"), Y, "ab"), "finite numbers, got NaN or infinite ones"),
    ("infinite", lambda: data.Images((X + 1) * float("inf"), Y, "ab"), "NaN or infinite ones"),
    ("no size", lambda: data.image_folder(".", size=0), r"size=\(height, width\) in whole pixels from 1.*got 0"),
    ("three sizes", lambda: data.image_folder(".", size=(3, 4, 5)), r"got \(3, 4, 5\)"),
    ("half a pixel", lambda: data.image_folder(".", size=(2.5, 3)), r"got \(2.5, 3\)"),
    ("channels", lambda: data.image_folder(".", channels=4), r"channels=1 \(grey\) or 3 \(colour\), got 4"),
]


@pytest.mark.parametrize("call, words", [pytest.param(call, words, id=name) for name, call, words in BAD])
def test_errors_teach(call, words):
    with pytest.raises(DataError, match=words):
        call()


# --------------------------------------------------------------------------------------------------------------- idx


@pytest.mark.parametrize("train", [True, False])
def test_idx_plain_and_gzipped(folder, pixels, train):
    held = data.mnist_like(folder, train=train)
    n = 6 if train else 4
    assert held.x.shape == (n, 1, 5, 4) and held.x.dtype == torch.float32 and held.y.dtype == torch.int64
    np.testing.assert_allclose(held.x[:, 0].numpy(), pixels[:n] / 255, rtol=1e-6)
    assert held.y.tolist() == LABELS[:n].tolist() and held.classes == ("0", "1", "2")
    assert data.mnist_like(folder, train=train, classes="xyz").classes == ("x", "y", "z")


def test_idx_looks_at_the_content_not_at_the_name(folder):
    raw = folder / "raw"
    plain = (raw / TRAIN_IMAGES).read_bytes()
    (raw / "unpacked.gz").write_bytes(plain)
    (raw / "packed").write_bytes(gzip.compress(plain))
    labels = raw / "train-labels-idx1-ubyte"
    for name in ("unpacked.gz", "packed"):
        assert torch.equal(data.idx(str(raw / name), labels).x, data.mnist_like(folder).x)


def damaged(name, change):
    def damage(raw):
        path = raw / name
        path.write_bytes(change(path.read_bytes()))

    return damage


def flipped(packed):
    return packed[:20] + bytes(255 - b for b in packed[20:40]) + packed[40:]


NO_LABELS = idx_bytes(LABELS[:0])
DAMAGE = [
    ("missing", lambda raw: (raw / TRAIN_IMAGES).unlink(), True, rf"no file .*{TRAIN_IMAGES}, nor .*\.gz.*fetches MNIST"),
    ("empty", damaged(TRAIN_IMAGES, lambda b: b""), True, "no idx images.*got nothing"),
    ("magic number", damaged(TRAIN_IMAGES, lambda b: b"\x01" + b[1:]), True, "00 00 08 03, got 01 00 08 03"),
    ("html", damaged(TRAIN_IMAGES, lambda b: b"<html>404"), True, "no idx images.*got 3c 68 74 6d"),
    ("type", damaged(TRAIN_IMAGES, lambda b: b[:2] + b"\x0d" + b[3:]), True, "00 00 08 03, got 00 00 0d 03"),
    ("header", damaged(TRAIN_IMAGES, lambda b: b[:10]), True, "a header has 16 bytes, got 10"),
    ("short", damaged(TRAIN_IMAGES, lambda b: b[:-1]), True, "header says 6×5×4, 136 bytes, got 135"),
    ("long", damaged(TRAIN_IMAGES, lambda b: b + b"\0"), True, "header says 6×5×4, 136 bytes, got 137"),
    ("no labels", damaged("train-labels-idx1-ubyte", lambda b: NO_LABELS), True, "empty: expected at least one row"),
    ("count", damaged("train-labels-idx1-ubyte", lambda b: idx_bytes(LABELS[:5])), True, "6 images in .* and 5 labels in"),
    ("half a gzip", damaged("t10k-images-idx3-ubyte.gz", lambda b: b[: len(b) // 2]), False, "damaged gzip"),
    ("bits flipped", damaged("t10k-images-idx3-ubyte.gz", flipped), False, "damaged gzip"),
    ("checksum", damaged("t10k-labels-idx1-ubyte.gz", lambda b: b[:-8] + b"12345678"), False, "damaged gzip"),
]


@pytest.mark.parametrize("damage, train, words", [pytest.param(*rest, id=name) for name, *rest in DAMAGE])
def test_damaged_idx_files_are_named(folder, damage, train, words):
    damage(folder / "raw")
    with pytest.raises(DataError, match=words) as caught:
        data.mnist_like(folder, train=train)
    assert str(folder / "raw") in str(caught.value)


def test_idx_arguments(folder):
    raw = folder / "raw"
    files = raw / TRAIN_IMAGES, raw / "train-labels-idx1-ubyte"
    with pytest.raises(DataError, match="images first, then the labels"):
        data.idx(*files[::-1])
    with pytest.raises(DataError, match=r"labels 0 … 1, got 0 … 2"):
        data.idx(*files, classes=["a", "b"])
    with pytest.raises(DataError, match=r"no file .*nowhere"):
        data.idx(raw / "nowhere", files[1])


# ------------------------------------------------------------------------------------------------------- torchvision


def test_torchvision_mnist(folder, pixels):
    vision()
    for name in ("images-idx3-ubyte", "labels-idx1-ubyte"):
        packed = folder / "raw" / f"t10k-{name}.gz"
        (packed.parent / packed.stem).write_bytes(gzip.decompress(packed.read_bytes()))
    held = data.images("MNIST", folder.parent)
    assert torch.equal(held.x, data.mnist_like(folder).x) and torch.equal(held.y, data.mnist_like(folder).y)
    assert len(held.classes) == 10 and len(data.images("MNIST", folder.parent, train=False)) == 4
    assert len(data.images("MNIST", folder.parent, download=True)) == 6  # all there: nothing is fetched
    (folder / "raw" / TRAIN_IMAGES).write_bytes(idx_bytes(pixels)[:50])
    with pytest.raises(DataError, match=r"no whole copy of MNIST in .*download=True"):
        data.images("MNIST", folder.parent)


@pytest.mark.parametrize("name", sorted(data.DATASETS))
def test_missing_sets_say_how_to_get_them(name, tmp_path):
    vision()
    with pytest.raises(DataError, match=f"no whole copy of {name} in .*{tmp_path.name}.*download=True to fetch"):
        data.images(name, tmp_path)


def test_cifar10(tmp_path, monkeypatch, rng):
    from_torchvision = vision().datasets.cifar
    monkeypatch.setattr(from_torchvision, "check_integrity", lambda *_: True)
    batches = tmp_path / "cifar-10-batches-py"
    batches.mkdir()
    pixels = rng.integers(0, 256, (10, 3072), dtype=np.uint8)
    for i in range(5):
        batch = {"data": pixels[2 * i : 2 * i + 2], "labels": [2 * i, 2 * i + 1]}
        (batches / f"data_batch_{i + 1}").write_bytes(pickle.dumps(batch))
    (batches / "batches.meta").write_bytes(pickle.dumps({"label_names": list("abcdefghij")}))
    held = data.images("CIFAR10", tmp_path)
    np.testing.assert_allclose(held.x.numpy(), pixels.reshape(10, 3, 32, 32) / 255, rtol=1e-6)
    assert held.y.tolist() == list(range(10)) and held.classes == tuple("abcdefghij")


def test_svhn(tmp_path, monkeypatch, rng):
    scipy_io = pytest.importorskip("scipy.io")
    monkeypatch.setattr(vision().datasets.svhn, "check_integrity", lambda *_: True)
    pixels = rng.integers(0, 256, (32, 32, 3, 4), dtype=np.uint8)
    scipy_io.savemat(tmp_path / "test_32x32.mat", {"X": pixels, "y": np.array([[1], [10], [2], [9]], dtype=np.uint8)})
    held = data.images("SVHN", tmp_path, train=False)
    np.testing.assert_allclose(held.x.numpy(), pixels.transpose(3, 2, 0, 1) / 255, rtol=1e-6)
    assert held.y.tolist() == [1, 0, 2, 9] and held.classes[9] == "9"


def test_without_torchvision(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    monkeypatch.delitem(sys.modules, "torchvision.datasets", raising=False)
    for name in sorted(data.DATASETS):
        with pytest.raises(ImportError, match=r"pip install 'bnn-zoo\[vision\]'"):
            data.images(name, tmp_path)
    with pytest.raises(ImportError, match=r"pip install 'bnn-zoo\[vision\]'"):
        data.image_folder(tmp_path)


# ------------------------------------------------------------------------------------------------------------ folders


@pytest.fixture
def pictures(tmp_path, rng):
    vision()
    from PIL import Image

    arrays = []
    for name in ("cat/1.png", "cat/2.png", "dog/1.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        arrays.append(rng.integers(0, 256, (4, 6, 3), dtype=np.uint8))
        Image.fromarray(arrays[-1]).save(tmp_path / name)
    return tmp_path, np.stack(arrays).transpose(0, 3, 1, 2) / 255


def test_image_folder(pictures):
    root, expected = pictures
    held = data.image_folder(root)
    np.testing.assert_allclose(held.x.numpy(), expected, rtol=1e-6)
    assert held.y.tolist() == [0, 0, 1] and held.classes == ("cat", "dog")
    grey = data.image_folder(root, channels=1)
    luma = np.einsum("nchw,c->nhw", expected, [0.299, 0.587, 0.114])
    np.testing.assert_allclose(grey.x[:, 0].numpy(), luma, atol=1 / 255)


def test_image_folder_resizes(pictures):
    from PIL import Image

    root, _ = pictures
    Image.new("RGB", (12, 8), (255, 0, 51)).save(root / "dog" / "2.png")
    with pytest.raises(DataError, match=r"expected one size, got \(4, 6\) in .*1.png and \(8, 12\) in .*2.png"):
        data.image_folder(root)
    assert data.image_folder(root, size=(3, 5)).x.shape == (4, 3, 3, 5)
    torch.testing.assert_close(data.image_folder(root, size=7).x[3, :, 2, 2], torch.tensor([1.0, 0.0, 0.2]))


def test_image_folder_turns_photographs_as_the_camera_noted(pictures):
    from PIL import Image

    root, _ = pictures
    shot = np.zeros((6, 4, 3), dtype=np.uint8)  # lies on its side: what is up stands at the left
    shot[:, 0] = 255
    noted = Image.Exif()
    noted[0x0112] = 6  # orientation: turn by 90 degrees clockwise to see it upright
    Image.fromarray(shot).save(root / "dog" / "2.png", exif=noted)
    upright = data.image_folder(root).x[3]
    assert upright.shape == (3, 4, 6) and (upright[:, 0] == 1).all() and (upright[:, 1:] == 0).all()


def test_image_folder_refuses_what_it_would_have_to_guess(pictures):
    from PIL import Image

    root, _ = pictures
    path = root / "dog" / "2.png"
    Image.fromarray(np.full((4, 6, 4), 255, dtype=np.uint8)).save(path)  # a channel for transparency that is not used
    assert (data.image_folder(root).x[3] == 1).all()
    Image.fromarray(np.full((4, 6, 4), 200, dtype=np.uint8)).save(path)
    with pytest.raises(DataError, match="transparent in places: put it on a background"):
        data.image_folder(root)
    path.unlink()
    frames = [Image.new("RGB", (6, 4), colour) for colour in ("red", "blue")]
    frames[0].save(root / "dog" / "2.tiff", save_all=True, append_images=frames[1:])
    with pytest.raises(DataError, match=r"expected one picture in .*2.tiff, got 2"):
        data.image_folder(root)


def test_paths_below_the_home_folder(folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder.parent))
    held = data.mnist_like(folder)
    raw = f"~/{folder.name}/raw/"
    assert torch.equal(data.mnist_like(f"~/{folder.name}").x, held.x)
    assert torch.equal(data.idx(raw + TRAIN_IMAGES, raw + "train-labels-idx1-ubyte").y, held.y)


def test_image_folder_errors(pictures, tmp_path_factory):
    from PIL import Image

    root, _ = pictures
    empty = tmp_path_factory.mktemp("empty")
    with pytest.raises(DataError, match=r"folder of pictures for each class in .*class folder"):
        data.image_folder(empty)
    with pytest.raises(DataError, match=r"folder of pictures for each class in .*nowhere"):
        data.image_folder(empty / "nowhere")
    (empty / "cat").mkdir()
    with pytest.raises(DataError, match="no valid file for the classes cat"):
        data.image_folder(empty)
    whole = (root / "dog" / "1.png").read_bytes()
    for damaged in (b"not a picture", b"", whole[: len(whole) // 2]):
        (root / "dog" / "1.png").write_bytes(damaged)
        with pytest.raises(DataError, match=r"expected a picture in .*dog/1.png"):
            data.image_folder(root)
    Image.fromarray(np.full((4, 6), 1000, dtype=np.uint16)).save(root / "dog" / "1.png")
    with pytest.raises(DataError, match=r"8 bits a channel in .*dog/1.png, got Pillow's mode 'I"):
        data.image_folder(root)


# -------------------------------------------------------------------------------------------------------- augmentation


def shift(x):
    return x.roll(int(torch.randint(4, ())), -1)


def test_augmented_rows_are_deterministic_given_the_seed():
    rows = data.Augmented(some(), shift)
    assert len(rows) == 6 and isinstance(rows, torch.utils.data.Dataset)

    def batches(seed, elsewhere=0):
        torch.manual_seed(elsewhere)
        before = torch.random.get_rng_state()
        batches = data.minibatches(rows, 2, chains=2, seed=seed, device=None)
        made = [batches.rows(step) for step in range(4)]
        assert torch.equal(torch.random.get_rng_state(), before)
        return made

    one, again, other = batches(0), batches(0, elsewhere=5), batches(1)
    assert one[0][0].shape == (2, 2, 1, 4, 4) and one[0][1].shape == (2, 2) and one[0][1].dtype == torch.int64
    assert all(
        torch.equal(a, b) for first, second in zip(one, again, strict=True) for a, b in zip(first, second, strict=True)
    )
    assert not all(torch.equal(a[0], b[0]) for a, b in zip(one, other, strict=True))


def test_augmented_by_torchvision():
    vision()
    from torchvision.transforms import v2

    held = some(channels=3)
    rows = data.Augmented(held, v2.Compose([v2.RandomCrop(4, padding=1), v2.RandomHorizontalFlip()]))
    torch.manual_seed(0)
    drawn = torch.stack([rows[2][0] for _ in range(40)])
    assert drawn.shape == (40, 3, 4, 4) and len({tuple(x.flatten().tolist()) for x in drawn}) > 5
    assert any(torch.equal(x, held.x[2]) for x in drawn) and rows[2][1] == 2


@pytest.mark.parametrize("augment", [False, True])
def test_images_fit(augment):
    held = some(12, side=8)
    model = bz.BNN(
        torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 3)), bz.priors.Normal(1.0), bz.likelihoods.Categorical()
    )
    backend = bz.SGLD(chains=2, steps=6, warmup=3, batch_size=4, step_size=1e-4, compile=False)
    rows = data.Augmented(held, shift) if augment else held.rows
    posterior = bz.fit(model, rows, backend, progress=False)
    assert posterior.predict(held.x).mean.shape == (12, 3)


# ------------------------------------------------------------------------------------------------------------ real data


def test_real_mnist(real_data):
    train, test = (data.mnist_like(real_data / "MNIST", train=train) for train in (True, False))
    assert train.x.shape == (60_000, 1, 28, 28) and test.x.shape == (10_000, 1, 28, 28)
    packed = real_data / "MNIST" / "raw" / f"{TRAIN_IMAGES}.gz"
    assert hashlib.md5(gzip.decompress(packed.read_bytes())).hexdigest() == "6bbc9ace898e44ae57da46a324031adb"
    as_bytes = (train.x * 255).round().byte().numpy().tobytes()
    assert hashlib.md5(bytes([0, 0, 8, 3]) + struct.pack(">3I", 60_000, 28, 28) + as_bytes).hexdigest() == (
        "6bbc9ace898e44ae57da46a324031adb"
    )
    assert float(train.x.mean()) == pytest.approx(0.1307, abs=5e-5)
    assert float(train.x.std()) == pytest.approx(0.3081, abs=5e-5)
    assert train.y[:5].tolist() == [5, 0, 4, 1, 9] and test.y[:5].tolist() == [7, 2, 1, 0, 4]
    assert train.y.bincount().tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]


def test_real_letters(real_data):
    letters = data.mnist_like(real_data / "notMNIST", train=False, classes="ABCDEFGHIJ")
    assert letters.x.shape == (10_000, 1, 28, 28) and letters.y.bincount(minlength=10).min() > 500
    assert letters.classes[0] == "A" and 0.3 < float(letters.x.mean()) < 0.5
    with pytest.raises(DataError, match=r"no file .*notMNIST/raw/train-images"):
        data.mnist_like(real_data / "notMNIST")


def test_real_mnist_through_torchvision(real_data, tmp_path):
    vision()
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for file in (real_data / "MNIST" / "raw").glob("*.gz"):
        (raw / file.stem).write_bytes(gzip.decompress(file.read_bytes()))
    held, plain = data.images("MNIST", tmp_path, train=False), data.mnist_like(real_data / "MNIST", train=False)
    assert torch.equal(held.x, plain.x) and torch.equal(held.y, plain.y) and held.classes[7] == "7 - seven"

"""Draws in a store: read by the zarr package, xarray and ArviZ; written by several processes; cut, extended, refused."""

import errno
import json
import os
import random
import re
import resource
import shutil
import sys
import tracemalloc
from urllib.parse import unquote

import numpy as np
import pytest
import torch
from forks import in_a_fork, start

from bnn_zoo.run import Store, Variable, _disk, _layout
from bnn_zoo.run._layout import quoted

zarr = pytest.importorskip("zarr")
xarray = pytest.importorskip("xarray")
# before that version xarray's trees take no repeated descriptions of zarr 3, also not those that zarr itself writes
OPEN = {"engine": "zarr"} | ({} if xarray.__version__ >= "2025.3" else {"consolidated": False})
FLOAT = torch.float32
SITES = {"0.weight": Variable((2, 3), FLOAT, ("0.weight_out", "0.weight_in")), "scale": Variable((), torch.float64)}
STATS = {"diverging": Variable((), torch.bool), "n_steps": Variable((), torch.int64)}


@pytest.fixture(autouse=True)
def no_sync(monkeypatch):
    """What is not on the disk is lost with the power, and not with a process: tests need no waiting for it."""
    monkeypatch.setattr(_disk.os, "fsync", lambda _: None)


@pytest.fixture
def store(tmp_path):
    return Store.create(tmp_path / "draws", SITES, chains=3, draws=40, stats=STATS)


def values(variables, chains, n, seed=0):
    generator = torch.Generator().manual_seed(seed)
    numbers = {k: torch.randn(chains, n, *v.shape, generator=generator, dtype=torch.float64) for k, v in variables.items()}
    return {k: x > 0 if variables[k].dtype == torch.bool else (9 * x).to(variables[k].dtype) for k, x in numbers.items()}


def fill(store, n=None, chains=3):
    sites, stats = values(SITES, chains, n or store.draws), values(STATS, chains, n or store.draws, 1)
    store.write(range(chains), 0, sites, stats)
    return sites, stats


def numpy_of(path, name, group="posterior"):
    return zarr.open_group(path, mode="r")[f"{group}/{quoted(name)}"][...]


def equal(a, b):
    return np.array_equal(np.asarray(a), np.asarray(b), equal_nan=np.asarray(a).dtype.kind == "f")


# ---- what is written is what zarr reads


DTYPES = [torch.float16, FLOAT, torch.float64, torch.int8, torch.int16, torch.int32, torch.int64, torch.uint8, torch.bool]


@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(n, marks=pytest.mark.slow) for n in range(2, 30))])
def test_lots_of_any_size_at_any_place_are_read_by_zarr(tmp_path, monkeypatch, seed):
    """Against a NumPy array that is written to in the same places; small chunks, so that most lots cross their borders."""
    rng = random.Random(seed)
    monkeypatch.setattr(_layout, "CHUNK", rng.choice([1, 64, 200]))
    monkeypatch.setattr(_layout, "LEAST", rng.choice([1, 100]))
    chains, draws = rng.randrange(1, 4), rng.randrange(1, 30)
    shapes = [(), (3,), (2, 2), (1,), (0,), (2, 0)]
    variables = {f"{i}.x": Variable(rng.choice(shapes), dtype) for i, dtype in enumerate(DTYPES)}
    store = Store.create(tmp_path / "draws", variables, chains=chains, draws=draws)
    expected = {
        k: torch.full((chains, draws, *v.shape), torch.nan if v.dtype.is_floating_point else 0, dtype=v.dtype)
        for k, v in variables.items()
    }
    for lot in range(12):
        first, start = rng.randrange(chains), rng.randrange(draws)
        some, n = range(first, rng.randrange(first, chains) + 1), rng.randrange(draws - start + 1)
        written = values(variables, len(some), n, lot)
        store.write(some, start, written)
        for name, numbers in written.items():
            expected[name][some.start : some.stop, start : start + n] = numbers
    store.sync()
    for name, numbers in expected.items():
        found = numpy_of(tmp_path / "draws", name)
        assert found.dtype == numbers.numpy().dtype
        assert equal(found, numbers) and equal(Store.open(tmp_path / "draws").sites[name], numbers)


def test_chunks_have_some_megabytes_of_one_chain(tmp_path):
    large = {"w": Variable((1000, 100), FLOAT), "huge": Variable((3000, 1000), FLOAT), "few": Variable((3,), FLOAT)}
    store = Store.create(tmp_path / "draws", large, chains=2, draws=100, stats={"lp": Variable((), torch.float64)})
    group = zarr.open_group(store.path, mode="r")
    assert group["posterior/w"].chunks == (1, 20, 1000, 100)  # 8.0 MB
    assert group["posterior/huge"].chunks == (1, 1, 3000, 1000)
    assert group["posterior/few"].chunks == (1, 5461, 3)  # 64 kB, for draws that may be added
    assert group["sample_stats/lp"].chunks == (1, 8192)
    assert group["posterior/draw"][:].tolist() == list(range(100)) and group["sample_stats/chain"][:].tolist() == [0, 1]


@pytest.mark.parametrize(
    "index",
    [
        ...,
        (slice(None), 3),
        (1, slice(5, 20, 3)),
        (slice(None, None, -1), [7, 0, 39]),
        ([True, False, True], -1),
        (0, 0, 1),
        (slice(None), slice(None), 0, slice(1, 3)),
        (..., 2),
        (1, ..., slice(None), 0),
        (slice(None), slice(3, 3)),
        (slice(2), slice(6), slice(None), [2, 0]),
        (slice(2), slice(6), np.array([[True, False, True], [False, False, True]])),
    ],
)
def test_an_index_means_what_it_means_to_numpy(tmp_path, monkeypatch, index):
    monkeypatch.setattr(_layout, "CHUNK", 100)
    monkeypatch.setattr(_layout, "LEAST", 1)
    store = Store.create(tmp_path / "draws", SITES, chains=3, draws=40, stats=STATS)
    whole = fill(store)[0]["0.weight"].numpy()
    array = store.sites["0.weight"]
    assert array.shape == whole.shape and array.ndim == 4 and array.dtype == whole.dtype
    assert equal(array[index], whole[index])


def test_chains_and_draws_are_picked_each_for_itself(store):
    whole = fill(store)[0]["0.weight"].numpy()
    assert equal(store.sites["0.weight"][[2, 0], [1, 5, 9]], whole[[2, 0]][:, [1, 5, 9]])
    for index in ((None,), (..., None), (0, 0, [0, 1], 1), (3,), (0, 40), (0, 0, 0, 0, 0)):
        with pytest.raises(IndexError):
            store.sites["0.weight"][index]


def test_only_what_is_asked_for_is_in_memory(tmp_path):
    """320 MB of draws, a fifth of which is written; some draws, then some weights of all draws."""
    store = Store.create(tmp_path / "draws", {"w": Variable((1000, 100), FLOAT)}, chains=2, draws=400)
    lot = torch.ones(1, 20, 1000, 100)
    for start_at in range(0, 400, 100):
        store.write(range(1), start_at, {"w": lot})
    tracemalloc.start()
    try:
        few = store.sites["w"][:, 90:110:5]
        some = store.sites["w"][:, :, :2, :3]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert few.shape == (2, 4, 1000, 100) and some.shape == (2, 400, 2, 3) and np.nansum(some) == 80 * 6
    assert peak < 3 * few.nbytes  # 3.2 MB


# ---- names


NAMES = ["0.weight", "net/0.weight", "a%2Fb", "chain", "draw", "θ", "__x", "..", ".", "a b", "zarr.json", "c:\\d*", "tau[0]"]


def test_any_name_is_kept(tmp_path):
    sites = {name: Variable((2,), FLOAT) for name in NAMES}
    assert len({quoted(name) for name in NAMES}) == len(NAMES) and all(unquote(quoted(name)) == name for name in NAMES)
    assert quoted("0.weight") == "0.weight"
    store = Store.create(tmp_path / "draws", sites, chains=1, draws=2)
    written = values(sites, 1, 2)
    store.write(range(1), 0, written)
    back = Store.open(store.path)
    assert set(back.sites) == set(NAMES)
    dataset = back.dataset()
    assert set(dataset.data_vars) == {*NAMES, "%63hain", "%64raw"} - {"chain", "draw"}  # which are its coordinates
    for name in NAMES:
        assert equal(back.sites[name], written[name]) and equal(numpy_of(store.path, name), written[name])


# ---- other readers


def test_xarray_opens_it_lazily_with_names_of_dimensions(store):
    sites, stats = fill(store)
    dataset = store.dataset()
    weight = dataset["0.weight"]
    assert weight.dims == ("chain", "draw", "0.weight_out", "0.weight_in") and "chain" in dataset.coords
    assert not weight.variable._in_memory
    assert equal(weight.isel(draw=slice(3, 5)), sites["0.weight"][:, 3:5])
    assert equal(store.dataset("sample_stats")["n_steps"], stats["n_steps"])
    assert store.dataset("sample_stats")["n_steps"].dtype == np.int64
    for group in ("posterior", "sample_stats"):  # without a warning
        assert dict(xarray.open_dataset(store.path, group=group, engine="zarr").sizes)["draw"] == 40
    store.cut(11)
    store.extend(12)
    tree = xarray.open_datatree(store.path, **OPEN)
    assert tree["posterior"].sizes["draw"] == tree["sample_stats"].sizes["draw"] == 12
    assert tree["posterior"]["draw"].values.tolist() == list(range(12))
    assert np.isnan(tree["posterior"]["scale"].values[:, 11]).all()


@pytest.mark.slow
def test_arviz_opens_it(store):
    import arviz as az

    sites, _ = fill(store)
    if az.__version__.startswith("0."):
        data = az.from_datatree(xarray.open_datatree(store.path, **OPEN))
    else:
        data = az.from_zarr(store.path)
    assert equal(data.posterior["0.weight"], sites["0.weight"])
    rhat = az.rhat(data)["scale"]
    assert float(rhat) == pytest.approx(float(az.rhat(sites["scale"].numpy())), rel=1e-12)
    assert len(az.summary(data)) == 7


# ---- several processes


def test_processes_write_their_chains_at_once(store):
    """Statistics that are first known in the processes are added by each of them."""

    def work(chain):
        mine = Store.open(store.path)
        mine.add_stats({"lp": Variable((), torch.float64), "n_steps": STATS["n_steps"]})
        for at in range(0, 40, 7):
            n = min(7, 40 - at)
            lp = torch.arange(at, at + n, dtype=torch.float64)[None] + 1000 * chain
            mine.write(range(chain, chain + 1), at, {"scale": lp}, {"lp": lp})
            mine.sync()
        return sorted(mine.stats)

    forks = [start(lambda chain=chain: work(chain)) for chain in range(3)]
    assert [receive.recv() for _, receive in forks] == [["diverging", "lp", "n_steps"]] * 3
    for process, _ in forks:
        process.join()
    expected = np.arange(40.0) + 1000 * np.arange(3)[:, None]
    assert equal(numpy_of(store.path, "scale"), expected)
    assert equal(numpy_of(store.path, "lp", "sample_stats"), expected)


def test_a_fork_writes_after_the_first_process_has_read_through_zarr(store):
    sites, _ = fill(store)
    assert equal(numpy_of(store.path, "scale"), sites["scale"])  # which starts zarr's threads
    in_a_fork(lambda: store.write(range(1), 0, {"scale": torch.zeros(1, 40, dtype=torch.float64)}))
    assert not numpy_of(store.path, "scale")[0].any()


def test_sync_syncs_every_file_that_was_written_and_its_folder(store, monkeypatch):
    synced = []
    monkeypatch.setattr(_disk.os, "fsync", lambda fd: synced.append(os.readlink(f"/proc/self/fd/{fd}")))
    fill(store)
    assert not synced
    store.sync()
    files = {str(p) for p in store.path.rglob("c.*") if p.parent.name not in ("chain", "draw")}
    assert len(files) == 4 * 3 and files <= set(synced) and {os.path.dirname(p) for p in files} <= set(synced)
    synced.clear()
    store.sync()
    assert not synced


# ---- cut, drop, extend


@pytest.mark.parametrize("chunk", [64, 2**20])
def test_what_is_cut_off_is_gone_also_after_an_extension(tmp_path, monkeypatch, chunk):
    monkeypatch.setattr(_layout, "CHUNK", chunk)
    monkeypatch.setattr(_layout, "LEAST", 1)
    store = Store.create(tmp_path / "draws", SITES, chains=3, draws=40, stats=STATS)
    sites, stats = fill(store)
    store.cut(23)
    assert store.draws == Store.open(store.path).draws == 23
    assert equal(numpy_of(store.path, "0.weight"), sites["0.weight"][:, :23])
    store.cut(30)  # there are no more: nothing happens
    store.extend(20)
    assert store.draws == 23
    store.extend(50)
    found = numpy_of(store.path, "0.weight")
    assert found.shape[1] == 50 and equal(found[:, :23], sites["0.weight"][:, :23]) and np.isnan(found[:, 23:]).all()
    assert not numpy_of(store.path, "n_steps", "sample_stats")[:, 23:].any()
    assert equal(numpy_of(store.path, "diverging", "sample_stats")[:, :23], stats["diverging"][:, :23])
    store.write(range(3), 23, {"0.weight": sites["0.weight"][:, :27]})
    assert equal(store.sites["0.weight"][:, 23:], sites["0.weight"][:, :27])


def test_draws_of_some_chains_are_dropped_and_the_others_stay(store):
    sites, _ = fill(store)
    store.drop(range(1, 3), 17)
    found = numpy_of(store.path, "scale")
    assert equal(found[0], sites["scale"][0]) and equal(found[1:, :17], sites["scale"][1:, :17])
    assert np.isnan(found[1:, 17:]).all()


def test_a_cut_that_was_interrupted_is_made_good_by_the_next(store, monkeypatch):
    sites, _ = fill(store)
    usual, left = os.replace, iter(range(3))

    def fails(*files):
        if next(left, None) is None:
            raise KeyboardInterrupt
        usual(*files)

    monkeypatch.setattr(_disk.os, "replace", fails)
    with pytest.raises(KeyboardInterrupt):
        store.cut(23)
    monkeypatch.undo()
    store = Store.open(store.path)
    assert {a.shape[1] for a in [*store.sites.values(), *store.stats.values()]} == {23, 40}
    store.cut(23)
    store.extend(40)
    assert equal(numpy_of(store.path, "scale")[:, :23], sites["scale"][:, :23])
    for name in SITES:
        assert np.isnan(numpy_of(store.path, name)[:, 23:]).all()


def test_the_coordinate_of_draws_grows_over_its_chunks(tmp_path, monkeypatch):
    monkeypatch.setattr(_layout, "COORDINATES", 8)
    store = Store.create(tmp_path / "draws", {"x": Variable((), FLOAT)}, chains=1, draws=5)
    for draws in (30, 8, 9):
        store.extend(draws)
        store.cut(draws)
        assert zarr.open_group(store.path, mode="r")["posterior/draw"][:].tolist() == list(range(draws))


# ---- refusals


def test_what_does_not_fit_is_refused_before_anything_is_written(store):
    good = torch.ones(2, 5, dtype=torch.float64)
    for chains, at, sites, message in [
        (range(2), 0, {"scale": good, "tau": good}, r"expected one of \['0\.weight', 'scale'\], got 'tau'"),
        (range(2), 0, {"scale": good.float()}, r"scale: expected \[2, n, \] of float64, got \[2, 5\] of float32"),
        (range(3), 0, {"scale": good}, r"scale: expected \[3, n, \] of float64, got \[2, 5\]"),
        (range(2), 0, {"scale": good, "0.weight": torch.ones(2, 5, 3, 2)}, r"0\.weight: expected \[2, n, 2, 3\] of float32"),
        (range(2), 36, {"scale": good}, r"draws 36 to 40 of range\(0, 2\) have no place in a store of 3 chains of 40 draws"),
        (range(2, 4), 0, {"scale": good}, r"draws 0 to 4 of range\(2, 4\) have no place"),
        (range(2), -1, {"scale": good}, "draws -1 to 3 .* have no place"),
        (range(2), 0, {"scale": good.bfloat16()}, r"got \[2, 5\] of torch\.bfloat16"),
    ]:
        with pytest.raises(ValueError, match=message):
            store.write(chains, at, sites)
    assert np.isnan(numpy_of(store.path, "scale")).all()


@pytest.mark.parametrize(
    "sites, message",
    [
        ({"w": Variable((2,), torch.bfloat16)}, r"'w': torch\.bfloat16 cannot be kept; expected one of float16, float32"),
        ({"": Variable((2,), FLOAT)}, "'': .*cannot be kept"),
        ({"w": Variable((2,), FLOAT, ("a", "b"))}, r"w: expected a name for each dimension of \[2\], got \('a', 'b'\)"),
        ({"w": Variable((2, 3), FLOAT, ("a", "a"))}, "w: its dimension 'a' of length 3 is called like another"),
        ({"w": Variable((2,), FLOAT, ("w",))}, "w: its dimension 'w' .* or like a variable"),
        ({"w": Variable((2,), FLOAT, ("draw",))}, "w: its dimension 'draw'"),
    ],
)
def test_what_cannot_be_kept_is_refused_and_leaves_nothing(tmp_path, sites, message):
    with pytest.raises(ValueError, match=message):
        Store.create(tmp_path / "draws", sites, chains=2, draws=3)
    assert not list(tmp_path.iterdir())


def test_a_store_of_other_sites_is_refused(store):
    store.need_same(SITES, 3)
    other = {"scale": Variable((4,), FLOAT), "tau": Variable((), FLOAT)}
    with pytest.raises(ValueError, match="holds draws of other sites") as error:
        store.need_same(other, 2)
    assert [line.strip() for line in str(error.value).splitlines()[1:-1]] == [
        "number of chains: expected 3, got 2",
        "0.weight: expected ((2, 3), 'float32'), got nothing",
        "scale: expected ((), 'float64'), got ((4,), 'float32')",
        "tau: expected nothing, got ((), 'float32')",
    ]


def test_paths_that_are_no_store(tmp_path, store):
    with pytest.raises(FileExistsError, match="draws exists: open it as a store, or choose another name"):
        Store.create(store.path, SITES, chains=1, draws=1)
    (tmp_path / "file").touch()
    for path in (tmp_path, tmp_path / "nothing", tmp_path / "file"):
        with pytest.raises(FileNotFoundError, match="is no store of draws"):
            Store.open(path)
    zarr.create_group(tmp_path / "other", attributes={"mine": 1})
    with pytest.raises(ValueError, match="is not what bnn_zoo writes for a store"):
        Store.open(tmp_path / "other")
    found = json.loads((store.path / "zarr.json").read_text())
    found["attributes"]["bnn_zoo_store"] = 2
    (store.path / "zarr.json").write_text(json.dumps(found))
    with pytest.raises(ValueError, match="has format 2, and this version of bnn_zoo reads up to 1: update bnn_zoo"):
        Store.open(store.path)
    with pytest.raises(OSError, match="file/draws cannot be made: Not a directory"):
        Store.create(tmp_path / "file" / "draws", SITES, chains=1, draws=1)


def test_a_store_whose_making_was_cut_short_is_made_anew(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "rmtree", lambda *_, **__: None)  # as if killed
    monkeypatch.setattr("bnn_zoo.run.store.describe_groups", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        Store.create(tmp_path / "draws", SITES, chains=1, draws=1)
    assert [p.name for p in tmp_path.iterdir()] == ["draws.tmp"]
    monkeypatch.undo()
    assert Store.create(tmp_path / "draws", SITES, chains=1, draws=1).draws == 1
    assert [p.name for p in tmp_path.iterdir()] == ["draws"]


def test_draws_for_which_the_disk_has_no_room_are_refused_before_the_work(tmp_path, store, monkeypatch):
    size = 3 * 40 * (2 * 3 * 4 + 8 + 1 + 8)
    free = lambda bytes_: monkeypatch.setattr(_disk.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(0, 0, bytes_))
    free(size - 1)
    with pytest.raises(
        OSError, match=r"the draws need 4\.92 kB, and 4\.92 kB are free on this disk: keep fewer draws"
    ) as error:
        Store.create(tmp_path / "deep" / "other", SITES, chains=3, draws=40, stats=STATS)
    assert error.value.errno == errno.ENOSPC and not (tmp_path / "deep").exists()
    with pytest.raises(OSError, match="are free on this disk"):
        store.extend(81)
    assert store.draws == 40
    free(size)
    store.extend(80)


def test_a_disk_that_gets_full_leaves_the_draws_before(tmp_path, monkeypatch):
    monkeypatch.setattr(_layout, "CHUNK", 2**19)
    store = Store.create(tmp_path / "draws", {"w": Variable((1000,), FLOAT)}, chains=1, draws=400)
    lot = torch.ones(1, 131, 1000)  # a chunk
    store.write(range(1), 0, {"w": lot})

    def work():
        resource.setrlimit(resource.RLIMIT_FSIZE, (2**18, 2**18))  # Python ignores SIGXFSZ: writing raises EFBIG
        with pytest.raises(OSError, match=r"c\.0\.1\.0 cannot be written .*: the disk is full, or a quota") as error:
            store.write(range(1), 131, {"w": lot})
        assert error.value.errno == errno.EFBIG

    in_a_fork(work)
    assert not list(store.path.rglob("*.tmp"))
    assert equal(numpy_of(store.path, "w")[:, :131], lot)
    store.write(range(1), 131, {"w": lot})
    assert equal(store.sites["w"][:, 131:262], lot)


def test_writing_where_there_is_a_chunk_takes_no_room(tmp_path):
    """So that a disk that others have filled fails between lots and not in the midst of a chunk."""
    store = Store.create(tmp_path / "draws", {"w": Variable((100,), FLOAT)}, chains=1, draws=1000)
    store.write(range(1), 0, {"w": torch.ones(1, 1, 100)})
    (chunk,) = (store.path / "posterior" / "w").glob("c.*")
    before = chunk.stat()
    assert before.st_blocks * 512 >= before.st_size == 1000 * 400
    store.write(range(1), 1, {"w": torch.ones(1, 999, 100)})
    assert chunk.stat().st_size == before.st_size and chunk.stat().st_ino == before.st_ino


def test_a_chunk_that_is_cut_off_is_told_and_not_read(store):
    fill(store)
    chunk = store.path / "posterior" / "scale" / "c.1.0"
    chunk.write_bytes(chunk.read_bytes()[:-1])
    with pytest.raises(OSError, match=rf"{chunk} is damaged: expected 65,536 bytes, got 65,535"):
        store.sites["scale"][:, :2]
    with pytest.raises(OSError, match="is damaged"):
        store.write(range(3), 3, {"scale": torch.ones(3, 1, dtype=torch.float64)})
    assert store.sites["scale"][0].all()
    store.drop(range(1, 2), 0)
    assert np.isnan(store.sites["scale"][1]).all()


def test_without_zarr_xarray_is_told_what_to_install(store, monkeypatch):
    monkeypatch.setitem(sys.modules, "zarr", None)
    with pytest.raises(ImportError, match=re.escape('pip install "bnn-zoo[runs]"')):
        store.dataset()
    fill(store)  # writing and reading need no zarr
    assert store.sites["scale"][:].shape == (3, 40)

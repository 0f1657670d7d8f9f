"""The container, its names and coordinates, netCDF and leave-one-out, the same under ArviZ 0.23 and 1.x."""

import warnings

import arviz as az
import numpy as np
import pytest
import torch
import xarray as xr
from scipy.special import logsumexp

from bnn_zoo import export

CHAINS, DRAWS, N, TEST = 4, 200, 40, 6
DIMS = {
    "0.weight": export.weight_dims("0.weight", (5, 3)),
    "y": ["obs"],
    "x": ["obs", "feature"],
    "elbo": ["step"],
}
COORDS = {"obs": np.arange(N), "feature": ["age", "height", "weight"]}
NEW_ROWS = {"obs": np.arange(1000, 1000 + TEST)}


def gaussian_log_likelihood(y, mean):
    return -0.5 * (y - mean) ** 2 - 0.5 * np.log(2 * np.pi)


def make_groups(chains=CHAINS, draws=DRAWS, shift=0.0, seed=0):
    rng = np.random.default_rng(seed)
    y = np.random.default_rng(99).normal(size=N)
    mean = shift + 0.15 * rng.normal(size=(chains, draws, 1))
    log_likelihood = gaussian_log_likelihood(y, mean)
    sites = {
        "0.weight": torch.tensor(rng.normal(size=(chains, draws, 5, 3)), dtype=torch.float32),
        "noise": rng.gamma(2.0, size=(chains, draws)),
    }
    return {
        "posterior": sites,
        "warmup_posterior": {"noise": rng.gamma(2.0, size=(chains, 20))},
        "sample_stats": {
            "lp": log_likelihood.sum(-1),
            "energy": rng.normal(size=(chains, draws)),
            "diverging": rng.random((chains, draws)) < 0.05,
            "step_size_nom": np.float32(0.1),
        },
        "log_likelihood": {"y": log_likelihood},
        "posterior_predictive": {"y": mean + rng.normal(size=(chains, draws, N))},
        "observed_data": {"y": y},
        "constant_data": {"x": rng.normal(size=(N, 3)).astype(np.float32)},
        "predictions": {"y": rng.normal(size=(chains, draws, TEST))},
        "predictions_constant_data": {"x": rng.normal(size=(TEST, 3))},
        "predictions_observed_data": {"y": rng.normal(size=TEST)},
        "history": {"elbo": rng.normal(size=50)},
        "prior": {},
    }


def make(**settings):
    of_predictions = [g for g in make_groups() if g.startswith("predictions")]
    return export.to_inference_data(
        make_groups(**settings),
        dims=DIMS,
        coords=COORDS,
        group_coords=dict.fromkeys(of_predictions, NEW_ROWS),
        attrs={"backend": "NUTS", "seed": 0, "fast": True, "nothing": None, "one": [1], "settings": {"chains": 4}},
        group_attrs={"posterior": {"sampling_time": 1.5}},
    )


@pytest.fixture(scope="module")
def idata():
    return make()


def test_the_container_is_that_of_the_installed_arviz(idata):
    assert isinstance(idata, xr.DataTree if export.arviz_major() >= 1 else az.InferenceData)
    assert set(export.groups(idata)) == set(make_groups()) - {"prior"}


def test_every_dimension_has_its_name_and_labels(idata):
    posterior = export.group(idata, "posterior")
    assert posterior["0.weight"].dims == ("chain", "draw", "0.weight_out", "0.weight_in")
    assert posterior["noise"].dims == ("chain", "draw")
    assert export.group(idata, "log_likelihood")["y"].dims == ("chain", "draw", "obs")
    assert export.group(idata, "constant_data")["x"].dims == ("obs", "feature")
    assert export.group(idata, "history")["elbo"].dims == ("step",)
    assert export.group(idata, "constant_data").sel(feature="age")["x"].shape == (N,)
    for name in ("predictions", "predictions_constant_data", "predictions_observed_data"):
        np.testing.assert_array_equal(export.group(idata, name)["obs"], NEW_ROWS["obs"])
    for name in export.groups(idata):
        dataset = export.group(idata, name)
        assert set(dataset.dims) == set(dataset.coords)


def test_types_are_kept_and_nothing_is_copied(idata):
    stats = export.group(idata, "sample_stats")
    assert stats["diverging"].dtype == bool and stats["step_size_nom"].dims == ()
    weights, wide = torch.randn(2, 5, 3), torch.randn(2, 5).bfloat16()
    posterior = export.group(export.to_inference_data({"posterior": {"w": weights, "v": wide}}), "posterior")
    assert posterior["w"].dtype == np.float32 and np.shares_memory(posterior["w"].values, weights.numpy())
    assert posterior["v"].dtype == np.float32
    assert posterior["w"].dims == ("chain", "draw", "w_dim_0")


def test_attributes_say_where_it_comes_from(idata):
    for attrs in (idata.attrs, export.group(idata, "posterior").attrs):
        assert attrs["creation_library"] == attrs["inference_library"] == "bnn_zoo"
        assert attrs["created_at"].startswith("20")
    assert idata.attrs["fast"] == 1 and idata.attrs["settings"] == '{"chains": 4}' and idata.attrs["one"] == "[1]"
    assert export.group(idata, "posterior").attrs["sampling_time"] == 1.5
    assert export.group(idata, "posterior").attrs["sample_dims"] == ["chain", "draw"]


def test_netcdf_gives_everything_back(idata, tmp_path):
    path = export.save(idata, tmp_path / "run.nc")
    assert [p.name for p in tmp_path.iterdir()] == ["run.nc"]
    back = export.load(path)
    assert type(back) is type(idata) and dict(back.attrs) == dict(idata.attrs)
    for name in export.groups(idata):
        xr.testing.assert_identical(export.group(back, name), export.group(idata, name))
        for variable, values in export.group(idata, name).items():
            assert export.group(back, name)[variable].dtype == values.dtype
    assert set(export.groups(az.from_netcdf(path))) == set(export.groups(idata))


def test_save_leaves_other_files_and_no_halves(idata, tmp_path, monkeypatch):
    path = tmp_path / "run.nc"
    path.write_text("precious")
    with pytest.raises(FileExistsError, match="remove it first"):
        export.save(idata, path)
    assert path.read_text() == "precious"

    def interrupted(dataset, store, **_):
        assert len(list(tmp_path.iterdir())) == 2  # under another name until it is complete
        raise KeyboardInterrupt

    monkeypatch.setattr(xr.Dataset, "dump_to_store", interrupted)
    with pytest.raises(KeyboardInterrupt):
        export.save(idata, tmp_path / "other.nc")
    assert [p.name for p in tmp_path.iterdir()] == ["run.nc"]


@pytest.mark.parametrize(
    "name, shape, dims",
    [
        ("0.weight", (5, 3), ["0.weight_out", "0.weight_in"]),
        ("0.bias", (5,), ["0.bias_out"]),
        ("c.weight", (8, 3, 5), ["c.weight_out", "c.weight_in", "c.weight_k"]),
        ("c.weight", (8, 3, 5, 5), ["c.weight_out", "c.weight_in", "c.weight_kh", "c.weight_kw"]),
        ("c.weight", (8, 3, 2, 5, 5), [f"c.weight_{a}" for a in ("out", "in", "kd", "kh", "kw")]),
        ("0.weight.scale", (5, 3), ["0.weight.scale_dim_0", "0.weight.scale_dim_1"]),
        ("noise", (), []),
    ],
)
def test_weight_dims(name, shape, dims):
    assert export.weight_dims(name, shape) == dims


TWO = np.zeros((2, 3))


@pytest.mark.parametrize(
    "groups, settings, says",
    [
        ({"posterior": {"a/b": TWO}}, {}, "'a.b'"),
        ({"a/b": {"w": TWO}}, {}, "group name without '/'"),
        ({"posterior": {"w": np.zeros(3)}}, {}, r"posterior/w: expected one name for each axis"),
        ({"posterior": {"w": np.zeros((2, 3, 4))}}, {"dims": {"w": ["a", "b"]}}, r"\['chain', 'draw', 'a', 'b'\]"),
        ({"posterior": {"w": np.zeros((2, 3, 4, 4))}}, {"dims": {"w": ["a", "a"]}}, "all different"),
        ({"posterior": {"w": TWO, "v": np.zeros((2, 4))}}, {}, r"'draw' has 4 entries but 3 in \['w'\]"),
        ({"posterior": {"w": TWO}}, {"coords": {"draw": [0, 1]}}, "has 3 entries but 2 labels"),
        ({"posterior": {"w": TWO}}, {"coords": {"draw": [0, 1, 1]}}, r"not repeat labels, got \[1\]"),
        ({"posterior": {"w": TWO}}, {"coords": {"draw": np.zeros((3, 1))}}, "one list of labels"),
        ({"observed_data": {"y": np.zeros(3)}}, {"dims": {"y": ["y"]}}, "not named like a dimension"),
        ({"posterior": {"chain": TWO}}, {}, "not named like a dimension"),
        ({"posterior": {"w": [object()]}}, {}, "expected a tensor"),
    ],
)
def test_errors_say_what_to_do(groups, settings, says):
    with pytest.raises(ValueError, match=says):
        export.to_inference_data(groups, **settings)


def test_unknown_group_names_those_there_are(idata):
    with pytest.raises(KeyError, match="posterior_predictive"):
        export.group(idata, "prior")


def test_multi_output_log_likelihood_takes_the_rows_of_its_y():
    y = np.zeros((1, 3, 7, 2))
    idata = export.to_inference_data(
        {"posterior_predictive": {"y": y}, "log_likelihood": {"y": y[..., 0]}}, dims={"y": ["obs", "output"]}
    )
    assert export.group(idata, "log_likelihood")["y"].dims == ("chain", "draw", "obs")


def test_arviz_summary(idata):
    table = az.summary(idata, var_names=["noise", "0.weight"], round_to="none")
    assert len(table) == 16 and (table["r_hat"] < 1.05).all()


def test_loo_agrees_with_the_closed_form(idata):
    """Independent rows under draws of the mean: with mild weights PSIS is near plain importance sampling."""
    score = export.loo(idata)
    log_likelihood = export.group(idata, "log_likelihood")["y"].values.reshape(-1, N)
    plain = np.log(len(log_likelihood)) - logsumexp(-log_likelihood, axis=0)
    pointwise = score.loo_i if export.arviz_major() < 1 else score.elpd_i
    np.testing.assert_allclose(pointwise, plain, atol=5e-3)
    assert not score.warning
    with pytest.raises(ValueError, match="one of"):
        export.loo(idata, "z")
    with pytest.raises(ValueError, match="25 draws"):
        export.loo(make(chains=1, draws=20))


def test_loo_needs_no_weights(idata):
    """ArviZ alone would take the effective sample size from the posterior group, weight by weight."""
    only = export.to_inference_data({"log_likelihood": make_groups()["log_likelihood"]}, dims=DIMS)
    np.testing.assert_array_equal(export.loo(only).pareto_k, export.loo(idata).pareto_k)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_loo_of_saturated_and_repeated_log_likelihoods(dtype):
    """A confident classifier's log likelihood is 0 in every draw: exact, no warning. A stuck chain's tail is unreliable."""
    values = make_groups()["log_likelihood"]["y"].astype(dtype)
    values[..., 3] = 0
    values[0, :, 7] = -4
    score = export.loo(export.to_inference_data({"log_likelihood": {"y": values}}))
    pointwise = score.loo_i if export.arviz_major() < 1 else score.elpd_i
    assert abs(float(pointwise[3])) < 1e-6 and score.pareto_k[3] < score.good_k
    assert np.isinf(score.pareto_k[7]) and score.warning
    plain = np.log(CHAINS * DRAWS) - logsumexp(-values[..., 7].astype(float))
    assert float(pointwise[7]) == pytest.approx(plain, abs=1e-3)
    values[1, 5, 2] = -np.inf
    with pytest.raises(ValueError, match="in 1 rows, the first 2"):
        export.loo(export.to_inference_data({"log_likelihood": {"y": values}}))


def test_compare_has_one_set_of_columns_and_one_sign(idata):
    models = {"bad": make(shift=1.0, seed=1), "good": export.loo(idata), "worse": make(shift=2.0, seed=2)}
    table = export.compare(models)
    assert list(table.columns) == export.COMPARE_COLUMNS
    assert list(table.index) == ["good", "bad", "worse"] and list(table["rank"]) == [0, 1, 2]
    np.testing.assert_allclose(table["elpd_diff"], table["elpd"].iloc[0] - table["elpd"])
    assert table["elpd_diff"].iloc[0] == 0 and (table["elpd_diff"].iloc[1:] > 0).all()
    assert table["dse"].iloc[0] == 0 and table["weight"].sum() == pytest.approx(1)
    assert table["warning"].dtype == bool and not table["warning"].any()
    assert len(export.compare({"alone": idata})) == 1


def test_compare_reports_high_pareto_k_instead_of_raising(idata):
    groups = make_groups(chains=1)
    groups["log_likelihood"]["y"][..., 3] = -np.random.default_rng(0).exponential(6, (1, DRAWS)) - 1
    bad = export.to_inference_data(groups, dims=DIMS)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert export.loo(bad).warning
        table = export.compare({"good": idata, "bad": bad})
    assert table.loc["bad", "high_k"] >= 1 and table.loc["bad", "warning"] and not table.loc["good", "warning"]


def test_compare_wants_the_same_rows(idata):
    groups = make_groups()
    fewer = {"log_likelihood": {"y": groups["log_likelihood"]["y"][..., :10]}}
    with pytest.raises(ValueError, match=r"same rows.*40.*10"):
        export.compare({"all": idata, "ten": export.to_inference_data(fewer, dims=DIMS)})


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_compare_wants_the_same_target(idata, dtype):
    """As many rows of another y, of y in another unit or order, are refused; y of another precision or without y is not."""
    for change in (lambda y: 10 * y, lambda y: y[::-1], lambda y: np.where(np.arange(N) == 3, y + 0.01, y)):
        groups = make_groups()
        groups["observed_data"]["y"] = change(groups["observed_data"]["y"]).astype(dtype)
        with pytest.raises(
            ValueError, match=r"same y in the same order and unit, got other values in \d+ of 40 rows of 'b'"
        ):
            export.compare({"a": idata, "b": export.to_inference_data(groups, dims=DIMS)})
    groups = make_groups()
    groups["observed_data"]["y"] = groups["observed_data"]["y"].astype(dtype)
    groups["constant_data"]["x"] = groups["constant_data"]["x"][:, :1]  # other inputs are what people compare
    same = export.to_inference_data(groups, dims={**DIMS, "x": ["obs", "one"]})
    silent = export.to_inference_data({"log_likelihood": groups["log_likelihood"]}, dims=DIMS)
    assert len(export.compare({"a": idata, "b": same, "c": silent})) == 3


def test_compare_says_what_it_takes(idata):
    with pytest.raises(TypeError, match=r"InferenceData of 'b', got dict: .*to_inference_data\(\)"):
        export.compare({"a": idata, "b": {"log_likelihood": 1}})
    with pytest.raises(ValueError, match="at least one model"):
        export.compare({})


def test_a_single_chain_works(tmp_path):
    """Variational posteriors are one chain; R-hat is then undefined by design."""
    svi = make(chains=1)
    assert len(az.summary(svi, var_names=["noise"])) == 1
    assert np.isfinite(float(export.compare({"svi": svi})["elpd"].iloc[0]))
    assert export.group(export.load(export.save(svi, tmp_path / "svi.nc")), "posterior").sizes["chain"] == 1

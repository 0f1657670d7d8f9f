"""A torchvision data set of real images, row by row through its DataLoader, into SGLD. A minute: marked slow."""

import gzip

import pytest
import torch

import bnn_zoo as bz

torchvision = pytest.importorskip("torchvision", reason="torchvision is not installed: pip install 'bnn-zoo[vision]'")


@pytest.mark.slow
def test_sgld_on_mnist(real_data, tmp_path):
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for file in (real_data / "MNIST" / "raw").glob("*.gz"):
        (raw / file.stem).write_bytes(gzip.decompress(file.read_bytes()))
    as_tensor = torchvision.transforms.ToTensor()
    digits = [torchvision.datasets.MNIST(tmp_path, train=train, transform=as_tensor) for train in (True, False)]
    model = bz.BNN(bz.nets.LeNet5(), bz.priors.Normal(bz.priors.fan_in), bz.likelihoods.Categorical())
    backend = bz.SGLD(chains=2, steps=600, warmup=500, thinning=20, batch_size=64, step_size=2e-6)
    posterior = bz.fit(model, digits[0], backend, progress=False)
    x = digits[1].data[:500, None].float() / 255
    prediction = posterior.predict(x)
    assert prediction.f.shape == (2, 5, 500, 10)
    accuracy = bz.metrics.accuracy(prediction.mean, digits[1].targets[:500])
    print(f"accuracy after 600 steps of 64 rows: {accuracy:.3f}")
    assert accuracy > 0.9
    assert torch.isfinite(prediction.log_prob(digits[1].targets[:500])).all()
    assert posterior.draws.attrs["batch_size"] == 64

"""Directions in activations: by hand, and against independent computations."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression

from steervit.inference.directions import (
    SparseAutoencoder,
    load_autoencoder,
    mean_shift,
    probe_direction,
    unit,
)


def draw(n, width=12, at=0.0, seed=0):
    return torch.randn(n, width, generator=torch.Generator().manual_seed(seed)) + at


def test_mean_shift_by_hand():
    target, rest = torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([[1.0, 1.0]])
    assert mean_shift(target, rest).tolist() == [1.0, 2.0]
    assert unit(torch.tensor([3.0, 4.0])).tolist() == pytest.approx([0.6, 0.8])


def test_the_probe_points_where_a_regularised_one_of_scikit_learn_does():
    axis = torch.zeros(12)
    axis[3] = 3.0
    target, rest = draw(80, seed=1) + axis, draw(80, seed=2)
    found = probe_direction(target, rest)
    assert float(found.norm()) == pytest.approx(1, abs=1e-5) and float(found[3]) > 0.9
    both = np.concatenate([target, rest])
    pca = PCA(10).fit(both)
    labels = np.r_[np.ones(80), np.zeros(80)]
    fitted = LogisticRegression(C=1.0, fit_intercept=False).fit(pca.transform(both), labels)
    other = fitted.coef_[0] @ pca.components_
    assert float(found @ torch.tensor(other / np.linalg.norm(other), dtype=torch.float32)) > 0.97
    assert torch.equal(found, probe_direction(target, rest))  # seeded
    assert float(found @ probe_direction(rest, target)) < -0.97


def test_activations_that_say_nothing_are_refused():
    with pytest.raises(ValueError, match=r"\(n, D\) and \(m, D\), got \(2, 3\) and \(2, 4\)"):
        mean_shift(torch.ones(2, 3), torch.ones(2, 4))
    with pytest.raises(ValueError, match="finite"):
        mean_shift(torch.full((2, 3), float("nan")), torch.ones(2, 3))
    with pytest.raises(ValueError, match="the two sides are the same"):
        unit(mean_shift(torch.ones(2, 3), torch.ones(2, 3)))


def autoencoder():
    return SparseAutoencoder(
        encoder=torch.tensor([[1.0, 0.0, 2.0], [0.0, 1.0, 0.0]]),
        encoder_bias=torch.tensor([0.0, 0.5, 0.0]),
        decoder=torch.tensor([[2.0, 0.0], [0.0, 3.0], [1.0, 1.0]]),
        threshold=torch.tensor([1.0, 0.0, 5.0]),
    )


def test_features_jump_at_their_threshold_and_directions_are_the_decoders():
    sae = autoencoder()
    assert sae.features(torch.tensor([[1.0, 1.0], [2.0, -1.0], [3.0, 0.0]])).tolist() == [
        [0.0, 1.5, 0.0], [2.0, 0.0, 0.0], [3.0, 0.5, 6.0],
    ]  # fmt: skip
    assert sae.direction([0]).tolist() == [1.0, 0.0]
    half = 2**-0.5
    assert sae.direction([0, 1]).tolist() == pytest.approx([half, half])
    assert sae.of_concept(torch.tensor([[0.0, 4.0]]), torch.tensor([[2.0, 0.0]]), 2) == [1]
    with pytest.raises(ValueError, match="ids from 0 to 2, got 7"):
        sae.direction([7])
    with pytest.raises(ValueError, match="at least one"):
        sae.direction([])


def test_both_published_forms_are_read(tmp_path):
    sae = autoencoder()
    scope = tmp_path / "params.npz"
    np.savez(scope, W_enc=sae.encoder, b_enc=sae.encoder_bias, W_dec=sae.decoder, threshold=sae.threshold,
             b_dec=np.zeros(2))  # fmt: skip
    llama = tmp_path / "final.safetensors"
    save_file({"encoder.weight": sae.encoder.T.contiguous(), "encoder.bias": sae.encoder_bias,
               "decoder.weight": sae.decoder.T.contiguous(), "decoder.bias": torch.zeros(2)}, llama)  # fmt: skip
    (tmp_path / "hyperparams.json").write_text(json.dumps({"jump_relu_threshold": 1.25}))
    one, other = load_autoencoder(scope), load_autoencoder(llama)
    assert torch.equal(one.decoder, sae.decoder) and torch.equal(other.decoder, sae.decoder)
    assert torch.equal(one.encoder, sae.encoder) and torch.equal(other.encoder, sae.encoder)
    assert one.threshold.tolist() == [1, 0, 5] and other.threshold.tolist() == [1.25] * 3


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "params.npz"
    np.savez(path, W_enc=np.ones((2, 3)))
    with pytest.raises(ValueError, match="b_enc is missing"):
        load_autoencoder(path)
    np.savez(path, W_enc=np.array([object()]), allow_pickle=True)
    with pytest.raises(ValueError, match="sparse autoencoder"):
        load_autoencoder(path)
    path = tmp_path / "some.safetensors"
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(ValueError, match=r"\.npz or \.safetensors"):
        load_autoencoder(path)

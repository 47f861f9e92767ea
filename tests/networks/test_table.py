"""Tests of `ml.networks.table` and of `ml.features.augmentation`, which feeds them."""

from __future__ import annotations

import importlib

import keras
import numpy as np
import pytest
import tensorflow as tf

from ml import storage
from ml.config.networks import BACKBONES, NETWORK_NAMES
from ml.errors import ConfigurationError, ResourceError
from ml.features.augmentation import BLUR, NOISE, augment, mix
from ml.model.keras_file import load_network, network_bytes
from ml.networks.table import NETWORKS, build_network
from ml.networks.transfer import BACKBONE

# What does not move a chip.
STILL = ("CONTRAST", "BRIGHTNESS", "SATURATION", "TINT", "GRAY", "BLURRED", "NOISY", "ERASED")


def test_the_notebooks_network_has_the_parameters_that_the_report_states() -> None:
    network = NETWORKS["notebook"].build(224, 2)
    assert network.count_params() == 42_753_922
    assert sum(int(np.prod(w.shape)) for w in network.non_trainable_weights) == 2_880
    layers = [type(layer).__name__ for layer in network.layers if type(layer).__name__ != "Rescaling"]
    block = ["Conv2D", "ReLU", "BatchNormalization"]
    end = ["MaxPooling2D", "Dropout"]
    dense = ["Flatten", "Dense", "ReLU", "BatchNormalization", "Dropout", "Dense", "Softmax"]
    assert layers == [*block, *end, *block, *block, *end, *block, *block, *end, *dense]


def test_the_compact_network_is_small() -> None:
    assert 1_000_000 <= NETWORKS["compact"].build(96, 2).count_params() <= 2_000_000


def test_the_compact_network_does_not_see_how_much_light_a_chip_has() -> None:
    network = NETWORKS["compact"].build(32, 2)
    features = keras.Model(network.inputs, network.layers[-2].output)
    dark = np.random.default_rng(0).integers(0, 64, (3, 32, 32, 3), dtype=np.uint8)
    expected = np.asarray(features(dark))
    np.testing.assert_allclose(np.asarray(features(4 * dark)), expected, atol=0.02 * expected.max())
    np.testing.assert_allclose(np.asarray(features(2 * dark + 100)), expected, atol=0.02 * expected.max())


@pytest.mark.parametrize("name", ["compact", "notebook"])
def test_networks_take_raw_chips_and_give_probabilities(name: str) -> None:
    network = NETWORKS[name].build(32, 2)
    chips = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    assert network.inputs[0].dtype == "uint8"
    probabilities = network(chips, training=False).numpy()
    assert probabilities.shape == (3, 2)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)


def test_augmentation_gives_other_raw_chips_and_is_repeatable() -> None:
    chips = np.random.default_rng(0).integers(0, 256, (8, 48, 48, 3), dtype=np.uint8)
    once, again, other = (augment(tf.constant(chips), tf.constant([7, step])).numpy() for step in (1, 1, 2))
    assert once.dtype == np.uint8
    assert once.shape == chips.shape
    np.testing.assert_array_equal(once, again)
    assert (once != other).any(axis=(1, 2, 3)).all()


def test_augmentation_keeps_a_face_where_it_was_and_its_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*STILL, "SHIFT"):
        monkeypatch.setattr(f"ml.features.augmentation.{name}", 0.0)
    chips = np.full((32, 49, 49, 3), (10, 60, 200), np.uint8)
    chips[:, 20:29, 20:29] = (200, 60, 10)
    changed = augment(tf.constant(chips), tf.constant([7, 1])).numpy()
    assert (changed[:, 24, 24] == (200, 60, 10)).all()  # turned and zoomed about the middle
    assert (changed[:, 0, 0] == (10, 60, 200)).all()  # beyond the border its pixels are repeated


def test_augmentation_flips_about_half_of_the_chips(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ml.features.augmentation.ZOOM", (0.0, 0.0))
    for name in (*STILL, "SHIFT", "ROTATION_DEGREES", "SHEAR", "ASPECT"):
        monkeypatch.setattr(f"ml.features.augmentation.{name}", 0.0)
    chips = np.random.default_rng(0).integers(0, 256, (64, 32, 32, 3), dtype=np.uint8)
    changed = augment(tf.constant(chips), tf.constant([7, 1])).numpy()
    same = (changed == chips).all(axis=(1, 2, 3))
    flipped = (changed == chips[:, :, ::-1]).all(axis=(1, 2, 3))
    assert (same | flipped).all()
    assert 16 < flipped.sum() < 48


def test_augmentation_gives_chips_of_another_size_the_same_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ml.features.augmentation.ZOOM", (0.0, 0.0))
    for name in (*STILL, "SHIFT", "ROTATION_DEGREES", "SHEAR", "ASPECT"):
        monkeypatch.setattr(f"ml.features.augmentation.{name}", 0.0)
    ramp = np.broadcast_to(np.arange(48, dtype=np.uint8)[None, :, None] * 5, (48, 48, 3))
    (small,) = augment(tf.constant(ramp[None]), tf.constant([7, 1]), side=16).numpy()
    assert small.shape == (16, 16, 3)
    expected = ramp.reshape(16, 3, 16, 3, 3)[:, 1, :, 1]
    assert np.array_equal(small, expected) or np.array_equal(small, expected[:, ::-1])


def test_about_the_share_of_chips_has_a_part_erased(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in set(STILL) - {"ERASED"}:
        monkeypatch.setattr(f"ml.features.augmentation.{name}", 0.0)
    chips = np.full((256, 32, 32, 3), 128, np.uint8)
    changed = (augment(tf.constant(chips), tf.constant([3, 1])).numpy() != 128).any(axis=-1).mean(axis=(1, 2))
    assert 0.2 < (changed > 0).mean() < 0.4
    assert changed.max() < 0.3, "no face is hidden as a whole"


def test_about_the_share_of_chips_has_noise_of_any_strength_up_to_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in set(STILL) - {"NOISY"}:
        monkeypatch.setattr(f"ml.features.augmentation.{name}", 0.0)
    chips = np.full((256, 32, 32, 3), 128, np.uint8)
    changed = augment(tf.constant(chips), tf.constant([3, 1])).numpy().astype(float) - 128
    strengths = changed.std(axis=(1, 2, 3))
    assert 0.2 < (strengths > 0).mean() < 0.4
    np.testing.assert_allclose(np.quantile(strengths[strengths > 0], (0.5, 1)), (NOISE / 2, NOISE), rtol=0.2)
    assert abs(changed.mean()) < 0.1
    assert abs(np.corrcoef(changed[..., 0].ravel(), changed[..., 1].ravel())[0, 1]) < 0.02


@pytest.mark.parametrize("across", [True, False])
def test_about_the_share_of_chips_is_blurred_by_any_width_up_to_the_limit(
    across: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ml.features.augmentation.ZOOM", (0.0, 0.0))
    for name in {*STILL, "SHIFT", "ROTATION_DEGREES", "SHEAR", "ASPECT"} - {"BLURRED"}:
        monkeypatch.setattr(f"ml.features.augmentation.{name}", 0.0)
    side = 96
    chip = np.zeros((side, side, 3), np.uint8)
    chip[:, side // 2 :] = 200
    chips = np.stack([chip if across else chip.transpose(1, 0, 2)] * 256)
    changed = augment(tf.constant(chips), tf.constant([3, 1])).numpy().astype(float)
    # The slope of a blurred edge is the Gaussian that blurred it.
    slope = np.abs(np.diff(changed.mean(axis=(1 if across else 2, 3)), axis=1)) / 200
    np.testing.assert_allclose(slope.sum(axis=1), 1)
    widths = np.sqrt((slope * (np.arange(side - 1) - (side / 2 - 1)) ** 2).sum(axis=1))
    assert 0.15 < (widths > 0.1).mean() < 0.35
    np.testing.assert_allclose(np.quantile(widths[widths > 0.1], (0.5, 1)), (BLUR * side / 2, BLUR * side), rtol=0.2)


def test_mixing_blends_pixels_labels_and_weights_alike() -> None:
    chips = np.zeros((64, 8, 8, 3), np.uint8)
    chips[32:] = 200
    labels = np.repeat(np.eye(2, dtype=np.float32), 32, axis=0)
    weights = np.repeat(np.array([0.5, 2.0], np.float32), 32)
    pixels, shares, mixed = (
        v.numpy() for v in mix(*map(tf.constant, (chips, labels, weights)), tf.constant([1, 2]), 0.5)
    )
    assert pixels.dtype == np.uint8
    np.testing.assert_allclose(shares.sum(axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(pixels[:, 0, 0, 0] / 200, shares[:, 1], atol=0.003)
    np.testing.assert_allclose(mixed, shares @ np.array([0.5, 2.0]), atol=1e-5)
    assert (shares[np.arange(64), np.repeat([0, 1], 32)] >= 0.5).all(), "a chip stays for the larger part itself"
    assert 0.25 < (shares.max(axis=1) < 1).mean() < 0.75


def test_every_backbone_that_can_be_named_exists() -> None:
    assert [name for name in BACKBONES if not callable(getattr(keras.applications, name, None))] == []


@pytest.mark.parametrize(
    ("name", "module"),
    [
        ("MobileNetV2", "mobilenet_v2"),
        ("DenseNet121", "densenet"),
        ("ResNet50", "resnet"),
        ("ResNet50V2", "resnet_v2"),
        ("MobileNetV3Small", "mobilenet_v3"),
        ("EfficientNetV2B0", "efficientnet_v2"),
    ],
)
def test_a_backbone_is_given_what_it_was_pretrained_on(name: str, module: str) -> None:
    chips = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    expected = importlib.import_module(f"keras.applications.{module}").preprocess_input(chips.astype(np.float32))
    network = build_network(f"transfer:{name}", 32, 2, weights="none")
    preprocessing = keras.Model(network.inputs, network.get_layer(BACKBONE)._inbound_nodes[-1].input_tensors)
    np.testing.assert_allclose(np.asarray(preprocessing(chips)).reshape(chips.shape), expected, atol=1e-4)


def test_a_backbone_without_weights_knows_its_statistics_after_a_hundred_batches() -> None:
    chips = np.random.default_rng(0).integers(0, 256, (16, 32, 32, 3), dtype=np.uint8).astype(np.float32) / 127.5 - 1
    backbone = build_network("transfer:MobileNetV2", 32, 2, weights="none").get_layer(BACKBONE)
    first = keras.Model(backbone.inputs, backbone.layers[2].output)
    assert isinstance(backbone.layers[2], keras.layers.BatchNormalization)
    for _ in range(100):
        first(chips, training=True)
    np.testing.assert_allclose(first(chips, training=False), first(chips, training=True), atol=0.05)


def test_a_transfer_network_starts_from_a_weights_file_and_survives_saving(tmp_path) -> None:
    backbone = keras.applications.MobileNetV2(include_top=False, weights=None, input_shape=(64, 64, 3), pooling="avg")
    path = tmp_path / "backbone.weights.h5"
    backbone.save_weights(path)
    network = build_network("transfer:MobileNetV2", 32, 2, weights=str(path))
    for one, other in zip(network.get_layer(BACKBONE).get_weights(), backbone.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    chips = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    storage.write_bytes(str(tmp_path / "model.keras"), network_bytes(network))
    loaded = load_network(str(tmp_path / "model.keras"))
    np.testing.assert_allclose(np.asarray(loaded(chips)), np.asarray(network(chips)), atol=1e-5)


@pytest.fixture(scope="module")
def efficientnet(tmp_path_factory) -> tuple[keras.Model, str]:
    """Keras' own EfficientNetB0 as it stands once ImageNet's weights are there, and the file they came from."""
    values = {"include_top": False, "input_shape": (32, 32, 3), "pooling": "avg"}
    source = keras.applications.EfficientNetB0(weights=None, **values)
    normalization = next(layer for layer in source.layers if isinstance(layer, keras.layers.Normalization))
    normalization.set_weights([np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225]), np.array(1)])
    path = tmp_path_factory.mktemp("weights") / "efficientnetb0_notop.weights.h5"
    source.save_weights(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("keras.src.applications.efficientnet.file_utils.get_file", lambda *_, **__: str(path))
        return keras.applications.EfficientNetB0(weights="imagenet", **values), str(path)


@pytest.mark.parametrize("weights", ["imagenet", "saved"])
def test_an_efficientnet_sees_what_keras_own_does_with_imagenets_weights(
    weights: str, efficientnet: tuple[keras.Model, str], tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, path = efficientnet
    monkeypatch.setattr("keras.src.applications.efficientnet.file_utils.get_file", lambda *_, **__: path)
    if weights == "saved":
        path = str(tmp_path / "saved.weights.h5")
        own.save_weights(path)
    network = build_network("transfer:EfficientNetB0", 32, 2, "imagenet" if weights == "imagenet" else path)
    chips = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    # Called, not asked to predict, which would compile each network for the two chips.
    expected = np.asarray(own(chips.astype(np.float32)))
    found = np.asarray(keras.Model(network.inputs, network.layers[-2].input)(chips))
    np.testing.assert_allclose(found / expected.std(), expected / expected.std(), atol=1e-3)


def test_an_efficientnet_that_never_had_imagenets_weights_is_given_chips_as_they_are(tmp_path) -> None:
    values = {"include_top": False, "weights": None, "input_shape": (32, 32, 3), "pooling": "avg"}
    own = keras.applications.EfficientNetB0(**values)
    own.save_weights(tmp_path / "own.weights.h5")
    network = build_network("transfer:EfficientNetB0", 32, 2, str(tmp_path / "own.weights.h5"))
    chips = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    given = keras.Model(network.inputs, network.get_layer(BACKBONE)._inbound_nodes[-1].input_tensors)
    np.testing.assert_array_equal(np.asarray(given(chips)).reshape(chips.shape), chips)


def test_weights_that_cannot_be_had_are_named_with_what_to_do(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match=r"there is no file .*absent"):
        build_network("transfer:MobileNetV2", 32, 2, weights=str(tmp_path / "absent.weights.h5"))
    (tmp_path / "other.weights.h5").write_bytes(b"no weights")
    with pytest.raises(ConfigurationError, match=r"does not fit MobileNetV2"):
        build_network("transfer:MobileNetV2", 32, 2, weights=str(tmp_path / "other.weights.h5"))

    def offline(*_: object, **__: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr("keras.src.applications.mobilenet_v2.file_utils.get_file", offline)
    with pytest.raises(ResourceError, match=r"cannot be downloaded: no route.*backbone_weights"):
        build_network("transfer:MobileNetV2", 32, 2)


def test_the_parameter_offers_the_networks_of_the_table():
    assert {name.partition(":")[0] for name in NETWORK_NAMES} == set(NETWORKS)

"""A model or an array from outside runs no code: what could is refused, with a clear error."""

import ast
import io
import pickle
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from ml import storage
from ml.errors import ConfigurationError, DataError
from ml.photographs.source import Key
from ml.photographs.tar_shards import TarPhotographs
from support.models import make_model

ROOT = Path(__file__).parents[2]
RAN = []


class Bomb:
    """Leaves a trace when it is unpickled."""

    def __reduce__(self):
        return RAN.append, ("unpickled",)


@pytest.fixture(autouse=True)
def nothing_ran():
    RAN.clear()
    yield
    assert RAN == []


def replace(manifest, name, content):
    storage.write_bytes(storage.join(manifest.uri, name), content)


def test_a_lambda_layer_is_refused(tmp_path):
    import keras

    from ml.model.classifier import Classifier
    from ml.model.keras_file import network_bytes

    pixels = keras.Input((32, 32, 3), dtype="uint8")
    flat = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(pixels))
    answer = keras.layers.Lambda(lambda x: x[:, :2])(flat)
    manifest = make_model(tmp_path)
    replace(manifest, "model.keras", network_bytes(keras.Model(pixels, answer)))
    with pytest.raises(DataError, match=r"cannot be loaded: .*[Ll]ambda") as refused:
        Classifier.load(manifest)
    assert "Name a committed attempt" in refused.value.advice


@pytest.mark.parametrize("content", [pickle.dumps(Bomb()), b"PK\x03\x04 no archive", b""])
def test_what_is_no_keras_file_is_refused(tmp_path, content):
    from ml.model.classifier import Classifier

    manifest = make_model(tmp_path)
    replace(manifest, "model.keras", content)
    with pytest.raises(DataError, match="cannot be loaded"):
        Classifier.load(manifest)


def test_a_keras_file_that_names_other_code_is_refused(tmp_path):
    from ml.model.classifier import Classifier

    manifest = make_model(tmp_path)
    path = Path(storage.local_path(manifest.file("model.keras")))
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    content["config.json"] = (
        b'{"module": "os", "class_name": "system", "config": {"command": "touch %s"}, "registered_name": null}'
        % str(tmp_path / "ran").encode()
    )
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    with pytest.raises(DataError, match="cannot be loaded"):
        Classifier.load(manifest)
    assert not (tmp_path / "ran").exists()


def test_weights_that_are_a_pickle_are_refused(tmp_path):
    from ml.networks.transfer import _build_backbone

    for name in ("bomb.weights.h5", "bomb.npz", "bomb.pkl"):
        (tmp_path / name).write_bytes(pickle.dumps(Bomb()))
        with pytest.raises(ConfigurationError, match="does not fit MobileNetV2"):
            _build_backbone("MobileNetV2", 32, str(tmp_path / name))


def test_a_checkpoint_with_objects_is_refused():
    from ml.training.checkpoints import _unpack

    content = io.BytesIO()
    np.savez(content, **{"weights/0": np.array([Bomb()], dtype=object)})
    with pytest.raises(ValueError, match="allow_pickle"):
        _unpack(content.getvalue())


def test_members_of_an_archive_are_never_written(tmp_path):
    """Their paths may climb or be links: only base name and content of plain files count."""
    folder = tmp_path / "deep" / "photographs"
    folder.mkdir(parents=True)
    with tarfile.open(folder / "train_0.tar", "w") as archive:
        for name in ("../../escaped.jpg", "/etc/absolute.jpg", "train/plain.jpg"):
            member = tarfile.TarInfo(name)
            member.size = 4
            archive.addfile(member, io.BytesIO(b"jpeg"))
        link = tarfile.TarInfo("train/link.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    before = sorted(tmp_path.rglob("*"))
    source = TarPhotographs(str(folder))
    (shard,) = source.shards()
    found = dict(source.read_shard(shard, None))
    assert found == {Key("train", name): b"jpeg" for name in ("escaped", "absolute", "plain")}
    assert sorted(tmp_path.rglob("*")) == before
    with pytest.raises(FileNotFoundError):
        source.read("train", "link")
    (folder / "train_0.tar").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(DataError, match="cannot be read as a tar archive"):
        list(source.read_shard(shard, None))


UNSAFE_MODULES = {"pickle", "cPickle", "dill", "joblib", "cloudpickle", "marshal", "shelve", "torch"}
UNSAFE_CALLS = {"eval", "exec", "unpack_archive", "enable_unsafe_deserialization"}
UNSAFE_METHODS = {"extract", "extractall"}
UNSAFE_ARGUMENTS = {"allow_pickle": True, "safe_mode": False, "trust_remote_code": True, "shell": True}


def unsafe(source):
    """Yield what in a module could run code from a file that it reads."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] in UNSAFE_MODULES)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in UNSAFE_MODULES:
            yield node.module
        elif isinstance(node, ast.Call):
            function = node.func
            method = isinstance(function, ast.Attribute)
            name = function.attr if method else getattr(function, "id", "")
            if (
                (name in UNSAFE_METHODS and method)
                or name in UNSAFE_CALLS
                or (name == "load" and ast.unparse(function).startswith("yaml."))
            ):
                yield ast.unparse(node)
            for argument in node.keywords:
                if argument.arg in UNSAFE_ARGUMENTS and (
                    not isinstance(argument.value, ast.Constant)
                    or argument.value.value is UNSAFE_ARGUMENTS[argument.arg]
                ):
                    yield ast.unparse(node)


def test_no_module_reads_files_in_a_way_that_could_run_them():
    found = {
        f"{file.relative_to(ROOT)}: {what}"
        for folder in ("ml", "spark_jobs", "plugins", "dags", "docker", "scripts")
        for file in (ROOT / folder).rglob("*.py")
        for what in unsafe(file.read_text())
    }
    assert found == set()
    for planted in ("import joblib", "np.load(f, allow_pickle=True)", "archive.extractall(x)", "yaml.load(x)"):
        assert list(unsafe(planted)), planted


def test_saved_models_are_loaded_only_where_they_were_just_written():
    """A SavedModel is a program: SECURITY.md says that one from outside must not be served."""
    users = {
        str(file.relative_to(ROOT))
        for folder in ("ml", "spark_jobs", "plugins", "dags")
        for file in (ROOT / folder).rglob("*.py")
        if "saved_model.load(" in file.read_text() or "ask_saved_model" in file.read_text()
    }
    assert users == {"ml/model/saved_model.py", "ml/model/write.py"}

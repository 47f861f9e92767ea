"""The places that parameters may name: below the deployment's roots, and without credentials."""

import jsonschema
import pytest

from ml.config.comparison import ModelsConfig
from ml.config.deployment import Deployment, load_deployment
from ml.config.download import DownloadConfig
from ml.config.forms import form_fields
from ml.config.parameter import FlowConfig, places
from ml.config.prediction import PredictionConfig
from ml.config.promotion import PromotionConfig
from ml.config.roots import Roots, validate_below
from ml.config.training import TrainingConfig
from ml.download.delivery import open_target
from ml.errors import ConfigurationError
from ml.prediction.run import open_prediction
from ml.promotion.comparison import open_comparison
from ml.promotion.run import open_promotion
from ml.workflow.opening import open_run

FLOWS = (TrainingConfig, PredictionConfig, PromotionConfig, DownloadConfig, ModelsConfig)
PARAMETERS = [
    (TrainingConfig, "release"),
    (TrainingConfig, "photographs"),
    (TrainingConfig, "backbone_weights"),
    (TrainingConfig, "exclude_faces"),
    (TrainingConfig, "baseline"),
    (PredictionConfig, "photographs"),
    (PredictionConfig, "detector_file"),
    (PredictionConfig, "model"),
    (PromotionConfig, "candidate"),
    (DownloadConfig, "landing"),
    (DownloadConfig, "cache"),
    (DownloadConfig, "annotations_url"),
    (DownloadConfig, "photographs_url"),
    (ModelsConfig, "model"),
    (ModelsConfig, "baseline"),
]
ROOTS = ("/data", "s3://bucket/images", "https://photos.example/open", "hdfs://namenode:9000/data")
INSIDE = (
    "/data",
    "/data/release",
    "file:///data/release",
    "/data/a%20b",
    "s3://bucket/images",
    "s3a://bucket/images/x",
    "https://photos.example/open/x",
    "https://PHOTOS.example:443/open/x",
    "hdfs://namenode:9000/data/x",
)
OUTSIDE = (
    "/etc/passwd",
    "file:///etc/passwd",
    "FILE:///etc/passwd",
    "local:///etc/passwd",
    "file://localhost/etc/passwd",
    "/database",
    "/data/../etc/passwd",
    "file:///data/%2e%2e/etc/passwd",
    "/data/%252e%252e/etc",
    "/data/a\0b",
    "..",
    "s3://bucket/other",
    "s3://bucket/images2",
    "s3://bucket/images/../other",
    "s3://bucket/images/%2e%2e/other",
    "s3://bucket/images/..%2fother",
    "s3://bucket/images\\..\\..\\other",
    "s3://other/images",
    "gs://bucket/images",
    "http://photos.example/open",
    "https://photos.example:8443/open",
    "https://photos.example.evil/open",
    "https://photos.example/openly",
    "https://photos.example/open/%2E%2E/admin",
    "http://169.254.169.254/latest/meta-data",
    "http://[::ffff:169.254.169.254]/latest",
    "http://localhost:8080/api/v2",
    "http://127.0.0.1:8080",
    "http://2130706433/",
    "ftp://photos.example/open",
    "simplecache::file:///etc/passwd",
    "zip://x::file:///data/x.zip",
    "memory://x",
)
CREDENTIALS = (
    "s3://AKIA123:hunter2@bucket/images",
    "s3a://AKIA:hunt/er2@bucket/images",
    "s3://hunter2@bucket/images",
    "https://user:hunter2@photos.example/open",
    "https://hunter2@photos.example/open",
    "https://photos.example/open?X-Amz-Signature=hunter2",
    "hdfs://user:hunter2@namenode/data",
)


@pytest.mark.parametrize("place", INSIDE)
def test_a_place_below_a_root_is_allowed(place):
    assert Roots(ROOTS).holds(place)


@pytest.mark.parametrize("place", OUTSIDE)
def test_any_other_place_is_refused(place):
    assert not Roots(ROOTS).holds(place)


def test_a_symbolic_link_does_not_lead_out_of_a_root(tmp_path):
    root, outside = tmp_path / "root", tmp_path / "outside"
    (root / "inside").mkdir(parents=True)
    (outside / "deeper").mkdir(parents=True)
    (root / "link").symlink_to(outside)
    (root / "circle").symlink_to(root / "circle")
    (tmp_path / "mounted").symlink_to(root)
    roots = Roots([str(root)])
    assert roots.holds(str(root / "inside"))
    assert roots.holds(str(tmp_path / "mounted" / "inside"))
    assert not roots.holds(str(root / "link"))
    assert not roots.holds(str(root / "link" / "deeper"))
    assert not roots.holds(str(root / "circle"))


def test_every_parameter_that_names_a_place_is_known_as_one():
    marked = {
        (flow, name)
        for flow in FLOWS
        for name, field in flow.model_fields.items()
        if isinstance(field.json_schema_extra, dict) and "place" in field.json_schema_extra
    }
    assert marked == set(PARAMETERS)
    for flow in FLOWS:
        for name, field in flow.model_fields.items():
            words = ("path", "uri", "address", "folder", "bucket", "://")
            if field.annotation in (str, str | None) and any(word in field.description.lower() for word in words):
                assert (flow, name) in marked, f"{name}: is it a place?"


@pytest.mark.parametrize(("flow", "name"), PARAMETERS)
def test_each_is_checked_with_one_clear_error(flow, name):
    value = "http://169.254.169.254/latest"
    with pytest.raises(ConfigurationError) as refused:
        validate_below({name: value}, flow(), Roots(["/data", "s3://bucket", *places(flow()).values()]))
    assert refused.value.message.startswith(f"{name} = '{value}': not below a root of this deployment (file:///data,")
    assert "`roots`" in refused.value.advice


def test_names_are_no_places():
    assert places(TrainingConfig(backbone_weights="none")) == {"release": "/data/open-images"}
    assert places(PromotionConfig(candidate="12")) == {}
    assert places(PromotionConfig(candidate="../12")) == {"candidate": "../12"}


def test_without_roots_the_places_of_the_deployment_file_are_the_roots():
    deployment = Deployment(
        storage="/srv/storage", defaults=TrainingConfig(release="/srv/release", photographs="s3://photographs")
    )
    roots = deployment.allowed()
    for flow in (deployment.defaults, deployment.prediction, deployment.promotion, deployment.download):
        roots.check(flow)  # a run with the defaults is never refused
    for place in ("/srv/storage/stages/train/x", "/srv/release", "s3://photographs/train"):
        assert roots.holds(place)
    for place in ("/srv", "/etc/passwd", "s3://elsewhere", "http://169.254.169.254"):
        assert not roots.holds(place)
    assert deployment.model_copy(update={"roots": ("/srv",)}).allowed().holds("/srv/others")


def test_every_opening_checks_before_it_reads(tmp_path):
    deployment = Deployment(storage=str(tmp_path / "storage"))
    roots, root, secret = deployment.allowed(), deployment.storage, str(tmp_path / "secret")
    calls = {
        "release": lambda: open_run(root, "r", {"release": secret}, roots=roots),
        "model": lambda: open_prediction(root, "r", {"model": secret}, deployment, roots),
        "candidate": lambda: open_promotion(root, "r", {"candidate": secret}, deployment, roots=roots),
        "baseline": lambda: open_comparison(root, "r", {"baseline": secret}, deployment, roots),
        "landing": lambda: open_target(root, {"landing": secret}, deployment, roots=roots),
    }
    for name, call in calls.items():
        with pytest.raises(ConfigurationError, match=f"^{name} = .*not below a root"):
            call()
    assert not (tmp_path / "storage").exists()


@pytest.mark.parametrize("name", ["os:abort", "ours.small:build", "keras.applications:VGG16"])
def test_code_that_the_deployment_does_not_list_is_refused(name):
    for deployment in (Deployment(), Deployment(networks=("ours.large:build",))):
        with pytest.raises(ConfigurationError, match=f"network = '{name}': code that this deployment does not trust"):
            validate_below({"network": name}, TrainingConfig(), deployment.allowed())
    listed = Deployment(networks=(name,))
    preset = Deployment(defaults=TrainingConfig(network=name))
    for deployment in (listed, preset):
        assert validate_below({"network": name}, TrainingConfig(), deployment.allowed()).network == name
    for built_in in ("notebook", "transfer:MobileNetV2"):
        assert validate_below({"network": built_in}, TrainingConfig(), Deployment().allowed()).network == built_in
    assert validate_below({"network": name}, TrainingConfig(), None).network == name, "in a shell"


def test_a_run_with_unlisted_code_is_refused_before_it_is_imported(tmp_path, monkeypatch):
    (tmp_path / "unlisted_network.py").write_text("raise SystemExit('imported')\ndef build(a, b): pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    deployment = Deployment(storage=str(tmp_path / "storage"))
    values = {"release": deployment.storage, "network": "unlisted_network:build"}
    with pytest.raises(ConfigurationError, match="does not trust"):
        open_run(deployment.storage, "r", values, roots=deployment.allowed())


@pytest.mark.parametrize("name", ["ours.small", "ours/small.py:build", "transfer:Nothing", "ours.small:build()", ":f"])
def test_a_network_that_is_neither_known_nor_a_function_is_refused(name):
    with pytest.raises(ConfigurationError, match="unknown network"):
        validate_below({"network": name}, TrainingConfig(), None)


@pytest.mark.parametrize("value", CREDENTIALS)
def test_credentials_in_a_place_are_refused_and_not_repeated(value):
    for flow, name in PARAMETERS:
        with pytest.raises(ConfigurationError) as refused:
            validate_below({name: value}, flow(), None)
        shown = "".join(map(str, (refused.value, refused.value.__cause__)))
        assert name in shown
        assert "hunter2" not in shown
        assert "er2@" not in shown


@pytest.mark.parametrize("value", CREDENTIALS)
@pytest.mark.parametrize("flow", FLOWS)
def test_airflow_refuses_credentials_before_it_stores_the_parameters(flow, value):
    fields = form_fields(flow())
    for name in (name for each, name in PARAMETERS if each is flow):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(value, {key: fields[name][key] for key in ("type", "pattern")})


@pytest.mark.parametrize("value", ["/data/a@b", "abfss://container@account.dfs.core.windows.net/x", *INSIDE])
def test_a_place_without_credentials_is_accepted(value):
    assert TrainingConfig(release=value).release == value
    jsonschema.validate(value, {"pattern": form_fields(TrainingConfig())["release"]["pattern"]})
    jsonschema.validate(None, {"pattern": form_fields(TrainingConfig())["photographs"]["pattern"]})


@pytest.mark.parametrize(
    "line",
    [
        "spark_conf: {spark.hadoop.fs.s3a.secret.key: hunter2}",
        "spark_conf: {spark.hadoop.fs.s3a.access.key: hunter2}",
        "spark_conf: {spark.hadoop.fs.s3a.session.token: hunter2}",
        "spark_conf: {spark.ssl.keyStorePassword: hunter2}",
        "spark_conf: {spark.hadoop.fs.azure.account.key.x.dfs.core.windows.net: hunter2}",
        "spark_conf: {spark.driver.extraJavaOptions: '-Djavax.net.ssl.trustStorePassword=hunter2'}",
        "spark_conf: {spark.eventLog.dir: 's3a://user:hunter2@bucket/events'}",
        "storage: s3://user:hunter2@bucket/storage",
        "mlflow: https://user:hunter2@mlflow.example",
        "notify: https://user:hunter2@chat.example",
        "notify: {some.Notifier: {token: hunter2}}",
        "release: s3://user:hunter2@bucket/release",
        "download: {photographs_url: 'https://user:hunter2@photos.example'}",
    ],
)
def test_a_deployment_file_holds_no_secret_and_the_error_repeats_none(line, tmp_path, monkeypatch):
    (tmp_path / "deployment.yaml").write_text(line)
    monkeypatch.setenv("OPEN_IMAGES_CONFIG", str(tmp_path / "deployment.yaml"))
    with pytest.raises(ConfigurationError) as refused:
        load_deployment()
    shown = "".join(map(str, (refused.value, refused.value.__cause__)))
    assert "hunter2" not in shown
    assert "connection" in shown


def test_spark_properties_that_only_sound_secret_are_accepted():
    Deployment(
        spark_conf={
            "spark.hadoop.fs.s3a.aws.credentials.provider": "com.example.Provider",
            "spark.hadoop.hadoop.security.credential.provider.path": "jceks://hdfs/keys.jceks",
            "spark.kubernetes.authenticate.submission.oauthTokenFile": "/var/run/token",
            "spark.driver.extraJavaOptions": "-XX:+UseSerialGC",
        }
    )


def test_every_flow_refuses_unknown_and_wrong_values_without_a_secret():
    class Small(FlowConfig):
        count: int = 1

    with pytest.raises(ConfigurationError) as refused:
        validate_below({"count": "https://user:hunter2@host/"}, Small(), None)
    assert "hunter2" not in f"{refused.value} {refused.value.__cause__}"

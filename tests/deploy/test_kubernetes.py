"""Tests of the files in `kubernetes/`: Kubernetes' own schemas accept them, and the names in them agree.

The Helm chart itself is not at hand, so the parts of its values that it hands on to Kubernetes are checked in a pod.
"""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from airflow.version import version as airflow_version

from compose_programs import airflow_variables
from ml.config.deployment import load_deployment
from ml.flow.table import STAGES

validation = pytest.importorskip("kubernetes_validate")

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "kubernetes"
PAGE = ROOT / "docs" / "deploy" / "kubernetes.md"
OLDEST, NEWEST = "1.30", "1.37"  # the oldest that the chart supports, and the newest with schemas
COMPONENTS = ("scheduler", "dagProcessor", "triggerer", "apiServer", "workers")
EXECUTOR_OPTIONS = {"worker_container_repository", "worker_container_tag", "delete_worker_pods_on_failure"}


def read(name: str) -> dict[str, Any]:
    return dict(yaml.safe_load((FOLDER / name).read_text()))


VALUES, POD, CONFIG = read("values.yaml"), read("training-pod.yaml"), read("configmap.yaml")
BASE: dict[str, Any] = POD["spec"]["containers"][0]
IMAGE = f"{VALUES['defaultAirflowRepository']}:{VALUES['defaultAirflowTag']}"


def pod_of(component: str) -> dict[str, Any]:
    """The pod to which the values of a component amount, as far as they are Kubernetes' own."""
    values = VALUES[component]
    container = {
        "name": "base",
        "image": IMAGE,
        "env": VALUES["env"],
        "envFrom": yaml.safe_load(VALUES["extraEnvFrom"]),
        "resources": values["resources"],
        "securityContext": VALUES["securityContexts"]["container"],
        "volumeMounts": VALUES["volumeMounts"] + values.get("extraVolumeMounts", []),
    }
    if "livenessProbe" in values:
        probe = dict(values["livenessProbe"])
        container["livenessProbe"] = {"exec": {"command": probe.pop("command")}, **probe}
    spec = {
        "containers": [container],
        "securityContext": VALUES["securityContexts"]["pod"],
        "volumes": VALUES["volumes"] + values.get("extraVolumes", []),
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": spec}


@pytest.mark.parametrize("release", [OLDEST, NEWEST])
@pytest.mark.parametrize("content", [POD, CONFIG, *map(pod_of, COMPONENTS)])
def test_kubernetes_schemas_accept_the_files(content: dict[str, Any], release: str) -> None:
    validation.validate(content, release, strict=True)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("spec", "restartPolcy"), "Never"),
        (("spec", "containers", 0, "resources", "limit"), {"memory": "1Gi"}),
        (("spec", "containers", 0, "securityContext", "readOnlyRootFilesystem"), "yes"),
        (("spec", "volumes", 0, "configMap", "nam"), "open-images"),
        (("spec", "securityContext", "runAsUser"), "airflow"),
    ],
)
def test_kubernetes_schemas_refuse_an_error(path: tuple[str | int, ...], value: object) -> None:
    content = copy.deepcopy(POD)
    place: Any = content
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(validation.ValidationError):
        validation.validate(content, NEWEST, strict=True)


@pytest.mark.parametrize("content", [POD, *map(pod_of, COMPONENTS)])
def test_each_mount_has_its_volume_and_each_volume_its_mount(content: dict[str, Any]) -> None:
    spec = content["spec"]
    names = [volume["name"] for volume in spec["volumes"]]
    assert len(names) == len(set(names))
    assert {mount["name"] for mount in spec["containers"][0]["volumeMounts"]} == set(names)


def test_the_training_pod_sees_what_other_tasks_see() -> None:
    assert BASE["name"] == "base"  # in which the executor starts the task
    assert BASE["image"] == IMAGE
    assert {entry["name"]: entry["value"] for entry in VALUES["env"]}.items() <= {
        entry["name"]: entry["value"] for entry in BASE["env"]
    }.items()
    assert BASE["envFrom"] == yaml.safe_load(VALUES["extraEnvFrom"])
    assert POD["spec"]["securityContext"] == VALUES["securityContexts"]["pod"]
    mounts = {mount["mountPath"] for mount in BASE["volumeMounts"]}
    assert {mount["mountPath"] for mount in VALUES["volumeMounts"]} < mounts
    assert f"{VALUES['airflowHome']}/airflow.cfg" in mounts


def test_the_training_pod_has_no_rights_beyond_its_work() -> None:
    context = BASE["securityContext"]
    assert context["readOnlyRootFilesystem"] is True
    assert context["allowPrivilegeEscalation"] is False
    assert context["capabilities"] == {"drop": ["ALL"]}
    assert POD["spec"]["securityContext"]["runAsNonRoot"] is True
    assert POD["spec"]["automountServiceAccountToken"] is False
    assert "memory" in BASE["resources"]["limits"]
    # The folders to which the image writes.
    assert {"/tmp", "/scratch", "/opt/airflow"} <= {mount["mountPath"] for mount in BASE["volumeMounts"]}


def test_the_deployment_file_is_valid_and_where_the_variable_says(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ((name, text),) = CONFIG["data"].items()
    folder = next(mount["mountPath"] for mount in VALUES["volumeMounts"] if mount["name"] == CONFIG["metadata"]["name"])
    assert VALUES["env"] == [{"name": "OPEN_IMAGES_CONFIG", "value": f"{folder}/{name}"}]
    (tmp_path / name).write_text(text)
    monkeypatch.setenv("OPEN_IMAGES_CONFIG", str(tmp_path / name))
    (mount,) = VALUES["scheduler"]["extraVolumeMounts"]
    assert load_deployment().pod_templates == {"train": f"{mount['mountPath']}/training-pod.yaml"}
    assert "train" in STAGES


def test_airflow_has_the_options_and_the_version() -> None:
    assert VALUES["airflowVersion"].split(".")[:2] == airflow_version.split(".")[:2]
    for section, options in VALUES["config"].items():
        for option in options:
            known = f"AIRFLOW__{section}__{option}".upper() in airflow_variables()
            assert known or (section == "kubernetes_executor" and option in EXECUTOR_OPTIONS), option


def test_secrets_are_references_which_the_page_creates() -> None:
    text = "".join(path.read_text() for path in FOLDER.iterdir())
    named = {value for key, value in VALUES.items() if key.endswith("SecretName")}
    named |= {VALUES["data"]["metadataSecretName"], *re.findall(r"secretRef:\s+name: (\S+)", text)}
    assert set(re.findall(r"kubectl create secret generic (\S+)", PAGE.read_text())) == named
    assert set(re.findall(r"kubectl create configmap (\S+)", PAGE.read_text())) == {"open-images-pods"}
    assert not re.search(r"(?i)(password|secret_?key): *[^\s#]", text)


def test_each_value_is_explained() -> None:
    table = PAGE.read_text()
    assert [key for key in VALUES if f"`{key}" not in table] == []

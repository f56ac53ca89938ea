"""deploy/kuberay-rayjob.yaml: its fields exist in ray.io/v1, and its names agree with each other."""

import shlex
from importlib.metadata import version

import pytest

from tests.deploy.shipped import rayjob_documents, read

# From the custom resource definitions of KubeRay 1.6.
JOB_FIELDS = {
    *("activeDeadlineSeconds", "backoffLimit", "clusterSelector", "deletionStrategy", "entrypoint"),
    *("entrypointNumCpus", "entrypointNumGpus", "entrypointResources", "jobId", "managedBy", "metadata"),
    *("preRunningDeadlineSeconds", "rayClusterSpec", "runtimeEnvYAML", "shutdownAfterJobFinishes", "submissionMode"),
    *("submitterConfig", "submitterPodTemplate", "suspend", "ttlSecondsAfterFinished"),
}
CLUSTER_FIELDS = {
    *("authOptions", "autoscalerOptions", "enableInTreeAutoscaling", "gcsFaultToleranceOptions", "headGroupSpec"),
    *("headServiceAnnotations", "managedBy", "rayVersion", "suspend", "upgradeStrategy", "workerGroupSpecs"),
}
GROUP_FIELDS = {"rayStartParams", "template", "resources", "labels"}
HEAD_FIELDS = {*GROUP_FIELDS, "enableIngress", "headService", "serviceType"}
WORKER_FIELDS = {
    *GROUP_FIELDS,
    *("groupName", "idleTimeoutSeconds", "maxReplicas", "minReplicas", "numOfHosts", "replicas", "scaleStrategy"),
    "suspend",
}


@pytest.fixture(scope="module")
def documents():
    return rayjob_documents()


@pytest.fixture(scope="module")
def job(documents):
    return documents["RayJob"]["spec"]


@pytest.fixture(scope="module")
def cluster(job):
    return job["rayClusterSpec"]


@pytest.fixture(scope="module")
def pods(cluster):
    return [group["template"]["spec"] for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"])]


def test_kinds_and_versions(documents):
    assert {kind: document["apiVersion"] for kind, document in documents.items()} == {
        "PersistentVolumeClaim": "v1",
        "NetworkPolicy": "networking.k8s.io/v1",
        "RayJob": "ray.io/v1",
    }


def test_fields_are_known(job, cluster):
    assert set(job) <= JOB_FIELDS
    assert set(cluster) <= CLUSTER_FIELDS
    assert set(cluster["headGroupSpec"]) <= HEAD_FIELDS
    for group in cluster["workerGroupSpecs"]:
        assert set(group) <= WORKER_FIELDS
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]


def test_ray_version_is_the_tested_one(cluster):
    assert cluster["rayVersion"] == version("ray")


@pytest.mark.slow
def test_start_parameters_are_options_of_ray_start(cluster):
    from ray.scripts.scripts import start

    options = {name for parameter in start.params for name in parameter.opts}
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        assert {f"--{name}" for name in group["rayStartParams"]} <= options
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())


def test_token_is_required_and_comes_from_the_secret_in_the_instructions(cluster):
    assert cluster["authOptions"] == {"mode": "token", "secretName": "embsweep-ray-token"}
    create = next(line for line in read("kuberay-rayjob.yaml").splitlines() if "create secret" in line)
    words = shlex.split(create.lstrip("# "))
    assert words[words.index("generic") + 1] == cluster["authOptions"]["secretName"]
    assert any(word.startswith("--from-literal=auth_token=") for word in words)


def test_every_pod_has_the_same_image_and_the_same_folder(documents, job, pods):
    assert len({pod["containers"][0]["image"] for pod in pods}) == 1
    claim = documents["PersistentVolumeClaim"]
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    for pod in pods:
        volumes = {volume["name"]: volume["persistentVolumeClaim"]["claimName"] for volume in pod["volumes"]}
        (mount,) = pod["containers"][0]["volumeMounts"]
        assert volumes[mount["name"]] == claim["metadata"]["name"]
        assert f"storage.path={mount['mountPath']}" in shlex.split(job["entrypoint"])


def test_no_pod_runs_as_root_or_has_access_to_kubernetes(pods):
    for pod in pods:
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["containers"][0]["securityContext"]["allowPrivilegeEscalation"] is False


def test_network_policy_selects_these_pods(documents, cluster):
    policy = documents["NetworkPolicy"]["spec"]
    labels = policy["podSelector"]["matchLabels"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        assert labels.items() <= group["template"]["metadata"]["labels"].items()
    submitter = policy["ingress"][1]["from"][0]["podSelector"]["matchLabels"]
    assert submitter == {"batch.kubernetes.io/job-name": documents["RayJob"]["metadata"]["name"]}
    dashboard = next(
        p for p in cluster["headGroupSpec"]["template"]["spec"]["containers"][0]["ports"] if p["name"] == "dashboard"
    )
    assert policy["ingress"][1]["ports"] == [{"port": dashboard["containerPort"]}]

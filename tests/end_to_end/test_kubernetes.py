"""The main job on Kubernetes and for Kubeflow: ZenML's own orchestrators and step operator, our stacks, our run's YAML.

The API server is a double that runs pods as processes (`tests.servers.kubernetes`), S3 is moto's server, the ZenML
server is ZenML's. Images, scheduling on many nodes and rights are not tested here.
"""

import base64
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from zenml.enums import ExecutionStatus

from pipelines.finetune import finetune
from sanaflow.run_yaml import parse_run_settings
from tests.end_to_end.test_finetune import ALWAYS, CACHEABLE
from tests.environment import PROJECT
from tests.servers.kubelet import Node, can_run_pods
from tests.servers.kubernetes import KubernetesServer
from tests.servers.zenml import ZenMLServer

client = pytest.importorskip("kubernetes.client", reason="needs `pip install sanaflow[kubernetes]`")
no_pods = pytest.mark.skipif(not can_run_pods(), reason="pods need the right to make namespaces and mounts")
pytestmark = [pytest.mark.cluster, no_pods]

HUB_TOKEN = "hf_token-of-the-cluster"
S3_SECRET = "secret-of-the-test"
WANDB_KEY = "wandb-key-of-the-test"
ON_A_GPU = {"encode_latents", "train_sana", "score_clip"}
ZENML = """
import sys
from zenml.cli.cli import cli
for line in sys.stdin.read().splitlines():
    cli(line.split("\\t"), standalone_mode=False)
"""


@dataclass
class Place:
    """The servers of a cluster's world, and the project as a user has it."""

    kubernetes: KubernetesServer
    zenml: ZenMLServer
    bucket: Any
    volume: Path
    project: Path
    environment: dict[str, str]

    def zenml_commands(self, *commands: tuple[str, ...]) -> None:
        """Run commands of the `zenml` command line, in one process for they start slowly."""
        lines = "\n".join("\t".join(command) for command in commands)
        done = subprocess.run([sys.executable, "-c", ZENML], input=lines, **self._as_user(), timeout=180)
        assert done.returncode == 0, done.stdout

    def schedule(self, *arguments: str) -> str:
        """Run `python -m sanaflow schedule`."""
        command = [sys.executable, "-m", "sanaflow", "schedule", *arguments]
        done = subprocess.run(command, **self._as_user() | {"stderr": subprocess.PIPE}, timeout=180)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def start(self, config: Path, log: Path) -> subprocess.Popen[bytes]:
        """Start `finetune`."""
        command = [sys.executable, "-m", "pipelines.finetune", "-c", str(config)]
        with log.open("wb") as file:
            return subprocess.Popen(
                command, cwd=self.project, env=self.environment, stdout=file, stderr=subprocess.STDOUT
            )

    def _as_user(self) -> dict[str, Any]:
        out = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        return {"cwd": self.project, "env": self.environment, **out}


@pytest.fixture(scope="module")
def place(s3_url, tmp_path_factory):
    """A cluster of two nodes, one with a GPU, S3, a ZenML server; and the stack for it, made as docs/stacks.md says."""
    folder = tmp_path_factory.mktemp("place")
    project, volume = folder / "project", folder / "volume"
    pictures = (
        "pictures",
        "things",
        "fruit-and-vegetables",
        "sana-tiny",
        "readme",
    )  # the code's archive is 25 MB with them
    left_out = shutil.ignore_patterns(".*", "tests", "benchmarks", "release", *pictures)
    shutil.copytree(PROJECT, project, ignore=left_out)
    volume.mkdir()
    small = Node("small", {"cpu": "4", "memory": "16Gi"})
    gpus = {"cpu": "32", "memory": "256Gi", "nvidia.com/gpu": "1"}
    large = Node("large", gpus, labels={"accelerator": "nvidia"}, taints={"nvidia.com/gpu"})
    bucket = boto3.resource("s3", endpoint_url=s3_url, region_name="us-east-1").Bucket("sanaflow")
    bucket.create()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with KubernetesServer(small, large, claims={"sanaflow": volume}) as kubernetes, ZenMLServer(folder, port) as zenml:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("ZENML_STORE", "AWS_", "HF_"))}
        environment = kept | {
            **{"ZENML_CONFIG_PATH": str(folder / "client"), "ZENML_LOCAL_STORES_PATH": str(folder / "stores")},
            **{"ZENML_STORE_URL": zenml.url, "ZENML_STORE_API_KEY": zenml.key, "PYTHONPATH": str(project)},
        }
        made = Place(kubernetes, zenml, bucket, volume, project, environment)
        stacks = project / "configs/stacks"
        for stack in stacks.glob("kube*.yaml"):
            stack.write_text(stack.read_text().replace("https://s3.example.com", s3_url))
        certificate = base64.b64encode(kubernetes.certificate).decode()
        how = ("--type=kubernetes", "--auth-method=token", f"--token={kubernetes.token}", f"--server={kubernetes.url}")
        made.zenml_commands(
            ("secret", "create", "s3", "--key=key-of-the-test", f"--secret={S3_SECRET}"),
            ("secret", "create", "hub", f"--HF_TOKEN={HUB_TOKEN}"),
            ("secret", "create", "wandb", f"--WANDB_API_KEY={WANDB_KEY}"),
            (
                *("service-connector", "register", "cluster", *how, f"--certificate_authority={certificate}"),
                *("--cluster_name=cluster", "--resource-type=kubernetes-cluster"),
            ),
            ("stack", "import", str(stacks / "kubernetes.yaml")),
            ("orchestrator", "connect", "kubernetes", "--connector", "cluster"),
            ("step-operator", "connect", "gpu", "--connector", "cluster"),
            ("stack", "set", "sanaflow-kubernetes"),
        )
        yield made


@pytest.fixture
def write_cluster_run(write_run, hub) -> Callable[..., Path]:
    """The run of configs/kubernetes.yaml with the parameters of the small run."""

    def write(**sections: dict[str, Any]) -> Path:
        cluster = yaml.safe_load((PROJECT / "configs/kubernetes.yaml").read_text())
        parse_run_settings(cluster.pop("parameters"), source="configs/kubernetes.yaml")
        for step in cluster["steps"].keys() - ON_A_GPU:  # for speed: each costs a pod and its polling
            assert cluster["steps"][step] == cluster["steps"]["train_sana"]
            del cluster["steps"][step]
        cluster["secrets"].append("wandb")
        cluster["settings"]["orchestrator"]["job_monitoring_interval"] = 0.5
        cluster["environment"] |= {"HF_ENDPOINT": hub.url, "HF_HUB_DISABLE_XET": "1"}
        return write_run(cluster, **sections)

    return write


def train_pods(place) -> list[dict[str, Any]]:
    """The pods in which the step operator trains, oldest first."""
    pods = place.kubernetes.all("pods")
    mine = [pod for pod in pods if pod["metadata"]["labels"].get("step_name") == "train_sana"]
    return [pod for pod in mine if "step-operator" in pod["metadata"]["name"]]


def wait_for(found: Callable[[], Any], process: subprocess.Popen[bytes], *, seconds: float) -> Any:
    """What `found` gives once it isn't empty, while the process runs."""
    until = time.monotonic() + seconds
    while time.monotonic() < until and process.poll() is None:
        if result := found():
            return result
        time.sleep(0.25)  # the servers that are asked are in this process
    raise AssertionError(f"waited for {seconds} s, or the process has ended: {process.poll()}")


def kill_in_mid_training(place, process) -> None:
    """Kill the pod that trains once a checkpoint is on S3, and lose what it had on disk."""

    def checkpoint():
        kept = place.bucket.objects.filter(Prefix="sanaflow/training/")
        return [o.key for o in kept if o.key.endswith("state.json") and "step-00000000" not in o.key]

    wait_for(checkpoint, process, seconds=300)
    place.kubernetes.kubelet.kill(train_pods(place)[0]["metadata"]["name"])
    wait_for(lambda: train_pods(place)[0]["status"]["phase"] == "Failed", process, seconds=20)
    shutil.rmtree(place.volume / "steps")


def check_no_secret_is_seen(place, output: str) -> None:
    """Neither in what was posted, but in Secrets, nor in a log, an artifact or what ZenML keeps of the run."""
    secrets = (S3_SECRET, HUB_TOKEN, WANDB_KEY, place.zenml.key)
    posted = [r for r in place.kubernetes.requests if r.body and "/secrets" not in r.path]
    kept = [place.zenml.get(kind, hydrate="true", size=200) for kind in ("runs", "steps", "artifact_versions")]
    seen = {
        **{f"{request.method} {request.path}": str(request.body) for request in posted},
        **{name: place.kubernetes.kubelet.log(name) for name in pod_names(place)},
        **{str(number): str(page) for number, page in enumerate(kept)},
        **{o.key: o.get()["Body"].read().decode(errors="replace") for o in place.bucket.objects.all()},
        "output": output,
    }
    assert len(posted) > 16
    assert [name for name, text in seen.items() if any(secret in text for secret in secrets)] == []


def pod_names(place) -> list[str]:
    return [pod["metadata"]["name"] for pod in place.kubernetes.all("pods")]


def test_a_killed_train_pod_goes_on_from_its_checkpoint_and_ends_as_if_undisturbed(
    place, write_cluster_run, write_run, hub, monkeypatch, tmp_path
):
    monkeypatch.setattr(hub, "token", HUB_TOKEN)
    same = {
        "training": {"max_train_steps": 120, "checkpointing_steps": 20, "seed": 8},
        "validation": {"validation_steps": 120},
    }
    publishing = {"hub_model_id": "tester/from-a-cluster", "release_dir": None}
    process = place.start(write_cluster_run(**same, publishing=publishing), tmp_path / "output.txt")
    try:
        kill_in_mid_training(place, process)
        assert process.wait(timeout=300) == 0, (tmp_path / "output.txt").read_text()
    finally:
        process.kill()

    [run] = place.zenml.get("runs", hydrate="true")["items"]
    assert run["body"]["status"] == "completed"
    first, second = train_pods(place)
    assert (first["status"]["phase"], second["status"]["phase"]) == ("Failed", "Succeeded")
    log = place.kubernetes.kubelet.log(second["metadata"]["name"])
    assert "fetching checkpoint" in log and "from s3://sanaflow" in log
    assert "resuming after step" in log
    check_gpu_jobs(place)
    assert {
        pod["metadata"]["labels"]["step_name"]
        for pod in place.kubernetes.all("pods")
        if pod["spec"]["nodeName"] == "large"
    } == ON_A_GPU
    check_no_secret_is_seen(place, (tmp_path / "output.txt").read_text())

    [tuned] = place.zenml.get("artifact_versions", artifact="tuned_model", hydrate="true")["items"]
    undisturbed = finetune.with_options(config_path=str(write_run(**same)))()
    assert undisturbed.status == ExecutionStatus.COMPLETED
    local = undisturbed.steps["train_sana"].outputs["tuned_model"][0].load()
    assert tuned["metadata"]["run_metadata"]["digest"] == local.digest()
    pushed = hub.files("models", "tester/from-a-cluster")["transformer/diffusion_pytorch_model.safetensors"]
    assert pushed == (local.folder / "diffusion_pytorch_model.safetensors").read_bytes()


def check_gpu_jobs(place) -> None:
    """What the YAML says of a GPU's pod is in the jobs of these steps, and of no other."""
    jobs = [job for job in place.kubernetes.posted("jobs") if job["metadata"]["labels"].get("step_name")]
    gpu = [job for job in jobs if job["metadata"]["name"].endswith("step-operator")]
    assert {job["metadata"]["labels"]["step_name"] for job in gpu} == ON_A_GPU
    for job in gpu:
        pod = job["spec"]["template"]["spec"]
        assert pod["containers"][0]["resources"]["limits"] == {"nvidia.com/gpu": "1"}
        assert pod["nodeSelector"] == {"accelerator": "nvidia"}
        assert pod["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
        assert {mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]} == {"/sanaflow", "/dev/shm"}
        assert pod["containers"][0]["image"] == "registry.example.com/me/sanaflow"
    others = [job for job in jobs if job not in gpu]
    assert len(others) >= 16
    assert not any("nvidia.com/gpu" in str(job) for job in others)


def test_a_bad_manifest_is_refused_and_the_error_names_it(place, write_cluster_run, tmp_path):
    config = write_cluster_run()
    run = yaml.safe_load(config.read_text())
    run["settings"]["orchestrator"]["orchestrator_pod_settings"] = {"tolerations": [{"key": "a", "seconds": 3}]}
    config.write_text(yaml.safe_dump(run))
    process = place.start(config, tmp_path / "output.txt")
    try:
        assert process.wait(timeout=120) != 0
    finally:
        process.kill()
    output = (tmp_path / "output.txt").read_text()
    refused = [request for request in place.kubernetes.requests if request.status == 422]
    assert {(request.method, request.path) for request in refused} == {("POST", "/apis/batch/v1/namespaces/zenml/jobs")}
    assert "(422)" in output
    assert f'Job "{refused[0].body["metadata"]["name"]}" is invalid' in output
    assert "seconds" in output


def test_a_step_that_fails_ends_the_command_with_an_error_that_names_it(place, write_cluster_run, tmp_path):
    model = {"pretrained_model_name_or_path": str(tmp_path)}  # an empty folder: the command's machine need not see it
    process = place.start(write_cluster_run(model=model), tmp_path / "output.txt")
    try:
        assert process.wait(timeout=200) == 1
    finally:
        process.kill()
    assert "failed in step 'resolve_model': its logs say why" in (tmp_path / "output.txt").read_text()


def test_a_schedule_is_a_cron_job_that_is_made_changed_paused_and_removed(place, write_cluster_run):
    config = str(write_cluster_run())

    def cron_jobs():
        return [job["spec"] for job in place.kubernetes.all("cronjobs")]

    place.schedule(config, "--cron", "0 3 * * *", "--name", "nightly")
    [made] = cron_jobs()
    assert (made["schedule"], made["concurrencyPolicy"]) == ("0 3 * * *", "Forbid")
    [container] = made["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "registry.example.com/me/sanaflow"
    place.schedule(config, "--cron", "30 4 * * 1", "--name", "nightly")
    assert [job["schedule"] for job in cron_jobs()] == ["30 4 * * 1"], "the one of before is gone"
    place.schedule("pause", "nightly")
    assert [job.get("suspend") for job in cron_jobs()] == [True]
    [listed] = json.loads(place.schedule("list", "--json"))
    assert (listed["name"], listed["active"], listed["pipeline"]) == ("nightly", False, "retrain")
    place.schedule("resume", "nightly")
    assert [job.get("suspend") for job in cron_jobs()] == [False]
    place.schedule("remove", "nightly")
    assert cron_jobs() == []
    assert place.zenml.get("runs", pipeline_name="retrain")["items"] == [], "nothing was due"


def test_a_pod_that_asks_for_more_than_a_node_has_stays_pending(place, tmp_path):
    (tmp_path / "ca.crt").write_bytes(place.kubernetes.certificate)
    said = client.Configuration(
        host=place.kubernetes.url, api_key={"authorization": f"Bearer {place.kubernetes.token}"}
    )
    said.ssl_ca_cert = str(tmp_path / "ca.crt")
    core = client.CoreV1Api(client.ApiClient(said))
    greedy = {"name": "main", "image": "any", "command": ["true"], "resources": {"limits": {"nvidia.com/gpu": "2"}}}
    tolerant = [{"key": "nvidia.com/gpu", "operator": "Exists"}]
    body = {"metadata": {"name": "greedy"}, "spec": {"containers": [greedy], "tolerations": tolerant}}
    core.create_namespaced_pod("zenml", body)
    until = time.monotonic() + 10
    while not (status := core.read_namespaced_pod("greedy", "zenml").status).conditions and time.monotonic() < until:
        time.sleep(0.05)
    assert status.phase == "Pending"
    assert (
        status.conditions[0].message
        == "0/2 nodes are available: 1 Insufficient nvidia.com/gpu, 1 Insufficient nvidia.com/gpu."
    )
    core.delete_namespaced_pod("greedy", "zenml")


def test_the_pipeline_compiles_for_kubeflow_with_its_gpu_step_on_the_step_operator(place, write_cluster_run, tmp_path):
    pytest.importorskip("kfp", reason="needs `pip install sanaflow[kubeflow]`")
    stack = place.project / "configs/stacks/kubeflow.yaml"
    nobody = "http://127.0.0.1:9"  # what is compiled is on disk before it is sent
    stack.write_text(stack.read_text().replace("https://kubeflow.example.com", nobody))
    config = write_cluster_run()
    run = yaml.safe_load(config.read_text())
    del run["settings"]["orchestrator"]
    config.write_text(yaml.safe_dump(run))
    place.zenml_commands(("stack", "import", str(stack)), ("stack", "set", "sanaflow-kubeflow"))
    try:
        process = place.start(config, tmp_path / "output.txt")
        process.wait(timeout=120)
    finally:
        process.kill()
        place.zenml_commands(("stack", "set", "sanaflow-kubernetes"))
    compiled = list(Path(place.environment["ZENML_CONFIG_PATH"]).glob("**/pipelines/*.yaml"))
    assert len(compiled) == 1, (tmp_path / "output.txt").read_text()
    pipeline = yaml.safe_load_all(compiled[0].read_text())
    [spec] = [part for part in pipeline if "root" in part]
    tasks = spec["root"]["dag"]["tasks"]
    assert set(tasks) == {name.replace("_", "-") for name in ALWAYS | CACHEABLE}
    assert set(tasks["train-sana"]["dependentTasks"]) >= {"merge-latents", "merge-captions"}
    images = {part["container"]["image"] for part in spec["deploymentSpec"]["executors"].values()}
    assert images == {"registry.example.com/me/sanaflow"}


@pytest.mark.parametrize("name", ["local", "gpu-box"])
def test_zenml_takes_the_other_stacks(place, name):
    stack = place.project / f"configs/stacks/{name}.yaml"
    stack.write_text(stack.read_text().replace("name: s3", "name: s3-of-the-box"))
    place.zenml_commands(("stack", "import", str(stack)))
    [made] = place.zenml.get("stacks", name=f"sanaflow-{name}", hydrate="true")["items"]
    for kind, parts in yaml.safe_load(stack.read_text())["components"].items():
        assert [part["name"] for part in made["metadata"]["components"][kind]] == [part["name"] for part in parts]


def test_one_yaml_runs_unchanged_on_this_machine_and_on_the_cluster(place, write_run, tmp_path):
    volume = [{"name": "sanaflow", "persistentVolumeClaim": {"claimName": "sanaflow"}}]
    pods = {
        **{"volumes": volume, "volume_mounts": [{"name": "sanaflow", "mountPath": "/sanaflow"}]},
        "env": [{"name": "ZENML_LOCAL_STORES_PATH", "value": "/sanaflow/steps"}],
    }
    settings = (f"--pod_settings={json.dumps(pods)}", "--prevent_orchestrator_pod_caching=true")
    place.zenml_commands(("orchestrator", "update", "kubernetes", *settings, "--job_monitoring_interval=1"))
    image = {"parent_image": "registry.example.com/me/sanaflow", "skip_build": True}
    config = write_run({"settings": {"docker": image}}, training={"seed": 80}, publishing={"release_dir": None})
    as_it_was = config.read_bytes()
    process = place.start(config, tmp_path / "output.txt")
    try:
        assert process.wait(timeout=300) == 0, (tmp_path / "output.txt").read_text()
    finally:
        process.kill()
    here = finetune.with_options(config_path=str(config))()
    assert config.read_bytes() == as_it_was
    newest = {"artifact": "tuned_model", "hydrate": "true", "sort_by": "desc:created", "size": 1}
    [there] = place.zenml.get("artifact_versions", **newest)["items"]
    assert there["metadata"]["run_metadata"]["digest"] == (
        here.steps["train_sana"].outputs["tuned_model"][0].load().digest()
    )

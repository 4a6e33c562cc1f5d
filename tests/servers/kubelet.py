"""The nodes: they run the pods of `tests.servers.kubernetes` as local processes in namespaces of their own.

A pod has its host name, its processes, its mounts and its home to itself, as in a cluster; what it keeps outside of a
volume is gone with it. It shares this machine's files, Python and network: there are no images. A pod waits, Pending,
until a node has what it asks for, as its selector and its tolerations say.
"""

import base64
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

Object = dict[str, Any]
ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
UNITS = {"m": 1e-3, "": 1, "k": 1e3, "M": 1e6, "G": 1e9, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
KILLED_WITH_US = ["setpriv", "--pdeathsig", "KILL"]
NAMESPACES = [*KILLED_WITH_US, "unshare", "--uts", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]


def can_run_pods() -> bool:
    """Whether this user may make namespaces and mount into them."""
    try:
        return (
            subprocess.run([*NAMESPACES, "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True).returncode == 0
        )
    except OSError:
        return False


@dataclass
class Node:
    """What pods can get there; all nodes are this machine."""

    name: str
    capacity: dict[str, str]
    labels: dict[str, str] = field(default_factory=dict)
    taints: set[str] = field(default_factory=set)
    """Keys of the taints of effect NoSchedule."""


@dataclass
class Objects:
    """All that the API server holds, by (kind, namespace, name), and the folders behind volume claims."""

    held: dict[tuple[str, str, str], Object] = field(default_factory=dict)
    lock: threading.RLock = field(default_factory=threading.RLock)
    claims: dict[str, Path] = field(default_factory=dict)


class Unstartable(Exception):
    """The container can't be made."""


class Kubelet:
    """Runs jobs and pods, a thread each, until it is closed."""

    def __init__(self, nodes: list[Node], objects: Objects, folder: Path, address: tuple[str, int], token: str) -> None:
        """`folder` gets logs and homes; it has ca.crt, the API server's certificate."""
        self._nodes, self._objects, self._folder, self._address, self._token = nodes, objects, folder, address, token
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._running: dict[str, Object] = {}
        self._made: list[Path] = []
        self._closed = threading.Event()

    def start_job(self, job: Object) -> None:
        """Make pods, one after the other, until one succeeds or too many have failed."""
        threading.Thread(target=self._run_job, args=(job,), daemon=True).start()

    def start_pod(self, pod: Object) -> None:
        """Run a pod that belongs to no job."""
        threading.Thread(target=self._run_pod, args=(pod,), daemon=True).start()

    def kill(self, pod: str) -> None:
        """SIGKILL to all processes of a pod that runs."""
        process = self._processes.get(pod)
        if process and process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)

    def log(self, pod: str) -> str:
        """What a pod has said so far."""
        path = self._folder / f"{pod}.log"
        return path.read_text(errors="replace") if path.is_file() else ""

    def close(self) -> None:
        """Kill all pods, and remove the mount points that were made."""
        self._closed.set()
        for pod in list(self._processes):
            self.kill(pod)
        for process in list(self._processes.values()):
            process.wait(timeout=30)
        for folder in reversed(self._made):
            with suppress(OSError):  # in use
                folder.rmdir()

    def _run_job(self, job: Object) -> None:
        meta, spec, failed = job["metadata"], job["spec"], 0
        job["status"] = {"active": 1, "startTime": now()}
        while not self._closed.is_set():
            pod = pod_of(job)
            with self._objects.lock:
                self._objects.held["pods", meta["namespace"], pod["metadata"]["name"]] = pod
            code = self._run_pod(pod)
            if ("jobs", meta["namespace"], meta["name"]) not in self._objects.held:
                return
            failed += code != 0
            reason = None
            if any(code in codes for codes in _fail_job_codes(spec)):
                reason = "PodFailurePolicy"
            elif failed > spec.get("backoffLimit", 6):
                reason = "BackoffLimitExceeded"
            if code == 0 or reason:
                with self._objects.lock:
                    end = {"type": "Failed" if code else "Complete", "status": "True", "lastTransitionTime": now()}
                    job["status"] |= {"active": 0, "failed": failed, "succeeded": int(code == 0)}
                    job["status"]["conditions"] = [end | ({"reason": reason, "message": reason} if reason else {})]
                return
            job["status"]["failed"] = failed

    def _run_pod(self, pod: Object) -> int:
        """Run a pod to its end; its exit code, as a shell gives it."""
        name, container = pod["metadata"]["name"], pod["spec"]["containers"][0]
        if not self._wait_for_place(pod):
            return 137
        try:
            command, environment = self._command(pod), self._environment(pod)
            state, phase = {"running": {"startedAt": now()}}, "Running"
        except Unstartable as error:
            state, phase = {"waiting": {"reason": "CreateContainerConfigError", "message": str(error)}}, "Pending"
        status = {"name": container["name"], "image": container["image"], "imageID": "", "ready": True}
        pod["status"] = {"phase": phase, "containerStatuses": [status | {"restartCount": 0, "state": state}]}
        if phase == "Pending":
            self._wait_until_deleted(pod)
            return 137
        with (self._folder / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                command, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True, cwd="/"
            )
            self._processes[name] = process
            code = process.wait()
        code = 128 - code if code < 0 else code
        with self._objects.lock:
            self._running.pop(name, None)
            ended = {"exitCode": code, "reason": "Error" if code else "Completed", "finishedAt": now()}
            pod["status"]["phase"] = "Failed" if code else "Succeeded"
            pod["status"]["containerStatuses"][0] |= {"ready": False, "state": {"terminated": ended}}
        return code

    def _wait_for_place(self, pod: Object) -> bool:
        """Wait until a node has room; False if the pod is deleted first."""
        while True:
            with self._objects.lock:
                lacking = []
                for node in self._nodes:
                    there = [other for other in self._running.values() if other["spec"]["nodeName"] == node.name]
                    if reason := lacking_on(node, pod, there):
                        lacking.append(reason)
                        continue
                    pod["spec"]["nodeName"] = node.name
                    self._running[pod["metadata"]["name"]] = pod
                    return True
                message = f"0/{len(self._nodes)} nodes are available: {', '.join(sorted(lacking))}."
                scheduled = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
                pod["status"] = {"phase": "Pending", "conditions": [scheduled]}
            if self._closed.wait(0.1) or not self._is_held(pod):
                return False

    def _wait_until_deleted(self, pod: Object) -> None:
        while self._is_held(pod) and not self._closed.wait(0.1):
            pass
        self._running.pop(pod["metadata"]["name"], None)

    def _is_held(self, pod: Object) -> bool:
        return ("pods", pod["metadata"]["namespace"], pod["metadata"]["name"]) in self._objects.held

    def _command(self, pod: Object) -> list[str]:
        """The container's command in its namespaces, behind the mounts."""
        namespace, container = pod["metadata"]["namespace"], pod["spec"]["containers"][0]
        volumes = {volume["name"]: volume for volume in pod["spec"].get("volumes") or []}
        script = ["set -e", f"hostname {shlex.quote(pod['metadata']['name'])}"]
        for folder in (Path("/app"), ACCOUNT):
            script.append(f"mount -t tmpfs none {self._mount_point(folder)}")
        script.append(f"cp {shlex.quote(str(self._folder / 'ca.crt'))} {ACCOUNT}/ca.crt")
        script.append(f"printf %s {self._token} > {ACCOUNT}/token; printf %s {namespace} > {ACCOUNT}/namespace")
        for mount in container.get("volumeMounts") or []:
            volume, where = volumes[mount["name"]], shlex.quote(str(self._mount_point(Path(mount["mountPath"]))))
            claim = volume.get("persistentVolumeClaim", {}).get("claimName")
            if "emptyDir" in volume:
                script.append(f"mount -t tmpfs none {where}")
            elif claim in self._objects.claims:
                script.append(f"mount --bind {shlex.quote(str(self._objects.claims[claim]))} {where}")
            else:
                raise Unstartable(f"volume '{mount['name']}' is neither an emptyDir nor a claim that is there")
        script.append('exec "$@"')
        said = [*container.get("command", []), *container.get("args", [])]
        return [*NAMESPACES, "sh", "-c", "\n".join(script), "sh", *said]

    def _mount_point(self, folder: Path) -> Path:
        with self._objects.lock:
            missing = [f for f in (folder, *folder.parents) if not f.exists()]
            folder.mkdir(parents=True, exist_ok=True)
            self._made += reversed(missing)
        return folder

    def _environment(self, pod: Object) -> dict[str, str]:
        home = self._folder / "homes" / pod["metadata"]["name"]
        home.mkdir(parents=True)
        host, port = self._address
        kept = {"HOME": str(home), "TMPDIR": str(home), "LANG": "C.UTF-8"}
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        cluster = {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": str(port)}
        return {**kept, "PATH": path, **cluster, **dict(self._said_environment(pod))}

    def _said_environment(self, pod: Object) -> Iterator[tuple[str, str]]:
        container, namespace = pod["spec"]["containers"][0], pod["metadata"]["namespace"]
        for source in container.get("envFrom") or []:
            yield from self._secret(namespace, source["secretRef"]["name"]).items()
        for variable in container.get("env") or []:
            if reference := (variable.get("valueFrom") or {}).get("secretKeyRef"):
                yield variable["name"], self._secret(namespace, reference["name"])[reference["key"]]
            else:
                yield variable["name"], variable.get("value") or ""

    def _secret(self, namespace: str, name: str) -> dict[str, str]:
        secret = self._objects.held.get(("secrets", namespace, name))
        if secret is None:
            raise Unstartable(f'secret "{name}" not found')
        return {key: base64.b64decode(value).decode() for key, value in (secret.get("data") or {}).items()}


def pod_of(job: Object) -> Object:
    """A new pod from a job's template."""
    template, meta = deepcopy(job["spec"]["template"]), job["metadata"]
    name = f"{meta['name']}-{uuid.uuid4().hex[:5]}"
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": meta["name"], "uid": meta["uid"], "controller": True}
    given = template.get("metadata") or {}
    labels = (given.get("labels") or {}) | {"job-name": meta["name"], "batch.kubernetes.io/job-name": meta["name"]}
    identity = {"name": name, "namespace": meta["namespace"], "uid": str(uuid.uuid4()), "creationTimestamp": now()}
    template["metadata"] = {**given, **identity, "labels": labels, "ownerReferences": [owner]}
    return {"apiVersion": "v1", "kind": "Pod", **template, "status": {"phase": "Pending"}}


def lacking_on(node: Node, pod: Object, running: list[Object]) -> str | None:
    """Why a pod can't go to the node beside those that run there."""
    wanted = pod["spec"].get("nodeSelector") or {}
    if any(node.labels.get(key) != value for key, value in wanted.items()):
        return "1 node(s) didn't match Pod's node affinity/selector"
    tolerated = {tolerance.get("key") for tolerance in pod["spec"].get("tolerations") or []}
    if node.taints - tolerated:
        return f"1 node(s) had untolerated taint {{{min(node.taints - tolerated)}: }}"
    for resource, amount in _requests(pod).items():
        used = sum(_requests(other).get(resource, 0) for other in running)
        if used + amount > quantity(node.capacity.get(resource, "0")):
            return f"1 Insufficient {resource}"
    return None


def _requests(pod: Object) -> dict[str, float]:
    """What a pod asks for; a limit without a request is one."""
    said = pod["spec"]["containers"][0].get("resources") or {}
    return {
        key: quantity(value) for key, value in {**(said.get("limits") or {}), **(said.get("requests") or {})}.items()
    }


def quantity(text: str) -> float:
    """`400Mi`, `100m`, `2` as a number."""
    found = re.fullmatch(r"([0-9.]+)([a-zA-Z]*)", str(text))
    if not found or found[2] not in UNITS:
        raise ValueError(f"quantities must match the regular expression: '{text}'")
    return float(found[1]) * UNITS[found[2]]


def _fail_job_codes(spec: Object) -> Iterator[list[int]]:
    for rule in (spec.get("podFailurePolicy") or {}).get("rules") or []:
        codes = rule.get("onExitCodes") or {}
        if rule["action"] == "FailJob" and codes.get("operator") == "In":
            yield codes["values"]


def now() -> str:
    """This second as Kubernetes writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

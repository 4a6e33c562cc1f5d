"""A double of the Kubernetes API server, on loopback and over TLS, that runs what it is given.

It takes the REST calls of the official client, validates every object against the official schemas (the package
kubernetes-validate), refuses an invalid one with 422 as the real server does, keeps the others, and has a `Kubelet` run
jobs and pods as local processes. Tokens are checked. All requests are kept for the tests to look at.

It is no cluster: no images, no RBAC, no watches; a cron job is kept but never due; a job is one pod at a
time, retried at once; deadlines and garbage collection are not enforced.
"""

import json
import re
import ssl
import tempfile
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

import kubernetes_validate

from tests.servers.certificate import write_certificate
from tests.servers.kubelet import Kubelet, Node, Object, Objects, now, quantity
from tests.servers.loopback import LoopbackHandler, LoopbackServer

SCHEMAS = "1.36"
KINDS = {
    **{"pods": ("v1", "Pod"), "secrets": ("v1", "Secret"), "configmaps": ("v1", "ConfigMap")},
    **{"services": ("v1", "Service"), "serviceaccounts": ("v1", "ServiceAccount"), "namespaces": ("v1", "Namespace")},
    **{"jobs": ("batch/v1", "Job"), "cronjobs": ("batch/v1", "CronJob")},
    "rolebindings": ("rbac.authorization.k8s.io/v1", "RoleBinding"),
    "clusterrolebindings": ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding"),
}
VERSION = {
    **{"major": "1", "minor": SCHEMAS.split(".")[1], "gitVersion": f"v{SCHEMAS}.0-double", "gitCommit": "0"},
    **{"gitTreeState": "clean", "buildDate": "2026-01-01T00:00:00Z", "goVersion": "none", "compiler": "none"},
    "platform": "linux/amd64",
}
PATH = re.compile(
    r"/(?:api|apis/[^/]+)/v1(?:/namespaces/(?P<namespace>[^/]+)(?=/))?/(?P<kind>[a-z]+)(?:/(?P<name>[^/]+))?(?P<log>/log)?"
)


@dataclass(frozen=True)
class Request:
    """One request and what became of it."""

    method: str
    path: str
    body: Object | None
    status: int


class Refusal(Exception):
    """An answer that is an error."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status, self.reason = status, reason


class KubernetesServer(LoopbackServer):
    """The API server of a cluster."""

    def __init__(self, *nodes: Node, claims: dict[str, Path], token: str = "token-of-the-cluster") -> None:
        """`claims` are the folders behind persistent volume claims."""
        super().__init__(KubernetesHandler)
        self._nodes, self.token = list(nodes), token
        self.objects = Objects(claims=claims)
        self.requests: list[Request] = []

    def __enter__(self) -> Self:
        self._folder = tempfile.TemporaryDirectory(prefix="kubernetes-")
        folder = Path(self._folder.name)
        write_certificate(folder)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "ca.crt", folder / "tls.key")
        super().__enter__()
        # Hands are shaken in the request's own thread: a client that doesn't can't keep the others out.
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self.url = self.url.replace("http://", "https://")
        self.certificate = (folder / "ca.crt").read_bytes()
        address = ("127.0.0.1", self._server.server_port)
        self.kubelet = Kubelet(self._nodes, self.objects, folder, address, self.token)
        return self

    def __exit__(self, *error: object) -> None:
        self.kubelet.close()
        super().__exit__(*error)
        self._folder.cleanup()

    def all(self, kind: str) -> list[Object]:
        """Every object of a kind, oldest first."""
        with self.objects.lock:
            return [held for key, held in self.objects.held.items() if key[0] == kind]

    def posted(self, kind: str) -> list[Object]:
        """What was asked to be made of a kind, taken or refused, oldest first."""
        made = [request for request in self.requests if request.method == "POST"]
        return [request.body for request in made if request.path.split("?")[0].endswith(f"/{kind}") and request.body]


class KubernetesHandler(LoopbackHandler):
    """Answers for its `KubernetesServer`."""

    owner: KubernetesServer

    def do_GET(self) -> None:
        """One object, a list of them, or a pod's log."""
        self._answer(self._get)

    def do_POST(self) -> None:
        """Make an object."""
        self._answer(self._post)

    def do_PATCH(self) -> None:
        """Change an object, by a merge."""
        self._answer(self._patch)

    def do_PUT(self) -> None:
        """Replace an object."""
        self._answer(self._put)

    def do_DELETE(self) -> None:
        """Delete an object and end what it runs."""
        self._answer(self._delete)

    def _answer(self, answer: Any) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or "null")
        asked = json.loads(json.dumps(body))  # as it was: what is kept changes
        try:
            scheme, _, token = self.headers.get("Authorization", "").partition(" ")
            if scheme.lower() != "bearer" or token != self.owner.token:
                raise Refusal(401, "Unauthorized", "Unauthorized")
            with self.owner.objects.lock:
                status, said = answer(body)
                said = said.encode() if isinstance(said, str) else json.dumps(said).encode()
        except Refusal as refused:
            status, failure = refused.status, {"kind": "Status", "apiVersion": "v1", "status": "Failure"}
            said = json.dumps(failure | {"reason": refused.reason, "message": str(refused), "code": status}).encode()
        self.owner.requests.append(Request(self.command, self.path, asked, status))
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def _place(self) -> tuple[tuple[str, str, str], bool]:
        """(kind, namespace, name) of the request, and whether it is for a log."""
        found = PATH.fullmatch(urlsplit(self.path).path)
        if not found or found["kind"] not in KINDS:
            raise Refusal(404, "NotFound", f"the server could not find the requested resource: {self.path}")
        return (found["kind"], found["namespace"] or "", found["name"] or ""), bool(found["log"])

    def _find(self) -> Object:
        key, _ = self._place()
        if key not in self.owner.objects.held:
            raise Refusal(404, "NotFound", f'{key[0]} "{key[2]}" not found')
        return self.owner.objects.held[key]

    def _get(self, body: None) -> tuple[int, Object | str]:
        if urlsplit(self.path).path.rstrip("/") == "/version":
            return 200, VERSION
        key, log = self._place()
        if key[2]:
            found = self._find()
            return 200, self.owner.kubelet.log(key[2]) if log else found
        query = dict(parse_qsl(urlsplit(self.path).query))
        if "watch" in query:
            raise Refusal(405, "MethodNotAllowed", "this double has no watches")
        kind, namespace = key[:2]
        items = [held for held in self.owner.all(kind) if not namespace or held["metadata"]["namespace"] == namespace]
        api, name = KINDS[kind]
        return 200, {"apiVersion": api, "kind": f"{name}List", "metadata": {}, "items": _selected(items, query)}

    def _post(self, made: Object) -> tuple[int, Object]:
        kind, namespace = self._place()[0][:2]
        api, name = KINDS[kind]
        made = {"apiVersion": api, "kind": name, **made}
        meta = made["metadata"]
        if not meta.get("name"):
            meta["name"] = f"{meta.get('generateName', '')}{uuid.uuid4().hex[:5]}"
        if kind == "jobs":
            _set_defaults(made)
        validate(made)
        key = (kind, namespace, meta["name"])
        if key in self.owner.objects.held:
            raise Refusal(409, "AlreadyExists", f'{kind} "{meta["name"]}" already exists')
        meta |= {"namespace": namespace, "uid": str(uuid.uuid4()), "creationTimestamp": now()}
        made["status"] = {"phase": "Pending"} if kind == "pods" else {}
        self.owner.objects.held[key] = made
        if kind in ("jobs", "pods"):
            getattr(self.owner.kubelet, {"jobs": "start_job", "pods": "start_pod"}[kind])(made)
        return 201, made

    def _patch(self, change: Object) -> tuple[int, Object]:
        found = self._find()
        patched = _merged(found, change)
        validate(patched)
        found.update(patched)
        return 200, found

    def _put(self, new: Object) -> tuple[int, Object]:
        found = self._find()
        validate(new)
        new["metadata"] = found["metadata"] | new["metadata"]
        for key in found.keys() - new.keys():
            del found[key]
        found.update(new)
        return 200, found

    def _delete(self, body: Object | None) -> tuple[int, Object]:
        kind, namespace, name = self._place()[0]
        found = self._find()
        del self.owner.objects.held[kind, namespace, name]
        pods = [name] if kind == "pods" else []
        if kind == "jobs":
            pods = [
                p["metadata"]["name"] for p in _selected(self.owner.all("pods"), {"labelSelector": f"job-name={name}"})
            ]
        for pod in pods:
            self.owner.objects.held.pop(("pods", namespace, pod), None)
            self.owner.kubelet.kill(pod)
        return 200, found


def validate(made: Object) -> None:
    """Check an object as the real server does.

    Raises:
        Refusal: 422, naming the object and the field.
    """
    name = made["metadata"]["name"]
    said = f'{made["kind"]} "{name}" is invalid: '
    if not re.fullmatch(r"[a-z0-9]([a-z0-9.:-]{0,251}[a-z0-9])?", name):
        raise Refusal(422, "Invalid", f"{said}metadata.name: Invalid value: must be a lowercase RFC 1123 subdomain")
    try:
        kubernetes_validate.validate({k: v for k, v in made.items() if k != "status"}, SCHEMAS, strict=True)
        for container in _containers(made):
            for resource, amount in _resources(container):
                quantity(amount)
                if "/" in resource and amount != container["resources"].get("limits", {}).get(resource):
                    raise ValueError(f"spec.containers: limit must be set, and the request be the same, for {resource}")
    except kubernetes_validate.ValidationError as error:
        raise Refusal(422, "Invalid", f"{said}{'.'.join(map(str, error.path))}: {error.message}") from None
    except ValueError as error:
        raise Refusal(422, "Invalid", f"{said}{error}") from None


def _set_defaults(job: Object) -> None:
    """Fill in what the real server does and its official client can't read an answer without."""
    for rule in ((job.get("spec") or {}).get("podFailurePolicy") or {}).get("rules") or []:
        for condition in rule.get("onPodConditions") or []:
            condition.setdefault("status", "True")


def _containers(made: Object) -> list[Object]:
    template = made if made["kind"] == "Pod" else made.get("spec", {}).get("template", {})
    return template.get("spec", {}).get("containers", []) if made["kind"] in ("Pod", "Job") else []


def _resources(container: Object) -> list[tuple[str, str]]:
    said = container.get("resources") or {}
    return [pair for part in ("limits", "requests") for pair in (said.get(part) or {}).items()]


def _selected(items: list[Object], query: dict[str, str]) -> list[Object]:
    def value(held: Object, path: str) -> Any:
        for part in path.split("."):
            held = (held or {}).get(part) or {}
        return held

    def terms(name: str) -> list[list[str]]:
        return [term.replace("==", "=").split("=", 1) for term in query.get(name, "").split(",") if "=" in term]

    labelled = terms("labelSelector")
    items = [
        i for i in items if all((i["metadata"].get("labels") or {}).get(key) == wanted for key, wanted in labelled)
    ]
    return [i for i in items if all(value(i, path) == wanted for path, wanted in terms("fieldSelector"))]


def _merged(old: Any, change: Any) -> Any:
    """A JSON merge patch (RFC 7386)."""
    if not isinstance(old, dict) or not isinstance(change, dict):
        return change
    merged = old | {key: _merged(old.get(key), value) for key, value in change.items()}
    return {key: value for key, value in merged.items() if value is not None or key not in change}

"""Kubernetes' resources as helm and kubectl make them, and what a cluster would say of them."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar
from unittest import skipUnless

import yaml
from jsonschema import Draft202012Validator
from referencing import Registry, Resource

ROOT = Path(__file__).parents[2]
CHART = ROOT / "etc" / "kubernetes" / "chart"
SCHEMAS = Path(sys.prefix) / "share" / "kubernetes"
Wrapped = TypeVar("Wrapped", bound=Callable[..., Any])
RELEASES = ("1.30", "1.37")
"""Kubernetes' releases that all is held against: the oldest that has all we use, and the latest."""


def program(name: str) -> str | None:
    """Find a program: beside Python, where `make cluster` puts it, or anywhere."""
    beside = Path(sys.executable).with_name(name)
    return str(beside) if beside.exists() else shutil.which(name)


def needs(*names: str) -> Callable[[Wrapped], Wrapped]:
    """Skip a test where a program is missing, or the schemas of resources are."""
    there = [SCHEMAS.exists() if name == "schemas" else bool(program(name)) for name in names]
    return skipUnless(all(there), f"needs {' and '.join(names)}: make cluster")


class RefusedError(Exception):
    """A program would not do it; its words."""


def run(name: str, *words: str, text: str | None = None) -> str:
    """Run a program.

    :param text: what it reads from standard input.
    :raises RefusedError: when it fails.
    """
    command = [program(name) or name, *words]
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode:
        raise RefusedError(done.stdout + done.stderr)
    return done.stdout


def template(values: dict[str, Any] | None = None) -> list[Any]:
    """Render the chart as release "sim".

    :param values: come over the chart's own.
    :return: the resources, not to be changed.
    :raises RefusedError: when helm does not like them.
    """
    # In JSON nothing can be mistaken for something else; YAML knows no pairs of surrogates, and LS would end a line.
    return _template(json.dumps(values or {}, ensure_ascii=False).replace("\u2028", r"\u2028"))


@cache
def _template(values: str) -> list[Any]:
    text = run("helm", "template", "sim", str(CHART), "-f", "-", text=values)
    return list(filter(None, yaml.safe_load_all(text)))


def only(documents: list[Any], kind: str, name: str | None = None) -> Any:
    """Find the one resource of a kind, or the one of a name among them."""
    [found] = [each for each in documents if each["kind"] == kind and name in (None, each["metadata"]["name"])]
    return found


def container(documents: list[Any], name: str | None = None) -> Any:
    """Find the one container of a deployment's pods."""
    [found] = only(documents, "Deployment", name)["spec"]["template"]["spec"]["containers"]
    return found


@cache
def _schemas(release: str) -> tuple[Registry[Any], dict[tuple[str, str], str]]:
    """Read a release's schemas, and where each kind of resource has its own."""
    whole = json.loads(SCHEMAS.joinpath(f"{release}.json").read_text("utf-8"))
    address = whole["$id"]
    places = {}
    for name, definition in whole["$defs"].items():
        for kind in definition.get("x-kubernetes-group-version-kind", ()):
            version = "/".join(filter(None, (kind["group"], kind["version"])))
            places[version, kind["kind"]] = f"{address}#/$defs/{name}"
    return Registry().with_resource(address, Resource.from_contents(whole)), places


_LABELS = {"type": "object", "additionalProperties": {"type": "string"}}
_SELECTOR = {
    "type": "object",
    "properties": {"matchLabels": _LABELS},
    "required": ["matchLabels"],
    "additionalProperties": False,
}
_ENDPOINT = {
    "type": "object",
    "properties": {
        "port": {"type": "string"},
        "path": {"type": "string"},
        "interval": {"type": "string"},
        "scheme": {"enum": ["http", "https"]},
        "tlsConfig": {"type": "object", "properties": {"insecureSkipVerify": {"type": "boolean"}}},
    },
    "required": ["port"],
    "additionalProperties": False,
}
_NUMBER = {
    "type": "object",
    "properties": {"number": {"type": "integer", "minimum": 1, "maximum": 65535}},
    "required": ["number"],
    "additionalProperties": False,
}


def _custom(required: tuple[str, ...], **properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}


OTHERS = {
    ("inference.networking.k8s.io/v1", "InferencePool"): _custom(
        ("selector", "targetPorts", "endpointPickerRef"),
        selector=_SELECTOR,
        targetPorts={"type": "array", "items": _NUMBER, "minItems": 1, "maxItems": 8},
        endpointPickerRef=_custom(
            ("name", "port"),
            kind={"const": "Service"},
            name={"type": "string", "minLength": 1},
            port=_NUMBER,
            failureMode={"enum": ["FailOpen", "FailClose"]},
        ),
    ),
    ("monitoring.coreos.com/v1", "ServiceMonitor"): _custom(
        ("selector", "endpoints"), selector=_SELECTOR, endpoints={"type": "array", "items": _ENDPOINT, "minItems": 1}
    ),
    ("monitoring.coreos.com/v1", "PodMonitor"): _custom(
        ("selector", "podMetricsEndpoints"),
        selector=_SELECTOR,
        podMetricsEndpoints={"type": "array", "items": _ENDPOINT, "minItems": 1},
    ),
}
"""What we use of resources that a cluster has to be taught: the schema of ``spec``, from their documentation."""


def faults(documents: list[Any], release: str) -> list[str]:
    """Say what a cluster would not like about resources.

    A field that it does not know is a fault, and so is a duplicate of a resource, or a label that is none.
    """
    told = []
    seen = set()
    for each in documents:
        version, kind, name = each["apiVersion"], each["kind"], each["metadata"]["name"]
        if (kind, name) in seen:
            told.append(f"there are two {kind} {name}")
        seen.add((kind, name))
        registry, places = _schemas(release)
        if (version, kind) in OTHERS:
            schema, subject = OTHERS[version, kind], each["spec"]
        else:
            schema, subject = {"$ref": places[version, kind]}, each
        checker = Draft202012Validator(schema, registry=registry)
        told += [f"{kind} {name}: {error.json_path}: {error.message}" for error in checker.iter_errors(subject)]
        told += [f"{kind} {name}: {fault}" for fault in _relations(each)]
    return told


def _relations(each: Any) -> list[str]:
    """Say what is wrong inside of a deployment, which no schema sees."""
    if each["kind"] != "Deployment":
        return []
    told = []
    template = each["spec"]["template"]
    labels = template["metadata"]["labels"]
    if not each["spec"]["selector"]["matchLabels"].items() <= labels.items():
        told.append("its selector does not select its pods")
    pod = template["spec"]
    volumes = [volume["name"] for volume in pod.get("volumes", ())]
    for each_container in pod["containers"]:
        ports = [port["name"] for port in each_container["ports"]]
        mounts = [mount["name"] for mount in each_container.get("volumeMounts", ())]
        variables = [variable["name"] for variable in each_container.get("env", ())]
        told += [
            f"there is a name twice: {names}"
            for names in (volumes, ports, mounts, variables)
            if len(set(names)) < len(names)
        ]
        if not set(mounts) <= set(volumes):
            told.append(f"mounts {mounts} of volumes {volumes}")
        probes = [each_container.get(f"{name}Probe", {}) for name in ("startup", "liveness", "readiness")]
        asked = {probe[ask]["port"] for probe in probes for ask in ("httpGet", "tcpSocket") if ask in probe}
        if not asked <= set(ports):
            told.append(f"probes ask {asked} of {ports}")
    return told


def unsafe(pod: Any) -> list[str]:
    """Say why a pod would not fit the restricted pod security standard, and what else could be more careful."""
    whole = pod.get("securityContext", {})
    fine = {
        "it is not root": whole.get("runAsNonRoot") is True and whole.get("runAsUser"),
        "it has a seccomp profile": whole.get("seccompProfile", {}).get("type") == "RuntimeDefault",
        "it has no token for the cluster": pod.get("automountServiceAccountToken") is False,
        "it is in no namespace of the host": not any(pod.get(f"host{name}") for name in ("Network", "PID", "IPC")),
        "it has no folder of the host": not any("hostPath" in volume for volume in pod.get("volumes", ())),
    }
    for each in pod["containers"]:
        own = each.get("securityContext", {})
        fine |= {
            "privileges do not grow": own.get("allowPrivilegeEscalation") is False and not own.get("privileged"),
            "it has no capabilities": own.get("capabilities") == {"drop": ["ALL"]},
            "its image is not written to": own.get("readOnlyRootFilesystem") is True,
            "it says what it needs": {"cpu", "memory"} <= each.get("resources", {}).get("requests", {}).keys(),
        }
    return [f"not so: {rule}" for rule, holds in fine.items() if not holds]

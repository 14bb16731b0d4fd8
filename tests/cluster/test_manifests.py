"""The manifests, as kubectl puts them together."""

from functools import cache
from typing import Any

import yaml
from twisted.trial.unittest import SynchronousTestCase

from tests.cluster.resources import RELEASES, ROOT, container, faults, needs, only, run, unsafe
from vllmsim import __version__
from vllmsim.config.arguments import Arguments
from vllmsim.config.loading import load
from vllmsim.config.schema import Configuration

FOLDER = ROOT / "etc" / "kubernetes"
MADE = ("base", "lora", "data-parallel", "disaggregation", "inference-pool", "monitoring")


@cache
def made(name: str) -> list[Any]:
    """Put the manifests of a folder together."""
    return list(yaml.safe_load_all(run("kubectl", "kustomize", str(FOLDER / name))))


@needs("kubectl", "schemas")
class ManifestTests(SynchronousTestCase):
    """All folders."""

    def configuration(self, documents: list[Any], name: str = "vllmsim") -> Configuration:
        """Read the configuration that a deployment's servers begin with."""
        path = self.mktemp()
        with open(path, "w", encoding="utf-8") as file:  # noqa: PTH123
            file.write(only(documents, "ConfigMap", name)["data"]["sim.yaml"])
        return load(Arguments(values={}, problems=[], config=path), {}).configuration

    def test_folders(self) -> None:
        """Every folder is tried here."""
        found = {path.parent.relative_to(FOLDER).parts[0] for path in FOLDER.rglob("kustomization.yaml")}
        self.assertEqual(set(MADE), found)

    def test_schemas(self) -> None:
        """A cluster of the oldest or of the latest release takes all of them as they are, and knows every field."""
        for name in MADE:
            for release in RELEASES:
                self.assertEqual([], faults(made(name), release), name)

    def test_careful(self) -> None:
        """All pods fit the restricted pod security standard."""
        for name in MADE:
            for each in made(name):
                if each["kind"] == "Deployment":
                    self.assertEqual([], unsafe(each["spec"]["template"]["spec"]), name)

    def test_images(self) -> None:
        """The image is named once, with the program's version."""
        for name in MADE:
            images = {container([each])["image"] for each in made(name) if each["kind"] == "Deployment"}
            self.assertEqual({f"vllmsim:{__version__}"}, images)

    def test_configurations(self) -> None:
        """Every configuration is one that the server starts with, and its ports are those of pods and services."""
        for name in MADE:
            documents = made(name)
            for each in documents:
                if each["kind"] != "ConfigMap":
                    continue
                own = each["metadata"]["name"]
                configuration = self.configuration(documents, own)
                ports = {port["containerPort"] for port in container(documents, own)["ports"]}
                service = only(documents, "Service", own)["spec"]["ports"]
                self.assertEqual(set(configuration.ports), {port["port"] for port in service})
                self.assertLessEqual(set(configuration.ports), ports)

    def test_patience(self) -> None:
        """Pods have as long to end as their servers may take."""
        for name in MADE:
            documents = made(name)
            for each in documents:
                if each["kind"] != "Deployment" or each["metadata"]["name"].endswith("-proxy"):
                    continue
                configuration = self.configuration(documents, each["metadata"]["name"])
                pod = each["spec"]["template"]["spec"]
                sleep = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
                killed = 15 if configuration.data_parallel_processes else 5
                self.assertGreater(
                    pod["terminationGracePeriodSeconds"], sleep + configuration.shutdown_timeout + killed
                )

    def test_disaggregation(self) -> None:
        """Prefill and decode servers are told apart by llm-d's label, and each has its part; clients ask the router."""
        documents = made("disaggregation")
        roles = {}
        for name in ("prefill", "decode"):
            pods = only(documents, "Deployment", f"vllmsim-{name}")["spec"]["template"]
            self.assertEqual(name, pods["metadata"]["labels"]["llm-d.ai/role"])
            self.assertEqual(name, only(documents, "Service", f"vllmsim-{name}")["spec"]["selector"]["llm-d.ai/role"])
            configuration = self.configuration(documents, f"vllmsim-{name}")
            roles[name] = configuration.kv_transfer.role
            self.assertEqual("tcp://*:5557", configuration.zmq_endpoint)
        self.assertEqual({"prefill": "kv_producer", "decode": "kv_consumer"}, roles)
        command = container(documents, "vllmsim-proxy")["command"]
        self.assertTrue(ROOT.joinpath("examples", command[1].rpartition("/")[2]).exists())
        services = {f"http://{each['metadata']['name']}:8000" for each in documents if each["kind"] == "Service"}
        self.assertLessEqual(set(command[3:]), services)

    def test_pool(self) -> None:
        """The pool selects the servers' pods, at a port that they have."""
        documents = made("inference-pool")
        pool = only(documents, "InferencePool")["spec"]
        labels = only(documents, "Deployment")["spec"]["template"]["metadata"]["labels"]
        self.assertLessEqual(pool["selector"]["matchLabels"].items(), labels.items())
        self.assertEqual([8000], [port["number"] for port in pool["targetPorts"]])

    def test_adapters(self) -> None:
        """The example with adapters serves them."""
        configuration = self.configuration(made("lora"))
        self.assertIn("poet", [module.name for module in configuration.lora_modules])

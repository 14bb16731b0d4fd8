"""The pods, services and others that the chart makes."""

from typing import Any

import yaml
from twisted.trial.unittest import SynchronousTestCase

from tests.cluster.resources import container, needs, only, template
from tests.cluster.values import EVERYTHING, MATRIX
from vllmsim.config.schema import Configuration


@needs("helm")
class PodTests(SynchronousTestCase):
    """What a cluster runs."""

    def test_ports(self) -> None:
        """Each rank's port is the pod's and the service's; option names may be written with _."""
        expected = {
            "ranks": [8000, 8001, 8002, 8003], "ranks in processes": [8000, 8001, 8002, 8003, 9256],
            "ranks at one port": [8000], "a file": [8100], "everything": [9000, 5557],
        }  # fmt: skip
        for name, ports in expected.items():
            documents = template(MATRIX[name])
            self.assertEqual(ports, [port["containerPort"] for port in container(documents)["ports"]], name)
        service = only(template(EVERYTHING), "Service")["spec"]["ports"]
        self.assertEqual([(443, "http", "https"), (5557, "kv-events", None)], [
            (port["port"], port["targetPort"], port.get("appProtocol")) for port in service
        ])  # fmt: skip
        ranges = (
            ({"data-parallel-size": 8, "data-parallel-size-local": 2, "data-parallel-start-rank": 4}, 2),
            ({"data-parallel-size": 8, "data-parallel-start-rank": 5}, 3),
            ({"data-parallel-size": 8, "data-parallel-rank": 0}, 1),
            ({"data-parallel-size": 8, "data-parallel-rank": -1, "data-parallel-size-local": 0}, 8),
        )
        for config, count in ranges:
            given: dict[str, Any] = {name.replace("-", "_"): value for name, value in config.items()}
            self.assertEqual(count, len(Configuration(**given).ports))
            self.assertEqual(count, len(only(template({"config": config}), "Service")["spec"]["ports"]), config)

    def test_probes(self) -> None:
        """The kubelet asks for life and for readiness, over TLS where that is; where it cannot ask, it looks."""

        def asks(values: dict[str, Any]) -> list[str]:
            told = container(template(values))
            probes = [told[f"{name}Probe"] for name in ("startup", "liveness", "readiness")]
            return [
                " ".join(map(str, [probe["httpGet"].get("scheme"), probe["httpGet"]["path"], probe["httpGet"]["port"]]))
                if "httpGet" in probe else str(probe["tcpSocket"]["port"])
                for probe in probes
            ]  # fmt: skip

        self.assertEqual(["HTTP /health http", "HTTP /health http", "HTTP /health/ready http"], asks({}))
        self.assertEqual(["HTTPS /health http"] * 2, asks(EVERYTHING)[:2])
        self.assertEqual(["http"] * 3, asks(MATRIX["client certificates"]))
        self.assertEqual(
            ["None /health supervisor", "supervisor", "None /ready supervisor"], asks(MATRIX["ranks in processes"])
        )

    def test_secrets(self) -> None:
        """Keys come from secrets into variables, and into no other resource."""
        documents = template(EVERYTHING)
        told = {
            each["name"]: (each["valueFrom"]["secretKeyRef"]["name"], each["valueFrom"]["secretKeyRef"]["key"])
            for each in container(documents)["env"] if "secretKeyRef" in each.get("valueFrom", {})
        }  # fmt: skip
        self.assertEqual({
            "VLLM_API_KEY": ("of-apikey", "api-key"), "VLLMSIM_ADMIN_API_KEY": ("of-adminapikey", "admin-api-key"),
            "HF_TOKEN": ("of-hftoken", "hf-token"), "VLLMSIM_KV_CACHE_BACKEND": ("of-kvcachebackend", "url"),
        }, told)  # fmt: skip
        self.assertEqual(
            ["VLLM_API_KEY"], [each["name"] for each in only(documents, "Pod")["spec"]["containers"][0]["env"]]
        )
        fields = {"POD_NAME": "metadata.name", "POD_NAMESPACE": "metadata.namespace", "POD_IP": "status.podIP"}
        self.assertEqual(fields, {
            each["name"]: each["valueFrom"]["fieldRef"]["fieldPath"]
            for each in container(template())["env"] if "fieldRef" in each.get("valueFrom", {})
        })  # fmt: skip

    def test_tls(self) -> None:
        """A certificate is read from its secret's folder, where a new one is found, and clients need one if so said."""
        arguments = container(template(MATRIX["client certificates"]))
        self.assertEqual([
            "--config=/etc/vllmsim/sim.yaml", "--ssl-certfile=/etc/vllmsim-tls/tls.crt",
            "--ssl-keyfile=/etc/vllmsim-tls/tls.key", "--enable-ssl-refresh",
            "--ssl-ca-certs=/etc/vllmsim-client-ca/ca.crt", "--ssl-cert-reqs=2",
        ], arguments["args"])  # fmt: skip
        mounts = {mount["mountPath"]: mount["name"] for mount in arguments["volumeMounts"]}
        self.assertEqual({"/etc/vllmsim-tls": "tls", "/etc/vllmsim-client-ca": "client-ca"}, {
            path: name for path, name in mounts.items() if path.startswith("/etc/vllmsim-")
        })  # fmt: skip
        self.assertFalse([mount for mount in arguments["volumeMounts"] if "subPath" in mount])

    def test_changes(self) -> None:
        """A change of the configuration brings new pods, or is left to those that run."""

        def pods(**values: Any) -> Any:
            return only(template(values), "Deployment")["spec"]["template"]

        one, other = {"config": {"max-num-seqs": 1}}, {"config": {"max-num-seqs": 2}}
        self.assertNotEqual(pods(**one), pods(**other))
        self.assertEqual(pods(**one), pods(**one))
        self.assertNotEqual(pods(files={"a": "1"}), pods(files={"a": "2"}))
        self.assertEqual(pods(onConfigChange="live", **one), pods(onConfigChange="live", **other))
        arguments = pods(onConfigChange="live", watchInterval="1s")["spec"]["containers"][0]["args"]
        self.assertIn("--config-watch=1s", arguments)
        own = pods(onConfigChange="live", config={"config_watch": "9s"})["spec"]["containers"][0]["args"]
        self.assertEqual(["--config=/etc/vllmsim/sim.yaml"], own)

    def test_patience(self) -> None:
        """Pods have as long to end as their servers may take."""
        pod = only(template(), "Deployment")["spec"]["template"]["spec"]
        sleep = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
        self.assertGreater(pod["terminationGracePeriodSeconds"], sleep + Configuration().shutdown_timeout + 5)

    def test_disaggregation(self) -> None:
        """Prefill and decode servers have what each adds to the common options; the autoscaler minds decode servers."""
        documents = template(MATRIX["prefill and decode"] | {"config": {"max-num-seqs": 64, "model": "m"}})
        told = {
            part: yaml.safe_load(only(documents, "ConfigMap", f"sim-vllmsim-{part}")["data"]["sim.yaml"])
            for part in ("prefill", "decode")
        }
        self.assertEqual([("m", 8, "kv_producer"), ("m", 64, "kv_consumer")], [
            (each["model"], each["max-num-seqs"], each["kv-transfer-config"]["kv_role"]) for each in told.values()
        ])  # fmt: skip
        deployments = {part: only(documents, "Deployment", f"sim-vllmsim-{part}")["spec"] for part in (*told, "proxy")}
        self.assertEqual((2, None, 1), tuple(deployments[part].get("replicas") for part in (*told, "proxy")))
        self.assertEqual("sim-vllmsim-decode", only(documents, "HorizontalPodAutoscaler")["metadata"]["name"])
        for part in told:
            self.assertEqual(part, deployments[part]["template"]["metadata"]["labels"]["llm-d.ai/role"])
        self.assertEqual(
            ["0.0.0.0:9000", "http://sim-vllmsim-prefill:8000", "http://sim-vllmsim-decode:8000"],
            container(documents, "sim-vllmsim-proxy")["command"][2:],
        )

    def test_pool(self) -> None:
        """The pool selects the pods of servers and no others, at the port of each rank."""
        for name in ("everything", "ranks in processes", "prefill and decode"):
            documents = template(MATRIX[name])
            wanted = only(documents, "InferencePool")["spec"]["selector"]["matchLabels"].items()
            for each in documents:
                if each["kind"] in {"Deployment", "Pod"}:
                    labels = each["spec"].get("template", each)["metadata"]["labels"]
                    serves = labels["app.kubernetes.io/component"] in {"server", "prefill", "decode"}
                    self.assertEqual(serves, wanted <= labels.items(), labels)
        pool = only(template(MATRIX["ranks in processes"]), "InferencePool")["spec"]
        self.assertEqual([8000, 8001, 8002, 8003], [port["number"] for port in pool["targetPorts"]])

    def test_own_labels(self) -> None:
        """Labels and annotations of the user's come before those of the chart."""
        metadata = only(template(EVERYTHING), "Deployment")["spec"]["template"]["metadata"]
        self.assertEqual(("both", "search", "Qwen3-0.6B"), tuple(
            metadata["labels"][name] for name in ("llm-d.ai/role", "team", "llm-d.ai/model")
        ))  # fmt: skip
        self.assertEqual(
            ("1", "https"), tuple(metadata["annotations"][f"prometheus.io/{name}"] for name in ("port", "scheme"))
        )

"""Values of the chart that are tried."""

from typing import Any

SECRETS = {name: {"name": f"of-{name.lower()}"} for name in ("apiKey", "adminApiKey", "hfToken", "kvCacheBackend")}
PICKER = {"enabled": True, "endpointPicker": {"name": "picker"}}
EVERYTHING: dict[str, Any] = {
    "fullnameOverride": "lab",
    "image": {"repository": "somewhere/vllmsim", "tag": "1.2.3", "pullPolicy": "Always"},
    "imagePullSecrets": [{"name": "pull"}],
    "config": {"model": "m", "port": 9000, "seed": "9007199254740993", "lora-modules": [{"name": "a", "path": "/a"}]},
    "files": {"storm.yaml": "steps: []\n", "template.jinja": "{{ messages }}\n"},
    "secrets": SECRETS,
    "tls": {"secretName": "certificate"},
    "replicaCount": 3,
    "env": [{"name": "TZ", "value": "UTC"}],
    "envFrom": [{"secretRef": {"name": "more"}}],
    "extraArgs": ["--log-stats-interval=5s"],
    "extraPorts": [{"name": "kv-events", "port": 5557}],
    "volumes": [{"name": "models", "persistentVolumeClaim": {"claimName": "models"}}],
    "volumeMounts": [{"name": "models", "mountPath": "/models", "readOnly": True}],
    "cache": {"existingClaim": "cache"},
    "podAnnotations": {"a": "b", "prometheus.io/port": "1"},
    "podLabels": {"team": "search", "llm-d.ai/role": "both"},
    "nodeSelector": {"kubernetes.io/arch": "amd64"},
    "tolerations": [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}],
    "affinity": {"nodeAffinity": {}},
    "topologySpreadConstraints": [
        {"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway"}
    ],
    "priorityClassName": "low",
    "serviceAccount": {"annotations": {"a": "b"}},
    "autoscaling": {"enabled": True, "behavior": {"scaleDown": {"stabilizationWindowSeconds": 60}}},
    "podDisruptionBudget": {"enabled": True, "maxUnavailable": "50%"},
    "service": {"type": "LoadBalancer", "port": 443, "annotations": {"a": "b"}},
    "llmd": {"model": "Qwen3-0.6B"},
    "inferencePool": PICKER,
    "prometheus": {"serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}}},
}
MATRIX: dict[str, dict[str, Any]] = {
    "as it comes": {},
    "everything": EVERYTHING,
    "client certificates": {"tls": {"secretName": "s", "clientCASecretName": "ca"}},
    "live": {"onConfigChange": "live"},
    "a file": {"configText": "port: 8100\n# kept\n"},
    "ranks": {"config": {"data-parallel-size": 4}},
    "ranks in processes": {
        "config": {"data_parallel_size": 4, "data-parallel-processes": True}, "inferencePool": PICKER,
    },
    "ranks at one port": {"config": {"data-parallel-size": 4, "data-parallel-internal-lb": True}},
    "prefill and decode": {
        "disaggregation": {"enabled": True, "prefill": {"replicaCount": 2, "config": {"max-num-seqs": 8}}},
        "autoscaling": {"enabled": True}, "podDisruptionBudget": {"enabled": True}, "inferencePool": PICKER,
        "prometheus": {"serviceMonitor": {"enabled": True}},
    },
    "prefill and decode behind a gateway": {
        "disaggregation": {"enabled": True, "proxy": {"enabled": False}},
        "tls": {"secretName": "s"}, "secrets": SECRETS,
    },
    "little": {
        "serviceAccount": {"create": False}, "llmd": {"labels": False}, "prometheus": {"annotations": False},
        "preStopSeconds": 0,
    },
}  # fmt: skip

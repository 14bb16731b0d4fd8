{{- define "vllmsim.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{/* Short enough for "-prefill" and "-test" behind it. */}}
{{- define "vllmsim.fullname" -}}
{{- $name := include "vllmsim.name" . -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "vllmsim.image" -}}
{{- printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) -}}
{{- end -}}

{{- define "vllmsim.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default (include "vllmsim.fullname" .) -}}
{{- else -}}
{{- .Values.serviceAccount.name | default "default" -}}
{{- end -}}
{{- end -}}

{{/* What never changes about the pods of a release. Takes a dict with root and component. */}}
{{- define "vllmsim.selector" -}}
app.kubernetes.io/name: {{ include "vllmsim.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name | quote }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "vllmsim.labels" -}}
{{ include "vllmsim.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* Labels by which llm-d finds servers, as a dict in YAML; those of the user come before them. */}}
{{- define "vllmsim.podLabels" -}}
{{- $labels := deepCopy .root.Values.podLabels -}}
{{- if .root.Values.llmd.labels -}}
{{- $role := ternary "prefill-decode" .component (eq .component "server") -}}
{{- $labels = merge $labels (dict "llm-d.ai/inferenceServing" "true" "llm-d.ai/inference-serving" "true" "llm-d.ai/engine-type" "vllm" "llm-d.ai/role" $role) -}}
{{- if .root.Values.llmd.model -}}
{{- $labels = merge $labels (dict "llm-d.ai/model" .root.Values.llmd.model) -}}
{{- end -}}
{{- end -}}
{{- with $labels -}}{{- toYaml . -}}{{- end -}}
{{- end -}}

{{- define "vllmsim.podAnnotations" -}}
{{- $values := .root.Values -}}
{{- $notes := dict "kubectl.kubernetes.io/default-container" "vllmsim" -}}
{{- if eq $values.onConfigChange "rollout" -}}
{{- $_ := set $notes "checksum/config" (list .text $values.files | toJson | sha256sum) -}}
{{- end -}}
{{- if $values.prometheus.annotations -}}
{{- $_ := set $notes "prometheus.io/scrape" "true" -}}
{{- $_ := set $notes "prometheus.io/path" "/metrics" -}}
{{- $_ := set $notes "prometheus.io/port" ((first .ports).port | toString) -}}
{{- $_ := set $notes "prometheus.io/scheme" (ternary "https" "http" .tls) -}}
{{- end -}}
{{- toYaml (merge (deepCopy $values.podAnnotations) $notes) -}}
{{- end -}}

{{/* The parts that pods play: one for all, or prefill and decode. */}}
{{- define "vllmsim.components" -}}
{{- ternary "prefill,decode" "server" .Values.disaggregation.enabled -}}
{{- end -}}

{{/*
Adds to a dict with root and component what templates need to know of that part's servers. Options are looked up under
their names with either - or _, as vllmsim does.
*/}}
{{- define "vllmsim.study" -}}
{{- $values := .root.Values -}}
{{- $part := ternary dict (get $values.disaggregation .component) (eq .component "server") -}}
{{- $suffix := ternary "" (printf "-%s" .component) (eq .component "server") -}}
{{- $config := deepCopy ($values.config | default dict) -}}
{{- $text := $values.configText -}}
{{- if $part -}}
{{- if $text -}}{{- fail "configText is one file for all: with disaggregation use config" -}}{{- end -}}
{{- $own := $part.config | default dict -}}
{{- range $name, $value := $own -}}
{{- $_ := unset $config ($name | replace "-" "_") -}}
{{- $_ := unset $config ($name | replace "_" "-") -}}
{{- $_ := set $config $name $value -}}
{{- end -}}
{{- end -}}
{{- if and $text $values.config -}}{{- fail "give either config or configText" -}}{{- end -}}
{{- $read := $config -}}
{{- if $text -}}
{{- $read = fromYaml $text -}}
{{- if hasKey $read "Error" -}}{{- fail (printf "configText is no map in YAML: %s" $read.Error) -}}{{- end -}}
{{- end -}}
{{- $options := dict -}}
{{- range $name, $value := $read -}}{{- $_ := set $options ($name | replace "_" "-") $value -}}{{- end -}}
{{- range $name := list "uds" "listen" -}}
{{- if get $options $name -}}
{{- fail (printf "the option %s cannot be used here: services and probes need a port" $name) -}}
{{- end -}}
{{- end -}}
{{- if has (get $options "host") (list "127.0.0.1" "::1" "localhost") -}}
{{- fail "with this option host nobody reaches the pod" -}}
{{- end -}}
{{- if and $values.tls.secretName (or (get $options "ssl-certfile") (get $options "ssl-keyfile")) -}}
{{- fail "give a certificate either by tls.secretName or by the options ssl-certfile and ssl-keyfile" -}}
{{- end -}}
{{- if and $values.tls.clientCASecretName (not $values.tls.secretName) -}}
{{- fail "tls.clientCASecretName needs tls.secretName" -}}
{{- end -}}
{{- $size := get $options "data-parallel-size" | default 1 | int -}}
{{- $ranks := get $options "data-parallel-size-local" | default (sub $size (get $options "data-parallel-start-rank" | default 0 | int)) | int | max 1 | int -}}
{{- $own := get $options "data-parallel-rank" | toString -}}
{{- if and (ne $own "") (ne $own "-1") -}}{{- $ranks = 1 -}}{{- end -}}
{{- range $name := list "data-parallel-internal-lb" "data-parallel-hybrid-lb" -}}
{{- if eq (get $options $name | toString) "true" -}}{{- $ranks = 1 -}}{{- end -}}
{{- end -}}
{{- $processes := or (eq (get $options "data-parallel-processes" | toString) "true") (eq (get $options "data-parallel-multi-port-external-lb" | toString) "true") -}}
{{- $port := get $options "port" | default 8000 | int -}}
{{- $ports := list -}}
{{- range $rank := until $ranks -}}
{{- $name := ternary "http" (printf "http-%d" $rank) (eq $rank 0) -}}
{{- $ports = append $ports (dict "name" $name "port" (add $port $rank) "service" (add ($values.service.port | default $port) $rank)) -}}
{{- end -}}
{{- $_ := set . "config" $config -}}
{{- if not $text -}}
{{- /* An option a line, and its value as JSON: what Helm and vllmsim take for plain words in YAML is not the same. */ -}}
{{- range $name, $value := $config -}}
{{- $text = printf "%s%s: %s\n" $text $name (toJson $value) -}}
{{- end -}}
{{- end -}}
{{- $_ := set . "text" ($text | default "{}\n") -}}
{{- $_ := set . "options" $options -}}
{{- $_ := set . "name" (printf "%s%s" (include "vllmsim.fullname" .root) $suffix) -}}
{{- $_ := set . "replicaCount" (hasKey $part "replicaCount" | ternary $part.replicaCount $values.replicaCount) -}}
{{- $_ := set . "ports" $ports -}}
{{- $_ := set . "processes" $processes -}}
{{- $_ := set . "supervisor" (get $options "data-parallel-supervisor-port" | default 9256 | int) -}}
{{- $_ := set . "tls" (or (ne $values.tls.secretName "") (ne (get $options "ssl-certfile" | toString) "") (eq (get $options "self-signed-certs" | toString) "true")) -}}
{{- $_ := set . "mutual" (or (ne $values.tls.clientCASecretName "") (eq (get $options "ssl-cert-reqs" | toString) "2")) -}}
{{- $_ := set . "scales" (and $values.autoscaling.enabled (ne .component "prefill")) -}}
{{- end -}}

{{/* What the kubelet asks: a path at the first rank, or whether the port is open where it cannot ask. */}}
{{- define "vllmsim.ask" -}}
{{- if .mutual -}}
tcpSocket: {port: http}
{{- else -}}
httpGet: {path: {{ .path }}, port: http, scheme: {{ ternary "HTTPS" "HTTP" .tls }}}
{{- end -}}
{{- end -}}

{{- define "vllmsim.probes" -}}
{{- $probes := .root.Values.probes -}}
startupProbe:
{{- if .processes }}
  httpGet: {path: /health, port: supervisor}
{{- else }}
  {{- include "vllmsim.ask" (set . "path" "/health") | nindent 2 }}
{{- end }}
  {{- toYaml $probes.startup | nindent 2 }}
livenessProbe:
{{- if .processes }}
  # The supervisor starts a rank that has ended again; the pod has to be left alone meanwhile.
  tcpSocket: {port: supervisor}
{{- else }}
  {{- include "vllmsim.ask" (set . "path" "/health") | nindent 2 }}
{{- end }}
  {{- toYaml $probes.liveness | nindent 2 }}
readinessProbe:
{{- if .processes }}
  httpGet: {path: /ready, port: supervisor}
{{- else }}
  {{- include "vllmsim.ask" (set . "path" "/health/ready") | nindent 2 }}
{{- end }}
  {{- toYaml $probes.readiness | nindent 2 }}
{{- end -}}

{{/* Environment variables of keys in secrets, for those secrets that are named. */}}
{{- define "vllmsim.secretEnv" -}}
{{- range $variable, $secret := . -}}
{{- if $secret.name }}
- name: {{ $variable }}
  valueFrom:
    secretKeyRef: {name: {{ $secret.name | quote }}, key: {{ $secret.key | quote }}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "vllmsim.placement" -}}
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.topologySpreadConstraints }}
topologySpreadConstraints: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

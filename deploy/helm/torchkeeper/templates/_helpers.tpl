{{- define "torchkeeper.labels" -}}
app.kubernetes.io/name: torchkeeper
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "torchkeeper.metadata" -}}
name: {{ .Release.Name }}
namespace: {{ .Release.Namespace }}
labels:
  {{- include "torchkeeper.labels" . | nindent 2 }}
{{- end }}

{{- define "torchkeeper.securityContext" -}}
runAsNonRoot: true
runAsUser: 1000
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "torchkeeper.isClaim" -}}
{{- if hasPrefix "pvc://" .Values.storageUri }}yes{{ end -}}
{{- end }}

{{- define "torchkeeper.claim" -}}
{{- regexReplaceAll "/.*" (trimPrefix "pvc://" .Values.storageUri) "" -}}
{{- end }}

{{- define "torchkeeper.claimPath" -}}
{{- trimAll "/" (regexReplaceAll "^[^/]*" (trimPrefix "pvc://" .Values.storageUri) "") -}}
{{- end }}

"""What a cluster is given: the chart, the manifests and the image."""

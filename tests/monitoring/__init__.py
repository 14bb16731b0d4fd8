"""What watches servers: rules for Prometheus, and a dashboard for Grafana."""

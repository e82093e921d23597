"""What the request path tells monitoring, one module for each outside thing: Prometheus, OpenTelemetry, logs."""

"""What an operator reads: statistics, Prometheus metrics, readiness and the inspection page.

In come counters of the hub and of endpoints; out go numbers, text and HTML.
Called by `flash_ws.live` and by monitoring.
"""

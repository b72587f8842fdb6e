"""What an operator reads: statistics, Prometheus metrics, readiness and the inspection page.

Counters of the hub and of endpoints come in; numbers, Prometheus text, JSON and HTML go out.
`flash_ws.live`, `clients` and `endpoints` may call it; monitoring requests its routes.
"""

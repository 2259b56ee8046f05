"""What Prometheus reads from /metrics."""

import prometheus_client
from prometheus_client import exposition

CONTENT_TYPE = exposition.CONTENT_TYPE_PLAIN_0_0_4

_SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
_IMAGES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class Metrics:
    """The collectors of one server.

    In a registry of its own: that of the library is one a process.
    """

    def __init__(self):
        self.registry = prometheus_client.CollectorRegistry()
        prometheus_client.ProcessCollector(registry=self.registry)
        self.requests = prometheus_client.Counter(
            "efficientnet_requests",
            "Requests that were answered.",
            ("route", "code"),
            registry=self.registry,
        )
        self.request_seconds = self._histogram(
            "efficientnet_request_seconds",
            "From a request's headers to its answer.",
            _SECONDS,
            ("route",),
        )
        self.batch_images = self._histogram(
            "efficientnet_batch_images", "Images of a batch.", _IMAGES
        )
        self.batch_seconds = self._histogram(
            "efficientnet_batch_seconds", "The network on a batch.", _SECONDS
        )
        self.in_queue = prometheus_client.Gauge(
            "efficientnet_queue_images",
            "Images that are read, wait or are computed on.",
            registry=self.registry,
        )

    def render(self) -> bytes:
        """Returns all of them in Prometheus's text format."""
        return prometheus_client.generate_latest(self.registry)

    def _histogram(self, name, text, buckets, labels=()):
        return prometheus_client.Histogram(
            name, text, labels, buckets=buckets, registry=self.registry
        )

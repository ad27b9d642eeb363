"""Contexts in the pods of a Kubernetes cluster: the transport `kubectl`."""

from __future__ import annotations

from mitogen.core.errors import StreamError
from mitogen.parent.transport import Connection, Options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any


class KubectlOptions(Options):
    """See `mitogen.parent.signatures.Transports.kubectl`."""

    def __init__(
        self,
        pod: str,
        kubectl_path: str | None = None,
        kubectl_args: Sequence[str] | None = None,
        **common: Any,
    ) -> None:
        Options.__init__(self, **common)
        if pod.startswith("-"):
            raise StreamError("pod %r begins with a dash", pod)
        self.pod = pod
        self.kubectl_path = kubectl_path or "kubectl"
        self.kubectl_args = list(kubectl_args or ())


class KubectlConnection(Connection):
    """Start a context with ``kubectl exec -i POD -- COMMAND``."""

    transport = "kubectl"
    options_class = KubectlOptions
    options: KubectlOptions
    compress = True

    @property
    def target(self) -> str:
        return self.options.pod

    def wrap(self, argv: list[str]) -> list[str]:
        options = self.options
        # Behind the word, where both the options of kubectl and those of exec may stand.
        return [options.kubectl_path, "exec", *options.kubectl_args, "--stdin", options.pod, "--", *argv]

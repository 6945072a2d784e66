"""Where a model that speaks the OpenAI protocol is reached: settings that change no answer."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Endpoint:
    """Part of a stage's resources: `resources.caption.endpoint.url=http://…/v1`.

    All figures are those of one task; as many tasks as run at once share a server at `url`.
    """

    url: str | None = None  # of the API, such as https://api.example.org/v1; null: `serve`
    # A server that the task itself starts on its node, as words: {port}, {model} and {revision} are put in. It listens
    # on loopback and finds the key that it must ask for in $VLLM_API_KEY.
    serve: tuple[str, ...] | None = None
    key_variable: str = "HPC_CURATE_API_KEY"  # the environment variable that has the key of `url`
    requests_at_once: int = 32
    requests_per_minute: float | None = None
    tries: int = 6  # of a request that gets no answer, or is told to come back
    timeout_s: float = 600.0  # of one try
    longest_wait_s: float = 900.0  # that a server may ask for (Retry-After); longer, and the task ends
    ready_s: float = 1800.0  # until a server of our own must answer: it loads its weights first
    restarts: int = 2  # of a server of our own that died

    def __post_init__(self) -> None:
        if self.url is not None and self.serve is not None:
            raise ValueError("give url, or serve, and not both")
        if self.url is not None and not self.url.startswith(("http://", "https://")):
            raise ValueError(f"url={self.url} begins with neither http:// nor https://")
        if self.requests_at_once < 1 or self.tries < 1:
            raise ValueError("requests_at_once and tries must be at least 1")
        if self.requests_per_minute is not None and self.requests_per_minute <= 0:
            raise ValueError("requests_per_minute must be above 0, or null")

"""What only the edge can find wrong."""

from __future__ import annotations

from ..errors import TapeheadError


class HealthNameUnknown(TapeheadError):
    """The health service knows nothing under this name."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"nothing here is called '{name}'; expected '', a service's full name or tapehead.model.<model_id>",
            name=name,
        )

"""onnxruntime, kept from reporting home: whoever runs graphs takes it from here and nowhere else.

Unless it is told otherwise when it is loaded, it writes an identifier of the device into the user's cache and sends
events to its vendor. Nothing about a model or its use leaves the machine.
"""

from __future__ import annotations

import os

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # the call that turns it off comes too late for the identifier

import onnxruntime  # after what it reads when it is loaded

__all__ = ["onnxruntime"]

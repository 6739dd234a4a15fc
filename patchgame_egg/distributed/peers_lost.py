"""An error that commands know before they import torch."""

from __future__ import annotations


class PeersLost(RuntimeError):
    """Other processes of the group no longer answer; the message names them."""

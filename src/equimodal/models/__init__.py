"""Encoders, heads, and the model that joins them."""

from . import encoders, heads
from .multimodal import Multimodal

__all__ = ["Multimodal", "encoders", "heads"]

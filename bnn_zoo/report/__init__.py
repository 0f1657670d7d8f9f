"""A comparison as one page of HTML that needs nothing else: table, pictures, what to doubt, how it was made.

Numbers and files in, text out: this room knows no model, no sampler and no draws.
"""

from .doubts import Findings, doubts
from .page import Page, Picture, write

__all__ = ["Findings", "Page", "Picture", "doubts", "write"]

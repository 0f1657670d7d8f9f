"""From any Pyro model to a log joint on the real line, batched over chains."""

from .log_joint import LogJoint
from .starts import from_prior, from_support

__all__ = ["LogJoint", "from_prior", "from_support"]

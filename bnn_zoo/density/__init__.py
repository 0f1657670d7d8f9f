"""From any Pyro model to a log joint on the real line, batched over chains."""

from .log_joint import LogJoint
from .messengers import Hold
from .sites import is_data
from .starts import from_prior, from_support

__all__ = ["Hold", "LogJoint", "from_prior", "from_support", "is_data"]

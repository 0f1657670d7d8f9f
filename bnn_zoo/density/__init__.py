"""From any Pyro model to a log joint on the real line, batched over chains."""

from .chunked import ChunkedLogJoint
from .elbo import Elbo
from .log_joint import LogJoint
from .messengers import Hold
from .sites import is_data
from .starts import Adam, FromNet, from_prior, from_support

__all__ = ["Adam", "ChunkedLogJoint", "Elbo", "FromNet", "Hold", "LogJoint", "from_prior", "from_support", "is_data"]

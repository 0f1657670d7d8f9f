"""From any Pyro model to a log joint on the real line, batched over chains."""

from .chunked import ChunkedLogJoint
from .elbo import Elbo
from .from_posterior import FromPosterior
from .log_joint import LogJoint
from .messengers import Hold
from .observed import is_data
from .sharded import ShardedLogJoint, ShardedMinibatch, need_rows
from .starts import Adam, BestOf, FromNet, finite_at, from_prior, from_support, need_finite, need_positions

__all__ = [
    "Adam",
    "BestOf",
    "ChunkedLogJoint",
    "Elbo",
    "FromNet",
    "FromPosterior",
    "Hold",
    "LogJoint",
    "ShardedLogJoint",
    "ShardedMinibatch",
    "finite_at",
    "from_prior",
    "from_support",
    "is_data",
    "need_finite",
    "need_positions",
    "need_rows",
]

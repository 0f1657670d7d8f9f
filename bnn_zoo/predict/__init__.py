"""Running a model at posterior draws: predictions and pointwise log likelihoods, vectorised over draws."""

from .arguments import Contents, check_call, contents, like_data, split
from .compacting import compacted
from .means import can_batch, log_predictive, means
from .passes import SummedOut, base_law, deterministics, place_of, replay
from .pointwise import data_rows, log_likelihood, log_prob, posterior_predictive, seen_only
from .prediction import Prediction, moments, predict

__all__ = [
    "Contents",
    "Prediction",
    "SummedOut",
    "base_law",
    "can_batch",
    "check_call",
    "compacted",
    "contents",
    "data_rows",
    "deterministics",
    "like_data",
    "log_likelihood",
    "log_predictive",
    "log_prob",
    "means",
    "moments",
    "place_of",
    "posterior_predictive",
    "predict",
    "replay",
    "seen_only",
    "split",
]

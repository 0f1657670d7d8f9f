"""Running a model at posterior draws: predictions and pointwise log likelihoods, vectorised over draws."""

from .passes import deterministics, log_likelihood, posterior_predictive, replay
from .prediction import Prediction, moments, predict

__all__ = ["Prediction", "deterministics", "log_likelihood", "moments", "posterior_predictive", "predict", "replay"]

"""Adaptations: how past samples are weighted before a model is fitted on them."""

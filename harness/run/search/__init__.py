"""Hyper-parameter search on the validation period."""

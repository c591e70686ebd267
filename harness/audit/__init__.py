"""Audits: prove that nothing used the future, and say what it was worth where it did. Nothing below imports them."""

"""The sample table, its as-of views and windows, and what fitting code is: models, adaptations, processors."""

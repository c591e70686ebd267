"""The content-addressed store, and the digests of code, data and machine that its keys are made of."""

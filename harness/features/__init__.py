"""Features and the label: the expression language, the factor families as data, and the engine that computes them."""

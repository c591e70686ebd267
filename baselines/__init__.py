"""What is measured: models and adaptations, named by configuration and unknown to the harness."""

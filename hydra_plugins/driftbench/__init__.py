"""What `bench run` adds to Hydra: a search path, sweepers, launchers. Loaded by every Hydra application: light."""

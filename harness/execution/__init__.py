"""Where tasks run, with how many threads, and how their progress is told."""

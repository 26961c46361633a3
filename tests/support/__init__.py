"""What several tests build on: runs, event files, models, and real processes and servers."""

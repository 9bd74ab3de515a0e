"""The benchmark: ``python -m tests.bench``. One run, side by side; see CONTRIBUTING.md."""

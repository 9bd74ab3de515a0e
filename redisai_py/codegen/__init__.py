"""Build-time tables and the generator that turns them into declarations."""

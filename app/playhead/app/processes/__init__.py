"""`playhead serve --processes N`: several server processes on one port, and the small process that keeps them up."""

"""More than one engine behind one address, on one machine or many, by Ray Serve (extra `ray`); docs/scaling.md."""

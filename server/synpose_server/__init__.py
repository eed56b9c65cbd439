"""The Synpose server: one engine behind REST, gRPC and the command line."""

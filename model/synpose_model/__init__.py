"""Networks, geometry, export and bundles of Synpose."""

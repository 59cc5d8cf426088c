"""Many machines: suites, and single searches, on the workers of a Ray cluster."""

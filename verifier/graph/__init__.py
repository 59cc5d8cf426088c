"""The network, read from a file and simplified."""

"""Lipschitz constants, local and global."""

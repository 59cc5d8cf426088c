"""What is known of an activation, one family a file."""

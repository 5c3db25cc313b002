"""A site that sends its mail in the background."""

"""What a publisher may rely on: each public method is one transaction, for many items.

The broker reads, lets the core decide, and stores what was decided, all of it or nothing. It knows
neither HTTP nor why a message is due.
"""

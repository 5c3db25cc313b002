-- Keys that values are sealed with, each wrapped by a key of the operator; see store/sealing.py. Empty without encryption.

CREATE TABLE data_key (
  id INTEGER PRIMARY KEY, master TEXT NOT NULL, wrapped BLOB NOT NULL, created INTEGER NOT NULL
) STRICT;

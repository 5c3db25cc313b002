-- Keys that values are sealed with, each wrapped by a key of the operator; see store/sealing.py. Empty without encryption.

CREATE TABLE data_key (
  id bigint PRIMARY KEY, master text NOT NULL, wrapped bytea NOT NULL, created bigint NOT NULL
);

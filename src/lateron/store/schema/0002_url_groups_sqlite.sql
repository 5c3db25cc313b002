-- Schema 2 for SQLite: URL groups. `endpoints` is the list in its order, `headers` the defaults, both msgpack.

CREATE TABLE url_group (
  tenant INTEGER NOT NULL, name TEXT NOT NULL, created INTEGER NOT NULL, updated INTEGER NOT NULL,
  endpoints BLOB NOT NULL, headers BLOB NOT NULL, bucket INTEGER NOT NULL, PRIMARY KEY (tenant, name)
) STRICT, WITHOUT ROWID;

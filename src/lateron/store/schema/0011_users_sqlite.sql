-- People who log in to the console: what is kept of their passwords, and a random proof that is another one after each
-- change, by which their logins are found. A name is one person's in the whole store, since a login names no tenant.

CREATE TABLE account (
  name TEXT PRIMARY KEY, tenant INTEGER NOT NULL, scope TEXT NOT NULL, password TEXT NOT NULL, proof BLOB NOT NULL,
  created INTEGER NOT NULL, changed INTEGER NOT NULL, used INTEGER
) STRICT, WITHOUT ROWID;

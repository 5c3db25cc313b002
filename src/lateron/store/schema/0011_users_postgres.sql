-- People who log in to the console: what is kept of their passwords, and a random proof that is another one after each
-- change, by which their logins are found. A name is one person's in the whole store, since a login names no tenant.

CREATE TABLE account (
  name text PRIMARY KEY, tenant bigint NOT NULL, scope text NOT NULL, password text NOT NULL, proof bytea NOT NULL,
  created bigint NOT NULL, changed bigint NOT NULL, used bigint
);

-- Schema 2 for PostgreSQL: URL groups.

CREATE TABLE url_group (
  tenant bigint NOT NULL, name text COLLATE "C" NOT NULL, created bigint NOT NULL, updated bigint NOT NULL,
  endpoints bytea NOT NULL, headers bytea NOT NULL, bucket smallint NOT NULL, PRIMARY KEY (tenant, name)
);

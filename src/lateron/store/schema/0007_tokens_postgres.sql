-- Tokens that end by themselves, and when each was last used (written at most once a minute).

ALTER TABLE token ADD COLUMN expires bigint;
ALTER TABLE token ADD COLUMN used bigint;

-- A message that goes out at once was put into two indexes and taken out of both: one for what does not rest, one for what
-- its node holds. Now it is in one of two that have nothing in common.

DROP INDEX message_node;
DROP INDEX message_open;
CREATE INDEX message_active ON message (tenant, id, node) WHERE state = 1;
CREATE INDEX message_waiting ON message (tenant, id) WHERE state < 5 AND state <> 1;

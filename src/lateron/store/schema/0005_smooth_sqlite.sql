-- Smooth flow control, and the lanes that are paused, found without a walk over all of them.

ALTER TABLE lane ADD COLUMN earliest INTEGER;
CREATE INDEX lane_paused ON lane (tenant, kind, id) WHERE paused = 1;

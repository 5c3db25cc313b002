-- Lanes found without a walk over all of them, of which a million may be idle: by name, and those that sleep
-- although nothing of their own keeps them from starting (see `sleeping_lanes`, whose condition this repeats).

CREATE INDEX lane_name ON lane (tenant, kind, name);
CREATE INDEX lane_asleep ON lane (id) WHERE next_due IS NULL AND waiting > 0 AND paused = 0
  AND (kind = 0 OR parallelism IS NULL OR active < parallelism);

-- Store version 19: who held a card that was out of order, and by what a share was found.

ALTER TABLE segment ADD COLUMN holder_department VARCHAR;  -- of a faulty line: who held it and would pay where holders pay on; NULL: nobody
ALTER TABLE segment ADD COLUMN holder_business VARCHAR;
ALTER TABLE segment ADD COLUMN holder_scenario VARCHAR;
ALTER TABLE segment ADD COLUMN share_rule VARCHAR;         -- memory_slices, dominant_share, measured_sm_share; NULL: as it was asked for

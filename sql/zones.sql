-- CockroachDB only: each shard's leases are held on its home node, as long as that node lives.
-- Needs nodes started with --locality=region=downtown, west and north; safe to run twice.

USE library_system;

ALTER TABLE books_a CONFIGURE ZONE USING num_replicas = 3, lease_preferences = '[[+region=downtown], [+region=west]]';
ALTER TABLE books_b CONFIGURE ZONE USING num_replicas = 3, lease_preferences = '[[+region=west], [+region=north]]';
ALTER TABLE books_c CONFIGURE ZONE USING num_replicas = 3, lease_preferences = '[[+region=north], [+region=downtown]]';
ALTER TABLE patrons_a CONFIGURE ZONE USING num_replicas = 3, lease_preferences = '[[+region=downtown], [+region=west]]';
ALTER TABLE patrons_b CONFIGURE ZONE USING num_replicas = 3, lease_preferences = '[[+region=west], [+region=north]]';
ALTER TABLE patrons_c CONFIGURE ZONE USING num_replicas = 3, lease_preferences = '[[+region=north], [+region=downtown]]';

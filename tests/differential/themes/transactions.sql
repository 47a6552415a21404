# Transactions with writes and scattered reads, errors, settings; several statements at once.
BEGIN; INSERT INTO nulls VALUES (901, 1), (901, 2); SELECT count(*) FROM nulls; SELECT max(k) FROM nulls; ROLLBACK; SELECT max(k) FROM nulls
BEGIN; UPDATE kvc SET v = 1000 WHERE k = 'west'; SELECT max(v), sum(v) FROM kvc; SELECT k FROM kvc ORDER BY v DESC, k LIMIT 1; ROLLBACK
BEGIN
DELETE FROM kvc WHERE k = 'west'
SELECT count(*) FROM kvc
SELECT v, count(*) FROM kvc GROUP BY v ORDER BY v
SAVEPOINT a
SELECT count(*) FROM kvc
ROLLBACK TO a
SELECT count(*) FROM kvc
RELEASE SAVEPOINT a
RELEASE SAVEPOINT a
SELECT 1
COMMIT
SELECT count(*) FROM kvc
BEGIN; SELECT 1/0; SELECT 1
SELECT 1
END
COMMIT
ROLLBACK
SAVEPOINT x
SELECT 1; BEGIN; SELECT 2; COMMIT; SELECT 3
INSERT INTO nulls VALUES (902, 1); SELECT 1/0
SELECT count(*) FROM nulls WHERE k = 902
SELECT 1; SELECT count(*) FROM nulls; SELECT v FROM nulls WHERE k = 5; SELECT
SELECT 1; SELEC 2
SELECT count(*) FROM nulls
BEGIN READ ONLY
INSERT INTO nulls VALUES (903, 1)
ROLLBACK
BEGIN; SET LOCAL extra_float_digits = 3; SELECT f FROM nulls ORDER BY f, k; COMMIT
BEGIN; SAVEPOINT s; SELECT nothing FROM nulls; ROLLBACK TO s; SELECT count(*) FROM nulls; COMMIT
ROLLBACK
BEGIN; SAVEPOINT "Mixed S"; ROLLBACK TO "Mixed S"; RELEASE "Mixed S"; COMMIT
BEGIN; SAVEPOINT s; SET TimeZone = 'Asia/Tokyo'; ROLLBACK TO s; SHOW TimeZone; COMMIT; SHOW TimeZone
BEGIN; SET TimeZone = 'Asia/Tokyo'; ROLLBACK; SHOW TimeZone
BEGIN; SET TimeZone = 'Asia/Tokyo'; SELECT max(k) FROM ktz WHERE isfinite(k); COMMIT; SELECT max(k) FROM ktz WHERE isfinite(k)
RESET ALL
BEGIN; SELECT now() = (SELECT now()) x FROM nulls WHERE k = 5; COMMIT
BEGIN; BEGIN; COMMIT
SET TimeZone = DEFAULT; SHOW TimeZone
SET TIME ZONE 'Europe/Berlin'; SHOW TimeZone; SET TIME ZONE LOCAL; SET TIME ZONE +3; SHOW TimeZone; SELECT k FROM ktz ORDER BY k; RESET TIME ZONE
SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY; SHOW default_transaction_read_only; RESET ALL
SELECT * FROM kvc ORDER BY k COLLATE "C"
SELECT * FROM kvc WHERE k = 'ab' FOR NO KEY UPDATE OF kvc NOWAIT
SELECT * FROM kvc q WHERE k = 'ab' FOR UPDATE OF q SKIP LOCKED
SELECT * FROM kvc q, branches b WHERE k = 'ab' AND n = 1 FOR UPDATE OF q
! SELECT * FROM branches FOR UPDATE OF branches
! INSERT INTO kvc VALUES ('ab', 1) ON CONFLICT DO NOTHING RETURNING tableoid
INSERT INTO kvc VALUES ('ab', 1) ON CONFLICT (k) DO UPDATE SET v = 2 RETURNING (xmax = 0)
! UPDATE kvc SET v = 2 WHERE k = 'ab' RETURNING kvc
UPDATE kvc SET v = 2 WHERE k = 'ab' RETURNING old.v, new.v
UPDATE "Odd Books" SET key = 3 WHERE "Key" = 'W' RETURNING "Odd Books", "Odd Books"."Odd Books"
# What concerns no shard goes where the transaction writes.
BEGIN; UPDATE books SET genre = 'q' WHERE branch = 'west' AND isbn = 9780451524935; DELETE FROM books WHERE 1 != 1; UPDATE patrons SET name = 'x' WHERE patron_id = ANY ('{}') RETURNING *; SELECT count(*) FROM books WHERE genre = 'q' AND branch = 'west'; ROLLBACK
BEGIN; SELECT count(*) FROM books WHERE branch = 'north'; DELETE FROM books WHERE false; UPDATE books SET genre = 'q' WHERE branch = 'north' AND isbn = 9780451524935; ROLLBACK

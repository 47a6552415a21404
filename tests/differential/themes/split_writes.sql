# Rows of several shards. nulls is hashed by an int that may be NULL, kvc by varchar(5), knum by numeric, kdate and ktz go by ranges, kbool and "Odd Books" by lists.
INSERT INTO nulls VALUES (101, 1), (102, 2), (103, 3), (104, 4), (105, 5)
INSERT INTO nulls (v, k) VALUES (1, 111), (2, 112), (3, 113), (4, 114) RETURNING k, v
INSERT INTO nulls (v, k) VALUES (1, 121), (2, 122), (3, 123), (4, 124), (5, 121), (6, 122) RETURNING nulls.*, v + 1 AS more
INSERT INTO nulls AS n (k, v) VALUES (131, DEFAULT), ('132', 1 + 1), (133::int, NULL), ('134', $q$4$q$) RETURNING n.k, n.v
INSERT INTO public.nulls (k, n) VALUES (141, '1.5'), (142, 2.25), (143, 1e2) RETURNING public.nulls.n
INSERT INTO nulls (k, v) VALUES (151, (SELECT max(n) FROM branches)), (152, (SELECT n FROM branches WHERE branch = 'west')), (153, 3) RETURNING k, v
WITH x AS (SELECT max(n) AS n FROM branches) INSERT INTO nulls (k, v) VALUES (161, (SELECT n FROM x)), (162, 2), (163, (SELECT n + 1 FROM x)) RETURNING v
INSERT INTO nulls (k, v) OVERRIDING USER VALUE VALUES (171, 1) /* ), ( */, (172, 2) -- ), (⏎, (173, 3) RETURNING k
INSERT INTO nulls (k) VALUES (181), (182), (183), (184)
INSERT INTO nulls (k, f) VALUES (191, 'NaN'), (192, '-0'), (193, 0.1), (194, 'Infinity') RETURNING f
INSERT INTO nulls (k, v) VALUES (1001, 1), (1002, 2), (1003, 3) RETURNING now() = transaction_timestamp() AS same, 'x' AS x
INSERT INTO nulls (k, v) VALUES (1011, extract(year FROM now())), (1012, extract(year FROM CURRENT_DATE)), (1013, 3) RETURNING v > 2000
SELECT * FROM nulls WHERE k > 100 ORDER BY k, v
# Errors: of the text, of values, of rows; nothing stays.
INSERT INTO nulls VALUES (201, 1), (202, 1, 1), (203, 1)
INSERT INTO nulls VALUES (201, 1), (202), (203, 1)
INSERT INTO nulls (k, v) VALUES (201, 1), (202, 'x'), (203, 1/0)
INSERT INTO nulls (k, v) VALUES (201, 1/0), (202, 2), (203, 1)
INSERT INTO nulls (k, v) VALUES (201, 1), (202, 2), (203, 1/0)
INSERT INTO nulls (k, nothing) VALUES (201, 1), (202, 2), (203, 3)
INSERT INTO nulls (k, v) VALUES (201, 1), (202, nothing), (203, 3)
INSERT INTO nulls (k, n) VALUES (201, 1), (202, 99999), (203, 3)
INSERT INTO nulls (k, v) VALUES (201, (SELECT n FROM branches)), (202, 1), (203, 3)
! INSERT INTO nulls (k, v) VALUES (201, 1), (NULL, 2), (203, 3)
! INSERT INTO nulls (k, v) VALUES (201, 1), (DEFAULT, 2), (203, 3)
! INSERT INTO nulls (k, v) VALUES (201, 1), (202 + 1, 2), (203, 3)
! INSERT INTO nulls (k, v) VALUES (201, 1), (0x19, 2), (203, 3)
! INSERT INTO nulls (k, v) (VALUES (201, 1), (202, 2), (203, 3))
! INSERT INTO nulls (k, v) SELECT * FROM (VALUES (201, 1), (202, 2)) AS x
! INSERT INTO nulls (k, v) VALUES (201, pg_backend_pid()), (202, 2), (203, 3)
! INSERT INTO nulls (k, v) VALUES (201, (SELECT n FROM branches ORDER BY n LIMIT 1)), (202, 2), (203, 3)
SELECT count(*) FROM nulls WHERE k BETWEEN 200 AND 299
# Keys of other types
INSERT INTO kvc VALUES ('aa', 1), ('bb', 2), ('cc', 3), ('dd', 4), ('ee', 5) RETURNING *
INSERT INTO kvc VALUES ('aa', 1), ('ff', 2), ('gg', 3), ('hh', 4)
INSERT INTO kvc VALUES ('ff', 1), ('gg', 2), ('hh', 3), ('ff', 4)
INSERT INTO kvc VALUES ('aa', 10), ('ff', 20), ('gg', 30), ('bb', 40) ON CONFLICT DO NOTHING
INSERT INTO kvc VALUES ('aa', 10), ('ff', 20), ('ii', 30), ('bb', 40) ON CONFLICT (k) DO UPDATE SET v = excluded.v + kvc.v RETURNING k, v
INSERT INTO kvc AS q VALUES ('aa', 10), ('jj', 20), ('kk', 30) ON CONFLICT (k) DO UPDATE SET v = 0 WHERE q.v > 1000
INSERT INTO kvc VALUES ('aa', 10), ('ll', 20), ('aa', 30), ('mm', 40) ON CONFLICT (k) DO UPDATE SET v = 5
! INSERT INTO kvc VALUES ('aa', 10), ('ll', 20), ('mm', 30) ON CONFLICT DO NOTHING RETURNING k
! INSERT INTO kvc AS q VALUES ('aa', 10), ('ll', 20), ('mm', 30) ON CONFLICT (k) DO UPDATE SET v = 0 WHERE q.v > 1 RETURNING k
! INSERT INTO kvc VALUES ('aa', 10), ('ll', 20), ('mm', 30) ON CONFLICT (k) DO UPDATE SET v = 0 RETURNING (xmax = 0)
INSERT INTO kvc VALUES ('aa', 10), ('ll', 20), (NULL, 30), ('mm', 30)
! INSERT INTO kvc VALUES ('ll', 20), ('mm', 30), ('nn', 40), ('long one', 50)
INSERT INTO knum VALUES (1001, 'a'), (1002.50, 'b'), (1003, 'c'), (1e4, 'd') RETURNING k, v
INSERT INTO kdate VALUES ('2018-01-01', 1), ('2021-01-01', 2), ('2030-01-01', 3) RETURNING k, v
! INSERT INTO kdate VALUES ('2018-01-01', 1), ('today', 2)
INSERT INTO ktz VALUES ('2018-01-01 00:00+00', 1), ('2021-01-01 00:00+00', 2), ('2030-01-01 00:00+00', 3) RETURNING v
INSERT INTO kbool VALUES (true, 11), (false, 12), (true, 13) RETURNING *
INSERT INTO "Odd Books" VALUES ('W', 101, 'x', 1, 'y'), ('w', 102, 'now', 2, 'today'), ('Ü', 103, 'z', 3, NULL) RETURNING "a""b", "Odd Books"."Key"
SELECT * FROM kvc ORDER BY k COLLATE "C"
SELECT * FROM knum ORDER BY k
# UPDATE and DELETE
UPDATE nulls SET v = v + 1 WHERE k > 100 AND k < 140
UPDATE nulls SET v = coalesce(v, 0) * 2, n = 1.25 WHERE k BETWEEN 101 AND 105 RETURNING *
UPDATE nulls AS n SET v = n.k RETURNING n.k, n.v
UPDATE nulls SET v = DEFAULT WHERE v > 150
UPDATE nulls SET (v, n) = (7, 8.5) WHERE k IN (101, 102, 103) RETURNING v, n
UPDATE nulls SET (v, n) = (SELECT 1, 2) WHERE k IN (101, 102, 103) RETURNING v, n
UPDATE nulls SET v = b.n FROM branches b WHERE b.branch = 'west' AND k > 120 RETURNING nulls.k, b.city
UPDATE nulls SET v = (SELECT max(n) FROM branches) WHERE k > 130 AND EXISTS (SELECT 1 FROM branches WHERE n = v LIMIT 1)
UPDATE nulls SET v = (SELECT count(*) FROM branches b WHERE b.n < nulls.k) WHERE k IN (102, 103, 104) RETURNING k, v
UPDATE nulls SET k = k WHERE k IN (101, 102, 103)
UPDATE nulls SET v = 3 WHERE k IN (101, 102, NULL)
UPDATE nulls SET v = 3 WHERE k = ANY ('{101,102,103}') RETURNING k
UPDATE nulls SET v = 3 WHERE v IS NULL
UPDATE nulls SET v = 3 WHERE k > 100000 RETURNING *
UPDATE nulls SET v = 1 / (k - 103) WHERE k > 100
UPDATE nulls SET n = k * 1000.0 WHERE k > 100
UPDATE nulls SET nothing = 1
UPDATE nulls SET v = nothing
UPDATE nulls SET v = 'x'
UPDATE nulls SET v = v + (random() * 0)::int WHERE random() < 2
UPDATE nulls SET v = extract(year FROM now())::int - extract(year FROM CURRENT_TIMESTAMP)::int WHERE k IN (101, 102, 103) RETURNING k, v
UPDATE nulls SET v = old.v + 1 WHERE k IN (101, 102, 103) RETURNING old.v, new.v
! UPDATE nulls SET k = 5
! UPDATE nulls SET k = k + 1
! UPDATE nulls SET k = 101 WHERE k > 100
! UPDATE nulls SET v = (SELECT random()::int)
! UPDATE nulls SET v = r FROM (SELECT random()::int AS r) AS r
! UPDATE nulls SET v = (SELECT n FROM branches LIMIT 1)
! UPDATE nulls SET v = length((SELECT string_agg(city, ',') FROM branches))
! UPDATE nulls SET v = o.v FROM nulls o WHERE o.k = nulls.k
! UPDATE nulls SET v = 1 WHERE ctid IS NULL
UPDATE kdate SET v = v + 1 WHERE k > '2019-01-01' RETURNING k, v
UPDATE kdate SET v = v + 1 WHERE k < CURRENT_DATE
! UPDATE kdate SET v = 1 WHERE k < 'today'
UPDATE ktz SET v = 100 WHERE k < now() AND k > now() - interval '1000 years' RETURNING v
UPDATE kvc SET v = v + 1 RETURNING k, v
UPDATE knum SET v = 'now' WHERE k > 5 RETURNING v
UPDATE "Odd Books" SET "a""b" = 'n' RETURNING "Key", "a""b"
SELECT * FROM nulls ORDER BY k, v, f
SELECT * FROM ktz ORDER BY k
DELETE FROM nulls WHERE k IN (101, 102) RETURNING *
DELETE FROM nulls n USING branches b WHERE b.n = n.v AND n.k > 100 RETURNING n.k, b.branch
DELETE FROM nulls WHERE k IN (SELECT n + 120 FROM branches)
DELETE FROM nulls WHERE v = 1 / (k - 103)
DELETE FROM nulls WHERE k > 100 AND k < 120
DELETE FROM public.nulls WHERE public.nulls.k > 120 RETURNING public.nulls.k
DELETE FROM kvc WHERE k > 'c' COLLATE "C" RETURNING k
DELETE FROM kbool WHERE v > 10 RETURNING v
DELETE FROM "Odd Books" WHERE "select" > 100
! DELETE FROM nulls USING nulls o WHERE o.k = nulls.k
! DELETE FROM nulls WHERE k > (SELECT random())
! DELETE FROM nulls RETURNING tableoid
SELECT * FROM nulls ORDER BY k, v, f
SELECT count(*), max(v) FROM kvc
# In transactions
BEGIN; INSERT INTO nulls VALUES (301, 1), (302, 2), (303, 3); SELECT k, v FROM nulls WHERE k > 300 ORDER BY k; UPDATE nulls SET v = 9 WHERE k > 300 RETURNING v; COMMIT
BEGIN
INSERT INTO nulls VALUES (311, 1), (312, 2), (313, 3)
SAVEPOINT a
DELETE FROM nulls WHERE k > 300
SELECT count(*) FROM nulls WHERE k > 300
ROLLBACK TO a
INSERT INTO nulls VALUES (321, 1), (322, 2), (323, 1/0)
SELECT 1
ROLLBACK TO a
SELECT k, v FROM nulls WHERE k > 300 ORDER BY k
COMMIT
BEGIN READ ONLY
UPDATE nulls SET v = 1
ROLLBACK
INSERT INTO nulls VALUES (331, 1), (332, 2), (333, 3); SELECT 1/0
SELECT k, v FROM nulls WHERE k > 300 ORDER BY k
PREPARE several (int, int) AS INSERT INTO nulls (k, v) VALUES ($1, 1), ($2, 2), (343, $1) RETURNING k, v
EXECUTE several (341, 342)
EXECUTE several (351, 354)
EXECUTE several ('x', 1)
PREPARE all_of_them (numeric) AS UPDATE nulls SET n = $1 WHERE k > 300 RETURNING n
EXECUTE all_of_them (1.5)
EXECUTE all_of_them (100000)
DEALLOCATE ALL
DELETE FROM nulls WHERE k > 300
! COPY (DELETE FROM nulls WHERE k > 300 RETURNING k) TO STDOUT
! EXPLAIN ANALYZE DELETE FROM nulls WHERE k > 300

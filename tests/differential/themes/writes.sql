# INSERT, UPDATE and DELETE in every form; the tables as a whole at the end.
INSERT INTO nulls VALUES (20, 1)
INSERT INTO nulls VALUES (20)
INSERT INTO nulls VALUES ()
INSERT INTO nulls (k) VALUES (20, 1)
INSERT INTO nulls (k, v) VALUES (20)
INSERT INTO nulls (k, k) VALUES (20, 21)
INSERT INTO nulls (v, k) VALUES (20, 21)
INSERT INTO nulls (nothing, k) VALUES (20, 21)
INSERT INTO nulls (k[1], v) VALUES (20, 21)
! INSERT INTO nulls (v) VALUES (20)
! INSERT INTO nulls DEFAULT VALUES
! INSERT INTO nulls VALUES (NULL, 5)
! INSERT INTO nulls VALUES (DEFAULT, 5)
INSERT INTO nulls VALUES ('22', 5)
! INSERT INTO nulls VALUES (22.4, 5)
! INSERT INTO nulls VALUES (22.5, 5)
INSERT INTO nulls VALUES (23.0, 5)
INSERT INTO nulls VALUES (2.4e1, 5)
! INSERT INTO nulls VALUES (0x19, 5)
! INSERT INTO nulls VALUES (-(-26), 5)
! INSERT INTO nulls VALUES (+27, 5)
INSERT INTO nulls VALUES (-28, 5)
INSERT INTO nulls VALUES (- 29, 5)
INSERT INTO nulls VALUES (30::int8, 5)
INSERT INTO nulls VALUES (31::int4, 5)
INSERT INTO nulls VALUES ('32'::int, 5)
! INSERT INTO nulls VALUES (' 33 ', 5)
! INSERT INTO nulls VALUES (true, 5)
! INSERT INTO nulls VALUES ('x', 5)
! INSERT INTO nulls VALUES (99999999999, 5)
! INSERT INTO nulls VALUES ('99999999999', 5)
INSERT INTO nulls VALUES (34, 5, 6), (34, 5)
INSERT INTO nulls VALUES (34, 5), (34, 6) RETURNING *
INSERT INTO nulls VALUES (35, 5) RETURNING k AS a, v+1, nulls.f, 'x'
INSERT INTO nulls AS n VALUES (36, 5) RETURNING n.k
INSERT INTO nulls AS n VALUES (37, 5) RETURNING nulls.k
INSERT INTO public.nulls VALUES (38, 5) RETURNING public.nulls.k
! INSERT INTO nulls VALUES (39, 5) RETURNING nulls
INSERT INTO nulls VALUES (39, 5) RETURNING nulls.*
INSERT INTO nulls VALUES (40, (SELECT 5)) RETURNING v
INSERT INTO nulls VALUES (41, (SELECT n FROM branches WHERE branch = 'west')) RETURNING v
! INSERT INTO nulls SELECT 42, 5
! INSERT INTO nulls TABLE nulls
! INSERT INTO nulls VALUES (43, 5) ORDER BY 1
INSERT INTO nulls OVERRIDING USER VALUE VALUES (44, 5)
INSERT INTO nulls OVERRIDING SYSTEM VALUE VALUES (45, 5) RETURNING *
INSERT INTO nulls (v, k) OVERRIDING SYSTEM VALUE VALUES (5, 46) RETURNING *
WITH x AS (SELECT 1) INSERT INTO nulls VALUES (47, (SELECT * FROM x))
! INSERT INTO kvc VALUES ('abcdef', 1)
! INSERT INTO kvc VALUES ('abcde ', 1)
INSERT INTO kvc VALUES ('x', 1) ON CONFLICT DO NOTHING
INSERT INTO kvc VALUES ('x', 1) ON CONFLICT (k) DO UPDATE SET v = excluded.v + kvc.v + 10 RETURNING *
INSERT INTO kvc VALUES ('x', 1) ON CONFLICT (k) DO UPDATE SET v = excluded.v + public.kvc.v RETURNING *
INSERT INTO kvc AS q VALUES ('x', 1) ON CONFLICT (k) DO UPDATE SET v = q.v + 1 WHERE q.v > 5 RETURNING q.v
INSERT INTO kvc VALUES ('x', 1) ON CONFLICT (k) DO UPDATE SET (v) = ROW(99) RETURNING *
! INSERT INTO kvc VALUES ('x', 1) ON CONFLICT (k) DO UPDATE SET (k, v) = ('y', 99) RETURNING *
INSERT INTO kvc VALUES ('x', 1) ON CONFLICT (k) DO UPDATE SET v = (SELECT 7) RETURNING *
INSERT INTO kvc VALUES ('x', 1) ON CONFLICT (v) DO NOTHING
INSERT INTO kvc VALUES ('x', 1) ON CONFLICT (lower(k)) DO NOTHING
! INSERT INTO kvc VALUES ('x', 1) ON CONFLICT ON CONSTRAINT kvc_pkey DO NOTHING
INSERT INTO kvc VALUES ('x', 1), ('x', 2) ON CONFLICT (k) DO UPDATE SET v = 1
INSERT INTO kvc VALUES ('x', 1)
! INSERT INTO kvc VALUES (5, 1) ON CONFLICT DO NOTHING
INSERT INTO kvc VALUES ('q'::text, 1)
INSERT INTO kvc VALUES ('q'::varchar, 1)
! INSERT INTO kvc VALUES ('qq'::varchar(1), 1)
! INSERT INTO kvc VALUES ('q' || 'q', 1)
! INSERT INTO kvc VALUES (E'q', 1)
INSERT INTO kvc VALUES (NULL, 1)
INSERT INTO kvc (v) VALUES (1)
INSERT INTO knum VALUES (3.10, 'x') RETURNING k
INSERT INTO knum VALUES ('4.0', 'x') RETURNING k
INSERT INTO knum VALUES (1e5, 'x') RETURNING k
INSERT INTO kbool VALUES (true, 7)
INSERT INTO kbool VALUES ('t', 7)
! INSERT INTO kbool VALUES (1, 7)
INSERT INTO kdate VALUES ('2021-01-01', 7)
! INSERT INTO kdate VALUES ('today', 7)
INSERT INTO kdate VALUES (date '2021-01-02', 7)
! INSERT INTO kdate VALUES ('2021-02-30', 7)
! INSERT INTO kdate VALUES ('2021-01-01 12:00', 7)
INSERT INTO ktz VALUES ('2021-01-01 12:00+00', 7) RETURNING k
! INSERT INTO ktz VALUES ('2021-01-01 12:00', 7) RETURNING k
INSERT INTO "Odd Books" VALUES ('w', 77, 'x', 1, 'y') RETURNING "Odd Books"."Key", "a""b"
INSERT INTO "Odd Books" ("select", "Key") VALUES (78, 'w') RETURNING *
INSERT INTO "Odd Books" (key, "select") VALUES (1, 79)
UPDATE "Odd Books" SET "a""b" = 'new', key = 5 WHERE "Key" = 'w' AND "select" = 78 RETURNING *
UPDATE "Odd Books" SET "Key" = 'w' WHERE "Key" = 'w' AND "select" = 78 RETURNING *
UPDATE "Odd Books" SET "Key" = 'x y' WHERE "Key" = 'w' AND "select" = 78 RETURNING "Key"
! UPDATE "Odd Books" SET "Key" = 'Ü' WHERE "Key" = 'w'
DELETE FROM "Odd Books" WHERE "Key" IN ('w', 'x y') AND "select" IN (77, 78) RETURNING "select"
UPDATE nulls SET v = v + 1 WHERE k = 20 RETURNING *
UPDATE nulls AS n SET v = n.v + 1 WHERE n.k = 20 RETURNING n.*
UPDATE nulls n SET v = 1 WHERE nulls.k = 20
UPDATE nulls SET nulls.v = 1 WHERE k = 20
UPDATE nulls SET (v, n) = (7, 8) WHERE k = 20 RETURNING v, n
UPDATE nulls SET (v, n) = ROW(7, 8) WHERE k = 20 RETURNING v, n
UPDATE nulls SET (v, n) = (SELECT 1, 2) WHERE k = 20 RETURNING v, n
! UPDATE nulls SET (k, v) = (20, 2) WHERE k = 20 RETURNING v, n
! UPDATE nulls SET (k, v) = (SELECT 33, 2) WHERE k = 20 RETURNING v, n
! UPDATE nulls SET (v, k) = (33, 21) WHERE k = 20
! UPDATE nulls SET (v, k) = ROW(33, 21) WHERE k = 20
UPDATE nulls SET k = 20 WHERE k = 20
UPDATE nulls SET k = k WHERE k = 20
UPDATE nulls SET k = nulls.k WHERE k = 20
! UPDATE nulls SET k = v WHERE k = 20
! UPDATE nulls SET k = k + 0 WHERE k = 20
! UPDATE nulls SET k = DEFAULT WHERE k = 20
! UPDATE nulls SET k = NULL WHERE k = 20
UPDATE nulls SET k = '20' WHERE k = 20
UPDATE nulls SET k = 20, k = 20 WHERE k = 20
UPDATE nulls SET v = DEFAULT WHERE k = 20 RETURNING v
UPDATE nulls SET v = 1 WHERE k = 20 AND k = 21
UPDATE nulls SET v = 1 WHERE k IS NULL AND v = 20 RETURNING k
BEGIN
UPDATE nulls SET v = 1 WHERE false
UPDATE nulls SET v = 1 WHERE FALSE RETURNING *
UPDATE nulls SET v = 1 WHERE NULL RETURNING k, v AS "V"
UPDATE nulls SET v = 1 WHERE true
UPDATE nulls SET v = 1 WHERE 1 = 0
UPDATE nulls SET v = 1 WHERE 1 != 1
UPDATE nulls SET v = 1 WHERE 1 <> 1 AND v = 3 RETURNING 1
UPDATE nulls SET v = 1 WHERE 1 = 1
UPDATE nulls SET v = 1 WHERE 1 <> 0
UPDATE nulls SET v = 1 WHERE 1 = 1.0
UPDATE nulls SET v = 1 WHERE 1 <> 1.0
UPDATE nulls SET v = 1 WHERE 1 = '0'
UPDATE nulls SET v = 1 WHERE (v IN (NULL)) AND (1 != 1)
UPDATE nulls SET v = 1 WHERE v = 3 AND (k = 20 OR false) AND k = 21
UPDATE nulls SET v = 1 WHERE v IN (NULL)
UPDATE nulls SET v = 1 WHERE v IN (NULL) OR (1 = 1)
UPDATE nulls SET v = 1 WHERE NOT false
UPDATE nulls SET v = 1 WHERE false IS NOT NULL
UPDATE nulls SET v = 1 WHERE k IN (NULL)
UPDATE nulls SET v = 1 WHERE k = ANY ('{}') RETURNING v
UPDATE nulls SET v = 1 WHERE k = ANY (NULL)
UPDATE nulls SET v = 1 WHERE k = ANY ('{}'::int[])
UPDATE nulls SET v = 1 WHERE k IN (SELECT CAST(NULL AS INTEGER) WHERE 1!=1)
UPDATE nulls SET v = 1 WHERE v IN (SELECT 1 FROM (SELECT 1) AS empty_set WHERE 1!=1) RETURNING *
UPDATE nulls SET v = 1 WHERE EXISTS (SELECT 1 AS a FROM branches WHERE false)
UPDATE nulls SET v = 1 WHERE NOT EXISTS (SELECT 1 WHERE false)
UPDATE nulls SET v = 1 WHERE v NOT IN (SELECT 1 WHERE false)
UPDATE nulls SET v = 1 WHERE EXISTS (SELECT count(*) WHERE false)
UPDATE nulls SET v = 1 WHERE EXISTS (SELECT 1 WHERE false HAVING true)
UPDATE nulls SET v = 1 WHERE 0 IN (SELECT count(*) FROM branches WHERE 1 = 0)
UPDATE nulls SET v = 1 WHERE EXISTS (SELECT 1 WHERE false UNION SELECT 1)
UPDATE nulls SET v = 1 WHERE v <> ALL (SELECT 1 WHERE false)
UPDATE nulls SET k = 5 WHERE false
DELETE FROM nulls WHERE false RETURNING *
DELETE FROM nulls USING branches b WHERE b.n = v AND false
DELETE FROM nulls WHERE true
ROLLBACK
SELECT count(*), max(v), sum(v) + 1 FROM nulls WHERE false
SELECT v, count(*) FROM nulls WHERE 1 = 0 GROUP BY v
SELECT count(DISTINCT v), array_agg(v) FROM nulls WHERE false
SELECT rank() OVER (ORDER BY v), * FROM nulls WHERE 1 != 1
SELECT DISTINCT ON (v) v, k FROM nulls WHERE false ORDER BY v, k
SELECT * FROM nulls WHERE false FOR UPDATE
SELECT * FROM nulls WHERE v IN (SELECT CAST(NULL AS INTEGER) WHERE 1!=1)
SELECT count(*) FROM nulls WHERE v NOT IN (SELECT CAST(NULL AS INTEGER) WHERE 1!=1)
SELECT n.v, b.city FROM nulls n LEFT JOIN branches b ON b.n = n.v WHERE false
UPDATE nulls SET v = 1 WHERE k = NULL
UPDATE nulls SET v = 'x' WHERE k = NULL
UPDATE nulls SET v = n FROM branches WHERE nulls.k = 20
UPDATE nulls SET v = b.n FROM branches b WHERE nulls.k = 20 AND b.branch = 'west' RETURNING nulls.k, b.city, nulls.v
UPDATE nulls SET v = 5 FROM branches b WHERE k = 20 AND b.n = 2 RETURNING *
UPDATE nulls SET v = 5 FROM branches k WHERE k.n = 20
UPDATE nulls SET v = (SELECT max(n) FROM branches) WHERE k = 20 RETURNING v
UPDATE nulls SET v = 5 WHERE k = 20 AND v IN (SELECT n FROM branches)
UPDATE nulls SET v = 5 WHERE k = 20 RETURNING (SELECT count(*) FROM branches)
! UPDATE ONLY nulls SET v = 5 WHERE k = 20
DELETE FROM nulls USING branches b WHERE k = 20 AND b.n = 1 RETURNING nulls.k, b.city
DELETE FROM nulls n USING branches b WHERE n.k = 21 AND b.n = n.v
DELETE FROM nulls WHERE k IN (22, 22) RETURNING *
DELETE FROM nulls WHERE k = 23 AND (SELECT true) RETURNING k, v AS "V"
DELETE FROM nulls WHERE k = 24.0
DELETE FROM nulls WHERE k = '25'
DELETE FROM nulls WHERE (k) = (26)
DELETE FROM nulls WHERE k = 27 OR k = 27
DELETE FROM nulls WHERE k = -28 RETURNING k
DELETE FROM nulls WHERE k = - 29 RETURNING k
DELETE FROM nulls WHERE k = -(-30)
DELETE FROM nulls AS n WHERE n.k = 30 RETURNING n.*
DELETE FROM nulls * WHERE k = 31
DELETE FROM public.nulls WHERE public.nulls.k = 32 RETURNING public.nulls.k
DELETE FROM nulls WHERE k = 33 AND random() < 2
DELETE FROM nulls WHERE k = 34 AND now() > '2000-01-01'
! DELETE FROM nulls WHERE k = 35 AND v < nextval('x')
SELECT count(*) FROM nulls
SELECT * FROM nulls ORDER BY k, v, f
SELECT * FROM kvc ORDER BY k COLLATE "C"
SELECT * FROM "Odd Books" ORDER BY "Key", "select"
SELECT * FROM knum ORDER BY k
SELECT * FROM kbool ORDER BY k, v
SELECT * FROM ktz ORDER BY k
! MERGE INTO nulls USING branches b ON b.n = nulls.k WHEN MATCHED THEN DELETE
! TRUNCATE nulls
! COPY nulls TO '/tmp/nulls'
EXPLAIN SELECT 1
! SELECT * FROM nulls FOR UPDATE
SELECT * FROM nulls WHERE k = 1 FOR SHARE OF nulls
SELECT * FROM nulls n WHERE n.k = 1 FOR NO KEY UPDATE OF n NOWAIT
SELECT * FROM nulls n WHERE n.k = 1 FOR UPDATE OF nulls
# More forms of writes
INSERT INTO samples (id, word) VALUES ('700010', 'a'), (700010::int8, 'b') ON CONFLICT (id) DO NOTHING RETURNING id, word
INSERT INTO samples AS s (id, small) VALUES (700010, 1) ON CONFLICT (id) DO UPDATE SET small = coalesce(s.small, 0) + excluded.small RETURNING s.id, s.small
INSERT INTO samples AS s (id, small) VALUES (700010, 1) ON CONFLICT (id) DO UPDATE SET small = s.small + 1 WHERE s.small > 0 RETURNING small, (xmax <> 0) IS NULL
INSERT INTO samples (id, small) VALUES (('700010'::int8), ('1'::int2)) ON CONFLICT DO NOTHING
UPDATE samples SET small = (SELECT max(n) FROM branches), word = upper(word) || '!' WHERE id = ('700010'::int8) RETURNING id, small, word
UPDATE samples SET small = small + b.n FROM branches b WHERE b.branch = word AND id = 700010
UPDATE samples SET day = '2020-02-30' WHERE id = 700010
UPDATE samples SET day = '2020-02-28', stamp = day WHERE id = 700010 RETURNING day, stamp
UPDATE samples SET (day, stamp) = (SELECT '2020-01-01'::date, '2020-01-01'::timestamp) WHERE id = 700010 RETURNING day, stamp
UPDATE samples SET small = 1 WHERE id = 700010 AND id = 700011
UPDATE samples SET small = 1 WHERE id IN (SELECT 700010 WHERE false)
UPDATE samples SET small = 1 WHERE id IN (SELECT 700010)
DELETE FROM samples WHERE id = 700010 AND word IN (SELECT branch FROM branches WHERE 1 = 0)
DELETE FROM samples WHERE (id, word) IN ((700010, 'A!'), (700010, 'x'), (700010, NULL)) RETURNING word
DELETE FROM samples WHERE id = ANY (ARRAY[700010]) AND EXISTS (SELECT 1 FROM branches) RETURNING word
DELETE FROM samples WHERE id IS NOT DISTINCT FROM 700010
DELETE FROM samples WHERE id BETWEEN 5 AND 4
DELETE FROM samples WHERE id = NULL OR id IN (NULL, NULL)
DELETE FROM samples s USING branches b WHERE s.id = 700010 AND b.n > 0 RETURNING s.id, b.n
DELETE FROM readings WHERE id BETWEEN 700010 AND 700009
DELETE FROM readings WHERE id > 700010 AND id < 700012 RETURNING *
UPDATE readings SET small = 0 WHERE id >= 700010 AND word = 'nobody' RETURNING *
WITH x AS (SELECT n FROM branches) UPDATE samples SET small = x.n FROM x WHERE samples.id = 700010 RETURNING samples.id
! WITH x AS (DELETE FROM samples WHERE id = 700010 RETURNING *) SELECT * FROM x
SELECT count(*) FROM samples

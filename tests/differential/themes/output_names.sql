# ORDER BY a name: whatever PostgreSQL calls an output column without AS; * beside sub-queries.
SELECT v, (SELECT city FROM branches WHERE n = v) FROM kvc ORDER BY city DESC NULLS LAST, k
SELECT k, (SELECT 10 - n AS v FROM branches WHERE n = v) FROM kvc ORDER BY v, k
SELECT k, (SELECT -n AS v FROM branches WHERE n = kvc.v) FROM kvc ORDER BY v, k
SELECT k, (SELECT -n v FROM branches WHERE n = kvc.v) FROM kvc ORDER BY v, k
! SELECT k, (SELECT k FROM branches WHERE n = kvc.v) FROM kvc ORDER BY k
! SELECT k, (SELECT city AS k FROM branches WHERE n = v) FROM kvc ORDER BY k
SELECT k, ARRAY(SELECT -n AS v FROM branches WHERE n = kvc.v) FROM kvc ORDER BY v, k
SELECT k, EXISTS(SELECT -n AS v FROM branches WHERE n = kvc.v) FROM kvc ORDER BY exists, k
SELECT k, (-v)::int8 FROM kvc ORDER BY int8, k
SELECT k, v::int8 FROM kvc ORDER BY v, k
SELECT k, CAST(-v AS text) FROM kvc ORDER BY text, k
SELECT k, (CASE WHEN true THEN -v END) FROM kvc ORDER BY "case", k
SELECT k, coalesce(-v, 1) FROM kvc ORDER BY coalesce, k
SELECT k, nullif(-v, 1) FROM kvc ORDER BY nullif, k
SELECT k, greatest(-v, -9) FROM kvc ORDER BY greatest, k
SELECT k, CASE WHEN v > 2 THEN 1 ELSE -v END FROM kvc ORDER BY v, k
SELECT k, CASE WHEN v > 2 THEN 1 ELSE v END FROM kvc ORDER BY v, k
SELECT k, (ARRAY[-v, 2])[1] FROM kvc ORDER BY "array", k
!binary SELECT k, ROW(-v, 1) FROM kvc ORDER BY k
SELECT k, (ROW(-v, 1)).f1 FROM kvc ORDER BY f1, k
SELECT k, current_date, -v AS "current_date" FROM kvc ORDER BY k
SELECT k COLLATE "C" FROM kvc ORDER BY k DESC
SELECT k, -v AS v, abs(v) FROM kvc ORDER BY abs, v
SELECT k, now() FROM kvc ORDER BY now, k LIMIT 0
SELECT k, extract(year FROM date '2020-01-01') + v FROM kvc ORDER BY k
SELECT k, extract(year FROM date '2020-01-01' + v) FROM kvc ORDER BY extract, k
SELECT k, position('a' IN k), substring(k FROM 1 FOR 1), trim(k), overlay(k PLACING 'x' FROM 1) FROM kvc ORDER BY position, "substring", btrim, "overlay", k
SELECT k, k LIKE 'a%', k IN ('a'), v IS NULL, v BETWEEN 1 AND 2 FROM kvc ORDER BY k
SELECT k, json_build_object('a', v)->'a' AS v FROM kvc ORDER BY k
SELECT k, xmlparse(document '<a/>') IS NULL FROM kvc ORDER BY k LIMIT 0
SELECT k, JSON_OBJECT('a': v) FROM kvc ORDER BY k
SELECT k, JSON_ARRAY(v, 1), JSON_SCALAR(v), JSON('{"a":1}') FROM kvc ORDER BY k
SELECT k, JSON_VALUE(jsonb_build_object('a', v), '$.a') FROM kvc ORDER BY json_value, k
SELECT k, GREATEST(v, 2), MERGE_ACTION FROM kvc ORDER BY k
SELECT DISTINCT k, (SELECT -n AS v FROM branches WHERE n = kvc.v) FROM kvc ORDER BY v, k
! SELECT (SELECT -n AS v FROM branches WHERE n = kvc.v), count(*) FROM kvc GROUP BY v ORDER BY v
SELECT k, (VALUES (-v)) FROM kvc ORDER BY column1, k
SELECT k, (SELECT -v UNION SELECT -v) FROM kvc ORDER BY k
SELECT k, (SELECT -v AS v UNION SELECT -v) FROM kvc ORDER BY v, k
! SELECT k, (WITH x AS (SELECT 1) SELECT -v AS v FROM x) FROM kvc ORDER BY v, k
SELECT k, (SELECT branches.city FROM branches WHERE n = v) FROM kvc ORDER BY city, k
! SELECT k, (SELECT b.* FROM (SELECT city FROM branches WHERE n = v) b) FROM kvc ORDER BY city, k
SELECT * FROM measures WHERE id IN (SELECT n FROM branches) ORDER BY region, id
SELECT * FROM measures WHERE id IN (SELECT n FROM branches) ORDER BY measures.region DESC, measures.id
SELECT m.* FROM measures m WHERE EXISTS (SELECT * FROM branches WHERE n = m.small) ORDER BY m.day, id, region LIMIT 7
SELECT DISTINCT * FROM kvc WHERE v IN (SELECT n FROM branches) ORDER BY k
! SELECT *, (SELECT max(n) FROM branches WHERE n < v) AS m FROM kvc ORDER BY k DESC
SELECT *, (SELECT city FROM branches WHERE n = v) FROM kvc WHERE v IN (SELECT n FROM branches) ORDER BY city DESC NULLS LAST, k
! SELECT * FROM measures m, branches b WHERE b.n = m.small ORDER BY m.id, m.region, b.n
! SELECT * FROM measures m JOIN branches b ON b.n = m.small ORDER BY m.id, m.region, b.n
SELECT JSON_OBJECT('n': count(*)), JSON_ARRAY(count(*), max(v)), JSON_SCALAR(count(*)) FROM kvc

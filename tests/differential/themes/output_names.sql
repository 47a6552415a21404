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
SELECT upper(word), count(*) FROM measures GROUP BY upper ORDER BY upper
SELECT upper(word), count(*) FROM measures GROUP BY upper HAVING upper(word) > 'A' ORDER BY count, upper
SELECT small::int8, count(*) FROM measures GROUP BY small ORDER BY small
SELECT -small AS medium, count(*) FROM measures GROUP BY medium, small ORDER BY medium
SELECT max(small) AS word, word AS w FROM measures GROUP BY word ORDER BY word, w
SELECT count(*) AS small FROM measures GROUP BY small ORDER BY small
SELECT count(*) AS small FROM measures GROUP BY small ORDER BY -small
SELECT word || 'x' AS word, count(*) FROM measures GROUP BY measures.word ORDER BY word DESC
SELECT DISTINCT -small AS small FROM measures ORDER BY small
SELECT DISTINCT -small AS small FROM measures ORDER BY -small
SELECT small AS medium, medium AS small FROM measures ORDER BY small, medium, id, region
SELECT small AS medium, medium AS small FROM measures ORDER BY small + 1, id, region
SELECT coalesce(word, code) FROM measures ORDER BY coalesce, id, region
SELECT word, word IS JSON FROM measures ORDER BY word, id, region
SELECT *, word AS w FROM measures ORDER BY w, id, region
SELECT *, word FROM measures ORDER BY word, id, region
SELECT id, small AS "Small", word AS "id2" FROM measures ORDER BY "Small" DESC NULLS LAST, id, region
SELECT id AS region, region AS id FROM measures ORDER BY id, region
SELECT id AS region, region AS id FROM measures ORDER BY measures.id, measures.region
SELECT id AS region, region AS id FROM measures ORDER BY 2 DESC, 1
SELECT id AS region, region AS id FROM measures WHERE region = 'ash' AND id > 0 ORDER BY region
SELECT upper(region) AS region, count(*) FROM measures WHERE region IN ('ash', 'cedar') GROUP BY region ORDER BY region
SELECT region AS r, min(id) AS region FROM measures GROUP BY region ORDER BY region, r
SELECT region AS r, min(id) AS id FROM measures GROUP BY r HAVING min(id) < 5 ORDER BY id, r LIMIT 2
SELECT (region), ((id)) FROM measures ORDER BY (region), ((id))
SELECT id, word FROM measures ORDER BY measures.word COLLATE "C" DESC, id, region LIMIT 5
SELECT id, (word) COLLATE "C" FROM measures ORDER BY word, id, region LIMIT 5
SELECT date '2020-01-01', interval '1 day', timestamp '2020-01-01', id FROM measures ORDER BY date, id, region LIMIT 3
SELECT id, small AT TIME ZONE 'UTC' FROM measures ORDER BY id
SELECT id, stamp AT TIME ZONE 'UTC' FROM measures ORDER BY timezone, id, region LIMIT 5
SELECT id, region, (small, medium) OVERLAPS (small, medium) FROM measures ORDER BY id
SELECT id, region, extract(day FROM stamp), trim(word), word SIMILAR TO 'a' FROM measures ORDER BY extract, btrim, id, region LIMIT 9
SELECT id, nullif(small, 0), greatest(small, 0), least(small, 0) FROM measures ORDER BY nullif, greatest, least, id, region LIMIT 9
SELECT id, CASE WHEN flag THEN small ELSE medium END, CASE WHEN flag THEN small END FROM measures ORDER BY medium, "case", id, region LIMIT 9
SELECT id, CASE WHEN flag THEN small ELSE 5 END::int8 FROM measures ORDER BY "case", id, region LIMIT 9
SELECT id, ARRAY[small]::int[] IS NULL, small::numeric::text FROM measures ORDER BY small, id, region LIMIT 9
SELECT id, (ARRAY[small, medium])[2] FROM measures ORDER BY array, id, region LIMIT 9
SELECT id, 5::int8, 'x'::text, NULL::int FROM measures ORDER BY int8, text, int4, id, region LIMIT 9

# Prepared in SQL with groups and empty lists; conditions that nothing fulfils; expressions over groups in all their forms.
PREPARE q1 AS SELECT count(*) FROM measures WHERE region = $1
EXECUTE q1 ('ash')
EXECUTE q1 ('a' || 'sh')
EXECUTE q1 (NULL)
PREPARE q2 (text[]) AS SELECT count(*) FROM measures WHERE region = ANY ($1)
EXECUTE q2 ('{}')
EXECUTE q2 ('{ash,cedar}')
EXECUTE q2 (ARRAY['ash', NULL])
EXECUTE q2 (NULL)
PREPARE q3 (int, int) AS SELECT word, count(*) + $2 FROM measures GROUP BY word HAVING count(*) > $1 ORDER BY word
EXECUTE q3 (2, 10)
EXECUTE q3 (1 + 1, 10)
EXECUTE q3 (NULL, 10)
PREPARE q4 AS SELECT word, count(*) FROM measures GROUP BY word HAVING count(*) > $1 ORDER BY 2 DESC, 1 LIMIT $2
EXECUTE q4 (2, 3)
EXECUTE q4 (2, NULL)
PREPARE q5 (bool) AS DELETE FROM measures WHERE $1
EXECUTE q5 (false)
EXECUTE q5 (NULL)
BEGIN
EXECUTE q5 (true)
ROLLBACK
PREPARE q6 (int8[]) AS UPDATE samples SET word = 'x' WHERE id = ANY ($1) RETURNING id
EXECUTE q6 ('{}')
EXECUTE q6 ('{-60}')
DEALLOCATE ALL
BEGIN; DECLARE c CURSOR FOR SELECT word, count(*) + 1 AS n FROM measures GROUP BY word HAVING count(*) > 1 ORDER BY n DESC, word; FETCH 3 c; FETCH 2 c; SELECT count(*) FROM measures WHERE false; FETCH c; COMMIT
BEGIN; DECLARE c SCROLL CURSOR WITH HOLD FOR SELECT word, count(*) + 1 AS n FROM measures GROUP BY word ORDER BY n DESC, word; COMMIT; FETCH 3 c; FETCH BACKWARD 1 c; CLOSE c
SELECT count(*) FROM measures WHERE region = 'ash' AND 1 = 0 OR region = 'cedar'
SELECT count(*), now() IS NULL FROM measures WHERE 1 = 0
SELECT max(word), 'x' FROM measures WHERE NULL
! SELECT word FROM measures WHERE 1 = 0 UNION SELECT 'x'
SELECT FROM measures WHERE false
SELECT * FROM measures m JOIN branches b ON true WHERE false
SELECT count(*) FROM measures WHERE false AND 1/0 = 1
SELECT count(*) FROM measures WHERE 1/0 = 1 AND false
SELECT count(*) FROM measures WHERE 1 = 0 AND nothing = 1
SELECT count(*) FROM measures WHERE 1 = 0 AND word = 5
INSERT INTO samples (id, word) VALUES (700001, 'a') RETURNING id, (SELECT count(*) FROM branches WHERE false)
DELETE FROM samples WHERE id = 700001 AND NOT false RETURNING id
UPDATE samples SET word = 'q' WHERE id = -60 AND EXISTS (SELECT 1 FROM branches WHERE n = 1) RETURNING id
UPDATE samples SET word = 'q' WHERE id = -60 AND EXISTS (SELECT 1 FROM branches WHERE 1 = 0) RETURNING id
UPDATE samples SET (word, code) = ('r', 's') WHERE (id, word) = (-60, 'q') RETURNING id, word, code
UPDATE samples SET small = small + 1 WHERE id IN (-60, -60) RETURNING small
UPDATE samples s SET word = b.city FROM branches b WHERE s.id = -60 AND b.n = 1 RETURNING s.word
UPDATE samples SET word = CASE WHEN id = -60 THEN 'k' ELSE word END WHERE id = -60 RETURNING word
SELECT word, count(*) FROM samples GROUP BY word HAVING count(*) > 1 AND 1 = 0
SELECT word, count(*) FROM samples GROUP BY word HAVING false
SELECT count(*) FROM samples HAVING NULL
SELECT word FROM samples GROUP BY word HAVING (word, count(*)) > ('a', 1) ORDER BY word
SELECT word, (count(*), max(small)) = (1, 2) AS x FROM samples GROUP BY word ORDER BY word
SELECT word, count(*) IS DISTINCT FROM 1, count(*) = ANY (ARRAY[1, 2]), count(*) NOT IN (1, 2) FROM samples GROUP BY word ORDER BY word
! SELECT word, sum(small) OVER () FROM samples GROUP BY word
SELECT CAST(count(*) AS text) || word, concat(word, count(*)), format('%s-%s', word, count(*)) FROM samples GROUP BY word ORDER BY word
SELECT word, to_char(avg(amount), 'FM999.00'), round(avg(amount)::numeric, 2), trunc(sum(amount)) FROM samples GROUP BY word ORDER BY word
SELECT extract(epoch FROM max(stamp) - min(stamp)), age(max(day), min(day)), justify_interval(max(stamp) - min(stamp)) FROM samples WHERE isfinite(stamp) AND isfinite(day)
SELECT max(stamp_tz) AT TIME ZONE 'Asia/Tokyo', (max(stamp_tz))::date, date_part('year', max(stamp_tz)) FROM samples WHERE isfinite(stamp_tz)
SELECT position('a' IN max(word)), substring(max(word) FROM 1 FOR 2), overlay(max(word) PLACING 'x' FROM 1), trim(both 'a' from max(word)) FROM samples
SELECT max(word) SIMILAR TO '%a%', max(word) ~ 'a', max(word) LIKE 'a!%' ESCAPE '!', max(word) BETWEEN 'a' AND 'z', max(small) IS NOT NULL FROM samples
SELECT (ARRAY[count(*), max(small)])[1], ARRAY[max(word)] || min(word), array_length(ARRAY[count(*)], 1) FROM samples
SELECT coalesce(max(small), 0)::text, nullif(count(*), 0)::float8, greatest(max(small), 1, min(medium)) FROM samples
SELECT -count(*), +count(*), - - count(*), @ -count(*), count(*) ^ 2, count(*) % 7, |/ count(*) FROM samples
SELECT count(*)::int4 << 1, ~count(*)::int4, count(*)::int4 # 5 FROM samples
SELECT NOT bool_or(flag), bool_and(flag) AND bool_or(flag), bool_and(flag) IS UNKNOWN FROM samples
SELECT CASE max(small) WHEN 1 THEN 'one' WHEN 32767 THEN 'most' ELSE max(small)::text END FROM samples
SELECT json_build_object('a', count(*), 'b', max(word)), jsonb_build_array(count(*), max(amount), max(ratio)) FROM samples
SELECT row_to_json(ROW(count(*), max(word))) FROM samples
SELECT count(*) AS "A b", sum(small) AS "select", max(word) "ü" FROM samples
SELECT count(*) count, sum(small) sum FROM samples ORDER BY sum, count
SELECT word AS w, count(*) AS c FROM samples GROUP BY w ORDER BY c DESC, w NULLS FIRST LIMIT 5
SELECT word AS w, count(*) AS c FROM samples GROUP BY w ORDER BY 2 DESC, 1 OFFSET 3
SELECT word, word AS w2, count(*) FROM samples GROUP BY word, w2 ORDER BY word
SELECT samples.word, count(samples.id) FROM public.samples GROUP BY public.samples.word ORDER BY samples.word
SELECT s.word || s.code AS x, max(s.small) FROM samples AS s GROUP BY s.word || s.code ORDER BY s.word || s.code
SELECT s.word || s.code || '-' AS x, max(s.small) FROM samples AS s GROUP BY s.word || s.code ORDER BY s.word || s.code
SELECT length(word) + length(word) AS x, count(*) FROM samples GROUP BY length(word) ORDER BY length(word)
SELECT length(word) * 2 AS x, length(word) AS y, length(word) = 3 FROM samples GROUP BY length(word), word ORDER BY word
SELECT date_trunc('month', stamp) AS m, date_trunc('month', stamp) + interval '1 month', count(*) FROM samples WHERE isfinite(stamp) GROUP BY date_trunc('month', stamp) ORDER BY m
SELECT stamp::date AS d, stamp::date + 1 FROM samples WHERE isfinite(stamp) GROUP BY stamp::date ORDER BY d
SELECT CAST(stamp AS date) AS d, stamp::date + 1 FROM samples WHERE isfinite(stamp) GROUP BY stamp::date ORDER BY d
SELECT extract(year FROM stamp) AS y, extract(year FROM stamp) + 1, date_part('year', stamp) FROM samples WHERE isfinite(stamp) GROUP BY extract(year FROM stamp), date_part('year', stamp) ORDER BY y
SELECT small + 1, 1 + small, small + 1 + 1, (small + 1) * 2 FROM samples WHERE small < 100 GROUP BY small + 1, small ORDER BY small
SELECT a.small + 1 AS x FROM samples a WHERE a.small < 100 GROUP BY (a.small + 1) HAVING (a.small + 1) > 2 ORDER BY (a.small + 1)

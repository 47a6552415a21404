# Aggregates: errors, no rows, overflow, NaN, scale, expressions over groups.
SELECT isbn, count(*) FROM books
! SELECT isbn FROM books GROUP BY branch
! SELECT * FROM books GROUP BY branch
SELECT count(*), isbn + 1 FROM books
SELECT sum(count(*)) FROM books
SELECT count(*) FROM books WHERE count(*) > 1
SELECT count(*) FROM books GROUP BY count(*)
SELECT isbn FROM books ORDER BY count(*)
SELECT count(*) FROM books ORDER BY isbn
SELECT isbn FROM books HAVING isbn > 1
SELECT count(*) FROM books HAVING isbn > 1
SELECT isbn FROM books HAVING true
SELECT 1 AS x FROM books HAVING true
SELECT 1 FROM books HAVING false
SELECT 1 FROM books WHERE false HAVING true
SELECT 'x' FROM books WHERE false HAVING count(*) = 0
SELECT count(*) FROM books HAVING max(price) > 1000000
! SELECT genre FROM books GROUP BY genre ORDER BY isbn
SELECT isbn/0 FROM books LIMIT 0
SELECT isbn/0 FROM books WHERE false
SELECT 1/0 FROM books WHERE false
SELECT count(*)/0 FROM books
SELECT count(*)/0 FROM books WHERE false
SELECT sum(big) FROM measures
SELECT sum(big::numeric) FROM measures
SELECT sum(medium) FROM measures
SELECT avg(big) FROM measures
SELECT sum(ratio), avg(ratio), min(ratio), max(ratio) FROM measures
SELECT sum(ratio) FROM measures WHERE ratio <> 'NaN'
SELECT sum(ratio) FROM measures WHERE ratio > 0 AND ratio <> 'NaN'
SELECT sum(amount), avg(amount), min(amount) FROM measures
SELECT sum(n), avg(n), min(n), max(n) FROM nulls
SELECT sum(n), avg(n), min(n), max(n) FROM nulls WHERE n <> 'NaN'
SELECT sum(n), avg(n) FROM nulls WHERE false
SELECT v, sum(n), avg(n), count(n), count(*) FROM nulls GROUP BY v ORDER BY v
SELECT v, sum(n) * 2, avg(n)::numeric(10,3) FROM nulls GROUP BY v ORDER BY v NULLS FIRST
SELECT max(n) FROM nulls
SELECT min(n) FROM nulls
SELECT n FROM nulls ORDER BY n, k
SELECT DISTINCT n FROM nulls WHERE n <> 2 AND n <> 7 ORDER BY n
SELECT DISTINCT f FROM nulls WHERE f <> 0 ORDER BY f
SELECT f, count(*) FROM nulls WHERE f <> 0 GROUP BY f ORDER BY f
SELECT g, count(*) FROM nulls WHERE g <> 0 GROUP BY g ORDER BY g
SELECT f FROM nulls ORDER BY f DESC, k
SELECT g FROM nulls ORDER BY g DESC, k
SELECT sum(f), avg(f), sum(g), avg(g) FROM nulls WHERE k IN (1,2,3)
SELECT sum(g) FROM nulls WHERE k IN (7, 8)
SELECT avg(g) FROM nulls WHERE k IN (7, 8)
SELECT avg(g::float8) FROM nulls WHERE k IN (7, 8)
SELECT avg(nulls.g) FROM nulls WHERE k IN (7, 8)
SELECT avg((g)) FROM nulls WHERE k IN (7, 8)
SELECT avg(g + 0) FROM nulls WHERE k IN (7, 8)
! SELECT avg(-g) FROM nulls WHERE k IN (7, 8)
SELECT avg(g) FILTER (WHERE v = 2) FROM nulls WHERE k IN (7, 8)
SELECT avg(ALL g) FROM nulls WHERE k IN (7, 8)
! SELECT avg(DISTINCT v) FROM nulls
SELECT min(DISTINCT v), max(DISTINCT v) FROM nulls
! SELECT count(DISTINCT v) FROM nulls
SELECT count(ALL v) FROM nulls
! SELECT count() FROM nulls
! SELECT count(k, v) FROM nulls
SELECT count((k, v)) FROM nulls
! SELECT count(nulls) FROM nulls
! SELECT count(nulls.*) FROM nulls
! SELECT sum(*) FROM nulls
SELECT pg_catalog.count(*) FROM nulls
! SELECT public.count(*) FROM nulls
SELECT "count"(*) FROM nulls
SELECT COUNT ( * ) FROM nulls
SELECT count(/* x */*) FROM nulls
SELECT count(*)FROM nulls
SELECT count(*) AS "count", sum(v)sum FROM nulls
SELECT count(*)count FROM nulls
SELECT max(v) + 1 m, -max(v), (max(v)) FROM nulls
SELECT max(v)::text, max(v)::int8, max(v)::numeric(5,1) FROM nulls
SELECT CAST(max(v) AS varchar(1)) FROM nulls
SELECT max(n)::numeric(5,1) x, max(n) FROM nulls
SELECT sum(v) FILTER (WHERE v > 2), count(*) FILTER (WHERE k IS NULL) + 1 FROM nulls
SELECT sum(v) FILTER (WHERE false) FROM nulls
SELECT sum(v) FILTER (WHERE sum(v) > 1) FROM nulls
SELECT bool_and(v > 1), bool_or(v > 4), every(v IS NULL) FROM nulls
SELECT bit_and(v), bit_or(v), bit_xor(v) FROM nulls
! SELECT bit_and(v::bit(4)) FROM nulls
SELECT array_agg(v ORDER BY v) FROM nulls WHERE k = 5
! SELECT sum(interval '1 day') FROM nulls
! SELECT sum(price::money) FROM books
! SELECT avg(interval '1 day') FROM nulls
! SELECT max(interval '1 day'), min(ARRAY[v]), max(inet '1.2.3.4') FROM nulls
SELECT max(interval '1 day') FROM nulls
SELECT max(ref) FROM measures
SELECT max(flag) FROM measures
SELECT max(NULL) FROM nulls
SELECT max('x') FROM nulls
SELECT sum(NULL) FROM nulls
SELECT sum('1') FROM nulls
SELECT count('x'), count(1), sum(1), avg(1), max(1), sum(1.5), avg(1.50), sum(1e0::float4) FROM nulls
SELECT avg(v), avg(v::int8), avg(v::int2), avg(v::numeric), avg(v::numeric(10,5)), avg(v::float8) FROM nulls
SELECT sum(v::int2), sum(v::int8), sum(v::numeric(10,5)) FROM nulls
! SELECT any_value(1) FROM nulls
! SELECT grouping(v) FROM nulls GROUP BY v
! SELECT v, grouping(v) FROM nulls GROUP BY v
! SELECT stddev(v) FROM nulls
! SELECT count(*) OVER () FROM nulls
! SELECT (SELECT count(*)) FROM nulls
! SELECT (SELECT max(v)) FROM nulls
! SELECT (SELECT 1), count(*) FROM nulls
  ;SELECT count(*) FROM books;  
SELECT 'Ünïcödé 日本 🙂' || max(book_name) AS "ü", count(*) FROM books WHERE book_name <> '🙂'
SELECT branch AS Ü, count(*) FROM books GROUP BY Ü ORDER BY Ü
SELECT branch AS ÀB, count(*) FROM books GROUP BY 1 ORDER BY ÀB
SELECT count(*) FROM books WHERE updated_at < now() AND updated_at < current_date + 1
SELECT sum(v) FROM nulls WHERE k IN (1,2,3,4,5,6,7,8,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31,32,33,34,35,36,37,38,39,40,41,42,43,44,45,46,47,48,49,50,51,52,53,54,55,56,57,58,59,60,61,62,63,64,65,66,67,68,69,70)
SELECT FROM books GROUP BY genre
SELECT FROM books HAVING count(*) > 0
SELECT v % 2 AS m, count(*) FROM kvc GROUP BY v % 2 HAVING v % 2 = 1
SELECT v % 2, v % 3, count(*) FROM kvc GROUP BY v % 2, v % 3 ORDER BY 1, 2
SELECT v % 2 AS x FROM kvc GROUP BY v % 2, v % 3 ORDER BY v % 3, v % 2
SELECT sum(v % 2), sum(v % 3) FROM kvc
SELECT sum(v + 1) + 1, sum(v + 2) + 1, sum(v + 1) FROM kvc
SELECT sum(v) + sum(v), sum(v) * 2 FROM kvc
SELECT count(*) c, count(*) FILTER (WHERE v > 2) c2, count(*) FILTER (WHERE v > 3) c3 FROM kvc
SELECT k::char(1) AS k, count(*) FROM kvc GROUP BY k::char(1) ORDER BY 1
SELECT pad, count(*) FROM measures GROUP BY pad ORDER BY pad
SELECT pad || '|', count(*) FROM measures GROUP BY pad ORDER BY pad
SELECT length(pad), octet_length(pad), count(*) FROM measures GROUP BY pad ORDER BY pad
SELECT pad = 'a', count(*) FROM measures GROUP BY pad ORDER BY pad
SELECT max(pad), min(pad), max(pad) || '|', max(pad) = 'z' FROM measures
SELECT code, amount, count(*) FROM measures GROUP BY code, amount ORDER BY code, amount
SELECT amount, amount * 2, count(*) + 1 FROM measures GROUP BY amount ORDER BY amount
SELECT real4, real4 + 1, count(*) FROM measures WHERE real4 <> 0 GROUP BY real4 ORDER BY real4
SELECT wild, wild = 0.1, count(*) + 1 FROM measures GROUP BY wild ORDER BY wild
SELECT real4 = 1.5::float4, count(*) FROM measures GROUP BY real4 ORDER BY real4
SELECT stamp_tz::text, max(stamp_tz)::text FROM measures GROUP BY stamp_tz ORDER BY stamp_tz
SELECT clock_tz, max(clock_tz), count(*) + 1 FROM measures GROUP BY clock_tz ORDER BY clock_tz
SELECT blob, max(length(blob)) + 1, encode(blob, 'hex') FROM measures GROUP BY blob ORDER BY blob
SELECT ref, count(*) + 1 FROM measures GROUP BY ref ORDER BY ref
SELECT flag, NOT flag, count(*) + 1 FROM measures GROUP BY flag ORDER BY flag
SELECT word, upper(word), count(*) + 1 FROM measures GROUP BY word ORDER BY word
SELECT word LIKE '%a%' AS a, count(*) + 1 FROM measures GROUP BY word LIKE '%a%' ORDER BY a
SELECT CASE WHEN small > 0 THEN 'p' ELSE 'n' END AS s, sum(small) FROM measures GROUP BY CASE WHEN small > 0 THEN 'p' ELSE 'n' END ORDER BY 1
SELECT CASE WHEN small > 0 THEN 'p' ELSE 'n' END AS s, sum(small) FROM measures GROUP BY 1 ORDER BY sum(small)
SELECT coalesce(word, 'none') w, count(*) FROM measures GROUP BY w ORDER BY count(*) DESC, w LIMIT 3
SELECT extract(year FROM day), count(*) FROM measures WHERE isfinite(day) GROUP BY extract(year FROM day) ORDER BY 1
SELECT date_trunc('year', stamp), count(*) FROM measures GROUP BY date_trunc('year', stamp) ORDER BY 1
SELECT day - date '2000-01-01', count(*) FROM measures WHERE isfinite(day) GROUP BY 1 ORDER BY 1
SELECT stamp - timestamp '2000-01-01', count(*) FROM measures WHERE isfinite(stamp) GROUP BY 1 ORDER BY 1
SELECT id % 3 = 0 AS x, max(day), min(stamp), avg(amount)::numeric(10,4) FROM samples GROUP BY id % 3 = 0 ORDER BY x
SELECT count(*) FROM samples GROUP BY id % 3, id % 5 HAVING count(*) > 1 ORDER BY id % 3, id % 5 DESC LIMIT 4 OFFSET 1
SELECT max(count) FROM (SELECT 1 AS count) x
SELECT count(*) FROM branches
SELECT count(*), sum(v), avg(v), max(v), bool_and(true), bit_or(v) FROM nulls WHERE k = -999
SELECT count(*), sum(v), avg(v), max(v), bool_and(true), bit_or(v) FROM nulls WHERE v = -999
SELECT coalesce(max(v), -1), count(*) * 2 FROM nulls WHERE v = -999
SELECT v, count(*) FROM nulls WHERE v = -999 GROUP BY v
SELECT v + 1, count(*) + 1 FROM nulls WHERE v = -999 GROUP BY v
SELECT v + 1, count(*) + 1 FROM nulls GROUP BY v HAVING count(*) > 1000
SELECT n, n + 1, count(*) + 1 FROM nulls WHERE v = -999 GROUP BY n
SELECT n, n + 1, count(*) + 1 FROM nulls WHERE n <> 2 and n <> 7 GROUP BY n ORDER BY n
SELECT n::int, count(*) FROM nulls WHERE n <> 'NaN' GROUP BY n::int ORDER BY n::int
SELECT sum(f * 1e300) FROM nulls WHERE f <> 'NaN'
SELECT sum(f), avg(f) FROM (VALUES (1::float8)) x (f)
SELECT sum(f) FROM nulls
SELECT sum(v) / count(n) FROM nulls WHERE n IS NULL
SELECT sum(9223372036854775807) FROM nulls
SELECT sum(v::int8 * 1000000000000000000) FROM nulls WHERE v < 9
SELECT sum(2147483647) FROM nulls
SELECT avg(2147483647), avg(9223372036854775807), avg(32767::int2) FROM nulls
SELECT avg(0.1), avg(1.0000000000000000000001), sum(1e-20), avg(123456789012345678901234567890) FROM nulls
SELECT avg(v) FROM nulls GROUP BY v > 2 ORDER BY v > 2
SELECT round(avg(v), 3), avg(v) * 3, avg(v) / 7 FROM nulls
SELECT avg(n) + avg(v), sum(n) / sum(v), max(n) / 3 FROM nulls WHERE n <> 'NaN'
# Text with a collation of its own: "C" upper-cases other letters than the default.
SELECT max(word COLLATE "C") FROM measures
! SELECT upper(max(word COLLATE "C")) FROM measures WHERE word < '日'
! SELECT max(word COLLATE "C") ILIKE 'É' FROM measures WHERE word < '日'
SELECT upper(max(word)), upper(max(word) COLLATE "C"), upper((max(word)) COLLATE "pg_c_utf8") FROM measures WHERE word < '日'
! SELECT upper(word COLLATE "C"), count(*) + 1 FROM measures GROUP BY word COLLATE "C"
! SELECT upper(word COLLATE "C") AS u, count(*) + 1 FROM measures GROUP BY upper(word COLLATE "C") ORDER BY count(*), u
SELECT word COLLATE "C" AS w, count(*) + 1 FROM measures GROUP BY w ORDER BY w
SELECT word COLLATE "C" AS w, count(*) FROM measures GROUP BY w HAVING count(*) > 1 ORDER BY w
! SELECT word COLLATE "C" AS w, count(*) FROM measures GROUP BY w HAVING word COLLATE "C" ILIKE 'É' ORDER BY w
# Bit strings stay what they are; a zone's short name is not read again.
SELECT (abs(medium::int8) % 7)::bit(5) AS b, count(*) + 1 FROM measures GROUP BY (abs(medium::int8) % 7)::bit(5) ORDER BY b
SELECT b'1' || (abs(medium::int8) % 7)::bit(5), (abs(medium::int8) % 7)::bit(5)::int FROM measures GROUP BY (abs(medium::int8) % 7)::bit(5) ORDER BY 1
SELECT (abs(medium::int8) % 7)::bit(5) & b'00001', count(*) + 1 FROM measures GROUP BY (abs(medium::int8) % 7)::bit(5) ORDER BY (abs(medium::int8) % 7)::bit(5)
SET DateStyle = 'Postgres, MDY'; SET TimeZone = 'Asia/Kolkata'
! SELECT max(stamp_tz) - interval '1 day' FROM measures WHERE region IN ('ash', 'cedar') AND isfinite(stamp_tz)
RESET ALL

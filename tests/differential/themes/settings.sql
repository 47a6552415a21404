# SETs that change the text of values, the meaning of constants or names.
! SET extra_float_digits = 0
SELECT f FROM nulls ORDER BY f, k
SELECT f FROM nulls ORDER BY f DESC, k DESC
SELECT DISTINCT f FROM nulls WHERE f <> 0
SELECT f, count(*) FROM nulls WHERE f <> 0 GROUP BY f
SELECT count(*) FROM nulls GROUP BY g
SELECT sum(f), max(f), min(g), avg(f) FROM nulls WHERE k IN (4,5)
SELECT max(f) = 0.30000000000000004 FROM nulls WHERE k IN (4,5)
SELECT f FROM nulls WHERE k = 4
! SET extra_float_digits = -5
SELECT f FROM nulls ORDER BY f, k
SELECT DISTINCT g FROM nulls WHERE f <> 0
SELECT sum(f) FROM nulls WHERE k in (6,7)
SELECT f FROM nulls WHERE k in (4,7)
RESET extra_float_digits
SET extra_float_digits TO DEFAULT
SET extra_float_digits = '3'
SELECT f FROM nulls ORDER BY f, k
SET DateStyle = 'German'
! SELECT day FROM measures ORDER BY day, id, region
SELECT max(day) FROM measures
! SELECT day, count(*) FROM measures GROUP BY day
! SELECT DISTINCT stamp_tz FROM measures
SELECT day FROM measures WHERE region = 'ash'
SELECT day FROM measures
SELECT count(day), count(*) FROM measures WHERE day = '05.05.2024'
SELECT clock FROM measures ORDER BY clock, id, region
SELECT max(clock_tz) FROM measures
SET DateStyle = 'SQL, DMY'
! SELECT k FROM kdate ORDER BY k
SELECT v FROM kdate WHERE k = '03/02/2023'
SELECT v FROM kdate WHERE k >= '03/02/2023' ORDER BY v
! SELECT max(k) FROM ktz
SET DateStyle = 'Postgres'
! SELECT k FROM kdate ORDER BY k
! SELECT max(k) FROM kdate
SET DateStyle = 'ISO, DMY'
SELECT k FROM kdate ORDER BY k
SELECT v FROM kdate WHERE k = '03/02/2023'
SELECT max(k) + 1 FROM kdate WHERE k < 'infinity'
RESET DateStyle
SET IntervalStyle = 'iso_8601'
! SELECT k - '2020-01-01' FROM ktz WHERE isfinite(k) ORDER BY 1
! SELECT max(k - '2020-01-01') FROM ktz WHERE isfinite(k)
SET IntervalStyle = 'sql_standard'
! SELECT k - '2020-01-01' FROM ktz WHERE isfinite(k) ORDER BY 1
SELECT make_interval(mons => v) FROM kdate ORDER BY 1
SELECT max(make_interval(mons => -v)) FROM kdate
! SELECT DISTINCT make_interval(hours => -v) FROM kdate
! SELECT make_interval(secs => v), count(*) FROM kdate GROUP BY 1
SET IntervalStyle = 'postgres_verbose'
SELECT make_interval(mons => v) FROM kdate ORDER BY 1
SELECT make_interval(mons => v, hours => -v) FROM kdate ORDER BY 1
RESET IntervalStyle
SELECT make_interval(mons => v, hours => -v) FROM kdate ORDER BY 1
SELECT make_interval(mons => v, hours => -v)+ '1 year' FROM kdate ORDER BY 1 DESC
SELECT max(make_interval(mons => -v, days => v, secs => -v/10.0)) FROM kdate
SET bytea_output = 'escape'
! SELECT blob FROM measures ORDER BY blob, id, region
! SELECT max(blob) FROM measures
! SELECT DISTINCT blob FROM measures
! SELECT blob, count(*) FROM measures GROUP BY blob
SELECT blob FROM measures
RESET bytea_output
SET TimeZone = 'Europe/Berlin'
SELECT k FROM ktz ORDER BY k
! SELECT k::text, k::timestamp, extract(hour from k) FROM ktz ORDER BY k DESC
SELECT DISTINCT date_trunc('day', k) FROM ktz ORDER BY 1
SELECT k::date, count(*), min(k), max(k) FROM ktz GROUP BY 1 ORDER BY 1
SELECT max(k), min(k) FROM ktz WHERE isfinite(k)
SELECT max(k) + '1 day', max(k)::text FROM ktz WHERE isfinite(k)
SELECT v FROM ktz WHERE k = '2023-10-29 02:30'
SELECT v FROM ktz WHERE k >= '2020-01-01 01:00' ORDER BY v
SELECT v FROM ktz WHERE k = '2020-01-01 01:00:00+01'
SELECT stamp_tz, count(*) FROM measures GROUP BY stamp_tz ORDER BY 1
SELECT stamp_tz FROM measures ORDER BY 1 DESC, id, region
SET TimeZone = 'America/St_Johns'
SELECT k FROM ktz ORDER BY k
SELECT stamp_tz FROM measures ORDER BY 1 DESC, id, region
SET TimeZone = 'Asia/Kathmandu'
SELECT DISTINCT stamp_tz FROM measures ORDER BY 1 DESC
SELECT clock_tz, count(*) FROM measures GROUP BY clock_tz ORDER BY 1
SET TimeZone = 'nonsense'
SET LOCAL TimeZone = 'UTC'
BEGIN; SET LOCAL TimeZone = 'Asia/Tokyo'; SELECT k FROM ktz ORDER BY k; COMMIT; SELECT k FROM ktz ORDER BY k
SHOW TimeZone
RESET ALL
SHOW TimeZone
SET search_path = ''
SELECT count(*) FROM books
SELECT count(*) FROM public.books
SELECT count(*) FROM public.books WHERE branch = 'west'
SET search_path = pg_catalog
SELECT count(*) FROM books
SELECT max(isbn) + 1 FROM public.books
SELECT count(*) FROM books WHERE branch = 'west'
RESET search_path
CREATE SCHEMA other
CREATE TABLE other.t (a int)
INSERT INTO other.t VALUES (1)
SET search_path = other, public
SELECT * FROM t
SELECT count(*) FROM books
RESET search_path
DROP TABLE other.t
! SET standard_conforming_strings = off
! SET transform_null_equals = on
SELECT count(*) FROM nulls WHERE k = NULL
SELECT v FROM nulls WHERE NULL = k
SELECT count(*) FROM nulls WHERE v = NULL
SELECT v FROM nulls WHERE k = NULL AND v = 1
RESET transform_null_equals
SET array_nulls = off
SELECT v FROM kvc WHERE k = ANY('{a,NULL,west}')
RESET array_nulls
SET backslash_quote = on
SELECT v FROM kvc WHERE k = E'\''
SET escape_string_warning = off
SET quote_all_identifiers = on
SELECT count(*) FROM books
RESET ALL
SET xmloption = document
SET default_transaction_read_only = on
INSERT INTO nulls (k) VALUES (77)
SELECT count(*) FROM nulls
RESET ALL
SET statement_timeout = 0
SET lc_numeric = 'C'
SET default_text_search_config = 'pg_catalog.simple'
SELECT count(*) FROM books WHERE to_tsvector(book_name) @@ to_tsquery('the')
RESET ALL
SELECT count(*) FROM nulls WHERE k = NULL OR k = 5
! SET transform_null_equals = yes
SET transform_null_equals = off
! SET extra_float_digits = 0.4
! SET LOCAL extra_float_digits TO '-15'
! SET extra_float_digits = '0x0'
SET extra_float_digits = 0.6
SET extra_float_digits = 'x'
SET extra_float_digits = 4
SET extra_float_digits TO 2
SELECT f FROM nulls ORDER BY f, k
RESET ALL

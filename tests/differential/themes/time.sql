# Special words and the current time.
! SELECT count(*) FROM ktz WHERE k < 'now'::timestamptz
! SELECT 'now'::timestamptz - 'now'::timestamptz FROM books LIMIT 1
! SELECT isbn FROM books WHERE date 'today' = current_date ORDER BY isbn, branch
! SELECT v FROM kdate WHERE k < 'today'
! SELECT v FROM kdate WHERE k < ' TODAY '
! SELECT v FROM kdate WHERE k < 'tomorrow'::date
! SELECT v FROM kdate WHERE k < CAST('yesterday' AS date)
SELECT v FROM kdate WHERE k < '2024-01-01'
! SELECT v FROM kdate WHERE k BETWEEN '2024-01-01' AND 'now'
! SELECT v FROM kdate WHERE k IN ('2024-01-01', 'now')
! SELECT v FROM kdate WHERE v = 1 AND 'now' > k
! SELECT max(k) < 'now' FROM kdate
SELECT count(*) FROM books WHERE book_name = 'today'
SELECT count(*) FROM books WHERE book_name = 'now'
! SELECT v FROM kdate WHERE k = ANY('{today,2020-01-01}')
! SELECT v FROM kdate WHERE k < 'today 12:00'::timestamptz
SELECT v FROM kdate WHERE k < to_date('2024','YYYY')
SELECT count(*) FROM books WHERE now() = now()
SELECT count(*) FROM books WHERE now() = current_timestamp
SELECT v, now() = now() x FROM kdate WHERE k < now()
! SELECT date_in('now') FROM books
SELECT now() = now() AS t, current_date = current_date, isbn FROM books ORDER BY isbn, branch LIMIT 1
SELECT current_date - current_date FROM books LIMIT 1
SELECT now() - current_timestamp(3) < '1 second' FROM books LIMIT 1
SELECT extract(year from now())::int > 2000 FROM books LIMIT 1
SELECT pg_typeof(now()), pg_typeof(current_date), pg_typeof(localtime(2)), pg_typeof(localtimestamp) FROM books LIMIT 1
SELECT now() IS NULL, coalesce(now(), now()) IS NULL FROM books LIMIT 1
SELECT count(*) FROM books WHERE updated_at < now() AND updated_at < current_date + 1
SELECT date_trunc('day', now()) = date_trunc('day', now()) FROM nulls

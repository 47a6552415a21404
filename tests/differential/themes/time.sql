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
# Text that may say 'now', cast to a date.
! SELECT count(*) FROM books WHERE ('no' || 'w')::date = current_date
! SELECT book_name::date FROM books WHERE book_name = 'now'
! SELECT v FROM kvc WHERE k::timestamptz < now()
! SELECT date(book_name) FROM books WHERE isbn = 1
! SELECT 'nowhere'::varchar(3)::date FROM books LIMIT 1
! SELECT coalesce(NULL, lower('NOW'))::timestamp FROM books LIMIT 1
! SELECT (CASE WHEN isbn > 0 THEN substr('nowx', 1, 3) END)::date FROM books LIMIT 1
! SELECT ARRAY['n' || 'ow']::date[] FROM books LIMIT 1
! SELECT ('[no' || 'w,]')::tstzrange FROM books LIMIT 1
SELECT book_name::date FROM books WHERE branch = 'west' AND isbn = 1
SELECT count(*) FROM books WHERE updated_at::date < current_date + 1
SELECT date(updated_at) < now() FROM books ORDER BY isbn, branch LIMIT 3
SELECT date_trunc('month', updated_at)::date < now() FROM books ORDER BY isbn, branch LIMIT 3
SELECT (updated_at AT TIME ZONE 'UTC')::date < now() FROM books ORDER BY isbn, branch LIMIT 3
SELECT count(*) FROM books WHERE (updated_at + interval '1 day')::date > '2000-01-01'::date
SELECT count(*) FROM books WHERE now()::date >= current_date::text::date
SELECT max(updated_at)::date > '2000-01-01' FROM books
SELECT count(*) FROM books WHERE coalesce(updated_at, now())::date > '2000-01-01'
SELECT to_date('2020-01-01', 'YYYY-MM-DD')::timestamp FROM books LIMIT 1
SELECT count(*) FROM books WHERE '2020-01-01'::text::date < updated_at

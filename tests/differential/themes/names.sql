# Quoted, mixed-case and shadowing names; output names that are columns, positions.
SELECT "k" FROM "nulls" WHERE "k" = 5
SELECT K FROM NULLS WHERE K = 5
SELECT x.k FROM nulls x WHERE x.k = 5
SELECT nulls.k FROM nulls x WHERE nulls.k = 5
SELECT v AS k FROM nulls WHERE k = 5
SELECT k AS v, v AS k FROM nulls ORDER BY k, v
SELECT k AS v, v AS k FROM nulls ORDER BY k NULLS FIRST, nulls.k
SELECT "Key", "select" FROM "Odd Books" WHERE "Key" = 'W' ORDER BY 2
SELECT * FROM "Odd Books" WHERE "Key" = 'x y'
SELECT * FROM "Odd Books" WHERE key = 1
SELECT "Odd Books"."Key" FROM "Odd Books" ORDER BY "Odd Books"."select"
SELECT "Odd Books" FROM "Odd Books" ORDER BY "select"
SELECT "a""b" FROM "Odd Books" ORDER BY "a""b" DESC, "select"
SELECT "a""b", count(*) FROM "Odd Books" GROUP BY "a""b" ORDER BY 1
SELECT "select" AS "from", "Key" AS "a""c" FROM public."Odd Books" ORDER BY "from"
SELECT public."Odd Books"."Key" FROM public."Odd Books" ORDER BY public."Odd Books"."select"
SELECT U&"\004Bey" FROM "Odd Books" ORDER BY U&"\004Bey" COLLATE "C", "select"
SELECT "Key" FROM "Odd Books" WHERE U&"\004Bey" = 'W'
SELECT * FROM odd_books
SELECT * FROM "odd books"
SELECT * FROM OddBooks
SELECT max("select"), "Key" "Ü" FROM "Odd Books" GROUP BY "Key" ORDER BY "Ü"
SELECT max("select") + 1 AS "a""b", "Key" "Ü" FROM "Odd Books" GROUP BY "Key" ORDER BY "Ü"
SELECT sum("select")+key AS "X" FROM "Odd Books" GROUP BY key ORDER BY "X"
SELECT sum("select")+key AS X FROM "Odd Books" GROUP BY KEY ORDER BY x
SELECT 'Ünïcödé 日本 🙂' AS "Ünïcödé 🙂", isbn FROM books WHERE book_name <> '🙂' ORDER BY isbn, branch LIMIT 2
SELECT 'Ünïcödé 日本 🙂' || max(book_name) AS "ü", count(*) FROM books WHERE book_name <> '🙂'
SELECT branch AS Ü, count(*) FROM books GROUP BY Ü ORDER BY Ü
SELECT branch AS ÀB, count(*) FROM books GROUP BY 1 ORDER BY ÀB
SELECT *, * FROM kvc ORDER BY k
SELECT *, v FROM kvc ORDER BY 1
SELECT * FROM kvc ORDER BY v
! SELECT v + 1 AS v, * FROM kvc ORDER BY v
SELECT v v FROM kvc ORDER BY v
SELECT -v AS v FROM kvc ORDER BY v
SELECT -v AS v FROM kvc ORDER BY -v
SELECT -v AS v, count(*) FROM kvc GROUP BY v ORDER BY v
SELECT -v AS v, count(*) FROM kvc GROUP BY v ORDER BY -v
SELECT -v AS w, count(*) FROM kvc GROUP BY w ORDER BY w
SELECT -v AS w, count(*) FROM kvc GROUP BY -v ORDER BY -v
SELECT v % 2 AS v, count(*) FROM kvc GROUP BY 1 ORDER BY 1
SELECT v % 2 AS v, count(*) FROM kvc GROUP BY v % 2 ORDER BY 1
SELECT * FROM branches ORDER BY branch

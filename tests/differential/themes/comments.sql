# Comments, odd white space, continued strings, text beyond ASCII.
SELECT /*+ hint */ isbn FROM/**/books/* x /* nested */ y */WHERE branch='west'--c
SELECT⏎	isbn	FROM⏎books⏎WHERE⏎branch⏎=⏎'west'
SELECT isbn FROM books WHERE branch = 'we'⏎'st'
SELECT isbn FROM books WHERE branch = 'we' -- x⏎'st'
SELECT isbn FROM books WHERE branch = /* 'north' */ 'west' -- 'downtown'
  ;SELECT count(*) FROM books;  
SELECT count(*) FROM books -- ; SELECT 1
SELECT count(*) FROM books /* ; */ ; -- x
-- lead⏎SELECT count(*) FROM books
SELECT isbn FROM books ORDER BY isbn, branch -- x⏎LIMIT 3 /* y */ OFFSET /* z */ 1 -- w
SELECT genre, count(*) FROM books GROUP BY /* a */ genre -- b⏎ORDER BY -- c⏎genre /* d */ DESC -- e
SELECT count(*) /* c */ FILTER /* d */ ( /* e */ WHERE price > 5) + 1 FROM books
SELECT DISTINCT -- x⏎genre -- y⏎FROM books -- z⏎ORDER BY genre -- q
SELECT max(price) -- x⏎ + 1 AS m -- y⏎FROM books
SELECT genre -- x⏎|| '!' AS g, count(*) -- c⏎FROM books GROUP BY genre ORDER BY genre
SELECT isbn, -- x⏎ price -- y⏎FROM books ORDER BY length(book_name) -- z⏎, isbn -- ü⏎, branch
SELECT 'Ünïcödé 日本 🙂' AS "Ünïcödé 🙂", isbn FROM books WHERE book_name <> '🙂' ORDER BY isbn, branch LIMIT 2
SELECT 'Ünïcödé 日本 🙂' || max(book_name) AS "ü", count(*) FROM books WHERE book_name <> '🙂'
SELECT avg(n) + avg(v), sum(n) / sum(v), max(n) / 3 FROM nulls WHERE n <> 'NaN'

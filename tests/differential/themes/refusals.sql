# What PostgreSQL answers and the proxy does not, or not yet.
! SELECT isbn, branch FROM books ORDER BY patron_id USING >, isbn, branch
! SELECT count(DISTINCT genre) FROM books
! SELECT genre, count(DISTINCT author) FROM books GROUP BY genre
! SELECT sum(DISTINCT published_year) FROM books
! SELECT DISTINCT ON (genre) genre, isbn FROM books ORDER BY genre, isbn, branch
! SELECT string_agg(book_name, ',' ORDER BY isbn, branch) FROM books
! SELECT stddev(published_year), variance(price) FROM books
! SELECT isbn FROM books ORDER BY isbn, branch FETCH FIRST 3 ROWS WITH TIES
! SELECT isbn FROM books ORDER BY isbn FETCH FIRST 3 ROWS WITH TIES
! SELECT count(*) FROM (SELECT isbn FROM books LIMIT 5) AS five
! SELECT count(*) FROM (SELECT DISTINCT genre FROM books) AS genres
! WITH west AS (SELECT * FROM books WHERE branch = 'west') SELECT count(*) FROM west
! WITH b AS (SELECT * FROM books) SELECT count(*) FROM b WHERE branch = 'west'
! SELECT (SELECT count(*) FROM books), (SELECT count(*) FROM patrons)
! SELECT count(*) FROM books, patrons
! SELECT count(*) FROM books a JOIN books b USING (branch) WHERE a.branch = 'west' AND b.branch = 'west'
! SELECT count(*) FROM books a JOIN books b USING (branch)
! SELECT count(*) FROM books a JOIN books b ON a.branch = 'west' OR b.branch = 'west'
! SELECT count(*) FROM books a LEFT JOIN patrons p ON p.patron_id = 3 AND a.branch = 'west'
! SELECT isbn FROM books WHERE branch = 'west' UNION ALL SELECT isbn FROM books WHERE branch = 'west'
! SELECT isbn FROM books WHERE branch = 'west' EXCEPT SELECT isbn FROM books WHERE branch = 'north'
! SELECT count(*) FROM books WHERE EXISTS (SELECT 1 FROM patrons WHERE patron_id = 3)
! SELECT count(*) FROM books WHERE branch = 'west' AND isbn = (SELECT max(isbn) FROM books)
! SELECT count(*) FROM ONLY books
! SELECT count(*) FROM books TABLESAMPLE BERNOULLI (100)
! TABLE patrons
! SELECT * FROM patrons p (a, b) ORDER BY a
! SELECT books FROM books WHERE branch = 'west'
! SELECT p FROM patrons p ORDER BY patron_id
! SELECT (patrons.*) IS NULL FROM patrons
!binary SELECT row(branch, isbn) FROM books ORDER BY branch, isbn
! SELECT array_agg(isbn ORDER BY isbn, branch) FROM books
! SELECT isbn FROM books ORDER BY book_name COLLATE "en-x-icu", isbn, branch
! SELECT count(*) FROM books GROUP BY ()
! SELECT genre, count(*) FROM books GROUP BY GROUPING SETS ((genre), ())
! INSERT INTO patrons (patron_id) SELECT 71
! INSERT INTO patrons VALUES (30 + 42, 'sum')
! UPDATE patrons SET patron_id = 73 WHERE patron_id = 72
! UPDATE books SET price = 2 FROM patrons p WHERE p.patron_id = books.patron_id AND books.branch = 'west'
! DELETE FROM patrons USING books WHERE patrons.patron_id = 71 AND books.branch = 'west'
SELECT 'books'::regclass::text
! SELECT isbn, (SELECT random()) FROM books
! SELECT count(*) FROM books WHERE price > (SELECT random() * 10)
! SELECT isbn FROM books WHERE isbn > (SELECT clock_timestamp() - now() < interval '1 h')::int ORDER BY isbn, branch
SELECT count((SELECT random())) FROM books WHERE branch = 'west'

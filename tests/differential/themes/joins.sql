# Reference tables in joins and sub-queries.
SELECT count(*) FROM nulls WHERE v IN (SELECT n FROM branches)
SELECT count(*) FROM nulls WHERE EXISTS (SELECT 1 FROM branches WHERE n = v)
SELECT v, (SELECT city FROM branches WHERE n = v LIMIT 1) FROM nulls
SELECT v, (SELECT city FROM branches b WHERE b.n = nulls.v LIMIT 1) FROM nulls ORDER BY 2, 1
SELECT b.isbn, br.city FROM books b JOIN branches br ON br.branch = b.branch ORDER BY b.isbn, b.branch
SELECT b.isbn, br.city FROM books b JOIN branches br USING (branch) ORDER BY b.isbn, br.city
SELECT branch, count(*) FROM books JOIN branches USING (branch) GROUP BY branch ORDER BY branch
SELECT city, count(*) FROM books NATURAL JOIN branches GROUP BY city ORDER BY city
SELECT * FROM books NATURAL JOIN branches WHERE branch = 'west' ORDER BY isbn
SELECT count(*) FROM books JOIN branches USING (branch) WHERE branch = 'west'
SELECT count(*) FROM books b JOIN branches br ON b.branch = br.branch WHERE br.branch = 'west'
SELECT count(*) FROM books b, branches br WHERE b.branch = br.branch AND br.branch = 'north'
SELECT count(*) FROM books b LEFT JOIN branches br ON b.branch = br.branch AND b.branch = 'west'
SELECT count(br.city) FROM books b LEFT JOIN branches br ON b.branch = br.branch AND b.branch = 'west'
! SELECT count(*) FROM books b RIGHT JOIN branches br ON b.branch = br.branch
! SELECT count(*) FROM branches br LEFT JOIN books b ON b.branch = br.branch
! SELECT count(*) FROM branches br LEFT JOIN books b ON b.branch = br.branch WHERE b.branch = 'west'
SELECT count(*) FROM branches br RIGHT JOIN books b ON b.branch = br.branch
! SELECT count(*) FROM books b FULL JOIN branches br ON b.branch = br.branch
SELECT count(*) FROM books b CROSS JOIN branches
! SELECT count(*) FROM books b, LATERAL (SELECT 1 FROM branches) x
SELECT branch FROM books, branches
SELECT n, branch FROM books JOIN branches USING (branch) ORDER BY n NULLS FIRST, isbn
SELECT city FROM books b JOIN branches ON b.branch = branches.branch WHERE branches.branch = 'W'
SELECT books.branch FROM books JOIN branches books2 ON books2.branch = books.branch ORDER BY isbn, 1
! SELECT city, max(isbn) FROM books b JOIN branches br ON b.branch = br.branch GROUP BY br.city ORDER BY city
SELECT city AS branch, max(isbn) FROM books b JOIN branches br ON b.branch = br.branch GROUP BY 1 ORDER BY 1

# ORDER BY and DISTINCT: positions, constants, duplicates, errors.
! SELECT DISTINCT genre FROM books ORDER BY isbn
! SELECT DISTINCT genre FROM books ORDER BY genre || ''
SELECT DISTINCT genre || '' FROM books ORDER BY genre || ''
SELECT DISTINCT genre || '' AS x FROM books ORDER BY x
SELECT DISTINCT genre, genre FROM books ORDER BY 2
SELECT DISTINCT lower(genre) FROM books ORDER BY lower(genre) DESC
SELECT DISTINCT length(word) + 1 FROM measures ORDER BY length(word) + 1
! SELECT DISTINCT length(word) + 1 FROM measures ORDER BY length(word) + 2
! SELECT DISTINCT ON (branch) branch, isbn FROM books ORDER BY branch, isbn
SELECT DISTINCT 1 FROM books
SELECT DISTINCT 'x' FROM books
SELECT DISTINCT NULL FROM books
SELECT DISTINCT 'x', 1, NULL, true FROM books
SELECT DISTINCT genre FROM books LIMIT 0
SELECT ALL genre FROM books ORDER BY genre LIMIT 1
SELECT isbn FROM books ORDER BY 0
SELECT isbn FROM books ORDER BY 2
SELECT isbn FROM books ORDER BY -1
SELECT isbn FROM books ORDER BY 1.5
SELECT isbn FROM books ORDER BY 'isbn'
SELECT isbn FROM books ORDER BY NULL
SELECT isbn FROM books ORDER BY true
SELECT isbn, branch FROM books ORDER BY 1, 1, 2
SELECT isbn, branch FROM books ORDER BY 1 + 0, isbn, branch
SELECT isbn, branch FROM books ORDER BY (1), 2, isbn
SELECT isbn, branch FROM books ORDER BY (2), (1)
SELECT isbn, branch FROM books ORDER BY 1::int, isbn, branch
SELECT isbn, branch FROM books ORDER BY branch DESC, branch ASC, isbn
! SELECT isbn x, branch x FROM books ORDER BY x
SELECT isbn x, isbn x, branch FROM books ORDER BY x, branch
SELECT isbn AS branch, branch AS isbn FROM books ORDER BY branch, isbn
SELECT isbn AS branch, branch AS isbn FROM books ORDER BY branch + 0, books.isbn
SELECT isbn AS branch FROM books ORDER BY branch || ''
SELECT isbn FROM books ORDER BY nothing
SELECT isbn FROM books ORDER BY books.isbn, books.branch
SELECT isbn FROM books b ORDER BY books.isbn
! SELECT isbn FROM books ORDER BY isbn USING <, branch
SELECT isbn FROM books ORDER BY isbn NULLS FIRST, branch LIMIT 3

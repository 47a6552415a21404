# LIMIT, OFFSET and FETCH in every form.
SELECT count(*) FROM books LIMIT -1
SELECT isbn FROM books ORDER BY isbn, branch LIMIT '3'
SELECT isbn FROM books ORDER BY isbn, branch LIMIT ' 3 '
SELECT isbn FROM books ORDER BY isbn, branch LIMIT '3.5'
SELECT isbn FROM books ORDER BY isbn, branch LIMIT 'x'
SELECT isbn FROM books ORDER BY isbn, branch LIMIT ''
SELECT isbn FROM books ORDER BY isbn, branch LIMIT 2.5
SELECT isbn FROM books ORDER BY isbn, branch LIMIT 3.5
SELECT isbn FROM books ORDER BY isbn, branch LIMIT 0.4
SELECT isbn FROM books ORDER BY isbn, branch LIMIT 1e1
SELECT isbn FROM books ORDER BY isbn, branch LIMIT 1e30
SELECT isbn FROM books ORDER BY isbn, branch LIMIT 1e19
SELECT isbn FROM books ORDER BY isbn, branch LIMIT 9223372036854775807
SELECT isbn FROM books ORDER BY isbn, branch LIMIT 9223372036854775808
SELECT isbn FROM books ORDER BY isbn, branch LIMIT 9223372036854775807.4
SELECT isbn FROM books ORDER BY isbn, branch LIMIT 9223372036854775807.5
SELECT isbn FROM books ORDER BY isbn, branch LIMIT 9223372036854775807 OFFSET 9223372036854775807
SELECT isbn FROM books ORDER BY isbn, branch LIMIT 9223372036854775807 OFFSET 3
SELECT isbn FROM books ORDER BY isbn, branch OFFSET 9223372036854775808
SELECT isbn FROM books ORDER BY isbn, branch LIMIT -0
SELECT isbn FROM books ORDER BY isbn, branch LIMIT -0.4
SELECT isbn FROM books ORDER BY isbn, branch LIMIT -0.5
SELECT isbn FROM books ORDER BY isbn, branch LIMIT '-1'
SELECT isbn FROM books ORDER BY isbn, branch LIMIT '+1'
! SELECT isbn FROM books ORDER BY isbn, branch LIMIT +1
SELECT isbn FROM books ORDER BY isbn, branch LIMIT 0x2
SELECT isbn FROM books ORDER BY isbn, branch LIMIT '0x2'
SELECT isbn FROM books ORDER BY isbn, branch LIMIT '1_0'
SELECT isbn FROM books ORDER BY isbn, branch LIMIT 1_0
SELECT isbn FROM books ORDER BY isbn, branch LIMIT '-0x2'
! SELECT isbn FROM books ORDER BY isbn, branch LIMIT E'2'
! SELECT isbn FROM books ORDER BY isbn, branch LIMIT $$2$$
SELECT isbn FROM books ORDER BY isbn, branch LIMIT '2' '3'
! SELECT isbn FROM books ORDER BY isbn, branch LIMIT 1+1
SELECT isbn FROM books ORDER BY isbn, branch LIMIT (2)
SELECT isbn FROM books ORDER BY isbn, branch LIMIT 2::int
SELECT isbn FROM books ORDER BY isbn, branch LIMIT ('5'::int4)
SELECT isbn FROM books ORDER BY isbn, branch LIMIT ('3'::int4) OFFSET ('2'::int8)
SELECT isbn FROM books ORDER BY isbn, branch LIMIT ('0007'::int2)
SELECT isbn FROM books ORDER BY isbn, branch LIMIT ('5'::int4)
SELECT isbn FROM books ORDER BY isbn, branch LIMIT ('12345'::int4)
SELECT isbn FROM books ORDER BY isbn, branch LIMIT ('999999999'::integer) OFFSET ('100000000000'::int8)
SELECT isbn FROM books ORDER BY isbn, branch OFFSET 3 ROWS FETCH FIRST ('2'::int8) ROWS ONLY
! SELECT isbn FROM books ORDER BY isbn, branch LIMIT ('12345'::int2)
! SELECT isbn FROM books ORDER BY isbn, branch LIMIT ('99999999999'::int4)
! SELECT isbn FROM books ORDER BY isbn, branch LIMIT ('70000'::int2)
! SELECT isbn FROM books ORDER BY isbn, branch LIMIT ('x'::int4)
! SELECT isbn FROM books ORDER BY isbn, branch LIMIT (''::int4)
! SELECT isbn FROM books ORDER BY isbn, branch LIMIT ('-1'::int4)
! SELECT isbn FROM books ORDER BY isbn, branch LIMIT true
! SELECT isbn FROM books ORDER BY isbn, branch LIMIT isbn
SELECT isbn FROM books ORDER BY isbn, branch LIMIT NULL OFFSET NULL
SELECT isbn FROM books ORDER BY isbn, branch LIMIT ALL OFFSET 3
SELECT isbn FROM books ORDER BY isbn, branch OFFSET 3 LIMIT 2
SELECT isbn FROM books ORDER BY isbn, branch OFFSET 3 ROWS FETCH FIRST 2 ROWS ONLY
SELECT isbn FROM books ORDER BY isbn, branch OFFSET 1 ROW FETCH NEXT 1 ROW ONLY
SELECT isbn FROM books ORDER BY isbn, branch FETCH FIRST ROW ONLY
SELECT isbn FROM books ORDER BY isbn, branch FETCH FIRST (2) ROWS ONLY
SELECT isbn FROM books ORDER BY isbn, branch FETCH FIRST -2 ROWS ONLY
! SELECT isbn FROM books ORDER BY isbn, branch FETCH FIRST +2 ROWS ONLY
SELECT isbn FROM books ORDER BY isbn, branch FETCH FIRST '2' ROWS ONLY
! SELECT isbn FROM books ORDER BY isbn FETCH FIRST 2 ROWS WITH TIES
SELECT isbn FROM books FETCH FIRST 2 ROWS WITH TIES
SELECT isbn FROM books WHERE branch = 'west' ORDER BY isbn FETCH FIRST 2 ROWS WITH TIES
SELECT isbn FROM books WHERE branch = 'west' FETCH FIRST 2 ROWS WITH TIES
SELECT isbn FROM books ORDER BY isbn, branch LIMIT 2 LIMIT 3
SELECT count(*) c FROM books GROUP BY ALL
SELECT genre, count(*) FROM books GROUP BY genre LIMIT 'x'
SELECT genre, count(*) FROM books GROUP BY genre ORDER BY 1 LIMIT '2' OFFSET '1'
SELECT genre, count(*) FROM books GROUP BY genre ORDER BY 1 LIMIT 2.5
SELECT genre, count(*) FROM books GROUP BY genre ORDER BY 1 OFFSET -1
SELECT genre, count(*) FROM books GROUP BY genre ORDER BY 1 LIMIT -1 OFFSET -1

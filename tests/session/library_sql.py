"""Statements about the library's books that tests of the extended protocol bind values to."""

from __future__ import annotations

ISBN = b"9780451524935"
BRANCHES = (b"west", b"north", b"downtown", b"nowhere")
ONE = "SELECT book_name, price FROM books WHERE branch = $1 AND isbn = $2"
WEST = "SELECT isbn, book_name FROM books WHERE branch = $1 ORDER BY isbn"
INSERT = "INSERT INTO books (isbn, branch, book_name, author) VALUES ($1, $2, $3, 'x')"
DELETE = "DELETE FROM books WHERE branch = $1 AND isbn = $2 RETURNING isbn, book_name"

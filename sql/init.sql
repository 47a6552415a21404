-- The library's tables; safe to run twice.
-- A CockroachDB cluster is set up whole by:  cat init.sql dummydata.sql | cockroach sql --insecure
-- On PostgreSQL nodes `pgproxy init` sends each statement where its table lives: a shard to its home node,
-- a logical table to every node. CREATE DATABASE and USE it passes over and does itself.

CREATE DATABASE IF NOT EXISTS library_system;
USE library_system;

-- The logical tables stay empty: they are what catalog queries (psql's \d books) show.
CREATE TABLE IF NOT EXISTS books (
    isbn BIGINT NOT NULL,
    branch TEXT NOT NULL,
    book_name TEXT NOT NULL,
    author TEXT NOT NULL,
    genre TEXT,
    published_year INT,
    price NUMERIC(8, 2),
    checked_out BOOLEAN NOT NULL DEFAULT false,
    patron_id BIGINT NULL,
    updated_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    PRIMARY KEY (branch, isbn)
);

CREATE TABLE IF NOT EXISTS patrons (
    patron_id BIGINT NOT NULL,
    name TEXT NOT NULL,
    email TEXT,
    branch TEXT NOT NULL,
    joined DATE NOT NULL,
    PRIMARY KEY (patron_id)
);

-- Books by branch: downtown, west, north.
CREATE TABLE IF NOT EXISTS books_a (LIKE books INCLUDING ALL);
CREATE TABLE IF NOT EXISTS books_b (LIKE books INCLUDING ALL);
CREATE TABLE IF NOT EXISTS books_c (LIKE books INCLUDING ALL);

-- Patrons by hash of patron_id: remainder 0, 1, 2 of modulus 3.
CREATE TABLE IF NOT EXISTS patrons_a (LIKE patrons INCLUDING ALL);
CREATE TABLE IF NOT EXISTS patrons_b (LIKE patrons INCLUDING ALL);
CREATE TABLE IF NOT EXISTS patrons_c (LIKE patrons INCLUDING ALL);

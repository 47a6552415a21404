// Batches and transactions with rows of several shards: all of it happens, or nothing.
package main

import (
	"context"

	"github.com/jackc/pgx/v5"
)

const among = "SELECT isbn, branch, book_name FROM books WHERE isbn BETWEEN $1 AND $2 ORDER BY isbn, branch"

var branches = []string{"west", "north", "downtown"}

func books(first int64, count int, more ...int64) *pgx.Batch {
	batch := &pgx.Batch{}
	for at := range count {
		batch.Queue(insert, first+int64(at), branches[at%3], "mine", "me", at)
	}
	for _, isbn := range more {
		batch.Queue(insert, isbn, branches[0], "mine", "me", 0)
	}
	return batch
}

func across(ctx context.Context, connection *pgx.Conn) found {
	f := found{}
	first, last := mine+100, mine+199
	// Outside of a transaction a batch is one of its own, up to its Sync.
	f["batch"] = sqlstate(connection.SendBatch(ctx, books(first, 12)).Close())
	f["clash"] = sqlstate(connection.SendBatch(ctx, books(first+20, 7, first)).Close())
	f["found"] = rows(connection.Query(ctx, among, first, last))
	f["nested"] = sqlstate(pgx.BeginFunc(ctx, connection, func(tx pgx.Tx) error {
		for _, branch := range branches {
			must(tx.Exec(ctx, "UPDATE books SET book_name = $1 WHERE branch = $2 AND isbn BETWEEN $3 AND $4", "new", branch, first, last))
		}
		f["inner"] = sqlstate(pgx.BeginFunc(ctx, tx, func(inner pgx.Tx) error {
			return inner.SendBatch(ctx, books(first+40, 4, first)).Close()
		}))
		return tx.SendBatch(ctx, books(first+60, 3)).Close()
	}))
	f["undone"] = sqlstate(pgx.BeginFunc(ctx, connection, func(tx pgx.Tx) error {
		return tx.SendBatch(ctx, books(first+80, 3, first)).Close()
	}))
	f["then"] = rows(connection.Query(ctx, among, first, last))
	for _, branch := range branches {
		must(connection.Exec(ctx, "DELETE FROM books WHERE branch = $1 AND isbn BETWEEN $2 AND $3", branch, first, last))
	}
	return f
}

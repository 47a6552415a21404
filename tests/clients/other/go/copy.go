// COPY and notifications, as pgx and lib/pq have them.
package main

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/lib/pq"
)

const (
	firstPatron = 9_100_000
	sortedMine  = "SELECT patron_id, name, email, branch, joined FROM patrons WHERE patron_id >= 9100000 ORDER BY patron_id"
)

var patronColumns = []string{"patron_id", "name", "email", "branch", "joined"}

func patron(at int) []any {
	var email any
	if at%3 == 0 {
		email = ""
	}
	return []any{int64(firstPatron + at), fmt.Sprintf("Tab\tand \\ and \"quote\" %d", at), email, "west", time.Date(2024, 5, 1+at, 0, 0, 0, 0, time.UTC)}
}

func copyByPgx(url string) found {
	ctx := context.Background()
	connection := must(pgx.Connect(ctx, url))
	defer connection.Close(ctx)
	f := found{}
	records := [][]any{}
	for at := range 12 {
		records = append(records, patron(at))
	}
	f["in"] = must(connection.CopyFrom(ctx, pgx.Identifier{"patrons"}, patronColumns, pgx.CopyFromRows(records)))
	for _, options := range []string{"", " WITH (FORMAT csv, HEADER)", " (FORMAT binary)"} {
		var out bytes.Buffer
		tag := must(connection.PgConn().CopyTo(ctx, &out, "COPY ("+sortedMine+") TO STDOUT"+options))
		f["out"+options] = []any{tag.String(), out.Bytes()}
	}
	_, err := connection.CopyFrom(ctx, pgx.Identifier{"patrons"}, patronColumns, pgx.CopyFromRows(records[:1]))
	f["again"] = sqlstate(err)
	text := fmt.Sprintf("%d\tx\t\\N\twest\t2024-05-01\n%d\tx\t\\N\twest\tsoon\n", firstPatron+20, firstPatron+21)
	_, err = connection.PgConn().CopyFrom(ctx, strings.NewReader(text), "COPY patrons (patron_id, name, email, branch, joined) FROM STDIN")
	f["wrong"] = sqlstate(err)
	f["rows"] = fmt.Sprint(rows(connection.Query(ctx, sortedMine)))
	for at := range 12 {
		must(connection.Exec(ctx, "DELETE FROM patrons WHERE patron_id = $1", firstPatron+at))
	}
	return f
}

func heardByPgx(url string) found {
	ctx, cancel := context.WithTimeout(context.Background(), 40*time.Second)
	defer cancel()
	pool := must(pgxpool.New(ctx, url))
	defer pool.Close()
	listener := must(pool.Acquire(ctx))
	defer listener.Release()
	must(listener.Exec(ctx, "LISTEN pgx_shelf"))
	must(pool.Exec(ctx, "SELECT pg_notify('pgx_shelf', $1)", "one"))
	must(listener.Exec(ctx, "NOTIFY pgx_shelf, 'two'"))
	heard := []any{}
	for range 2 {
		message := must(listener.Conn().WaitForNotification(ctx))
		heard = append(heard, message.Channel, message.Payload, message.PID == listener.Conn().PgConn().PID())
	}
	brief, stop := context.WithTimeout(ctx, 100*time.Millisecond)
	defer stop()
	_, err := listener.Conn().WaitForNotification(brief)
	return found{"heard": heard, "no more": err != nil}
}

// lib/pq copies inside of a transaction: the rows are one shard's.
func copyByPq(url string) found {
	db := must(sql.Open("postgres", url))
	defer db.Close()
	tx := must(db.Begin())
	books := must(tx.Prepare(pq.CopyIn("books", "isbn", "branch", "book_name", "author", "price")))
	for at := range 20 {
		must(books.Exec(mine+int64(at), "west", "Tab\tand\nnew line", "me", "1.50"))
	}
	must(books.Exec())
	closed := books.Close()
	var count int
	var total string
	err := tx.QueryRow("SELECT count(*), sum(price) FROM books WHERE branch = 'west' AND isbn >= $1", mine).Scan(&count, &total)
	return found{"closed": closed, "counted": []any{err, count, total}, "rolled back": tx.Rollback()}
}

func heardByPq(url string) found {
	listener := pq.NewListener(url, time.Second, time.Minute, nil)
	defer listener.Close()
	err := listener.Listen("pq_shelf")
	db := must(sql.Open("postgres", url))
	defer db.Close()
	must(db.Exec("NOTIFY pq_shelf, 'one'"))
	select {
	case message := <-listener.Notify:
		return found{"listen": err, "heard": []string{message.Channel, message.Extra}, "ping": listener.Ping(), "end": listener.UnlistenAll()}
	case <-time.After(40 * time.Second):
		return found{"heard": "nothing"}
	}
}

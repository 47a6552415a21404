// pgx v5 in its query modes, and lib/pq by database/sql: statements, COPY, notifications. Prints JSON.
package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/lib/pq"
)

const (
	routed    = "SELECT isbn, branch, book_name, genre, price, checked_out, updated_at FROM books WHERE branch = $1 AND isbn = $2"
	scattered = "SELECT branch, price FROM books WHERE isbn = $1 ORDER BY branch"
	insert    = "INSERT INTO books (isbn, branch, book_name, author, price) VALUES ($1, $2, $3, $4, $5)"
	isbn      = int64(9780451524935)
	mine      = int64(9999999999001)
)

type found map[string]any

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func sqlstate(err error) string {
	var pgx *pgconn.PgError
	var libpq *pq.Error
	switch {
	case errors.As(err, &pgx):
		return pgx.Code
	case errors.As(err, &libpq):
		return string(libpq.Code)
	}
	return fmt.Sprint(err)
}

func rows(all pgx.Rows, err error) any {
	if err != nil {
		return sqlstate(err)
	}
	found := [][]any{}
	for all.Next() {
		found = append(found, must(all.Values()))
	}
	if all.Err() != nil {
		return sqlstate(all.Err())
	}
	return found
}

func withPgx(url string, mode pgx.QueryExecMode) found {
	ctx := context.Background()
	config := must(pgx.ParseConfig(url))
	config.DefaultQueryExecMode = mode
	connection := must(pgx.ConnectConfig(ctx, config))
	defer connection.Close(ctx)
	f := found{}
	ten := []any{}
	for at := range 10 {
		ten = append(ten, rows(connection.Query(ctx, routed, []string{"west", "north", "downtown"}[at%3], isbn)))
	}
	f["routed"] = ten
	f["scattered"] = rows(connection.Query(ctx, scattered, isbn))
	f["limited"] = rows(connection.Query(ctx, "SELECT isbn, branch FROM books ORDER BY isbn, branch LIMIT $1", 5))
	f["groups"] = rows(connection.Query(ctx, "SELECT genre, count(*), avg(price) FROM books GROUP BY 1 ORDER BY 1"))
	f["array"] = rows(connection.Query(ctx, "SELECT branch FROM books WHERE isbn = $1 AND branch = ANY($2) ORDER BY 1", isbn, []string{"west", "north"}))
	f["types"] = rows(connection.Query(ctx, "SELECT $1::int4, $2::int8, $3::numeric, $4::bool, $5::date, $6::timestamptz, $7::text, $8::int4[], $9::uuid",
		-5, int64(1)<<62, "1.50", true, "2020-02-29", "1969-07-20 20:17:40+00", nil, []int32{1, 2}, "00112233-4455-6677-8899-aabbccddeeff"))
	f["error"] = rows(connection.Query(ctx, "SELECT nope FROM books WHERE isbn = $1", isbn))
	f["division"] = rows(connection.Query(ctx, "SELECT price / $1 FROM books", 0))

	undo := errors.New("undo")
	err := pgx.BeginFunc(ctx, connection, func(tx pgx.Tx) error {
		f["inserted"] = must(tx.Exec(ctx, insert, mine, "west", "mine", "me", 1)).RowsAffected()
		f["duplicate"] = sqlstate(pgx.BeginFunc(ctx, tx, func(inner pgx.Tx) error {
			_, err := inner.Exec(ctx, insert, mine, "west", "again", "me", 1)
			return err
		}))
		f["updated"] = must(tx.Exec(ctx, "UPDATE books SET price = $1 WHERE branch = $2 AND isbn = $3", 2, "west", mine)).RowsAffected()
		f["deleted"] = must(tx.Exec(ctx, "DELETE FROM books WHERE branch = $1 AND isbn = $2", "west", mine)).RowsAffected()
		return undo
	})
	f["undone"] = err == undo

	batch := &pgx.Batch{}
	for at := range 6 {
		batch.Queue("SELECT branch, $1::int4 FROM books WHERE branch = $2 AND isbn = $3", at, []string{"west", "north", "downtown"}[at%3], isbn)
	}
	results := connection.SendBatch(ctx, batch)
	answers := []any{}
	for range 6 {
		answers = append(answers, rows(results.Query()))
	}
	f["batch"] = answers
	f["batch_end"] = fmt.Sprint(results.Close())
	f["across"] = across(ctx, connection)
	return f
}

func withPool(url string) found {
	ctx := context.Background()
	pool := must(pgxpool.New(ctx, url))
	defer pool.Close()
	f := found{}
	for id := 1001; id < 1006; id++ {
		f[fmt.Sprint(id)] = rows(pool.Query(ctx, "SELECT name, joined FROM patrons WHERE patron_id = $1", id))
	}
	return f
}

func withSQL(db *sql.DB) found {
	defer db.Close()
	f := found{}
	statement := must(db.Prepare(routed))
	ten := []any{}
	for at := range 10 {
		var isbn_ int64
		var branch, name, price, updated string
		var genre sql.NullString
		var out bool
		err := statement.QueryRow([]string{"west", "north", "downtown"}[at%3], isbn).Scan(&isbn_, &branch, &name, &genre, &price, &out, &updated)
		if err != nil {
			panic(err)
		}
		ten = append(ten, []any{isbn_, branch, name, genre, price, out, updated})
	}
	statement.Close()
	f["routed"] = ten
	all := must(db.Query(scattered, isbn))
	branches := []string{}
	for all.Next() {
		var branch, price string
		if err := all.Scan(&branch, &price); err != nil {
			panic(err)
		}
		branches = append(branches, branch+" "+price)
	}
	f["scattered"] = branches
	tx := must(db.Begin())
	f["inserted"] = must(must(tx.Exec(insert, mine, "west", "mine", "me", 1)).RowsAffected())
	f["updated"] = must(must(tx.Exec("UPDATE books SET price = $1 WHERE branch = $2 AND isbn = $3", 2, "west", mine)).RowsAffected())
	_, err := tx.Exec(insert, mine, "west", "again", "me", 1)
	f["duplicate"] = sqlstate(err)
	f["rolled back"] = tx.Rollback() == nil
	var count int
	f["counted"] = []any{db.QueryRow("SELECT count(*) FROM books WHERE isbn >= $1", mine).Scan(&count) == nil, count}
	_, err = db.Exec("SELECT price / $1 FROM books", 0)
	f["division"] = sqlstate(err)
	var null sql.NullInt64
	var day string
	f["types"] = []any{db.QueryRow("SELECT $1::int, $2::date::text", nil, "2020-02-29").Scan(&null, &day) == nil, null, day}
	return f
}

func main() {
	url := fmt.Sprintf("postgres://postgres@%s:%s/library_system?sslmode=disable", os.Args[2], os.Args[3])
	switch os.Args[1] {
	case "everyday":
		everyday(url)
	case "secure":
		secure(os.Args[2], os.Args[3], os.Args[4], os.Args[5])
	case "reconnect":
		reconnect(url)
	}
}

func everyday(url string) {
	config := must(pgx.ParseConfig(url))
	all := map[string]found{
		"cached statements":   withPgx(url, pgx.QueryExecModeCacheStatement),
		"cached descriptions": withPgx(url, pgx.QueryExecModeCacheDescribe),
		"described":           withPgx(url, pgx.QueryExecModeDescribeExec),
		"exec":                withPgx(url, pgx.QueryExecModeExec),
		"simple protocol":     withPgx(url, pgx.QueryExecModeSimpleProtocol),
		"pool":                withPool(url),
		"pgx database/sql":    withSQL(stdlib.OpenDB(*config)),
		"lib/pq":              withSQL(must(sql.Open("postgres", url))),
		"pgx values":          valuesByPgx(url),
		"pgx COPY":            copyByPgx(url),
		"pgx notifications":   heardByPgx(url),
		"pgx cursors":         cursorsByPgx(url),
		"lib/pq COPY":         copyByPq(url),
		"lib/pq listener":     heardByPq(url),
	}
	fmt.Println(string(must(json.Marshal(all))))
}

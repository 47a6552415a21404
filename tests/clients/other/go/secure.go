// Logging in with a password over TLS, and pools that outlive what they are connected to. Both print lines.
package main

import (
	"bufio"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

const west = "SELECT count(*) FROM books WHERE branch = 'west'"

func secure(host, port, ca, otherCa string) {
	logIn := func(password, options string) string {
		return fmt.Sprintf("postgres://reader:%s@%s:%s/library_system?%s", url.QueryEscape(password), host, port, options)
	}
	cases := []struct{ name, url string }{
		{"verify-full", logIn("secret", "sslmode=verify-full&sslrootcert="+ca)},
		{"verify-ca", logIn("secret", "sslmode=verify-ca&sslrootcert="+ca)},
		{"require", logIn("secret", "sslmode=require")},
		{"disable", logIn("secret", "sslmode=disable")},
		{"other authority", logIn("secret", "sslmode=verify-full&sslrootcert="+otherCa)},
		{"wrong password", logIn("wrong", "sslmode=require")},
	}
	for _, each := range cases {
		fmt.Println("pgx", each.name+":", countByPgx(each.url))
		db := must(sql.Open("postgres", each.url))
		var count int
		fmt.Println("lib/pq", each.name+":", verdict(db.QueryRow(west).Scan(&count), &count))
		db.Close()
	}
	fmt.Println("pgx channel binding:", countByPgx(cases[0].url+"&channel_binding=require"))
	connection := must(pgx.Connect(context.Background(), cases[0].url))
	defer connection.Close(context.Background())
	inTime, stop := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer stop()
	_, err := connection.Exec(inTime, "SELECT pg_sleep(60)")
	fmt.Println("pgx cancelled:", errors.Is(err, context.DeadlineExceeded))
}

func countByPgx(url string) string {
	connection, err := pgx.Connect(context.Background(), url)
	if err != nil {
		return verdict(err, nil)
	}
	defer connection.Close(context.Background())
	var count int
	err = connection.QueryRow(context.Background(), west).Scan(&count)
	return verdict(err, &count)
}

func verdict(err error, pointed *int) string {
	var pgx *pgconn.PgError
	switch {
	case err == nil && pointed != nil:
		return fmt.Sprint(*pointed)
	case errors.As(err, &pgx):
		return pgx.Code
	case strings.Contains(err.Error(), "certificate signed by unknown authority"):
		return "unknown authority"
	}
	return sqlstate(err)
}

// For each line of input: "up" asks until all shards answer, "down" asks each once.
func reconnect(url string) {
	ctx := context.Background()
	pool := must(pgxpool.New(ctx, url))
	defer pool.Close()
	db := must(sql.Open("postgres", url))
	defer db.Close()
	const one = "SELECT count(*) FROM books WHERE branch = $1"
	asks := []func(string) error{
		func(branch string) error { var n int; return pool.QueryRow(ctx, one, branch).Scan(&n) },
		func(branch string) error { var n int; return db.QueryRow(one, branch).Scan(&n) },
	}
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		words := []string{}
		for _, ask := range asks {
			words = append(words, askShards(ask, lines.Text() == "up")...)
		}
		fmt.Println(strings.Join(words, " "))
	}
}

func askShards(ask func(string) error, patient bool) []string {
	words := []string{}
	for _, branch := range []string{"downtown", "west", "north"} {
		err := ask(branch)
		for deadline := time.Now().Add(40 * time.Second); patient && err != nil && time.Now().Before(deadline); err = ask(branch) {
			time.Sleep(100 * time.Millisecond)
		}
		if err == nil {
			words = append(words, "ok")
		} else {
			words = append(words, sqlstate(err))
		}
	}
	return words
}

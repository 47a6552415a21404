// What values become on their way there and back, in text and in binary.
package main

import (
	"context"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
)

func valuesByPgx(url string) found {
	ctx := context.Background()
	connection := must(pgx.Connect(ctx, url))
	defer connection.Close(ctx)
	f := found{}
	types := []struct {
		name string
		sent any
	}{
		{"int2", int16(-7)}, {"int4", int32(math.MinInt32)}, {"int8", int64(math.MaxInt64)},
		{"numeric", "-12345678901234567890.00123"}, {"numeric", "NaN"}, {"numeric", "Infinity"},
		{"float8", 0.1}, {"float8", math.Inf(-1)}, {"float4", float32(1.5)},
		{"text", "Brontë 'quoted' \\ \n$1"}, {"text", ""}, {"text", strings.Repeat("x", 300_000)},
		{"bytea", []byte{0, 1, 255}}, {"bool", false}, {"uuid", "00112233-4455-6677-8899-aabbccddeeff"},
		{"date", time.Date(1605, 1, 16, 0, 0, 0, 0, time.UTC)}, {"date", pgtype.Infinity},
		{"timestamp", time.Date(1999, 12, 31, 23, 59, 59, 1000, time.UTC)}, {"timestamptz", pgtype.NegativeInfinity},
		{"timestamptz", time.Date(1969, 7, 20, 20, 17, 40, 0, time.UTC)}, {"interval", 90*time.Minute + time.Microsecond},
		{"jsonb", map[string]any{"a": []any{1.0, nil, "ü"}}}, {"json", []int{1, 2}},
		{"int4[]", []int32{1, -2}}, {"text[]", []string{"a", `b"c`, "{d,e}", ""}}, {"int8[]", []int64{}},
		{"int4range", pgtype.Range[pgtype.Int4]{Lower: pgtype.Int4{Int32: 1, Valid: true}, LowerType: pgtype.Inclusive, UpperType: pgtype.Unbounded, Valid: true}},
		{"inet", "10.0.0.1"},
	}
	for at, each := range types {
		value := each.sent
		if infinity, ok := value.(pgtype.InfinityModifier); ok {
			value = pgtype.Timestamptz{InfinityModifier: infinity, Valid: true}
			if each.name == "date" {
				value = pgtype.Date{InfinityModifier: infinity, Valid: true}
			}
		}
		sql := fmt.Sprintf("SELECT $1::%[1]s, NULL::%[1]s, $1::%[1]s::text, 24 FROM books WHERE branch = 'west' AND isbn = %[2]d", each.name, isbn)
		for name, format := range map[string]int16{"text": pgx.TextFormatCode, "binary": pgx.BinaryFormatCode} {
			answer, err := connection.Query(ctx, sql, pgx.QueryResultFormats{format, format, format, format}, value)
			f[fmt.Sprintf("%d %s %s", at, each.name, name)] = fmt.Sprint(rows(answer, err))
		}
	}
	return f
}

// A cursor of the server, in a transaction, over all shards and over one.
func cursorsByPgx(url string) found {
	ctx := context.Background()
	connection := must(pgx.Connect(ctx, url))
	defer connection.Close(ctx)
	f := found{}
	for _, where := range []string{"price > 5", "branch = 'west'"} {
		tx := must(connection.Begin(ctx))
		must(tx.Exec(ctx, "DECLARE c CURSOR FOR SELECT isbn, branch FROM books WHERE "+where+" ORDER BY isbn, branch"))
		parts := []any{}
		for range 4 {
			parts = append(parts, rows(tx.Query(ctx, "FETCH 9 FROM c")))
		}
		f[where] = parts
		tx.Commit(ctx)
	}
	return f
}

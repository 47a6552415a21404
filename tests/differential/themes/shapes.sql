# Types that cannot be compared, aliases and names of all sorts, expressions over groups, joins.
SELECT max(k) FROM kvc
SELECT v FROM nulls ORDER BY v LIMIT 3 OFFSET 1
SELECT sum(v) FROM nulls ORDER BY sum(v)
SELECT sum(v) AS v FROM nulls ORDER BY v
SELECT sum(v) AS v FROM nulls HAVING sum(v) > 1 ORDER BY v
SELECT v FROM nulls GROUP BY v ORDER BY v LIMIT 2
! SELECT v AS k, count(*) FROM nulls GROUP BY k ORDER BY 1, 2
SELECT v AS x, k AS v FROM nulls GROUP BY v, k, x ORDER BY v, x
SELECT nulls.v AS k FROM nulls GROUP BY nulls.v ORDER BY k
SELECT v+0 AS v, count(*) FROM nulls GROUP BY nulls.v ORDER BY 1
SELECT current_user = session_user, current_catalog, current_schema FROM nulls LIMIT 1
SELECT current_user, count(*) FROM nulls GROUP BY 1
SELECT current_role, count(*) FROM nulls GROUP BY current_role
SELECT count(*) FROM nulls WHERE current_user = session_user
! SELECT pg_typeof(v), count(*) FROM nulls GROUP BY 1
SELECT 'a' < 'B' AS x, count(*) FROM nulls GROUP BY 1
! SELECT 'x' AS a, 'y' AS a FROM nulls ORDER BY a
SELECT 'x' AS a, 1 AS b FROM nulls ORDER BY a, b
SELECT NULL AS a, k FROM nulls ORDER BY a, k
SELECT NULL AS a, count(*) FROM nulls GROUP BY a
SELECT NULL::int AS a, count(*) FROM nulls GROUP BY a
SELECT true AS a, count(*) FROM nulls GROUP BY a HAVING true
SELECT count(*) FROM nulls HAVING 1 = 1
SELECT count(*) FROM nulls HAVING NULL
SELECT count(*) FROM nulls HAVING 1
! SELECT row_to_json(nulls) FROM nulls
SELECT to_json(k) FROM nulls ORDER BY k
SELECT json_build_object('k', k)::text FROM nulls ORDER BY k
SELECT ARRAY[k] FROM nulls ORDER BY k
!binary SELECT ROW(k, v) FROM nulls ORDER BY k, v
! SELECT k, v FROM nulls ORDER BY (k, v)
! SELECT DISTINCT ARRAY[v] FROM nulls
!binary SELECT v::money FROM nulls ORDER BY k
! SELECT v::money FROM nulls ORDER BY 1
! SELECT max(v::money) FROM nulls
SELECT k::oid FROM nulls ORDER BY 1
SELECT DISTINCT v::bit(3) FROM nulls ORDER BY 1
SELECT v::bit(3), count(*) FROM nulls GROUP BY 1 ORDER BY 1 DESC
SELECT v::"char", count(*) FROM nulls GROUP BY 1 ORDER BY 1 DESC
SELECT (v * 40)::int::"char" AS c, count(*) FROM nulls GROUP BY 1 ORDER BY 1
SELECT k::text::name, v FROM kvc ORDER BY 1
SELECT k::text::cidr FROM nulls WHERE k = 5
! SELECT ('10.0.0.' || v)::inet FROM nulls WHERE v IS NOT NULL ORDER BY 1
SELECT ('{"a":' || v || '}')::jsonb FROM nulls WHERE v IS NOT NULL ORDER BY k
SELECT ('{"a":' || v || '}')::jsonb->>'a' AS a, count(*) FROM nulls GROUP BY 1 ORDER BY 1
SELECT ('{"a":' || v || '}')::jsonb ? 'a' AS a FROM nulls
SELECT ('{"a":' || v || '}')::jsonb @> '{"a":2}' AS a, count(*) FROM nulls GROUP BY 1 ORDER BY 1
SELECT v BETWEEN 1 AND 3 AS b, count(*) + 1 FROM nulls GROUP BY v BETWEEN 1 AND 3 ORDER BY b
SELECT v IN (1, 2) AS b, count(*) + 1 FROM nulls GROUP BY v IN (1, 2) ORDER BY b
SELECT v IS NULL AS b, count(*) + 1 FROM nulls GROUP BY v IS NULL ORDER BY b
SELECT -v, - v, count(*) FROM nulls GROUP BY -v ORDER BY 1
SELECT v::text || v::text AS t, count(*) + 0 FROM nulls GROUP BY v::text ORDER BY t
SELECT v + v AS t, count(*) + 0 FROM nulls GROUP BY v ORDER BY v + v
SELECT max(v) FILTER (WHERE v < 3) + min(v) FROM nulls
SELECT sum(v) filter(where v>1)::numeric(10,2) AS "Sum" FROM nulls
SELECT (sum(v))::numeric(10,2), (count(*)) FROM nulls
SELECT ((count(*))) + ((1)) FROM nulls
SELECT count(*)::text COLLATE "C" FROM nulls
SELECT max(k) COLLATE "C" FROM kvc
SELECT max(k COLLATE "C") FROM kvc
SELECT max(k) || max(k), length(max(k)) FROM kvc
SELECT k COLLATE "C" AS kk, count(*) FROM kvc GROUP BY k COLLATE "C" ORDER BY kk
SELECT count(*) AS n, count(*) AS n FROM nulls ORDER BY n
SELECT sum(v) s, s FROM nulls
SELECT count(*) FROM nulls, branches
SELECT branches.n, count(*) FROM nulls, branches WHERE branches.n = nulls.v GROUP BY branches.n ORDER BY 1
SELECT b.n + 1, count(*) + 1 FROM nulls JOIN branches b ON b.n = nulls.v GROUP BY b.n ORDER BY 1
SELECT n FROM nulls JOIN branches b ON b.n = nulls.v ORDER BY 1
SELECT nulls.n, b.n FROM nulls LEFT JOIN branches b ON b.n = nulls.v AND b.branch <> 'W' ORDER BY nulls.k, 2
SELECT count(b.n), count(*) FROM nulls LEFT JOIN branches b ON b.n = nulls.v
SELECT b.*, nulls.v FROM branches b JOIN nulls ON b.n = nulls.v WHERE nulls.k = 1
SELECT * FROM branches b JOIN nulls ON b.n = nulls.v
SELECT * FROM branches b JOIN nulls USING (n)
SELECT n, count(*) FROM branches b JOIN nulls USING (n) GROUP BY n ORDER BY n
SELECT n + 1 FROM nulls JOIN branches b USING (n) ORDER BY n
SELECT k FROM nulls LEFT JOIN branches ON k = 5 AND branches.n = 1 ORDER BY k
SELECT k FROM nulls LEFT JOIN branches ON k = 5 WHERE k = 1
SELECT k FROM nulls JOIN branches ON k = 5 AND branches.n = 1
! SELECT branches.branch FROM branches LEFT JOIN (nulls JOIN branches b2 ON true) ON true
SELECT k FROM (nulls) ORDER BY k
SELECT k FROM nulls AS k ORDER BY k
SELECT k.k FROM nulls AS k ORDER BY k.k
SELECT k.k, count(*) FROM nulls AS k GROUP BY k.k ORDER BY k.k
SELECT v FROM nulls AS v WHERE v.k = 5
SELECT v FROM nulls AS v WHERE v = 5 ORDER BY k
SELECT nulls.v, count(nulls.v) FROM nulls nulls GROUP BY nulls.v ORDER BY nulls.v
SELECT "nulls".v FROM "nulls" ORDER BY "nulls"."v", nulls.k
SELECT v.c1 FROM nulls AS v ORDER BY 1
SELECT v.v + 1, count(*) + 1 FROM nulls AS v GROUP BY v.v ORDER BY 1
SELECT sum(c1) + 1 FROM (SELECT 1 c1) v
SELECT v.n, max(v.v) + 1 FROM nulls v WHERE n <> 7 AND n <> 2 GROUP BY v.n ORDER BY v.n
# COPY TO STDOUT gives its rows in any order, like a SELECT.
COPY books TO STDOUT
COPY (SELECT isbn, branch FROM books ORDER BY isbn, branch) TO STDOUT (FORMAT csv, HEADER)
COPY (SELECT count(*), max(price) FROM books) TO STDOUT
COPY (SELECT 1/0 FROM books) TO STDOUT
COPY books FROM STDIN

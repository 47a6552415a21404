# Key constants in every spelling, and conditions around the key.
SELECT v FROM knum WHERE k = 1e2
SELECT v FROM knum WHERE k = 100.00
SELECT v FROM knum WHERE k = '1e2'
SELECT v FROM knum WHERE k = ' 100 '
SELECT v FROM knum WHERE k = +100
SELECT v FROM knum WHERE k = -(-100)
SELECT v FROM knum WHERE k = - 3
SELECT v FROM knum WHERE k = -3::numeric
SELECT v FROM knum WHERE k = '-3'::numeric
SELECT v FROM knum WHERE k = 0x64
SELECT v FROM knum WHERE k = 1_00
SELECT v FROM knum WHERE k = 'NaN'
SELECT v FROM knum WHERE k = 100::float8
SELECT v FROM knum WHERE k = 2.5::float4
SELECT v FROM knum WHERE k = 2.5::int
SELECT v FROM knum WHERE k = 2.5::numeric(10,0)
SELECT v FROM knum WHERE k = -0
SELECT v FROM knum WHERE k = 0.00
SELECT v FROM knum WHERE k = 5
SELECT v FROM knum WHERE k = 7.1
SELECT v FROM knum WHERE k = 123456789012345678901234567890
SELECT v FROM knum WHERE k = 1e-4
SELECT v FROM knum WHERE k = .0001
SELECT v FROM knum WHERE k = 100.
SELECT v FROM knum WHERE k = '100'::int8
SELECT v FROM knum WHERE k = true
SELECT v FROM knum WHERE k = 5 + 0
SELECT v FROM knum WHERE k IN (1, '2', 2.50, 1e1, null)
SELECT v FROM knum WHERE k = ANY ('{1,2,2.50,1e1,NaN}')
SELECT v FROM knum WHERE k = ANY ('{1, 2 ,"2.50"}'::numeric[])
SELECT v FROM knum WHERE k = ANY (ARRAY[1,2.5]::int[])
SELECT v FROM knum WHERE k = ANY (ARRAY['1','2.5']::text[]::numeric[])
SELECT v FROM knum WHERE k BETWEEN 1 AND 3
SELECT v FROM knum WHERE k BETWEEN SYMMETRIC 3 AND 1
SELECT v FROM knum WHERE k NOT BETWEEN 1 AND 3
SELECT v FROM kvc WHERE k = 'a'
SELECT v FROM kvc WHERE k = 'a '
SELECT v FROM kvc WHERE k = 'a'::char(3)
SELECT v FROM kvc WHERE k = 'abcdef'::varchar(3)
SELECT v FROM kvc WHERE k = 'abc'::varchar
SELECT v FROM kvc WHERE k = 'abc'::name
SELECT v FROM kvc WHERE k = 'abc'::bpchar
SELECT v FROM kvc WHERE k = 'ab '::bpchar
SELECT v FROM kvc WHERE k = 5
SELECT v FROM kvc WHERE k = '05'
SELECT v FROM kvc WHERE k = E'\141'
SELECT v FROM kvc WHERE k = $$west$$
SELECT v FROM kvc WHERE k = $a$west$a$
SELECT v FROM kvc WHERE k = U&'\0077est'
SELECT v FROM kvc WHERE k = U&'!0077est' UESCAPE '!'
SELECT v FROM kvc WHERE k = 'we' 'st'
SELECT v FROM kvc WHERE k = N'west'
SELECT v FROM kvc WHERE k = B'101'
SELECT v FROM kvc WHERE k = X'1F'
SELECT v FROM kvc WHERE k = text 'west'
SELECT v FROM kvc WHERE k = varchar(2) 'west'
SELECT v FROM kvc WHERE k = CAST('west' AS varchar(3))
SELECT v FROM kvc WHERE k = CAST('west' AS text)
SELECT v FROM kvc WHERE k = 'west' COLLATE "C"
SELECT v FROM kvc WHERE k COLLATE "C" = 'west'
SELECT v FROM kvc WHERE (k) = ('west')
SELECT v FROM kvc WHERE ((kvc.k)) = 'west'
SELECT v FROM kvc WHERE public.kvc.k = 'west'
SELECT v FROM kvc WHERE k OPERATOR(pg_catalog.=) 'west'
SELECT v FROM kvc WHERE k = '' OR k = 'é'
SELECT v FROM kvc WHERE k >= 'b'
SELECT v FROM kvc WHERE k IN ('a','b','c','west') AND k IN ('west','05')
SELECT v FROM kvc WHERE (k, v) = ('west', 7)
SELECT v FROM kvc WHERE (k, v) IN (('west', 7), ('a', 1))
SELECT v FROM kvc WHERE (k, v) < ('b', 7)
SELECT v FROM kvc WHERE k LIKE 'west'
SELECT v FROM kvc WHERE k ~ '^w'
SELECT v FROM kvc WHERE k = ANY(ARRAY['west','a'])
SELECT v FROM kvc WHERE 'west' = ANY(ARRAY[k,'a'])
SELECT v FROM kvc WHERE k = ALL(ARRAY['west'])
SELECT v FROM kvc WHERE k <> ALL(ARRAY['west'])
SELECT v FROM kvc WHERE k = ANY('{west,NULL}')
SELECT v FROM kvc WHERE k = ANY('{"west"}')
SELECT v FROM kvc WHERE k = ANY('{}')
SELECT v FROM kvc WHERE k = ANY('{{west},{a}}')
SELECT v FROM kvc WHERE k = ANY(NULL)
SELECT v FROM kvc WHERE k = ANY(ARRAY[NULL])
SELECT v FROM kvc WHERE k = ANY('{a,null,05}')
SELECT v FROM kvc WHERE k = ANY(ARRAY['a','west']::varchar(2)[])
SELECT v FROM kvc WHERE k = 'west' AND NULL
SELECT v FROM kvc WHERE k = 'west' OR NULL
SELECT v FROM kvc WHERE k = 'west' IS TRUE
SELECT v FROM kvc WHERE NOT (k <> 'west')
SELECT v FROM kvc WHERE NOT NOT k = 'west'
SELECT v FROM kvc WHERE k IS NOT DISTINCT FROM 'west'
SELECT v FROM kvc WHERE k IS DISTINCT FROM 'west'
SELECT v FROM kvc WHERE 'west' IS NOT DISTINCT FROM k
SELECT v FROM kvc WHERE k IS NOT DISTINCT FROM NULL
SELECT v FROM kvc WHERE CASE k WHEN 'west' THEN true END
SELECT v FROM kvc WHERE coalesce(k,'x') = 'west'
SELECT v FROM kvc WHERE nullif(k,'west') IS NULL
SELECT v FROM kvc WHERE k = k
SELECT v FROM kvc WHERE k = upper('x') OR true
SELECT v FROM kvc WHERE (k = 'west' OR v = 1) AND (k = 'a' OR v = 7)
SELECT v FROM kvc WHERE k = 'west' AND (k = 'a' OR k = 'west')
SELECT v FROM kvc WHERE k = 'west' = true
SELECT v FROM kvc WHERE (k = 'west') = false
SELECT v FROM kvc WHERE k::text = 'west'
SELECT v FROM kvc WHERE k::char(1) = 'w'
SELECT v FROM kvc WHERE k || '' = 'west'
SELECT v FROM kdate WHERE k = '2024-05-05'
SELECT v FROM kdate WHERE k = date '2024-05-05'
SELECT v FROM kdate WHERE k = '05/05/2024'
SELECT v FROM kdate WHERE k = '20240505'
SELECT v FROM kdate WHERE k = 'infinity'
SELECT v FROM kdate WHERE k = timestamp '2024-05-05 00:00:00'
SELECT v FROM kdate WHERE k < timestamp '2020-01-01 12:00'
SELECT v FROM kdate WHERE k <= timestamptz '2020-01-01 00:00+00'
SELECT v FROM kdate WHERE k > '2023-02-03'::timestamp
SELECT v FROM kdate WHERE k BETWEEN '2020-01-01' AND '2024-05-05'
SELECT v FROM kdate WHERE k >= '2020-01-01' AND k < '2024-05-05'
SELECT v FROM kdate WHERE k < '2020-02-30'
SELECT v FROM kdate WHERE k = 'nonsense'
SELECT v FROM kdate WHERE k - 1 = '2024-05-04'
SELECT v FROM kdate WHERE k = '2024-05-05'::text
SELECT v FROM kdate WHERE k > '2020-01-01' AND k < 'infinity'
SELECT v FROM kdate WHERE k > '2020-01-01' AND k < '2020-01-01'
! SELECT count(*) FROM kdate WHERE k = 'today'
SELECT v FROM ktz WHERE k = '2020-01-01 00:00:00+00'
SELECT v FROM ktz WHERE k = '2020-01-01 01:00:00+01'
SELECT v FROM ktz WHERE k = '2020-01-01'
SELECT v FROM ktz WHERE k = '2020-01-01T00:00:00Z'
SELECT v FROM ktz WHERE k >= '2020-01-01' AND k < '2024-05-05'
SELECT v FROM ktz WHERE k = timestamp '2020-01-01 00:00'
SELECT v FROM ktz WHERE k = date '2020-01-01'
SELECT v FROM ktz WHERE k::date = '2020-01-01'
SELECT v FROM ktz WHERE k > '2019-12-31 23:59:59.9999995+00'
SELECT v FROM kbool WHERE k
SELECT v FROM kbool WHERE NOT k
SELECT v FROM kbool WHERE k = true
SELECT v FROM kbool WHERE k = 't'
SELECT v FROM kbool WHERE k = 'yes'
SELECT v FROM kbool WHERE k = 'TRUE'
SELECT v FROM kbool WHERE k = ' true '
SELECT v FROM kbool WHERE k = FALSE
SELECT v FROM kbool WHERE k IS TRUE
SELECT v FROM kbool WHERE k IS NOT TRUE
SELECT v FROM kbool WHERE k IS UNKNOWN
SELECT v FROM kbool WHERE k IN (true, false)
SELECT v FROM kbool WHERE k = 1
SELECT v FROM kbool WHERE k = 'on'::bool
SELECT v FROM kbool WHERE k > false
SELECT v FROM kbool WHERE k = (1=1)
SELECT v FROM nulls WHERE k IS NULL
SELECT v FROM nulls WHERE k IS NOT NULL
SELECT v FROM nulls WHERE k = NULL
SELECT v FROM nulls WHERE k <> 3
SELECT v FROM nulls WHERE k IN (1, NULL)
SELECT v FROM nulls WHERE k NOT IN (1, NULL)
SELECT v FROM nulls WHERE k IS NOT DISTINCT FROM NULL
SELECT v FROM nulls WHERE k IS DISTINCT FROM NULL
SELECT v FROM nulls WHERE k IS NOT DISTINCT FROM 5
SELECT v FROM nulls WHERE k IS NULL OR k = 5
SELECT v FROM nulls WHERE k IS NULL AND k = 5
SELECT v FROM nulls WHERE k ISNULL
SELECT v FROM nulls WHERE k NOTNULL
SELECT v FROM nulls WHERE k = 5.5
SELECT v FROM nulls WHERE k = 5.0
SELECT v FROM nulls WHERE k = 5e0
SELECT v FROM nulls WHERE k = '5.0'
SELECT v FROM nulls WHERE k = ' 5'
SELECT v FROM nulls WHERE k = '5 '
SELECT v FROM nulls WHERE k = '+5'
SELECT v FROM nulls WHERE k = 05
SELECT v FROM nulls WHERE k = '05'
SELECT v FROM nulls WHERE k = '0x5'
SELECT v FROM nulls WHERE k = 0b101
SELECT v FROM nulls WHERE k = 0o5
SELECT v FROM nulls WHERE k = '5'::text
SELECT v FROM nulls WHERE k = 5::int2
SELECT v FROM nulls WHERE k = 5::int8
SELECT v FROM nulls WHERE k = 5::bigint
SELECT v FROM nulls WHERE k = 5::smallint
SELECT v FROM nulls WHERE k = 5.4::int
SELECT v FROM nulls WHERE k = 4.5::int
SELECT v FROM nulls WHERE k = '5'::int
SELECT v FROM nulls WHERE k = 99999::int2
SELECT v FROM nulls WHERE k = 5::oid
SELECT v FROM nulls WHERE k = 99999999999
SELECT v FROM nulls WHERE k = '99999999999'
SELECT v FROM nulls WHERE k = 5::numeric
SELECT v FROM nulls WHERE k = 5::float8
SELECT v FROM nulls WHERE k = int '5'
SELECT v FROM nulls WHERE k = CAST(5 AS int)
SELECT v FROM nulls WHERE k = CAST('5' AS int8)
SELECT v FROM nulls WHERE k = -(-(5))
SELECT v FROM nulls WHERE k = - - 5
SELECT v FROM nulls WHERE k = +5
SELECT v FROM nulls WHERE k = + + 5
SELECT v FROM nulls WHERE k = - -5
SELECT v FROM nulls WHERE -k = -5
SELECT v FROM nulls WHERE k = @ -5
SELECT v FROM nulls WHERE k=5
SELECT v FROM nulls WHERE 5=k
SELECT v FROM nulls WHERE k=-5
SELECT v FROM nulls WHERE k=(5)
SELECT v FROM nulls WHERE (k)=5
SELECT v FROM nulls WHERE k = (SELECT 5)
SELECT v FROM nulls WHERE k IN (SELECT 5)
SELECT v FROM nulls WHERE 5 IN (k)
SELECT v FROM nulls WHERE k IN (5)
SELECT v FROM nulls WHERE k IN ((5),(3))
SELECT v FROM nulls WHERE k IN (5, 'x')
SELECT v FROM nulls WHERE k = 'x'
SELECT v FROM nulls WHERE k = true
SELECT v FROM nulls WHERE k != 5
SELECT v FROM nulls WHERE NOT k = 5
SELECT v FROM nulls WHERE k < 5 AND k > 3
SELECT v FROM nulls WHERE k = 5 AND k = 4
SELECT count(*), sum(v), min(v) FROM nulls WHERE k = 5 AND k = 4
SELECT v FROM nulls WHERE k = 5 AND k = 5.0
SELECT v FROM nulls WHERE k = 5 OR v = 2

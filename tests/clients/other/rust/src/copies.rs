// COPY in text and binary, notifications, values that travel in binary.
use crate::sqlstate;
use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, Utc};
use futures_util::{future, pin_mut, SinkExt, StreamExt, TryStreamExt};
use rust_decimal::Decimal;
use std::fmt::Debug;
use std::time::{Duration, SystemTime};
use tokio::time::timeout;
use tokio_postgres::binary_copy::{BinaryCopyInWriter, BinaryCopyOutStream};
use tokio_postgres::types::{Date, FromSql, Timestamp, ToSql, Type};
use tokio_postgres::{AsyncMessage, Client, Error, NoTls};

const FIRST: i64 = 9_500_000;
const INTO: &str = "COPY patrons (patron_id, name, email, branch, joined) FROM STDIN";
const SORTED: &str = "SELECT patron_id, name, email, branch, joined FROM patrons WHERE patron_id >= 9500000 ORDER BY patron_id";
const TYPES: [Type; 5] = [Type::INT8, Type::TEXT, Type::TEXT, Type::TEXT, Type::DATE];

pub async fn copies(client: &Client) -> Result<(), Error> {
    let lines: String = (0..6).map(|at| format!("{}\tTab\\t and \\\\ {at}\t\\N\twest\t2024-05-01\n", FIRST + at)).collect();
    println!("copied: {}", copy_text(client, &lines).await?);
    println!("again: {}", sqlstate(copy_text(client, &lines).await));
    println!("wrong: {}", sqlstate(copy_text(client, "1\tx\n").await));

    let writer = BinaryCopyInWriter::new(client.copy_in(&format!("{INTO} (FORMAT binary)")).await?, &TYPES);
    pin_mut!(writer);
    for at in 6..12 {
        let (id, email, day) = (FIRST + at, (at % 2 == 0).then_some(""), NaiveDate::from_ymd_opt(1999, 12, 31));
        writer.as_mut().write(&[&id, &"in binary", &email, &"west", &day]).await?;
    }
    println!("copied in binary: {}", writer.finish().await?);

    let dropped = client.copy_in::<_, bytes::Bytes>(INTO).await?;
    drop(dropped); // a CopyFail
    for options in ["", " (FORMAT csv, HEADER)"] {
        let out = client.copy_out(&format!("COPY ({SORTED}) TO STDOUT{options}")).await?;
        let parts: Vec<bytes::Bytes> = out.try_collect().await?;
        println!("out: {:?}", String::from_utf8(parts.concat()));
    }
    let rows = BinaryCopyOutStream::new(client.copy_out(&format!("COPY ({SORTED}) TO STDOUT (FORMAT binary)")).await?, &TYPES);
    pin_mut!(rows);
    while let Some(row) = rows.try_next().await? {
        println!("out: {} {} {:?} {}", row.get::<i64>(0), row.get::<&str>(1), row.get::<Option<&str>>(2), row.get::<NaiveDate>(4));
    }
    let mut deleted = 0;
    for at in 0..12 {
        deleted += client.execute("DELETE FROM patrons WHERE patron_id = $1", &[&(FIRST + at)]).await?;
    }
    println!("deleted: {deleted}");
    Ok(())
}

async fn copy_text(client: &Client, text: &str) -> Result<u64, Error> {
    let sink = client.copy_in(INTO).await?;
    pin_mut!(sink);
    sink.send(bytes::Bytes::copy_from_slice(text.as_bytes())).await?;
    sink.finish().await
}

pub async fn notifications(parameters: &str) -> Result<(), Error> {
    let (client, mut connection) = tokio_postgres::connect(parameters, NoTls).await?;
    let (sender, mut heard) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut messages = futures_util::stream::poll_fn(move |context| connection.poll_message(context));
        while let Some(Ok(message)) = messages.next().await {
            if let AsyncMessage::Notification(note) = message {
                let _ = sender.send(format!("{} {}", note.channel(), note.payload()));
            }
        }
    });
    client.batch_execute("LISTEN rust_shelf").await?;
    client.batch_execute("NOTIFY rust_shelf, 'one'").await?;
    client.execute("SELECT pg_notify('rust_shelf', $1)", &[&"two"]).await?;
    for _ in 0..2 {
        println!("heard: {:?}", timeout(Duration::from_secs(40), heard.recv()).await);
    }
    Ok(())
}

async fn value<T>(client: &Client, name: &str, sent: T) -> Result<(), Error>
where
    T: ToSql + Sync + Debug + for<'a> FromSql<'a>,
{
    let sql = format!("SELECT $1::{name}, NULL::{name} FROM books WHERE branch = 'west' AND isbn = 9780451524935");
    let row = client.query_one(&sql, &[&sent]).await?;
    println!("{name}: {:?} {:?}", row.get::<_, T>(0), row.get::<_, Option<T>>(1));
    Ok(())
}

pub async fn values(client: &Client) -> Result<(), Error> {
    value(client, "int2", -7i16).await?;
    value(client, "int8", i64::MAX).await?;
    value(client, "numeric", Decimal::new(-123456789012345678, 5)).await?;
    value(client, "float4", 1.5f32).await?;
    value(client, "float8", f64::NEG_INFINITY).await?;
    value(client, "bool", false).await?;
    value(client, "text", format!("Brontë 'quoted' \\ \n$1 {}", "x".repeat(300_000))).await?;
    value(client, "bytea", vec![0u8, 1, 255]).await?;
    value(client, "date", NaiveDate::from_ymd_opt(1605, 1, 16).unwrap()).await?;
    value(client, "date", Date::<NaiveDate>::PosInfinity).await?;
    value(client, "time", NaiveTime::from_hms_micro_opt(23, 59, 59, 999_999).unwrap()).await?;
    value(client, "timestamp", NaiveDate::from_ymd_opt(1999, 12, 31).unwrap().and_hms_micro_opt(23, 59, 59, 1).unwrap()).await?;
    value(client, "timestamp", Timestamp::<NaiveDateTime>::NegInfinity).await?;
    value(client, "timestamptz", DateTime::<Utc>::from(SystemTime::UNIX_EPOCH)).await?;
    value(client, "int4[]", vec![Some(1), None, Some(-3)]).await?;
    value(client, "text[]", vec![Some("a".to_string()), Some("b\"c{d,e}".to_string()), None]).await?;
    value(client, "jsonb", serde_json::json!({"a": [1, null, "ü"]})).await?;
    value(client, "json", serde_json::json!([1.5])).await?;
    value(client, "uuid", uuid::uuid!("00112233-4455-6677-8899-aabbccddeeff")).await?;
    let everything = client.query("SELECT isbn, updated_at, price FROM books ORDER BY isbn, branch", &[]).await?;
    let sums = everything.iter().map(|row| row.get::<_, Option<Decimal>>(2)).fold(Decimal::ZERO, |sum, price| sum + price.unwrap_or_default());
    println!("all: {} {sums}", everything.len());

    let cancel = client.cancel_token();
    let asleep = client.batch_execute("SELECT pg_sleep(60)");
    let stop = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        cancel.cancel_query(NoTls).await
    };
    let (ended, _) = future::join(asleep, stop).await;
    println!("cancelled: {}", sqlstate(ended));
    Ok(())
}

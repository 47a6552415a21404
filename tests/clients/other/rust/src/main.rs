// tokio-postgres, which prepares and binds in binary all it runs: pipelined queries, a transaction, a portal. Prints lines.
mod across;
mod copies;
mod secure;

use chrono::{DateTime, NaiveDate, Utc};
use rust_decimal::Decimal;
use tokio_postgres::{Client, Error, NoTls, Row};

const ISBN: i64 = 9780451524935;
const MINE: i64 = 9999999999001;
const INSERT: &str = "INSERT INTO books (isbn, branch, book_name, author, price) VALUES ($1, $2, 'mine', 'me', $3)";

fn book(row: &Row) -> String {
    let (isbn, branch, genre): (i64, &str, Option<&str>) = (row.get("isbn"), row.get("branch"), row.get("genre"));
    let (price, out, at): (Option<Decimal>, bool, DateTime<Utc>) = (row.get("price"), row.get("checked_out"), row.get("updated_at"));
    format!("{isbn} {branch} {genre:?} {price:?} {out} {at}")
}

fn sqlstate<T>(answer: Result<T, Error>) -> String {
    answer.err().and_then(|error| error.code().map(|code| code.code().to_string())).unwrap_or_default()
}

async fn queries(client: &Client) -> Result<(), Error> {
    let routed = client.prepare("SELECT * FROM books WHERE branch = $1 AND isbn = $2").await?;
    for at in 0..10 {
        let branch = ["west", "north", "downtown"][at % 3];
        println!("routed: {}", book(&client.query_one(&routed, &[&branch, &ISBN]).await?));
    }
    for row in client.query("SELECT * FROM books WHERE isbn = $1 ORDER BY branch", &[&ISBN]).await? {
        println!("scattered: {}", book(&row));
    }
    let groups = "SELECT genre, count(*), avg(price) FROM books GROUP BY 1 ORDER BY 1 LIMIT $1";
    for row in client.query(groups, &[&5i64]).await? {
        println!("group: {:?} {} {:?}", row.get::<_, Option<&str>>(0), row.get::<_, i64>(1), row.get::<_, Option<Decimal>>(2));
    }
    let branches = vec!["west", "north"];
    let array = "SELECT branch FROM books WHERE isbn = $1 AND branch = ANY($2) ORDER BY 1";
    for row in client.query(array, &[&ISBN, &branches]).await? {
        println!("array: {}", row.get::<_, &str>(0));
    }
    let day = NaiveDate::from_ymd_opt(1605, 1, 16);
    let row = client.query_one("SELECT $1::date, $2::int4, $3::bool, $4::int4[]", &[&day, &None::<i32>, &true, &vec![1, 2]]).await?;
    println!("types: {:?} {:?} {:?}", row.get::<_, NaiveDate>(0), row.get::<_, Option<i32>>(1), row.get::<_, Vec<i32>>(3));
    let name = "SELECT name, joined FROM patrons WHERE patron_id = $1";
    let (one, two, three) =
        tokio::try_join!(client.query_one(name, &[&1001i64]), client.query_one(name, &[&1002i64]), client.query_one(name, &[&1003i64]))?;
    for row in [one, two, three] {
        println!("pipelined: {} {}", row.get::<_, &str>(0), row.get::<_, NaiveDate>(1));
    }
    println!("undefined: {}", sqlstate(client.query("SELECT nope FROM books", &[]).await));
    println!("division: {}", sqlstate(client.query("SELECT price / $1 FROM books", &[&Decimal::ZERO]).await));
    println!("simple: {}", client.simple_query("SELECT 1; SELECT branch FROM books ORDER BY isbn, branch").await?.len());
    Ok(())
}

async fn writes(client: &mut Client) -> Result<(), Error> {
    let mut transaction = client.transaction().await?;
    let price = Some(Decimal::new(150, 2));
    println!("inserted: {}", transaction.execute(INSERT, &[&MINE, &"west", &price]).await?);
    let savepoint = transaction.savepoint("here").await?;
    println!("duplicate: {}", sqlstate(savepoint.execute(INSERT, &[&MINE, &"west", &price]).await));
    savepoint.rollback().await?;
    let update = "UPDATE books SET price = $1 WHERE branch = $2 AND isbn = $3";
    println!("updated: {}", transaction.execute(update, &[&None::<Decimal>, &"west", &MINE]).await?);
    let portal = transaction.bind("SELECT isbn FROM books WHERE branch = $1 ORDER BY isbn", &[&"west"]).await?;
    for _ in 0..3 {
        println!("part: {:?}", transaction.query_portal(&portal, 4).await?.iter().map(|row| row.get(0)).collect::<Vec<i64>>());
    }
    let all = transaction.bind("SELECT isbn FROM books WHERE isbn > $1 ORDER BY isbn, branch", &[&0i64]).await?;
    for rows in [3, 1, 20, 7, 100] {
        println!("merged: {:?}", transaction.query_portal(&all, rows).await?.iter().map(|row| row.get(0)).collect::<Vec<i64>>());
    }
    println!("deleted: {}", transaction.execute("DELETE FROM books WHERE branch = 'west' AND isbn = $1", &[&MINE]).await?);
    transaction.rollback().await?;
    let count = client.query_one("SELECT count(*) FROM books WHERE isbn >= $1", &[&MINE]).await?;
    println!("counted: {}", count.get::<_, i64>(0));
    Ok(())
}

async fn everyday(parameters: &str) -> Result<(), Error> {
    let (mut client, connection) = tokio_postgres::connect(parameters, NoTls).await?;
    tokio::spawn(connection);
    queries(&client).await?;
    writes(&mut client).await?;
    across::across(&mut client).await?;
    copies::copies(&client).await?;
    copies::values(&client).await?;
    copies::notifications(parameters).await
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let arguments: Vec<String> = std::env::args().collect();
    let (host, port) = (&arguments[2], &arguments[3]);
    let parameters = format!("host={host} port={port} user=postgres dbname=library_system");
    match arguments[1].as_str() {
        "everyday" => everyday(&parameters).await?,
        "secure" => secure::secure(host, port, &arguments[4], &arguments[5]).await,
        _ => secure::reconnect(&parameters).await,
    }
    Ok(())
}

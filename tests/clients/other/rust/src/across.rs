// Transactions with rows of several shards, pipelined: all of it happens, or nothing.
use crate::{sqlstate, INSERT, MINE};
use futures_util::future::try_join_all;
use rust_decimal::Decimal;
use tokio_postgres::{Client, Error, Transaction};

const FIRST: i64 = MINE + 100;
const BRANCHES: [&str; 3] = ["west", "north", "downtown"];

async fn books(transaction: &Transaction<'_>, isbns: &[i64]) -> Result<usize, Error> {
    let insert = transaction.prepare(INSERT).await?;
    let insert = &insert;
    let price = &None::<Decimal>;
    let all = isbns.iter().map(|isbn| async move {
        transaction.execute(insert, &[isbn, &BRANCHES[(isbn - FIRST) as usize % 3], price]).await
    });
    Ok(try_join_all(all).await?.len())
}

async fn found(client: &Client) -> Result<(), Error> {
    for row in client.query("SELECT isbn, branch FROM books WHERE isbn >= $1 ORDER BY isbn", &[&FIRST]).await? {
        println!("across: {} {}", row.get::<_, i64>(0), row.get::<_, &str>(1));
    }
    Ok(())
}

pub async fn across(client: &mut Client) -> Result<(), Error> {
    let mut transaction = client.transaction().await?;
    println!("inserted: {}", books(&transaction, &[FIRST, FIRST + 1, FIRST + 2, FIRST + 3]).await?);
    let savepoint = transaction.savepoint("here").await?;
    println!("clash: {}", sqlstate(books(&savepoint, &[FIRST + 4, FIRST + 5, FIRST]).await));
    savepoint.rollback().await?;
    println!("inserted: {}", books(&transaction, &[FIRST + 7, FIRST + 8]).await?);
    transaction.commit().await?;
    let transaction = client.transaction().await?;
    println!("clash: {}", sqlstate(books(&transaction, &[FIRST + 10, FIRST + 11, FIRST + 1]).await));
    println!("failed: {}", sqlstate(transaction.commit().await));
    found(client).await?;
    let texts = BRANCHES.map(|branch| format!("UPDATE books SET price = 1 WHERE branch = '{branch}' AND isbn >= {FIRST}"));
    println!("texts: {}", sqlstate(client.batch_execute(&texts.join("; ")).await));
    for branch in BRANCHES {
        println!("deleted: {}", client.execute("DELETE FROM books WHERE branch = $1 AND isbn >= $2", &[&branch, &FIRST]).await?);
    }
    Ok(())
}

// Logging in with a password over TLS, and a client that connects again. Both print lines.
use crate::sqlstate;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio_postgres::{Client, Error, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

fn trusting(authority: &str) -> MakeRustlsConnect {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(authority).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"postgresql".to_vec()]; // which direct negotiation requires
    MakeRustlsConnect::new(config)
}

async fn count(client: &Client) -> Result<i64, Error> {
    Ok(client.query_one("SELECT count(*) FROM books WHERE branch = 'west'", &[]).await?.get(0))
}

async fn over_tls(parameters: &str, authority: &str) -> String {
    match tokio_postgres::connect(parameters, trusting(authority)).await {
        Ok((client, connection)) => {
            tokio::spawn(connection);
            count(&client).await.map_or_else(|error| error.to_string(), |count| count.to_string())
        }
        Err(error) if error.code().is_some() => sqlstate::<()>(Err(error)),
        Err(error) => format!("{:?}", std::error::Error::source(&error).map(|source| source.to_string())),
    }
}

pub async fn secure(host: &str, port: &str, authority: &str, other: &str) {
    // (tokio-postgres-rustls does not find the certificate's hash, without which there is no channel binding.)
    let log_in = |password: &str, mode: &str| {
        format!("host={host} port={port} user=reader password={password} dbname=library_system sslmode={mode}")
    };
    let secret = log_in("secret", "require");
    println!("tokio-postgres require: {}", over_tls(&secret, authority).await);
    println!("tokio-postgres direct: {}", over_tls(&format!("{secret} sslnegotiation=direct"), authority).await);
    println!("tokio-postgres disable: {}", over_tls(&log_in("secret", "disable"), authority).await);
    println!("tokio-postgres other authority: {}", over_tls(&secret, other).await);
    println!("tokio-postgres wrong password: {}", over_tls(&log_in("wrong", "require"), authority).await);
}

async fn ask(client: &mut Option<Client>, parameters: &str, branch: &str) -> Result<(), Error> {
    if client.as_ref().is_none_or(Client::is_closed) {
        let (made, connection) = tokio_postgres::connect(parameters, NoTls).await?;
        tokio::spawn(connection);
        *client = Some(made);
    }
    client.as_ref().unwrap().query_one("SELECT count(*) FROM books WHERE branch = $1", &[&branch]).await.map(drop)
}

/// For each line of input: "up" asks until all shards answer, "down" asks each once.
pub async fn reconnect(parameters: &str) {
    let mut client = None;
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let mut words = Vec::new();
        for branch in ["downtown", "west", "north"] {
            let start = Instant::now();
            let mut answer = ask(&mut client, parameters, branch).await;
            while line == "up" && answer.is_err() && start.elapsed() < Duration::from_secs(40) {
                tokio::time::sleep(Duration::from_millis(100)).await;
                answer = ask(&mut client, parameters, branch).await;
            }
            words.push(if answer.is_ok() { "ok".to_string() } else { sqlstate(answer) });
        }
        println!("{}", words.join(" "));
    }
}

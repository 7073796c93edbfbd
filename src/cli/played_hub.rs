//! `chargemesh backend hub`: plays the central hub, for who has no contract yet.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use chargemesh::backend::{Hub, HubConfig, HubFaults, HubTls, Limits, Partner, SEEDS_MAX};
use chargemesh::engine::SystemClock;
use chargemesh::tls::{read_certificates, read_key};

/// Arguments of `chargemesh backend hub`.
#[derive(clap::Args)]
pub(crate) struct HubArgs {
    /// Address and port; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9092")]
    listen: SocketAddr,
    /// PEM file with its certificate: it speaks https then, and asks for certificates.
    #[arg(long, value_name = "FILE", requires_all = ["tls_key", "client_ca"])]
    certificate: Option<PathBuf>,
    /// PEM file with the key.
    #[arg(long = "key", value_name = "FILE", requires = "certificate")]
    tls_key: Option<PathBuf>,
    /// PEM file with the CA that the certificates of its partners are signed by.
    #[arg(long, value_name = "FILE", requires = "certificate")]
    client_ca: Option<PathBuf>,
    /// Who takes part: CPO:ID or EMP:ID, and behind it, each optional: url=URL, key=KEY, certificate=sha256:HEX,
    /// also=ID+ID (sub-partners), only=OPERATION+OPERATION. As in CPO:DE*ABC,url=http://127.0.0.1:8080/k/KEY.
    #[arg(long = "partner", value_name = "PARTNER", required = true)]
    partners: Vec<Partner>,
    /// Calls per minute that are taken of a partner: published, none, or with exceptions, as in
    /// published,pull-status=2.
    #[arg(long, value_name = "LIST", default_value = "published")]
    limits: Limits,
    /// answer, refuse, refuse=CODE, slow=MILLISECONDS, silent, garbage, http=STATUS or die; for single operations
    /// in a list, as in answer,push-data:http=500.
    #[arg(long, value_name = "LIST", default_value = "answer")]
    faults: HubFaults,
    /// How long it waits for a partner's answer.
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 60_000, value_parser = clap::value_parser!(u64).range(1..=600_000))]
    timeout_ms: u64,
    /// How long it waits for an EMP's answer to a charge detail record.
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 30_000, value_parser = clap::value_parser!(u64).range(1..=600_000))]
    cdr_timeout_ms: u64,
    /// A remote start whose answer came too late stays a session; without it its record is refused.
    #[arg(long)]
    keep_late_sessions: bool,
    /// Charging points of others that are made up.
    #[arg(long, value_name = "COUNT", default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=SEEDS_MAX))]
    seed_evses: u64,
    /// So many of them change every minute, data and status.
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    seed_changes: u64,
}

/// Plays the hub until Ctrl-C.
pub(crate) async fn run(args: HubArgs) -> anyhow::Result<ExitCode> {
    let tls = match args.certificate.zip(args.tls_key).zip(args.client_ca) {
        None => None,
        Some(((certificate, key), client_ca)) => Some(HubTls {
            certificate: read_certificates(&certificate)?,
            key: read_key(&key)?.to_vec(),
            client_ca: read_certificates(&client_ca)?,
        }),
    };
    let config = HubConfig {
        tls,
        listen: args.listen,
        limits: args.limits,
        faults: args.faults,
        timeout: Duration::from_millis(args.timeout_ms),
        cdr_timeout: Duration::from_millis(args.cdr_timeout_ms),
        keep_late_sessions: args.keep_late_sessions,
        seeds: args.seed_evses,
        ..HubConfig::new(args.partners, SystemClock::start())
    };
    let hub = Hub::start(config).await?;
    println!("running: hub at {}", hub.url());
    println!("  setting  [hub] of the node: url = \"{}\"", hub.url());
    println!("  stop     Ctrl-C");
    let stop = async {
        // Without signals only a kill ends it.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    tokio::pin!(stop);
    let mut minute = tokio::time::interval(Duration::from_secs(60));
    let mut next = 0;
    loop {
        tokio::select! {
            () = &mut stop => break,
            received = hub.next() => println!("{}", received.to_json()),
            _ = minute.tick(), if args.seed_changes > 0 => {
                let end = (next + args.seed_changes).min(args.seed_evses);
                hub.touch_seeds(next..end);
                next = if end == args.seed_evses { 0 } else { end };
            }
        }
    }
    hub.stop().await;
    Ok(ExitCode::SUCCESS)
}

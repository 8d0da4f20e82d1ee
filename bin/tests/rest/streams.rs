//! HTTP/2 on the Push REST service, as a sender with many pushes has it.

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use h2::client::SendRequest;
use http::Request;
use reveille_sim::recorder::Query;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::client::secured;
use crate::support::STEP;
use crate::until;
use crate::world::{World, request, token};

/// Pushes on one connection.
const PUSHES: usize = 300;

/// One push, to its answer's status.
async fn push(sender: SendRequest<Bytes>, url: String, bearer: String, body: String) -> Result<u16> {
    let asked = Request::post(url)
        .header("authorization", bearer)
        .header("content-type", "application/json")
        .header("content-length", body.len())
        .body(())?;
    let mut sender = sender.ready().await?;
    let (answer, mut stream) = sender.send_request(asked, false)?;
    stream.send_data(body.into(), true)?;
    let answer = answer.await?;
    let status = answer.status().as_u16();
    let mut body = answer.into_body();
    while let Some(part) = body.data().await {
        body.flow_control().release_capacity(part?.len())?;
    }
    Ok(status)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_sender_has_hundreds_of_pushes_on_one_connection_until_it_is_revoked() -> Result<()> {
    let world = World::start("rest-http2").await?;
    let secret = world.account("contoso-mcx", "contoso.com").await?;
    let mut other = world.connect(None).await?;
    let bearer = other.signed_in(&secret).await?;
    let stream = secured(world.rest, &world.house.ca, None, &[b"h2"]).await?;
    ensure!(stream.get_ref().1.alpn_protocol() == Some(b"h2"), "HTTP/2 is not spoken");
    let (sender, connection) = h2::client::handshake(stream).await?;
    let driving = tokio::spawn(connection);
    let url = format!("{}/v1/push", world.issuer());
    // All are asked for at once; those that the server has no room for wait here, and none is refused.
    let mut asking = JoinSet::new();
    for _ in 0..PUSHES {
        asking.spawn(push(sender.clone(), url.clone(), bearer.clone(), request(&token())?.to_string()));
    }
    let statuses = timeout(2 * STEP, asking.join_all()).await?.into_iter().collect::<Result<Vec<u16>>>()?;
    ensure!(statuses.len() == PUSHES && statuses.iter().all(|status| *status == 202), "{statuses:?}");
    timeout(STEP, world.apns.recorder().wait(Query { after: PUSHES as u64 - 1, ..Query::default() })).await?;

    // The connection stays, and is nobody's.
    world.house.shell("Remove-CsPushAccount contoso-mcx -Force").await?;
    until(&mut other, &bearer, 401).await?;
    let refused = timeout(STEP, push(sender.clone(), url, bearer, request(&token())?.to_string())).await??;
    ensure!(refused == 401, "{refused}");
    drop(sender);
    world.finish()?;
    timeout(STEP, driving).await.context("the connection outlives the server")??.or_else(|fault| {
        // Whoever is told to go away may find the connection closed when he does.
        if fault.is_io() || fault.is_go_away() { Ok(()) } else { Err(fault.into()) }
    })
}

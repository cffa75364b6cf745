//! Plain socketioxide: the documented closure handler, `io.emit`, no policy at all. `PEER_PORT` is the port on 127.0.0.1; with
//! `PEER_ROOMS=1` each socket joins the team that its unverified auth payload names, and events go there.

use anyhow::{Context, Result};
use axum::serve::ListenerExt;
use serde::Deserialize;
use serde_json::Value;
use socketioxide::SocketIo;
use socketioxide::extract::{Data, SocketRef};
use tokio::net::TcpListener;

#[derive(Deserialize)]
struct Auth {
    team: String,
}

#[tokio::main]
async fn main() -> Result<()> {
    let port: u16 = std::env::var("PEER_PORT")
        .context("PEER_PORT is not set")?
        .parse()
        .context("PEER_PORT is no port")?;
    let use_rooms = std::env::var("PEER_ROOMS").is_ok_and(|value| value == "1");

    let (layer, io) = SocketIo::new_layer();
    let emitter = io.clone();
    io.ns("/", async move |socket: SocketRef, Data(Auth { team }): Data<Auth>| {
        if use_rooms {
            socket.join(team.clone());
        }
        socket.on("database-change", async move |Data(change): Data<Value>| {
            // A broadcast fails when a member's queue is full: the load generator sees what was lost.
            let _ = if use_rooms {
                emitter.to(team).emit("database-changed", &change).await
            } else {
                emitter.emit("database-changed", &change).await
            };
        });
    });

    // Without Nagle's algorithm, like Node's server and flowgate.
    let listener = TcpListener::bind(("127.0.0.1", port)).await?.tap_io(|stream| {
        let _ = stream.set_nodelay(true);
    });
    axum::serve(listener, axum::Router::new().layer(layer)).await?;
    Ok(())
}
